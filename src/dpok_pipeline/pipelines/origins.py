"""Compares what a run takes up from earlier commands with what it would make now.

Samples, LoRAs, images and scores are taken up by later commands. A result would be wrong, and
nothing would show it, if they had been made from other prompts, with another base model or with
other settings than the configuration has by then.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from dpok_pipeline.configuration import selection
from dpok_pipeline.configuration.methods import group_of
from dpok_pipeline.diffusion.config import Precision, SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import EvaluationConfig
from dpok_pipeline.evaluation.names import BASE
from dpok_pipeline.files.fingerprint import summarise_changes
from dpok_pipeline.files.manifest import folder_digest, read_manifest
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.pipelines.models import (
    ComputeConfig,
    scorer_identity,
    scoring_identity,
    select_prompts,
)
from dpok_pipeline.training.config import GenerationConfig

logger = logging.getLogger(__name__)

#: Attribute of scores: the digest of the folder of images that they are of.
IMAGES = "images"
#: How the folder of a LoRA from MLflow's registry is named, after the registered model.
FROM_REGISTRY = re.compile(r"(?P<name>.+)-v(?P<number>\d+)")

if TYPE_CHECKING:
    import pandas as pd


#: What a training leaves besides its LoRA, and reports show.
TABLES = ("curves", "filmstrip")


def made_of_prompts(name: str) -> bool:
    """Say whether a dataset is one whose origin is compared with the prompts."""
    kind = name.rpartition(".")[2]
    return kind in ("sft_samples", "lora", "images") and not name.startswith("params:")


def check_origins(
    pipeline: Pipeline,
    catalog: CatalogProtocol,
    prompts: pd.DataFrame,
    *,
    only_missing: bool = False,
) -> None:
    """Refuse inputs that earlier commands have made otherwise than the configuration has it now.

    Args:
        pipeline: The nodes that are to run.
        catalog: Catalog of the run.
        prompts: The prompts table.
        only_missing: Whether outputs that there are are left as they are, and so are inputs, too.

    Raises:
        InputError: A dataset was made from other inputs. The message names the dataset, the
            differences and the remedy.
    """
    for name in sorted(pipeline.all_outputs()):
        if reason := getattr(catalog.get(name), "only_read", ""):
            raise InputError(
                f"{name}: {reason}, and this command would make it; run `evaluation` alone, or "
                "remove the entry from conf/*/catalog*.yml"
            )
    checks = {
        "sft_samples": _check_samples,
        "lora": _check_lora,
        "images": _check_images,
        "scores": _check_scores,
    }
    taken = pipeline.inputs()
    if only_missing:
        taken |= {name for name in pipeline.all_outputs() if catalog.exists(name)}
    for name in sorted(taken):
        kind = name.rpartition(".")[2]
        if kind in checks and not name.startswith("params:"):
            path = Path(catalog.get(name)._get_load_path())
            checks[kind](name, path, catalog, prompts)
        if kind in TABLES and catalog.exists(name):
            _check_table(name, catalog, drawn_now=pipeline.all_outputs())


def _check_samples(name: str, path: Path, catalog: CatalogProtocol, prompts: pd.DataFrame) -> None:
    rows = select_prompts(prompts, name.partition(".")[0], "train")
    expected = _samples_recipe(catalog, list(zip(rows["prompt_id"], rows["text"], strict=True)))
    # By what the networks ran matters to a run that goes on, and not to one that only reads.
    before = {key: value for key, value in Shards(path).recipe.items() if key != "kernels"}
    _refuse_changes(name, before, expected, "sample_generation")


def _samples_recipe(catalog: CatalogProtocol, prompts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the recipe of the samples that the configuration would make now."""
    from dpok_pipeline.algorithms.sft.generation import samples_recipe

    return samples_recipe(
        catalog.load("base_model").content_hash,
        _precision(catalog),
        prompts,
        SamplingConfig.model_validate(catalog.load("params:sampling")),
        GenerationConfig.model_validate(catalog.load("params:sample_generation")),
        scorer_identity(catalog.load("reward_model")),
    )


def _check_lora(name: str, path: Path, catalog: CatalogProtocol, prompts: pd.DataFrame) -> None:
    from dpok_pipeline.diffusion.lora import read_metadata

    _check_training(name, read_metadata(path), catalog, prompts, _registered(path.parent.name))


def _check_images(name: str, path: Path, catalog: CatalogProtocol, prompts: pd.DataFrame) -> None:
    from dpok_pipeline.evaluation.drawing import drawing_recipe

    expected = drawing_recipe(
        catalog.load("base_model").content_hash,
        _precision(catalog),
        select_prompts(prompts, name.partition(".")[0], None),
        SamplingConfig.model_validate(catalog.load("params:sampling")),
        EvaluationConfig.model_validate(catalog.load("params:evaluation")),
    )
    metadata = read_manifest(path).metadata
    _refuse_changes(name, metadata.get("recipe", {}), expected, "evaluation")
    if name.split(".")[1] != BASE.name:
        training = metadata.get("training", {})
        # Of a version of the registry that the catalog no longer names, settings count again.
        named = getattr(catalog.get(f"{name.rpartition('.')[0]}.lora"), "only_read", "")
        registered = _registered(str(metadata.get("version", ""))) if named else ""
        _check_training(name, training, catalog, prompts, registered)


def _check_scores(name: str, path: Path, catalog: CatalogProtocol, prompts: pd.DataFrame) -> None:
    import pandas as pd

    scores = pd.read_parquet(path, columns=["image_sha256"])
    present = scoring_identity(catalog.load("scorers"), catalog.load("embedder"))
    _refuse_changes(name, scores.attrs.get("scored_by", {}), present, "evaluation")
    namespace = name.rpartition(".")[0]
    images = f"{namespace}.images"
    if catalog.exists(images) and not _are_of(scores, Path(catalog.get(images)._get_load_path())):
        raise InputError(
            f"{name}: of other images than {images} holds, such as after a crash between the two; "
            f"score those: `kedro run --nodes {namespace}.score_images_node"
            f"{selection.current().env_option}`"
        )


def _check_table(name: str, catalog: CatalogProtocol, drawn_now: Collection[str]) -> None:
    """Refuse what one training has left beside images that are of another one.

    Both may be of the same settings, when a training is repeated, or its end was not saved whole.
    """
    namespace = name.rpartition(".")[0]
    lora, images = catalog.get(f"{namespace}.lora"), f"{namespace}.images"
    dataset = catalog.get(name)
    if any(getattr(one, "only_read", "") for one in (lora, dataset)):
        return
    if images in drawn_now:
        trained = str(lora.resolve_load_version())
    elif catalog.exists(images):
        path = Path(catalog.get(images)._get_load_path())
        trained = str(read_manifest(path).metadata.get("version", ""))
    else:
        return
    version = str(dataset.resolve_load_version())
    if trained and version != trained and not _registered(trained):
        others = ",".join(f"{namespace}.{one}:{trained}" for one in TABLES)
        raise InputError(
            f"{name}: of the training {version}, the images are of {trained}; give "
            f"`--load-versions {others}`, or draw and score the newest LoRA's: `kedro run "
            f"--pipelines evaluation --namespaces {namespace.partition('.')[0]}"
            f"{selection.current().env_option}`"
        )


def _are_of(scores: pd.DataFrame, images: Path) -> bool:
    """Say whether scores are of the images in a folder."""
    if IMAGES in scores.attrs:
        return bool(scores.attrs[IMAGES] == folder_digest(images))
    # Scores of an earlier release name no folder, but each image that they are of.
    return list(scores["image_sha256"]) == [
        hashlib.sha256(image["bytes"]).hexdigest()
        for shard in Shards(images).read(["image"])
        for image in shard["image"]
    ]


def _registered(version: str) -> str:
    """Return the version of a LoRA that comes from MLflow's registry, `NAME-v3`; else nothing."""
    return version if FROM_REGISTRY.fullmatch(version) else ""


def _check_training(
    name: str,
    before: Mapping[str, Any],
    catalog: CatalogProtocol,
    prompts: pd.DataFrame,
    registered: str,
) -> None:
    """Compare how a LoRA was trained with how its method would train one now.

    Whoever names a version of the registry wants that one, by whatever settings it was trained. It
    must still be of the same base model, or its images would be nothing that anybody has trained.
    """
    if registered:
        trained_on = before.get("base_model")
        present = catalog.load("base_model").content_hash
        if trained_on not in (None, present):
            raise InputError(
                f"{name}: {registered} was trained on the base model {trained_on[:12]}, base_model "
                f"is {present[:12]}; name another version, or the LoRA's own base model"
            )
        return
    experiment, key, _ = name.split(".")
    (method,) = (method for method in selection.current().methods if method.name == key)
    texts = list(select_prompts(prompts, experiment, "train")["text"])
    numbers, lasting = method.training.numbers(), method.training.numbers(length=False)
    length = {key: value for key, value in numbers.items() if key not in lasting}
    expected = {
        "algorithm": method.algorithm,
        group_of(method.algorithm): lasting,
        **length,
        "lora": method.lora.numbers(),
        "base_model": catalog.load("base_model").content_hash,
        "compute": {"precision": _precision(catalog)},
        "prompts": texts,
    }
    if method.online:
        expected["sampling"] = SamplingConfig.model_validate(
            catalog.load("params:sampling")
        ).numbers()
        expected["reward_model"] = scorer_identity(catalog.load("reward_model"))
    else:
        _check_learned_from(name, before, catalog)
    compared = {key: before[key] for key in expected if key in before}
    maker = "rl_training" if method.online else "sft_training"
    # Images of a LoRA of other settings need a LoRA of these ones first.
    drawing = ",evaluation" if name.endswith(".images") else ""
    _refuse_changes(name, compared, expected, f"{maker}{drawing}")


def _check_learned_from(name: str, before: Mapping[str, Any], catalog: CatalogProtocol) -> None:
    """Compare how the samples were made that a LoRA has learned from with how they would be now.

    A LoRA of an earlier release does not say it. Nothing is known to differ, so it is taken, and a
    warning says what nobody has compared.
    """
    from dpok_pipeline.algorithms.sft.samples import without_prompts

    if "samples" not in before:
        logger.warning(
            "%s: of an earlier release, whose LoRAs do not say how their samples were made; that "
            "sample_generation, sampling and reward_model were as they are now is not checked",
            name,
        )
        return
    _refuse_changes(
        name,
        {"samples": before["samples"]},
        {"samples": without_prompts(_samples_recipe(catalog, []))},
        "sample_generation,sft_training",
    )


def _precision(catalog: CatalogProtocol) -> Precision:
    return ComputeConfig.model_validate(catalog.load("params:compute")).resolved_precision()


def _refuse_changes(
    name: str, before: Mapping[str, Any], now: Mapping[str, Any], maker: str
) -> None:
    """Refuse a dataset whose recipe has changed since.

    Args:
        name: The dataset's name.
        before: The recipe that it was made by.
        now: The recipe that the configuration gives.
        maker: Pipeline that makes it; several, in their order, are joined by commas.
    """
    if differences := summarise_changes(before, now):
        experiment = name.partition(".")[0]
        raise InputError(
            f"{name}: made with other inputs: {differences}; put the old value "
            f"back, or make it anew: `kedro run --pipelines {maker} --namespaces {experiment}"
            f"{selection.current().env_option}`"
        )
