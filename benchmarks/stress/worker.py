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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.stress.budgets import BUDGETS, Budget, Kind

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "data" / "01_raw" / "emoji_world"
PROMPT = ("stress", "A dog on the moon.")
SAMPLES = "samples"  # where SFT's images are, beside its work folder


def train_rl(model: Any, budget: Budget, folder: Path) -> dict[str, Any]:
    """DPOK with value function, checkpoints as the budget says."""
    from dpok_pipeline.algorithms.dpok.train import train_dpok

    result = train_dpok(
        model,
        [PROMPT[1]],
        reward(),
        sampling=budget.sampling,
        lora=budget.lora,
        config=budget.rl,
        work_dir=folder,
    )
    return result.summary


def train_sft(model: Any, budget: Budget, folder: Path) -> dict[str, Any]:
    """SFT on images that `generate` has made beside the work folder."""
    import pandas as pd

    from dpok_pipeline.algorithms.sft import train as sft
    from dpok_pipeline.algorithms.sft.samples import COLUMNS, SFTSamples

    shards = sorted((folder.parent / SAMPLES).glob("*.parquet"))
    frame = pd.concat([pd.read_parquet(shard, columns=list(COLUMNS)) for shard in shards])
    samples = SFTSamples.from_frame(frame)
    result = sft.train_sft(model, samples, lora=budget.lora, config=budget.sft, work_dir=folder)
    return result.summary


def generate(model: Any, budget: Budget, folder: Path) -> dict[str, Any]:
    """SFT's data, every shard let go as soon as it is made."""
    from dpok_pipeline.algorithms.sft.generation import generate_samples

    shards = generate_samples(
        model,
        [PROMPT],
        reward(),
        sampling=budget.sampling,
        config=budget.generation,
        work_dir=folder,
    )
    return {"images": sum(len(frame) for frame in shards)}


def reward() -> Any:
    """EmojiWorld's ImageReward."""
    from dpok_pipeline.rewards.load import ScorerConfig, load_scorer

    return load_scorer(ScorerConfig(kind="image_reward", path=str(WORLD / "image_reward")))


RUNS: dict[Kind, Callable[[Any, Budget, Path], dict[str, Any]]] = {
    "rl": train_rl,
    "sft": train_sft,
    "generation": generate,
}


def main() -> int:
    """Run; the exit status is 1 where the disk is full or the input is at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=RUNS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--images", type=int, help="generation: instead of the budget's")
    chosen = parser.parse_args()
    budget = BUDGETS[chosen.budget]()
    if chosen.images:
        budget = budget.with_images(chosen.images)
    try:
        report = run(chosen.kind, budget, chosen.folder)
    except KeyboardInterrupt as stop:
        return 128 + int(getattr(stop, "signal_number", 2))
    except Exception as error:
        from dpok_pipeline.commands.failures import explain  # what `kedro run` answers with

        message = explain(error)
        if message is None:
            raise
        print(f"Error: {message}", file=sys.stderr)
        return 1
    print("done " + json.dumps(report), flush=True)
    return 0


def run(kind: Kind, budget: Budget, folder: Path) -> dict[str, Any]:
    """Load, run, and report memory and time."""
    from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model

    handle = describe_base_model(WORLD / "base_model")
    model = load_base_model(handle, "cpu", budget.precision)
    loaded = peak_bytes()
    print("ready", flush=True)
    started = time.monotonic()
    summary = RUNS[kind](model, budget, folder)
    seconds = time.monotonic() - started
    return {**summary, "seconds": seconds, "loaded_bytes": loaded, "peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """Highest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
