"""What the measurements of connectors have in common: servers apart, measured processes apart, public clients apart."""

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from demo.run import Crm

BENCH = Path(__file__).parent
HOUSE = BENCH.parent
sys.path.insert(0, str(HOUSE))

AS_OF = datetime(2026, 11, 21, tzinfo=ZoneInfo("Europe/Moscow"))


def alone(measures: Mapping[str, Callable[..., dict[str, Any]]]) -> bool:
    """Whether this process was started by `apart`; then it has measured: printed what the measure returned, with the
    seconds of processor and the peak memory of the process."""
    if sys.argv[1:2] != ["--measure"]:
        return False
    found = measures[sys.argv[2]](*sys.argv[3:])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**found, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}))
    return True


def sync(
    folder: Path,
    crm: "Crm",
    url: str,
    *,
    parallel: int | None = None,
    resources: Sequence[str] = (),
    **settings: Any,
) -> dict[str, Any]:
    """A first sync, or the next one: seconds, objects, rows. parallel: windows at once. settings: of the account."""
    import yaml

    from commands.run import sync_with
    from config import load_config
    from connectors.connector import find_connectors
    from demo.run import write_config

    file = write_config(folder, [(crm, url)])
    content = yaml.safe_load(file.read_text("utf-8"))
    content["accounts"][0] |= settings
    if parallel is not None:
        content["sync"]["windows_in_parallel"] = parallel
    file.write_text(yaml.safe_dump(content), "utf-8")
    config = load_config(file, {name: found.settings for name, found in find_connectors().items()})
    begun = time.perf_counter()
    run = sync_with(config, env=crm.environment(url), resources=resources)
    seconds = time.perf_counter() - begun
    assert run.is_well, run
    read = [one for account in run.accounts for one in account.resources]
    return {
        "seconds": seconds,
        "objects": sum(one.n_read for one in read),
        "rows": sum(one.n_written for one in read),
    }


@contextmanager
def server(*arguments: str) -> Iterator[str]:
    """The address of a server that runs while the block does."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, cwd=HOUSE) as process:
        assert process.stdout is not None
        try:
            url = next(line for line in process.stdout if line.startswith("READY ")).split()[1]
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield url
        finally:
            process.terminate()


def knob(url: str, door: str, body: Any) -> None:
    """Set something of a demo server."""
    request = urllib.request.Request(f"{url}/_emu/{door}", json.dumps(body).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    straight().open(request).close()


def told(url: str, door: str) -> dict[str, Any]:
    """What a demo server says of itself."""
    with straight().open(f"{url}/_emu/{door}") as answer:
        return dict(json.load(answer))


def straight() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def apart(bench: str, name: str, *arguments: object) -> dict[str, Any]:
    """A measurement of a bench in a process of its own."""
    command = [sys.executable, bench, "--measure", name, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HOUSE)
    return dict(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def clients(requirements: str) -> Iterator[Path | None]:
    """The Python of an environment with public clients and nothing of ours; None where they cannot be installed."""
    with tempfile.TemporaryDirectory(prefix="voronka-peers-") as made:
        python = Path(made) / "bin" / "python"
        venv.create(made, with_pip=True)
        install = [python, "-m", "pip", "install", "-q", "-r", BENCH / requirements]
        yield None if subprocess.run(install, check=False).returncode else python


def outcome(command: list[Any]) -> dict[str, Any]:
    """What a client printed, or the last line of its traceback."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))
