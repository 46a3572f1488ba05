"""The comparison's levels as metrics of an MLflow run."""

from __future__ import annotations

import pandas as pd

from dpok_pipeline.evaluation.names import MODELS


def level_metrics(comparison: pd.DataFrame) -> dict[str, float]:
    """Name each model's level as a metric: `evaluation/train/rl/image_reward`."""
    levels = comparison[comparison["quantity"].isin(MODELS)]
    columns = ["split", "quantity", "metric", "mean"]
    return {
        f"evaluation/{split}/{model}/{metric}": float(mean)
        for split, model, metric, mean in levels[columns].itertuples(index=False)
    }
