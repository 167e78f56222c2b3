"""How the dashboard's server is started: a command line and an environment, for the CLI to run."""

import os
import socket
import sys
from pathlib import Path

APP = Path(__file__).parent


def command(
    port: int = 8501, data_dir: Path | None = None, config: Path | None = None
) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of the dashboard's server.

    Args:
        port: of the loopback address, a free one: `free_port`.
        data_dir: folder with `publication/`; wins over the one of the config.
        config: path of config.yaml; by default what `VORONKA_CONFIG` says.
    """
    environment = dict(os.environ)
    if data_dir is not None:
        environment["VORONKA_DATA_DIR"] = str(Path(data_dir).resolve())
    if config is not None:
        environment["VORONKA_CONFIG"] = str(Path(config).resolve())
    # Options lie in .streamlit/config.toml beside asgi.py, where Streamlit looks for them.
    return [sys.executable, "-m", "streamlit", "run", str(APP / "asgi.py"), "--server.port", str(port)], environment


def free_port(wanted: int) -> int:
    """`wanted`, or any free port of loopback for 0. Raises OSError where it cannot be had."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", wanted))
        return int(probe.getsockname()[1])
