"""The whole comparison over several training seeds: what the paper's claims are judged by.

One training run says nothing about the luck of training. Here everything, SFT's data included, is
made again for each seed, and the intervals cover both the images' and the training's luck.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import Version

from dpok_pipeline.configuration.experiments import experiments
from dpok_pipeline.runs.finished import RUN_WORK, find_finished
from dpok_pipeline.runs.identity import describe_whole_run
from dpok_pipeline.runs.runner import ContinuingRunner

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol

    from dpok_pipeline.datasets.report_parts import ReportParts
    from dpok_pipeline.training.config import Resume

logger = logging.getLogger(__name__)

# Where it is kept: a further name beside the experiments', with the same catalog entries.
NAME = "all_seeds"


def compare_over_seeds(seeds: Sequence[int], env: str | None, resume: Resume = "auto") -> None:
    """Run everything once per seed, then compare, judge the claims and write a report.

    Args:
        seeds: Training seeds.
        env: The environment; None is Kedro's default.
        resume: `auto` takes what finished whole runs of the same parameters, inputs and code
            have made, by whatever command, and continues an interrupted run; `never` runs every
            seed from its start.
    """
    parts: list[ReportParts] = []
    for number, seed in enumerate(seeds, start=1):
        found = _finished(seed, env) if resume == "auto" else []
        done = "; finished already" if found else ""
        logger.info("Training seed %d (%d of %d)%s", seed, number, len(seeds), done)
        parts += [_with_seed(part, seed) for part in found or _run(seed, env, resume)]
    with KedroSession.create(env=env) as session:
        _report(parts, session.load_context().catalog)


def _finished(seed: int, env: str | None) -> list[ReportParts]:
    """Read what a whole run of a seed contributed to reports; nothing if there is none."""
    with KedroSession.create(env=env, runtime_params=_chosen(seed)) as session:
        catalog = session.load_context().catalog
        identity = describe_whole_run(pipelines["__default__"], catalog)
        version = find_finished(catalog.load(RUN_WORK), identity)
        return [] if version is None else _parts(catalog, version)


def _run(seed: int, env: str | None, resume: Resume) -> list[ReportParts]:
    """Run the five pipelines with one seed, and read what they contribute to reports."""
    chosen = {**_chosen(seed), "resume": resume}
    with KedroSession.create(env=env, runtime_params=chosen) as session:
        outputs = session.run(runner=ContinuingRunner())
        version = outputs["report"].resolve_save_version()
        return _parts(session.load_context().catalog, version)


def _chosen(seed: int) -> dict[str, object]:
    return {"training_seed": seed, "run_name": f"seed {seed}"}


def _parts(catalog: CatalogProtocol, version: str) -> list[ReportParts]:
    """Read each experiment's parts of one version; nothing if one of them has been removed."""
    names = [f"{experiment}_report_parts" for experiment in experiments()]
    datasets = [catalog.get(name, version=Version(version, None)) for name in names]
    if not all(dataset.exists() for dataset in datasets):
        return []
    return [dataset.load() for dataset in datasets]


def _with_seed(part: ReportParts, seed: int) -> ReportParts:
    return part._replace(scores=part.scores.assign(training_seed=seed))


def _report(parts: list[ReportParts], catalog: CatalogProtocol) -> None:
    """Save comparison, claims and report, and say what they hold."""
    import pandas as pd

    from dpok_pipeline.evaluation.claims import judge_claims, summarise_claims
    from dpok_pipeline.evaluation.comparison import compare
    from dpok_pipeline.pipelines.evaluation.reporting import write_report
    from dpok_pipeline.report.headline import caveat
    from dpok_pipeline.report.tables import terminal_table

    config = catalog.load("params:evaluation")
    scores = pd.concat([part.scores for part in parts], ignore_index=True)
    embeddings = pd.concat([part.embeddings for part in parts]).to_numpy()
    comparison = compare(scores, embeddings, replicates=config.replicates, seed=config.seed)
    claims = judge_claims(comparison)
    shown = parts[-len(experiments()) :]  # curves and sheets of the last seed
    catalog.save(f"{NAME}.comparison", comparison)
    catalog.save(f"{NAME}.claims", claims)
    catalog.save(f"{NAME}.report", write_report(comparison, claims, *shown))
    logger.info("\n%s\n\n%s\n", terminal_table(comparison), caveat(comparison))
    for row in summarise_claims(claims).itertuples():
        logger.info("holds on %d of %d: %s", row.holds, row.of, row.statement)
    report = catalog.get(f"{NAME}.report")
    logger.info("\nreport: %s", Path(report._get_load_path()))
