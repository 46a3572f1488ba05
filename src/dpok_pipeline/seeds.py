"""The whole comparison over several training seeds: what the paper's claims are judged by.

One training run says nothing about the luck of training. Here everything, SFT's data included, is
made again for each seed, and the intervals cover both the images' and the training's luck.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kedro.framework.session import KedroSession

from dpok_pipeline.pipelines.experiments import experiments

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol

    from dpok_pipeline.datasets.report_parts import ReportParts

logger = logging.getLogger(__name__)

# Where it is kept: a further name beside the experiments', with the same catalog entries.
NAME = "all_seeds"


def compare_over_seeds(seeds: Sequence[int], env: str | None) -> None:
    """Run everything once per seed, then compare, judge the claims and write a report.

    Args:
        seeds: Training seeds.
        env: The environment; None is Kedro's default.
    """
    parts: list[ReportParts] = []
    for number, seed in enumerate(seeds, start=1):
        logger.info("Training seed %d (%d of %d)", seed, number, len(seeds))
        parts += [_with_seed(part, seed) for part in _run(seed, env)]
    with KedroSession.create(env=env) as session:
        _report(parts, session.load_context().catalog)


def _run(seed: int, env: str | None) -> list[ReportParts]:
    """Run the five pipelines with one seed, and read what they contribute to reports."""
    chosen = {"training_seed": seed, "run_name": f"seed {seed}"}
    with KedroSession.create(env=env, runtime_params=chosen) as session:
        session.run()
        catalog = session.load_context().catalog
    return [catalog.load(f"{experiment}_report_parts") for experiment in experiments()]


def _with_seed(part: ReportParts, seed: int) -> ReportParts:
    return part._replace(scores=part.scores.assign(training_seed=seed))


def _report(parts: list[ReportParts], catalog: CatalogProtocol) -> None:
    """Save comparison, claims and report, and say what they hold."""
    import pandas as pd

    from dpok_pipeline.evaluation.claims import judge_claims, summarise_claims
    from dpok_pipeline.evaluation.comparison import compare
    from dpok_pipeline.evaluation.headline import caveat
    from dpok_pipeline.evaluation.tables import terminal_table
    from dpok_pipeline.pipelines.evaluation.reporting import write_report

    scores = pd.concat([part.scores for part in parts], ignore_index=True)
    embeddings = pd.concat([part.embeddings for part in parts]).to_numpy()
    comparison = compare(scores, embeddings)
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
