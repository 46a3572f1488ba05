"""What workers bring on this machine: `python -m benchmarks.side_by_side [--repeats 3] [--demo]`.

Each case is timed with one worker and with two, of one thread each, in turn; the ratio of the
medians is what counts. The workers have drawn or trained a little before, so that starting them is
not in it; how long that takes, and what memory a worker has, is said besides. `--demo` times whole
commands: `kedro run` with two workers of one thread against one worker of two.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from benchmarks.configured import Configured, read
from benchmarks.measure import describe_machine
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.algorithms.sft.generation import generate_samples
from dpok_pipeline.algorithms.train import train
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.pipelines.graph import SHAREABLE
from dpok_pipeline.pipelines.models import scorer_identity
from dpok_pipeline.rewards.scorer import Scorer
from dpok_pipeline.workers.plan import Spread
from dpok_pipeline.workers.pool import WorkerPool
from dpok_pipeline.workers.processes import LocalLauncher
from dpok_pipeline.workers.schedule import Schedule

PROMPTS = Path("data/01_raw/prompts/paper.yml")
METHOD = "params:methods.dpok"
SHARD = 48


@dataclass(frozen=True)
class Work:
    """What a node does.

    Attributes:
        experiment: Whose prompt is drawn or trained on.
        folder: The folder of this work alone.
        iterations: Iterations of a training.
        warm_up: Whether only so much is done that the next time is like all others.
    """

    experiment: str
    folder: Path
    iterations: int = 1
    warm_up: bool = False


@cache
def opened() -> tuple[Configured, DiffusionModel, Scorer]:
    """Read and open what every node needs; a worker does so once."""
    configured = read("base")
    return configured, *configured.open()


def draw(work: Work) -> None:
    """Draw an experiment's SFT data, as many images as in the demo."""
    configured, model, reward = opened()
    images = 2 * SHARD if work.warm_up else configured.generation.images
    generate_samples(
        model,
        [(work.experiment, prompts_of(work.experiment)[0])],
        reward,
        sampling=configured.sampling,
        config=configured.generation.model_copy(update={"images": images, "shard_size": SHARD}),
        work_dir=work.folder,
        identity=scorer_identity(configured.reward),
    )


def learn(work: Work, method: Method) -> None:
    """Train DPOK for some iterations of the demo's size."""
    configured, model, reward = opened()
    iterations = 1 if work.warm_up else work.iterations
    training = method.training.model_copy(update={"iterations": iterations})
    train(
        method.model_copy(update={"training": training}),
        model,
        prompts_of(work.experiment),
        sampling=configured.sampling,
        load_reward=lambda: reward,
        find_samples=Path,
        work_dir=work.folder,
    )


def nothing(work: Work) -> str:
    """Do nothing, to see when a worker is there."""
    return work.experiment


def prompts_of(experiment: str) -> list[str]:
    """Return the training prompts of an experiment of the paper."""
    table: dict[str, dict[str, list[str]]] = yaml.safe_load(PROMPTS.read_text(encoding="utf-8"))
    return table[experiment]["train"]


@dataclass(frozen=True)
class Case:
    """Nodes that one or several workers run.

    Attributes:
        name: What is measured.
        function: What each node does.
        experiments: The experiment of each node.
        spread: Whether workers share a node, or have one each.
        iterations: Iterations of a training. One that is shared is as long as the demo's: what
            member 0 alone draws at its beginning and end weighs more in a shorter one.
        slices: Slices of the training.
    """

    name: str
    function: Any
    experiments: tuple[str, ...]
    spread: Spread
    iterations: int = 3
    slices: int = 1

    def run(self, pool: WorkerPool, *, warm_up: bool = False) -> float:
        """Run the nodes; return the seconds that they took."""
        with tempfile.TemporaryDirectory() as folder:
            works = {
                name: Work(name, Path(folder, name), self.iterations, warm_up)
                for name in self.experiments
            }
            nodes, catalog = self._pipeline(works)
            handover = _Handover(works, catalog)
            started = time.perf_counter()
            Schedule(nodes, catalog, pool, handover, self.spread, restarts=0).run()
            return time.perf_counter() - started

    def _pipeline(self, works: dict[str, Work]) -> tuple[Pipeline, DataCatalog]:
        trained = self.function is learn
        method = read("base").method("dpok")
        training = method.training.model_copy(update={"slices": self.slices})
        sliced = method.model_copy(update={"training": training})
        catalog = DataCatalog({METHOD: MemoryDataset(sliced, copy_mode="assign")})
        nodes = [
            Node(
                self.function,
                [name, METHOD] if trained else [name],
                None,
                name=f"{self.function.__name__}_{name}",
                tags=[SHAREABLE],
            )
            for name in works
        ]
        return Pipeline(nodes), catalog


class _Handover:
    """Gives nodes their work."""

    def __init__(self, works: dict[str, Work], catalog: DataCatalog) -> None:
        self._works, self._catalog = works, catalog

    def begin(self, node: Node) -> dict[str, Any]:
        return {
            name: self._works[name] if name in self._works else self._catalog.load(name)
            for name in node.inputs
        }

    def finish(self, node: Node, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        pass

    def fail(self, node: Node, inputs: dict[str, Any], error: BaseException) -> None:
        pass


CASES = (
    Case("SFT data of one experiment, drawn in shards", draw, ("color",), "inside"),
    Case("one DPOK training with two slices", learn, ("color",), "inside", iterations=8, slices=2),
    Case("DPOK trainings of two experiments", learn, ("color", "count"), "nodes"),
)


@contextmanager
def workers(count: int) -> Iterator[WorkerPool]:
    """Start workers of one thread each, and end them."""
    pool = WorkerPool(count, LocalLauncher(threads=1), timeout=60.0)
    try:
        yield pool
    finally:
        pool.close()


def compare(case: Case, repeats: int) -> str:
    """Time a case with one worker and with two, in turn, and write its row."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with workers(1) as one, workers(2) as two:
        pools = {1: one, 2: two}
        for pool in pools.values():
            case.run(pool, warm_up=True)
        for _ in range(repeats):
            for count, pool in pools.items():
                seconds[count].append(case.run(pool))
    single, double = (statistics.median(seconds[count]) for count in (1, 2))
    return f"| {case.name} | {single:.1f} | {double:.1f} | {single / double:.2f} |"


def start_up() -> list[str]:
    """Say how long workers take to be there, and what memory each has."""
    lines = []
    for count in (1, 2):
        started = time.perf_counter()
        with workers(count) as pool:
            names = tuple(f"first_{number}" for number in range(count))
            Case("start", nothing, names, "nodes").run(pool)
            seconds = time.perf_counter() - started
            idle = memory_of_workers()
            lines.append(f"{count} worker(s): there after {seconds:.1f} s, {idle} MB each at rest")
    with workers(1) as pool:
        CASES[1].run(pool, warm_up=True)
        lines.append(f"a worker that has trained DPOK: {memory_of_workers()} MB")
    return lines


def memory_of_workers() -> int:
    """Return the megabytes of the largest worker, shared pages counted by their share (Linux)."""
    found = []
    for process in multiprocessing.active_children():
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8")
        kilobytes = next(line.split()[1] for line in rollup.splitlines() if line[:4] == "Pss:")
        found.append(round(int(kilobytes) / 1000))
    return max(found)


def demo(count: int, threads: int) -> float:
    """Run the demo in a copy of the project; return the seconds that it took."""
    project = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "dpok-pipeline")
        (folder / "src").mkdir(parents=True)
        shutil.copy("pyproject.toml", folder)
        shutil.copytree("conf", folder / "conf")
        shutil.copytree("data/01_raw", folder / "data" / "01_raw")
        options = ["--workers", f"{count}", "--runner-params", f"threads={threads}"]
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "kedro", "run", *options],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": f"{project / 'src'}", "OMP_NUM_THREADS": f"{threads}"},
        )
        return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.side_by_side",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs of each case")
    parser.add_argument("--demo", action="store_true", help="whole demos as well: 20 minutes")
    chosen = parser.parse_args(arguments)
    print(describe_machine())
    print("\n".join(start_up()), flush=True)
    print("| what | 1 worker, s | 2 workers, s | ratio |\n| --- | --- | --- | --- |", flush=True)
    for case in CASES:
        print(compare(case, chosen.repeats), flush=True)
    if chosen.demo:
        one, two = demo(1, 2), demo(2, 1)
        print(
            f"| the demo, 1 worker of 2 threads, 2 of 1 | {one:.0f} | {two:.0f} | {one / two:.2f} |"
        )


if __name__ == "__main__":
    main()
