"""How long a whole `kedro run --workers` takes: the project's nodes, begun as its planner does."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from kedro.pipeline import Node, Pipeline

from benchmarks.configured import Configured
from benchmarks.scale.rates import Rates
from benchmarks.scale.training import LORA_BY_RANK, Dpok, Sft
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.graph import SHAREABLE
from dpok_pipeline.workers.plan import Most, any_number, choose, divisors_of, only_one

# The paper's single-prompt runs are evaluated on their prompt and on one unseen prompt.
# Presets of many prompts are evaluated on more, and for longer than is reckoned here.
_PROMPTS = 2


@dataclass(frozen=True)
class Task:
    """A node of the graph.

    Attributes:
        name: Its name.
        needs: Names of the tasks that must have ended before.
        most: How many workers, out of some, can share it.
        seconds: Its duration by the number of workers that share it.
    """

    name: str
    needs: frozenset[str]
    most: Most
    seconds: Callable[[int], float]


def makespan(tasks: Sequence[Task], workers: int) -> float:
    """Return the seconds until all tasks have ended.

    Args:
        tasks: In the order in which they are begun, those that others need before these.
        workers: Number of workers.
    """
    waiting, done = list(tasks), set[str]()
    running: list[tuple[float, str, int]] = []  # end, name, workers
    now = 0.0
    while waiting or running:
        ready = [task for task in waiting if task.needs <= done]
        free = workers - sum(members for _, _, members in running)
        sizes = choose([task.most for task in ready], len(running), free, workers, "auto")
        for task, members in zip(ready, sizes, strict=False):
            waiting.remove(task)
            heapq.heappush(running, (now + task.seconds(members), task.name, members))
        now, name, _ = heapq.heappop(running)
        done.add(name)
    return now


@dataclass(frozen=True)
class Plan:
    """A run on so many GPUs, with the slices that make it fastest.

    Attributes:
        dpok_slices: `rl_training.slices`.
        sft_slices: `sft_training.slices`.
        seconds: Of the whole run.
    """

    dpok_slices: int
    sft_slices: int
    seconds: float


class Graph:
    """The nodes of an environment, with their durations."""

    def __init__(self, configured: Configured, pipeline: Pipeline) -> None:
        """Take the nodes.

        Args:
            configured: The environment; its methods are DPOK's and SFT's.
            pipeline: Its nodes.
        """
        self._configured = configured
        needs = pipeline.node_dependencies
        self._nodes = [
            (node, frozenset(other.name for other in needs[node])) for node in pipeline.nodes
        ]

    def best(self, rates: Rates, workers: int) -> Plan:
        """Choose the slices of both algorithms with which a run is over first.

        Args:
            rates: Of one GPU.
            workers: Number of workers, one on each GPU.
        """
        choices: list[Iterable[int]] = [{1}, {1}]
        for training in map(self._training, self._configured.methods):
            place = 0 if isinstance(training, Dpok) else 1
            choices[place] = [n for n in training.possible_slices() if n <= workers]
        plans = [
            Plan(dpok, sft, makespan(self.tasks(rates, dpok, sft), workers))
            for dpok, sft in product(*choices)
        ]
        return min(plans, key=lambda plan: plan.seconds)

    def tasks(self, rates: Rates, dpok_slices: int, sft_slices: int) -> list[Task]:
        """Return the nodes as tasks, with so many slices of each DPOK and SFT training."""
        return [
            self._task(node, needs, rates, dpok_slices, sft_slices) for node, needs in self._nodes
        ]

    def _training(self, name: str) -> Dpok | Sft:
        method = self._configured.method(name)
        if isinstance(method.training, DPOKConfig):
            return Dpok.of(method.training, self._configured.sampling, method.lora.rank)
        if isinstance(method.training, SFTConfig):
            return Sft(method.training, method.lora.rank * LORA_BY_RANK)
        raise InputError(f"{name}: there is no model of {method.algorithm}")

    def _task(
        self, node: Node, needs: frozenset[str], rates: Rates, dpok_slices: int, sft_slices: int
    ) -> Task:
        name = node.func.__name__
        if name in ("train_online_lora", "train_offline_lora"):
            training = self._training(str(node.namespace).rpartition(".")[2])
            slices = dpok_slices if isinstance(training, Dpok) else sft_slices
            return Task(
                node.name,
                needs,
                divisors_of(slices),
                lambda members: training.count * training.step(rates, members, slices).seconds,
            )
        most = any_number if SHAREABLE in node.tags else only_one
        return Task(node.name, needs, most, lambda members: self._seconds(name, rates, members))

    def _seconds(self, function: str, rates: Rates, members: int) -> float:
        """Return the duration of a node that trains nothing."""
        generation, evaluation = self._configured.generation, self._configured.evaluation

        def draw(images: int, shard: int, batch: int, score: float) -> float:
            """Return the duration of drawing images in shards, one for each member at a time."""
            steps = self._configured.sampling.ddim_steps
            each = steps * rates.forward_seconds(shard, batch)
            each += shard * (rates.decode_seconds + score)
            return each * -(-images // (shard * members))

        images, shard = _PROMPTS * evaluation.images_per_prompt, evaluation.images_per_prompt
        if function == "generate_sft_samples":
            shard = min(generation.shard_size, generation.images)
            return draw(generation.images, shard, generation.batch_size, rates.reward_seconds)
        if function in ("draw_base_images", "draw_method_images"):
            # A prompt's images are one shard; they are scored by a node of its own.
            return draw(images, shard, evaluation.batch_size, 0.0)
        if function == "score_images":
            # By the reward and by the aesthetic score's CLIP, which measures diversity as well.
            return images * (rates.reward_seconds + rates.watch_seconds)
        return 0.0  # tables, figures and reports: seconds on a CPU
