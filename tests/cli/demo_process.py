"""The demo in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).parents[2]


def run_demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`voronka demo --sync-only` in a process of its own, its output no terminal."""
    arguments = ["demo", "--sync-only", "--scale", "0.02", "--data-dir", str(folder), *options]
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=HOUSE,
        env={**os.environ, "VORONKA_LANG": "en"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
