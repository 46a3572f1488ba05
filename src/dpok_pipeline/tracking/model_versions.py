"""LoRAs as versions of registered models: one model per environment, experiment and method."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

PAGE = 200
#: Tag of a logged model and of a version: the hash of the hashes of the LoRA's files.
CONTENT = "content"
#: Tag of a version: the id of its logged model, which a database as registry does not keep.
MODEL = "model_id"
#: MLflow's tag of a logged model that names its registered versions.
VERSIONS = "mlflow.modelVersions"
#: Tags of a version: the dataset's name in the catalog, and its version there.
DATASET, DATASET_VERSION = "dataset", "dataset_version"


def model_name(mlflow_experiment: str, experiment: str, method: str) -> str:
    """Name the registered model of an experiment and a method, in characters that MLflow takes."""
    return re.sub(r"[^\w. -]", "_", f"{mlflow_experiment}.{experiment}.{method}")


def register(
    client: Any, name: str, model_id: str, run_id: str, tags: Mapping[str, str], description: str
) -> str:
    """Make a logged model a version of a registered one, unless the run has done so before.

    A command may be killed after any of these steps. The one that goes on finds the version by its
    run and content. A version of the same run with other content is of a model that the run has
    replaced since, and goes.

    Args:
        client: MLflow's client.
        name: Name of the registered model, which the first version makes.
        model_id: MLflow's id of the logged model.
        run_id: Id of the run that has trained it.
        tags: Tags of the version; `content` must be among them.
        description: Description of the version.

    Returns:
        The version's number.
    """
    _make_model(client, name, tags)
    for version in versions_of(client, name):
        if version.run_id != run_id:
            continue
        if version.tags.get(CONTENT) == tags[CONTENT]:
            return _link(client, model_id, version)
        client.delete_model_version(name, version.version)
    # By its place and not as `models:/ID`, which a database would look up in MLflow's global store.
    place = client.get_logged_model(model_id).artifact_location
    made = client.create_model_version(
        name,
        source=place,
        run_id=run_id,
        tags={**tags, MODEL: model_id},
        description=description,
        model_id=model_id,
        await_creation_for=0,
    )
    return _link(client, model_id, made)


def _link(client: Any, model_id: str, version: Any) -> str:
    """Let the logged model's page lead to the version, as MLflow's own registering does."""
    value = json.dumps([{"name": version.name, "version": str(version.version)}])
    client.set_logged_model_tags(model_id, {VERSIONS: value})
    return str(version.version)


def versions_of(client: Any, name: str) -> Iterator[Any]:
    """Yield all versions of a registered model, the newest first."""
    token = None
    while True:
        page = client.search_model_versions(
            f"name = '{name}'",
            max_results=PAGE,
            order_by=["version_number DESC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _make_model(client: Any, name: str, tags: Mapping[str, str]) -> None:
    """Make the registered model if there is none; another command may be quicker."""
    from mlflow.exceptions import MlflowException

    if client.search_registered_models(f"name = '{name}'", max_results=1):
        return
    shared = {key: tags[key] for key in ("environment", "experiment", "method") if key in tags}
    title = " ".join(filter(None, (shared.get("experiment"), shared.get("method"))))
    try:
        client.create_registered_model(
            name,
            tags=shared,
            description=f"LoRAs of {title}. The alias `best` is set by evaluation; "
            "`docs/tracking.md` says how it is chosen and how to load one.",
        )
    except MlflowException:
        if not client.search_registered_models(f"name = '{name}'", max_results=1):
            raise
