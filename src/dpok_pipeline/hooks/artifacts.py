"""Logs datasets into MLflow: digests of those that were read, and files and models of outputs.

Every function takes a client, which knows its store, and the id of a run: MLflow's active run and
its global tracking URI are not used.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import MANIFEST, folder_digest, read_manifest
from dpok_pipeline.tracking.model_versions import (
    CONTENT,
    DATASET,
    DATASET_VERSION,
    model_name,
    register,
)
from dpok_pipeline.tracking.signature import picture_side, sampling_signature

# Packages that a LoRA needs. Without this list, MLflow would import everything to find them.
PACKAGES = ("diffusers", "peft", "safetensors", "torch", "transformers")


class Maker(NamedTuple):
    """What has made a dataset.

    Attributes:
        base_model: Handle of the base model that the node has read; None if it has read none.
        sampling: How the command draws images; None where its parameters do not say.
        mlflow_experiment: Name of the MLflow experiment.
        about: Tags of the command's run, among them the environment and the training seed.
    """

    base_model: Any
    sampling: SamplingConfig | None
    mlflow_experiment: str
    about: Mapping[str, str]


def log_input(client: Any, run_id: str, name: str, data: Any, path: Path) -> None:
    """Log a dataset's digest, which fills the column Dataset in MLflow's table of runs.

    A table is described by its rows, a folder by the hashes of its files.

    Args:
        client: MLflow's client.
        run_id: Id of the run that has read the dataset.
        name: The dataset's name in the catalog.
        data: The loaded dataset.
        path: File or folder of the version.
    """
    import mlflow
    from mlflow.entities import Dataset, DatasetInput, InputTag

    folder = getattr(data, "folder", data)
    if isinstance(folder, Path) and (folder / MANIFEST).is_file():
        files = read_manifest(folder).files
        table = pd.DataFrame([{"file": key, **entry} for key, entry in files.items()])
    elif isinstance(data, pd.DataFrame):
        table = data
    else:
        return
    with warnings.catch_warnings(action="ignore"):  # MLflow warns that integers cannot be missing.
        description = mlflow.data.from_pandas(table, source=str(path), name=name).to_dict()
    context = [InputTag("mlflow.data.context", "input")]
    client.log_inputs(run_id, [DatasetInput(Dataset(**description), tags=context)])


def log_output(
    client: Any, run_id: str, name: str, path: Path, wishes: dict[str, str], maker: Maker
) -> None:
    """Log a dataset that a node has saved, as the metadata of its catalog entry say.

    Args:
        client: MLflow's client.
        run_id: Id of the run that has written the dataset.
        name: The dataset's name in the catalog.
        path: File or folder of the version.
        wishes: `{artifact: FOLDER}` for files, `{model: diffusers}` for a LoRA.
        maker: What has made it.

    Raises:
        InputError: A LoRA is to be logged, but its base model is not known.
    """
    if folder := wishes.get("artifact"):
        # Files of several namespaces have the same name; in the command's run they would collide.
        namespace = name.split(".")[:-1]
        client.log_artifact(run_id, str(path), "/".join([*namespace, folder]))
    if wishes.get("model") == "diffusers":
        if maker.base_model is None:
            raise InputError(
                f"conf/*/catalog*.yml: {name}: metadata.mlflow.model: the node that saves it reads "
                "no base model; remove `model: diffusers`"
            )
        model_id = log_lora(client, run_id, name.replace(".", "_"), path, maker)
        _register(client, run_id, name, path, model_id, maker)


def _register(client: Any, run_id: str, name: str, path: Path, model_id: str, maker: Maker) -> None:
    """Make a logged LoRA a version of the registered model of its experiment and method."""
    *experiment, method, _ = name.split(".")
    tags = {
        **maker.about,
        "experiment": ".".join(experiment),
        "method": method,
        DATASET: name,
        DATASET_VERSION: path.parent.name,
        CONTENT: folder_digest(path),
        "run": run_id,
    }
    registered = model_name(maker.mlflow_experiment, tags["experiment"], method)
    description = f"`{name}`, version {path.parent.name} in Kedro's catalog."
    register(client, registered, model_id, run_id, tags, description)


def log_lora(client: Any, run_id: str, name: str, path: Path, maker: Maker) -> str:
    """Log a LoRA as an MLflow model of the diffusers flavour, unless the run has it already.

    `mlflow.diffusers.log_model` does the same in the active run and the global store; these steps
    name their run and store.

    Args:
        client: MLflow's client.
        run_id: Id of the run that has trained the LoRA.
        name: Name of the model in MLflow.
        path: Folder of the LoRA.
        maker: What has made it.

    Returns:
        MLflow's id of the model.
    """
    from mlflow.entities import LoggedModelOutput

    run = client.get_run(run_id)
    tags = {CONTENT: folder_digest(path)}
    model_id = _logged_before(client, run.info, name, tags)
    if model_id is None:
        logged = client.create_logged_model(
            run.info.experiment_id, name, source_run_id=run_id, params=run.data.params, tags=tags
        )
        model_id, status = logged.model_id, "FAILED"
        try:
            _log_model(client, logged, run_id, path, maker)
            status = "READY"
        finally:
            client.finalize_logged_model(model_id, status)
    outputs = run.outputs.model_outputs if run.outputs else []
    if model_id not in [output.model_id for output in outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    return str(model_id)


def _logged_before(client: Any, run: Any, name: str, tags: Mapping[str, str]) -> str | None:
    """Return the id of a model that an interrupted command has logged whole; None if there is none.

    One that it has not logged whole, or whose bytes are others, is deleted.
    """
    condition = f"source_run_id = '{run.run_id}' and name = '{name}'"
    whole = None
    for model in client.search_logged_models([run.experiment_id], condition):
        if whole is None and model.status == "READY" and model.tags.get(CONTENT) == tags[CONTENT]:
            whole = str(model.model_id)
        else:
            client.delete_logged_model(model.model_id)
    return whole


def _log_model(client: Any, logged: Any, run_id: str, path: Path, maker: Maker) -> None:
    """Write the files of a model, and give them to MLflow."""
    import mlflow
    from mlflow.models import Model

    base_model, sampling = maker.base_model, maker.sampling
    side = picture_side(base_model.path, getattr(base_model, "revision", None))
    model = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
    )
    with tempfile.TemporaryDirectory() as folder:
        mlflow.diffusers.save_model(
            adapter_path=str(path),
            path=f"{folder}/model",
            base_model=base_model.path,
            mlflow_model=model,
            signature=None if sampling is None else sampling_signature(sampling, side),
            metadata=None if sampling is None else {"sampling": sampling.model_dump()},
            pip_requirements=_requirements(),
        )
        client.log_model_artifacts(logged.model_id, f"{folder}/model")


def _requirements() -> list[str]:
    """Pin the installed packages, without the label of a build (2.13.0+cpu), which no index has."""
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in PACKAGES]
