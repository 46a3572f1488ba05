"""Checks, before any work starts, of what only several inputs of a run show together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.configuration import selection
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import EvaluationConfig
from dpok_pipeline.files.fingerprint import changes
from dpok_pipeline.files.manifest import read_manifest
from dpok_pipeline.pipelines.models import ComputeConfig, scoring_identity, select_prompts

SHOWN_DIFFERENCES = 3


def check_methods(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Let every method that is to be trained check the sampling and the number of prompts.

    Where samples are drawn, these are all methods of the experiment: the samples are drawn for a
    comparison with each of them.

    Raises:
        InputError: A method could not learn from them. The message names it.
    """
    methods = {method.name: method for method in selection.current().methods}
    trained = [tuple(node.namespace.split(".")) for node in pipeline.nodes if _trains(node.name)]
    drawn = [node.namespace for node in pipeline.nodes if _draws_samples(node.name)]
    trained += [(experiment, name) for experiment in drawn for name in methods]
    if not trained:
        return
    sampling = SamplingConfig.model_validate(catalog.load("params:sampling"))
    prompts = _training_prompts(pipeline, catalog)
    for experiment, name in dict.fromkeys(trained):
        # An experiment without prompts is refused where the prompts are read.
        if count := prompts[experiment]:
            _check_method(methods[name], sampling, count, experiment)


def _trains(node: str) -> bool:
    return node.rpartition(".")[2].startswith("train_")


def _draws_samples(node: str) -> bool:
    return node.rpartition(".")[2] == "generate_sft_samples_node"


def _check_method(method: Method, sampling: SamplingConfig, prompts: int, experiment: str) -> None:
    try:
        method.training.check(sampling, prompts)
    except InputError as error:
        raise InputError(f"{experiment}.{method.name}: {error}") from None


def _training_prompts(pipeline: Pipeline, catalog: CatalogProtocol) -> Counter[str]:
    """Count the training prompts of each experiment, in the table or in the sources to prepare."""
    if "prompts" not in pipeline.all_outputs():
        table = catalog.load("prompts")
        return Counter(table[table["split"] == "train"]["experiment"])
    rows = catalog.load("prompt_sources")
    return Counter(row.experiment for row in rows if row.split == "train")


def check_comparable(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuse to compare with images and scores that earlier commands have made otherwise.

    A comparison takes the newest finished version of every method that it does not compute anew.
    It would be wrong, and nothing would show it, if those images had other prompts, noise or
    scorers.

    Raises:
        InputError: A dataset was made from other inputs. The message names the dataset, the
            differences and the remedy.
    """
    inputs = sorted(name for name in pipeline.inputs() if not name.startswith("params:"))
    for name in inputs:
        if name.endswith(".images"):
            path = Path(catalog.get(name)._get_load_path())
            _check_recipe(name, read_manifest(path).metadata, catalog)
        elif name.endswith(".scores"):
            _check_scores(name, Path(catalog.get(name)._get_load_path()), catalog)


def _check_recipe(name: str, metadata: Mapping[str, Any], catalog: CatalogProtocol) -> None:
    from dpok_pipeline.evaluation.drawing import drawing_recipe

    experiment = name.partition(".")[0]
    compute = ComputeConfig.model_validate(catalog.load("params:compute"))
    expected = drawing_recipe(
        catalog.load("base_model").content_hash,
        compute.resolved_precision(),
        select_prompts(catalog.load("prompts"), experiment, None),
        SamplingConfig.model_validate(catalog.load("params:sampling")),
        EvaluationConfig.model_validate(catalog.load("params:evaluation")),
    )
    _refuse_changes(name, metadata.get("recipe", {}), expected)


def _check_scores(name: str, path: Path, catalog: CatalogProtocol) -> None:
    import pandas as pd

    scored_by = pd.read_parquet(path, columns=[]).attrs.get("scored_by", {})
    present = scoring_identity(catalog.load("scorers"), catalog.load("embedder"))
    _refuse_changes(name, scored_by, present)


def _refuse_changes(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differences = list(changes(before, now))
    if differences:
        hidden = len(differences) - SHOWN_DIFFERENCES
        more = f" and {hidden} more" if hidden > 0 else ""
        shown = "; ".join(differences[:SHOWN_DIFFERENCES])
        experiment = name.partition(".")[0]
        raise InputError(
            f"{name}: made with other inputs: {shown}{more}; put the old value "
            f"back, or make it anew: `kedro run --pipelines evaluation --namespaces {experiment}`"
        )
