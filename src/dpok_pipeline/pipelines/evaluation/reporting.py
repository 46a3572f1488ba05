"""Nodes that make figures, contact sheets and reports, from the tables of the other nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from dpok_pipeline.configuration import selection
from dpok_pipeline.datasets.report_parts import ReportParts
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import ComparisonConfig, EvaluationConfig
from dpok_pipeline.files.fingerprint import summarise_changes
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.pipelines.evaluation.nodes import compare_and_judge
from dpok_pipeline.pipelines.evaluation.tables import Tables, join_methods
from dpok_pipeline.pipelines.mlflow_tracker import MlflowTracker
from dpok_pipeline.pipelines.origins import FROM_REGISTRY
from dpok_pipeline.pipelines.task import Task
from dpok_pipeline.training.config import GenerationConfig

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from PIL.Image import Image

    from dpok_pipeline.report.page import Preferences

SHEET_COLUMNS = 8
#: What a LoRA says of its training that every experiment, or every machine, has of its own.
OWN_PARTS = ("prompts", "sft_samples", "identity", "kernels")
Table = TypeVar("Table")

Sections = dict[str, dict[str, str]]


def draw_figures(
    comparison: pd.DataFrame, config: ComparisonConfig, *curves: pd.DataFrame
) -> tuple[go.Figure, go.Figure, go.Figure]:
    """Draw the paper's figures for one experiment.

    Args:
        comparison: Comparison of the experiment's methods.
        config: Labels and order of the methods.
        curves: Learning curves of every method, in the order of the configuration.

    Returns:
        The rewards of training prompts as bars, the learning curves, and the reward against KL.
    """
    from dpok_pipeline.evaluation.names import training_reward
    from dpok_pipeline.report.figures.curves import learning_curves
    from dpok_pipeline.report.figures.frontier import reward_against_kl
    from dpok_pipeline.report.figures.plots import score_bars

    by_method = _by_method(config, curves)
    reward = training_reward(set(comparison["metric"]))
    return (
        score_bars(comparison, reward, config.methods),
        learning_curves(by_method, comparison, config.methods),
        reward_against_kl(by_method, comparison, config.methods),
    )


def _by_method(config: ComparisonConfig, trained: Sequence[Table]) -> dict[str, Table]:
    """Return what each method's training left by the method's name; the base model has none."""
    names = [method.name for method in config.methods[1:]]
    return dict(zip(names, trained, strict=True))


def draw_contact_sheets(
    config: ComparisonConfig, *tables: Shards | pd.DataFrame
) -> tuple[Image, Image]:
    """Put the same noises side by side for base model and methods.

    Args:
        config: Labels and order of the methods.
        tables: The images of base model and methods, then their scores in the same order.

    Returns:
        The sheet of the first training prompt and that of the first unseen one.
    """
    images = [table for table in tables if isinstance(table, Shards)]
    scores = pd.concat([table for table in tables if isinstance(table, pd.DataFrame)])
    pictures = pd.concat(_first_pictures(shard) for shards in images for shard in shards)
    return (
        _sheet(pictures, scores, "train", config),
        _sheet(pictures, scores, "unseen", config),
    )


def _first_pictures(shard: pd.DataFrame) -> pd.DataFrame:
    return shard[shard["index"] < SHEET_COLUMNS]


def _sheet(
    pictures: pd.DataFrame, scores: pd.DataFrame, split: str, config: ComparisonConfig
) -> Image:
    from PIL import Image

    from dpok_pipeline.evaluation.names import training_reward
    from dpok_pipeline.report.pictures.contact_sheet import contact_sheet

    reward = training_reward(scores.columns)
    rows = pictures.merge(scores[["prompt_id", "method", "index", reward]])
    rows = rows[rows["split"] == split]
    rows = rows[rows["prompt_id"] == rows["prompt_id"].min()]
    by_method = {str(name): part.sort_values("index") for name, part in rows.groupby("method")}
    return contact_sheet(
        {
            name: [Image.open(BytesIO(image["bytes"])) for image in part["image"]]
            for name, part in by_method.items()
        },
        methods=config.methods,
        prompt=str(rows["prompt"].iloc[0]),
        indices=sorted(rows["index"].unique()),
        scores={name: list(part[reward]) for name, part in by_method.items()},
    )


def describe_making(
    sampling: SamplingConfig,
    generation: GenerationConfig,
    evaluation: EvaluationConfig,
    compared: pd.DataFrame,
    *images: Shards,
) -> Sections:
    """Describe how an experiment was made: parameters, versions, machine, commit.

    The settings of each method are those that its LoRA was trained with, which stand beside its
    images. The configuration may have changed since.

    Args:
        sampling: How images are drawn.
        generation: How SFT's data is made.
        evaluation: How methods are compared.
        compared: The comparison. Nothing of it is described, but whatever is compared anew has to
            be described anew.
        images: Images of base model and methods.
    """
    from dpok_pipeline.report.provenance import collect_provenance

    parameters: dict[str, Any] = {
        "sampling": sampling,
        "sample_generation": generation,
        "evaluation": evaluation,
    }
    first = images[0].metadata
    run = {"experiment": first["experiment"], "base model": first["recipe"]["base_model"]}
    for shards in images:
        if training := shards.metadata["training"]:
            parameters[shards.metadata["method"]] = training
            run[f"LoRA of {shards.metadata['method']}"] = shards.metadata["version"]
    return collect_provenance(parameters, run, selection.current().env)


def gather_report_parts(
    config: ComparisonConfig,
    task: Task,
    compared: pd.DataFrame,
    provenance: Sections,
    *tables: Shards | pd.DataFrame | None,
) -> ReportParts:
    """Bundle everything that reports show of one experiment.

    Args:
        config: Labels and order of the methods.
        task: The node's task, which names the experiment.
        compared: The comparison. Reports have one of their own, but whatever is compared anew has
            to be bundled anew, or its report would show other images.
        provenance: Description of how the experiment was made.
        tables: Images of base model and methods, their scores, their embeddings, the methods'
            curves, and their filmstrips; None for a method that was trained without one.
    """
    from dpok_pipeline.report.pictures.chosen import choose_pictures
    from dpok_pipeline.report.pictures.strips import small

    count, last = len(config.methods), len(tables) - len(config.methods[1:])
    images = [table for table in tables if isinstance(table, Shards)]
    frames = [table for table in tables[:last] if isinstance(table, pd.DataFrame)]
    strips = _by_method(config, tables[last:])
    joined = join_methods(frames[: 2 * count])
    return ReportParts(
        experiment=task.experiment,
        scores=joined.scores,
        embeddings=pd.DataFrame(joined.embeddings).rename(columns=str),
        curves=_by_method(config, frames[2 * count :]),
        pictures=choose_pictures(joined.scores, chain.from_iterable(images)),
        provenance=provenance,
        filmstrips={
            name: small(strip) for name, strip in strips.items() if isinstance(strip, pd.DataFrame)
        },
    )


def write_joint_report(
    comparison: pd.DataFrame,
    claims: pd.DataFrame,
    config: ComparisonConfig,
    task: Task,
    study: pd.DataFrame | None,
    *parts: ReportParts | None,
) -> str:
    """Write a self-contained page on all experiments that have been evaluated, and on the votes.

    Args:
        comparison: The joint comparison.
        claims: The joint claims.
        config: Labels and order of the methods.
        task: The node's task, which says where each number comes from.
        study: The study's counted votes; None where no study has been made yet.
        parts: What each experiment contributes; None for one that has not been evaluated.
    """
    from dpok_pipeline.study.section import preferences

    scores = pd.concat(part.scores for part in _evaluated(parts))
    votes = None if study is None else preferences(study, config.methods, scores)
    return write_report(comparison, claims, config, task, *parts, votes=votes)


def write_report(
    comparison: pd.DataFrame,
    claims: pd.DataFrame,
    config: ComparisonConfig,
    task: Task,
    *parts: ReportParts | None,
    votes: Preferences | None = None,
) -> str:
    """Write a self-contained page on one experiment, or on all that have been evaluated."""
    from dpok_pipeline.report.page import render_report
    from dpok_pipeline.report.pictures.album import Material

    evaluated = _evaluated(parts)
    return render_report(
        comparison,
        claims,
        methods=config.methods,
        curves={part.experiment: part.curves for part in evaluated},
        materials={part.experiment: Material(part.scores, part.pictures) for part in evaluated},
        filmstrips={part.experiment: part.filmstrips for part in evaluated},
        provenance=_joint_provenance(evaluated),
        question=config.question,
        preferences=votes,
        lineage=task.lineage,
    )


def _joint_provenance(parts: list[ReportParts]) -> Sections:
    """Join the provenance of experiments: what all share once, and the rest by experiment."""
    titles = [title for title in parts[0].provenance if title != "Run"]
    shared = {
        title: _common([part.provenance.get(title, {}) for part in parts]) for title in titles
    }
    runs = {}
    for part in parts:
        own = [
            (name, value)
            for title in titles
            for name, value in part.provenance.get(title, {}).items()
            if name not in shared[title]
        ]
        runs[f"Run of {part.experiment}"] = {**part.provenance["Run"], **dict(own)}
    return {**runs, **shared}


def _common(tables: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what is the same in all tables."""
    first, *others = tables
    return {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }


def compare_experiments(
    config: EvaluationConfig,
    comparison: ComparisonConfig,
    task: Task,
    *parts: ReportParts | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare over all experiments that have been evaluated.

    Returns:
        The joint comparison, with means over prompts, and the joint claims.

    Raises:
        InputError: No experiment has been evaluated, not all were evaluated alike, or a method was
            trained by other settings in one than in another.
    """
    evaluated = _evaluated(parts)
    for method in comparison.methods:
        _check_trained_alike(method.name, evaluated)
    tables = join_experiments(evaluated)
    return compare_and_judge(tables, config, comparison, MlflowTracker(task.tracker))


def _check_trained_alike(method: str, parts: Sequence[ReportParts]) -> None:
    """Refuse a mean over experiments that would mix two ways of training a method.

    A LoRA that somebody has taken from MLflow's registry was meant, whatever its settings.
    """
    trained = {
        part.experiment: _settings_of(method, part)
        for part in parts
        if not FROM_REGISTRY.fullmatch(part.provenance["Run"].get(f"LoRA of {method}", ""))
    }
    first, *others = trained or [""]
    for other in others:
        # What only one of them says is of another release.
        both = trained[first].keys() & trained[other].keys()
        before, now = ({name: trained[one][name] for name in both} for one in (first, other))
        if differences := summarise_changes(before, now):
            raise InputError(
                f"{method} was trained otherwise in {other} than in {first}: {differences}; train "
                f"it alike, or report on one experiment alone: `kedro run --pipelines evaluation "
                f"--namespaces {other}{selection.current().env_option}`"
            )


def _settings_of(method: str, part: ReportParts) -> dict[str, str]:
    """Return what a method's LoRA was trained with, but for what each experiment has of its own."""
    return {
        name.removeprefix(f"{method}."): value
        for name, value in part.provenance.get("Parameters", {}).items()
        if name.startswith(f"{method}.") and name.split(".")[1] not in OWN_PARTS
    }


def join_experiments(parts: list[ReportParts]) -> Tables:
    """Join the scores and embeddings of several experiments."""
    return Tables(
        pd.concat([part.scores for part in parts], ignore_index=True),
        pd.concat([part.embeddings for part in parts]).to_numpy(),
    )


def _evaluated(parts: tuple[ReportParts | None, ...]) -> list[ReportParts]:
    """Return the parts of the experiments that have been evaluated.

    Raises:
        InputError: No experiment has been evaluated.
    """
    evaluated = [part for part in parts if part is not None]
    if not evaluated:
        raise InputError("no experiment has been evaluated yet: run evaluation first")
    return evaluated
