"""Catalog entries of models, opened as a run opens them before its first node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline


def opening(**datasets: Any) -> Callable[[], None]:
    """Return what a run does with datasets that are named as they are in the catalog."""
    from dpok_pipeline.pipelines.opening import open_models

    parameters = {
        "params:compute": {"device": "cpu"},
        "params:sampling": {"ddim_steps": 4, "guidance_scale": 2.0},
    }
    memory = {name: MemoryDataset(value) for name, value in parameters.items()}
    node = Node(lambda *_: None, [*datasets, *parameters], "done", name="done")
    prompts = pd.DataFrame({"text": ["a cat", "a dog"]})
    return lambda: open_models(Pipeline([node]), DataCatalog({**datasets, **memory}), prompts)
