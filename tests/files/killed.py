"""Programs that end by `kill -9`, in a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path


def run_killed(program: str, *arguments: object) -> None:
    root = Path(__file__).parents[2]
    finished = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=root,
        env={"PYTHONPATH": f"{root / 'src'}:{root}", "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        check=False,
    )
    assert finished.returncode == -signal.SIGKILL, finished.stderr.decode()
