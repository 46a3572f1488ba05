"""What evaluation has found of registered LoRAs, and which of them is the best."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from kedro.io import CatalogProtocol

from dpok_pipeline.evaluation.names import BASE
from dpok_pipeline.evaluation.reading import Cells, overall
from dpok_pipeline.files.fingerprint import fingerprint
from dpok_pipeline.files.manifest import read_manifest
from dpok_pipeline.pipelines.origins import FROM_REGISTRY
from dpok_pipeline.tracking.headline import TRAIN, short_names
from dpok_pipeline.tracking.model_versions import DATASET_VERSION, MODEL, versions_of

BEST = "best"
REWARD = "reward"
#: Measures that no method maximises: a version that is below the base model on one is not the best.
GUARDS = ("judge", "aesthetic")
#: Tags of a version: what its numbers can be compared with, and which guards it has failed.
EVALUATION, BELOW_BASE = "evaluation", "below_base"


class Evaluated(NamedTuple):
    """What an evaluation has found of one LoRA.

    Attributes:
        version: The LoRA's version: Kedro's, or `NAME-vN` for one from the registry.
        evaluation: Hash of what two evaluations must have in common to be compared.
        scores: Means over training prompts, by short names.
        below_base: Guards on which it is below the base model by more than the luck of the images.
    """

    version: str
    evaluation: str
    scores: dict[str, float]
    below_base: list[str]

    @property
    def tags(self) -> dict[str, str]:
        """The tags that its registered version carries."""
        scores = {name: f"{value:.6g}" for name, value in self.scores.items()}
        below = ", ".join(self.below_base) or "none"
        return {**scores, EVALUATION: self.evaluation, BELOW_BASE: below}


def read_evaluated(
    catalog: CatalogProtocol, experiment: str, method: str, comparison: pd.DataFrame
) -> Evaluated | None:
    """Read what an experiment's comparison says of a method; None if it does not have it."""
    cells, names = overall(comparison, TRAIN), short_names(comparison)
    scores = {
        short: cells[name, method].mean for name, short in names.items() if (name, method) in cells
    }
    if REWARD not in scores:
        return None
    images = Path(catalog.get(f"{experiment}.{method}.images")._get_load_path())
    drawn = read_manifest(images).metadata
    scored = pd.read_parquet(
        catalog.get(f"{experiment}.{method}.scores")._get_load_path(), columns=[]
    )
    # The images' recipe has the prompts; that in the scores' rows is without them.
    alike = fingerprint({"drawn": drawn["recipe"], "scored_by": scored.attrs.get("scored_by", {})})
    version = str(drawn.get("version", ""))
    return Evaluated(version, alike[:16], scores, _below_base(cells, method))


def _below_base(cells: Cells, method: str) -> list[str]:
    differences = {name: cells.get((name, f"{method} - {BASE.name}")) for name in GUARDS}
    return [name for name, found in differences.items() if found is not None and found.high < 0]


def note_evaluation(client: Any, name: str, evaluated: Evaluated) -> None:
    """Tag the registered version that was evaluated, and let `best` point to the best one.

    Args:
        client: MLflow's client.
        name: Name of the environment's registered model. Versions of other models, which another
            environment's evaluations have tagged, are left as they are.
        evaluated: What the evaluation has found.
    """
    found = _find(client, name, evaluated.version)
    if found is None or found.name != name:
        return
    if any(found.tags.get(key) != value for key, value in evaluated.tags.items()):
        for key, value in evaluated.tags.items():
            client.set_model_version_tag(found.name, found.version, key, value)
        _log_model_metrics(client, found, evaluated.scores)
    move_best(client, found.name, evaluated.evaluation)


def move_best(client: Any, name: str, evaluation: str) -> None:
    """Let the alias `best` point to the version with the highest reward.

    Only versions are compared that were evaluated alike, on the same prompts, noise and scorers,
    and that no guard finds below the base model. Of equal ones the oldest is taken. Where none is
    left, the alias stays as it is.
    """
    candidates = [
        (float(version.tags[REWARD]), -int(version.version))
        for version in versions_of(client, name)
        if version.tags.get(EVALUATION) == evaluation and version.tags.get(BELOW_BASE) == "none"
    ]
    if not candidates:
        return
    best = str(-max(candidates)[1])
    if str(client.get_registered_model(name).aliases.get(BEST)) != best:
        client.set_registered_model_alias(name, BEST, best)


def _find(client: Any, name: str, version: str) -> Any:
    """Find the registered version of a LoRA; None if the registry has none of it."""
    from mlflow.exceptions import MlflowException

    if registered := FROM_REGISTRY.fullmatch(version):
        try:
            return client.get_model_version(registered["name"], registered["number"])
        except MlflowException:  # deleted since
            return None
    for found in versions_of(client, name):
        if found.tags.get(DATASET_VERSION) == version:
            return found
    return None


def _log_model_metrics(client: Any, version: Any, scores: Mapping[str, float]) -> None:
    """Log scores as metrics of the logged model, in the run that has trained it."""
    from mlflow.entities import Metric

    now, model = int(time.time() * 1000), version.tags.get(MODEL)
    entries = [
        Metric(f"evaluation/{name}", value, now, 0, model_id=model, run_id=version.run_id)
        for name, value in scores.items()
    ]
    client.log_batch(version.run_id, metrics=entries)
