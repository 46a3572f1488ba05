"""Checks, before any work starts, of what only several inputs of a run show together."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.configuration import selection
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError, MissingSource
from dpok_pipeline.files.fingerprint import changes
from dpok_pipeline.pipelines.origins import made_of_prompts
from dpok_pipeline.training.config import GenerationConfig

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def present_prompts(pipeline: Pipeline, catalog: CatalogProtocol) -> pd.DataFrame:
    """Return the prompts table that the pipeline works with, whether it is made already or not.

    Raises:
        InputError: The prompts that the sources hold cannot be used, or the table that an earlier
            command has made of them is no longer what they hold.
    """
    import pandas as pd

    from dpok_pipeline.pipelines.prompt_preparation.nodes import prepare_prompts

    if "base_model" not in pipeline.inputs() and not any(map(made_of_prompts, pipeline.inputs())):
        return pd.DataFrame(columns=["text", "experiment", "split", "prompt_id"])
    if "prompts" in pipeline.all_outputs() or not catalog.exists("prompts"):
        with _said_later():
            return prepare_prompts(catalog.load("prompt_sources"), catalog.load("base_model"))
    table = catalog.load("prompts")
    version = getattr(catalog.get("prompts"), "_version", None)
    if version is None or version.load is None:  # --load-versions asks for a certain table.
        _check_sources(table, catalog)
    return table


@contextmanager
def _said_later() -> Iterator[None]:
    """Log nothing: the first node prepares the same prompts, and says the same of them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _check_sources(table: pd.DataFrame, catalog: CatalogProtocol) -> None:
    """Refuse a table of other prompts than the sources hold now."""
    from dpok_pipeline.pipelines.prompt_preparation.nodes import prepare_prompts

    try:
        sources, base_model = catalog.load("prompt_sources"), catalog.load("base_model")
    except DatasetError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, MissingSource):
            cause = cause.__cause__  # Kedro has put its own words around it.
        if cause is None:
            raise
        # The table is all that is needed; its sources may lie on another machine.
        logger.warning("prompts: not compared with their sources, %s", cause)
        return
    present = prepare_prompts(sources, base_model)
    before, now = ({"prompts": _rows(rows)} for rows in (table, present))
    differences = list(changes(before, now))
    if differences:
        raise InputError(
            f"prompts: made from other sources than the catalog names now: {differences[0]}; put "
            "the old sources back, or make it anew: "
            f"`kedro run --pipelines prompt_preparation{selection.current().env_option}`"
        )


def _rows(table: pd.DataFrame) -> list[list[str]]:
    columns = ["experiment", "split", "text"]
    return [list(map(str, row)) for row in table[columns].itertuples(index=False)]


def check_raters_files(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuse raters' files that cannot be counted, before anything is drawn or trained.

    Whether they are of the page at hand is known now only where the run does not make it anew.

    Raises:
        InputError: A file cannot be counted. The message names it.
    """
    if "votes" not in pipeline.inputs():
        return
    from dpok_pipeline.study.votes import check_votes

    votes = catalog.load("votes")
    if "study_key" in pipeline.inputs():
        check_votes(votes, catalog.load("study_key"))


def check_methods(pipeline: Pipeline, catalog: CatalogProtocol, prompts: pd.DataFrame) -> None:
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
    counts = _count_training(prompts)
    for experiment, name in dict.fromkeys(trained):
        # An experiment without prompts is refused where the prompts are read.
        if count := counts[experiment]:
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


def check_seeds(pipeline: Pipeline, catalog: CatalogProtocol, asked: int | None) -> None:
    """Refuse a training seed that something does not take, because it has a seed of its own.

    Runs that are meant to differ by their seed would be the same run, and count as several.

    Args:
        pipeline: The nodes that are to run.
        catalog: Catalog of the run.
        asked: The training seed that the command names; None names none.

    Raises:
        InputError: A method that is trained, or the samples that are drawn, would have another.
    """
    if asked is None:
        return
    methods = {method.name: method for method in selection.current().methods}
    trained = {node.namespace.split(".")[1] for node in pipeline.nodes if _trains(node.name)}
    seeds = {f"method {name}": methods[name].training.seed for name in sorted(trained)}
    if any(_draws_samples(node.name) for node in pipeline.nodes):
        generation = GenerationConfig.model_validate(catalog.load("params:sample_generation"))
        seeds["sample_generation"] = generation.seed
    for place, seed in seeds.items():
        if seed != asked:
            raise InputError(
                f"--params training_seed={asked}: {place} has a seed of its own, {seed}; remove "
                "`seed` from its settings in conf/*/parameters*.yml or methods*.yml"
            )


def check_sample_number(
    pipeline: Pipeline, catalog: CatalogProtocol, prompts: pd.DataFrame
) -> None:
    """Refuse to draw fewer images for offline training than an experiment has training prompts.

    The prompts without an image would count as trained on all the same.

    Raises:
        InputError: There are too few. The message names the experiment.
    """
    drawn = [node.namespace for node in pipeline.nodes if _draws_samples(node.name)]
    if not drawn:
        return
    images = GenerationConfig.model_validate(catalog.load("params:sample_generation")).images
    counts = _count_training(prompts)
    for experiment in drawn:
        if images < counts[experiment]:
            raise InputError(
                f"sample_generation.images is {images}, but {experiment} has {counts[experiment]} "
                "training prompts: give an image to each of them at least, or take fewer prompts"
            )


def _count_training(prompts: pd.DataFrame) -> Counter[str]:
    """Count the training prompts of each experiment."""
    return Counter(prompts[prompts["split"] == "train"]["experiment"])
