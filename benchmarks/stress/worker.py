"""One real run of the engine on EmojiWorld, to be killed: `worker KIND FOLDER [--budget …]`.

It says `ready` once the networks are loaded and `done {…}` at the end. Started again with the same
arguments it goes on from what is in FOLDER. The disk being full ends it as it ends `kedro run`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.stress.budgets import BUDGETS, KINDS, Budget, Kind
from dpok_pipeline.algorithms.train import train

if TYPE_CHECKING:
    from dpok_pipeline.diffusion.base_model import DiffusionModel
    from dpok_pipeline.rewards.scorer import Scorer

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "data" / "01_raw" / "emoji_world"
PROMPT = ("stress", "A dog on the moon.")
SAMPLES = "samples"  # the folder of SFT's images, beside the work folder of its training


def train_method(model: DiffusionModel, name: str, budget: Budget, folder: Path) -> dict[str, Any]:
    """Train a method, with checkpoints as the budget says.

    SFT learns from images that `generate` has made beside the work folder.
    """
    result = train(
        budget.methods[name],
        model,
        [PROMPT[1]],
        sampling=budget.sampling,
        load_reward=load_reward,
        find_samples=lambda: folder.parent / SAMPLES,
        work_dir=folder,
    )
    return result.summary


def generate(model: DiffusionModel, budget: Budget, folder: Path) -> dict[str, Any]:
    """Make SFT's images, shard by shard."""
    from dpok_pipeline.algorithms.sft.generation import generate_samples
    from dpok_pipeline.files.shards import Shards

    shards = generate_samples(
        model,
        [PROMPT],
        load_reward(),
        sampling=budget.sampling,
        config=budget.generation,
        work_dir=folder,
    )
    return {"images": Shards(shards).metadata["rows"]}


def load_reward() -> Scorer:
    """Load EmojiWorld's ImageReward."""
    from dpok_pipeline.rewards.load import ScorerConfig, load_scorer

    return load_scorer(ScorerConfig(kind="image_reward", path=str(WORLD / "image_reward")))


def main() -> int:
    """Run; the exit status is 1 where the disk is full or the input is at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--images", type=int, help="generation: instead of the budget's")
    arguments = parser.parse_args()
    budget = BUDGETS[arguments.budget]()
    if arguments.images:
        budget = budget.with_images(arguments.images)
    try:
        report = run(arguments.kind, budget, arguments.folder)
    except KeyboardInterrupt as stop:
        return 128 + int(getattr(stop, "signal_number", 2))
    except Exception as error:
        from dpok_pipeline.commands.errors import explain  # what `kedro run` answers with

        message = explain(error)
        if message is None:
            raise
        print(f"Error: {message}", file=sys.stderr)
        return 1
    print("done " + json.dumps(report), flush=True)
    return 0


def run(kind: Kind, budget: Budget, folder: Path) -> dict[str, Any]:
    """Load the base model, run, and report memory and time."""
    from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model

    handle = describe_base_model(WORLD / "base_model")
    model = load_base_model(handle, "cpu", budget.precision)
    loaded = peak_bytes()
    print("ready", flush=True)
    started = time.monotonic()
    if kind == "generation":
        summary = generate(model, budget, folder)
    else:
        summary = train_method(model, kind, budget, folder)
    seconds = time.monotonic() - started
    return {**summary, "seconds": seconds, "loaded_bytes": loaded, "peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """Return the highest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
