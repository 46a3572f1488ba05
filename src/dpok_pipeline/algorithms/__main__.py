"""One training of the engine, without Kedro: by one process, or by several that torchrun starts.

    python -m dpok_pipeline.algorithms training.yml --output build/rabbit
    torchrun --nproc-per-node 2 -m dpok_pipeline.algorithms training.yml --output build/rabbit

docs/scale.md has an example of the file. The same command goes on with a run that was stopped, with
as many processes as before or another number that divides `training.slices`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
from pathlib import Path

from dpok_pipeline.algorithms.standalone import read_training, train_alone
from dpok_pipeline.errors import InputError
from dpok_pipeline.team.members import Followed
from dpok_pipeline.team.torch_team import TorchTeam
from dpok_pipeline.training.signals import Stopped, raise_stopped
from dpok_pipeline.training.tracking import lines_above_bars

logger = logging.getLogger(__name__)

#: What torchrun sets in each process that it starts.
RANK, SIZE = "RANK", "WORLD_SIZE"


def main() -> None:
    """Read the file, join the other processes, train."""
    parser = argparse.ArgumentParser(
        prog="python -m dpok_pipeline.algorithms",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("training", type=Path, help="YAML file that says what is trained, and how")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the LoRA and the unfinished state"
    )
    parser.add_argument(
        "--resume",
        choices=["auto", "never"],
        default="auto",
        help="never: start anew, in place of going on from the state in the output folder",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=1800.0,
        help="seconds after which a process that does not answer ends the others (1800)",
    )
    arguments = parser.parse_args()
    rank, size = int(os.environ.get(RANK, "0")), int(os.environ.get(SIZE, "1"))
    logging.basicConfig(format="%(message)s", level=logging.INFO if rank == 0 else logging.ERROR)
    signal.signal(signal.SIGTERM, raise_stopped)
    team = None
    try:
        training = read_training(arguments.training)
        if size > 1:
            team = TorchTeam.join("env://", rank, size, arguments.timeout)
        with lines_above_bars():
            folder = train_alone(training, arguments.output, rank, arguments.resume)
        logger.info("The LoRA: %s", folder)
    except InputError as error:
        raise SystemExit(f"Error: {error}") from None
    except Followed:
        pass
    except Stopped as stopped:
        raise SystemExit(128 + stopped.signal_number) from None
    except RuntimeError as error:
        if rank == 0 or team is None:
            raise
        # Another process has gone, and says itself why.
        raise SystemExit(f"process {rank}: {error}") from None
    finally:
        if team is not None:
            team.leave()


if __name__ == "__main__":
    main()
