"""The name of a command's run: what ran, in the words of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kedro.pipeline import Pipeline

from dpok_pipeline.configuration import selection
from dpok_pipeline.pipelines.graph import method_tag

#: More experiments than these are counted instead of listed.
MOST_LISTED = 2
#: Options of `kedro run` that leave out nodes in a way that no short name can say.
NARROWING = ("from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs")


def environment_of(run_params: Mapping[str, Any]) -> str:
    """Return the environment's name; `base` where none was given."""
    env = run_params.get("env")
    return "base" if env in (None, "", "local") else str(env)


def seed_of(run_params: Mapping[str, Any]) -> str:
    """Return the training seed of a command; of methods that have seeds of their own, all of them.

    `rl_training.seed` in a parameters file gives methods one without a word on the command line.
    """
    asked = (run_params.get("runtime_params") or {}).get("training_seed")
    seeds = {method.training.seed for method in selection.current().methods}
    if asked is not None or not seeds:
        return str(asked or 0)
    return "+".join(map(str, sorted(seeds)))


def name_run(run_params: Mapping[str, Any], pipeline: Pipeline) -> str:
    """Name a command's run by environment, experiments, pipelines, methods and seed.

    Examples are `smoke, all experiments, seed 0` and `base, color, rl_training, dpok, seed 1`.
    What a command does in full is left out.

    Args:
        run_params: Description of the run that Kedro passes to its hooks.
        pipeline: The nodes that are to run.
    """
    pipelines = [name for name in run_params.get("pipeline_names") or () if name != "__default__"]
    tags = set(run_params.get("tags") or ())
    methods = [method for method in selection.current().methods if method_tag(method.name) in tags]
    narrowed = any(run_params.get(option) for option in NARROWING)
    words = [
        environment_of(run_params),
        _experiments(pipeline),
        "+".join(pipelines),
        "+".join(method.name for method in methods),
        "some nodes" if narrowed else "",
        f"seed {seed_of(run_params)}",
    ]
    return ", ".join(dict.fromkeys(filter(None, words)))


def _experiments(pipeline: Pipeline) -> str:
    """Say which experiments the nodes are about; empty for nodes that are about none."""
    known = selection.current().experiments
    found = {str(node.namespace).partition(".")[0] for node in pipeline.nodes if node.namespace}
    names = [name for name in known if name in found] or sorted(found)
    return _in_words(names, all_of_them=len(names) > 1 and set(names) == set(known))


def _in_words(names: Iterable[str], *, all_of_them: bool) -> str:
    listed = list(names)
    if all_of_them:
        return "all experiments"
    return f"{len(listed)} experiments" if len(listed) > MOST_LISTED else "+".join(listed)
