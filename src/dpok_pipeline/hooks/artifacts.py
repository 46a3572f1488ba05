"""How datasets get into MLflow: digests of what was read, files and models that were written."""

from __future__ import annotations

import importlib.metadata
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from dpok_pipeline.files.manifest import MARKER, read_marker


def log_dataset_input(run_id: str, name: str, data: Any) -> None:
    """Fill the run table's Dataset column: a table by its rows, a folder by its files' hashes.

    Args:
        run_id: The run that read it.
        name: Its name in the catalog.
        data: What was loaded.
    """
    import mlflow
    from mlflow.entities import DatasetInput, InputTag

    folder = getattr(data, "folder", data)
    if isinstance(folder, Path) and (folder / MARKER).is_file():
        files = read_marker(folder)["files"]
        table = pd.DataFrame([{"file": key, **entry} for key, entry in files.items()])
    elif isinstance(data, pd.DataFrame):
        table = data
    else:
        return
    with warnings.catch_warnings(action="ignore"):  # about integers that cannot be missing
        described = mlflow.data.from_pandas(table, name=name)._to_mlflow_entity()
    entry = DatasetInput(described, tags=[InputTag("mlflow.data.context", "input")])
    mlflow.MlflowClient().log_inputs(run_id, [entry])


def log_output(
    run_id: str, name: str, path: Path, wanted: dict[str, str], inputs: dict[str, Any]
) -> None:
    """Log what a node saved, as the catalog entry's metadata asks.

    Args:
        run_id: The run that wrote it.
        name: Its name in the catalog.
        path: The file or folder of its version.
        wanted: `{artifact: FOLDER}` for files, `{model: diffusers}` for a LoRA.
        inputs: What the node read; the base model is among it.
    """
    import mlflow

    if kind := wanted.get("artifact"):
        # Experiments have files of one name; in the command's own run they would meet.
        experiment, _, _ = name.rpartition(".")
        folder = f"{experiment}/{kind}" if experiment else kind
        mlflow.MlflowClient().log_artifact(run_id, str(path), folder)
    if wanted.get("model") == "diffusers":
        base_model = next(value for value in inputs.values() if hasattr(value, "content_hash"))
        with mlflow.start_run(run_id=run_id, nested=True):
            mlflow.diffusers.log_model(
                adapter_path=str(path),
                base_model=base_model.path,
                name=name.replace(".", "_"),
                pip_requirements=_requirements(),
            )


def _requirements() -> list[str]:
    """Name what a LoRA needs; left to itself, MLflow imports everything to find out."""
    packages = ("diffusers", "peft", "safetensors", "torch", "transformers")
    # Without the build's label (2.13.0+cpu), under which a package index does not know it.
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in packages]
