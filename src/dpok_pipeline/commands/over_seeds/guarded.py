"""A command of kedro's that ends with the process that has started it: `python -m …guarded run`.

Its standard input is a pipe that the other one holds open and never writes to. However that one
ends, the pipe ends with it, and this one is asked to save its state and stop.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def main() -> None:
    """Run `kedro` with the arguments of this process."""
    from kedro.framework.cli import main as kedro

    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C goes to all processes of a terminal; the one that has started this one passes it on.
    os.setpgid(0, 0)
    sys.argv[0] = "kedro"
    kedro()


def _end_with_parent() -> None:
    # Not by `sys.stdin`, whose lock a thread that waits for ever would keep from Python's end.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
