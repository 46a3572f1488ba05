"""Models as catalog entries, which load light handles and specifications, never networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError
from pydantic import ValidationError

from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.models import describe_folder
from dpok_pipeline.datasets.previews.tables import facts
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.names import reason_against_scorer
from dpok_pipeline.files.checksums import verify_checksums
from dpok_pipeline.files.hub import find_files, is_hub_id

if TYPE_CHECKING:
    from kedro_datasets._typing import TablePreview


class NamedDataset(AbstractDataset[NoReturn, Any]):
    """A catalog entry of a model that exists already and is never written."""

    def __init__(self, *, metadata: dict[str, Any] | None = None, **fields: Any) -> None:
        self._fields = fields
        self.metadata = metadata

    def save(self, data: Any) -> NoReturn:
        """Refuse to write, because the entry names a model that exists."""
        raise DatasetError("This entry names a model that exists; it is not written by a node.")

    @or_nothing
    def preview(self) -> TablePreview:
        """Return what the entry says, in the form that kedro-viz shows."""
        return facts(self._fields)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return dict(self._fields)


class FolderOrHubDataset(NamedDataset):
    """A catalog entry of a model in a folder or on the hub.

    Kedro makes a relative `path` absolute, so that a hub id must be given as `hub_id`.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        hub_id: str | None = None,
        revision: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if (path is None) == (hub_id is None):
            raise DatasetError(
                "Give either `path` or `hub_id`: a model's folder, or its name on the hub."
            )
        super().__init__(metadata=metadata, path=path, hub_id=hub_id, revision=revision)

    @or_nothing
    def preview(self) -> TablePreview:
        """Return the model's parts and size where it is a folder, else its name on the hub."""
        folder = Path(self._fields["path"] or self._fields["hub_id"])
        return facts(describe_folder(folder) if folder.is_dir() else self._fields)


class BaseModelDataset(FolderOrHubDataset):
    """The handle of a base model in diffusers' format.

    If `hub_id` names a folder, the folder is taken and the revision is ignored. Loading checks that
    every component exists and is whole, and hashes it.

    Example:
        ```yaml
        base_model:
          type: dpok_pipeline.datasets.models.BaseModelDataset
          path: data/01_raw/emoji_world/base_model
        ```
    """

    def load(self) -> Any:
        """Return the `BaseModelHandle`.

        Raises:
            InputError: A component is missing or truncated, or a hub id has no revision.
        """
        from dpok_pipeline.diffusion.base_model import describe_base_model

        where, revision = self._fields["path"] or self._fields["hub_id"], self._fields["revision"]
        if self._fields["hub_id"] and not Path(where).is_dir():
            _check_pinned("base_model", where, revision)
        return describe_base_model(where, revision)


class ScorerDataset(NamedDataset):
    """The specification of one scorer, with the fields of `ScorerConfig`.

    Example:
        ```yaml
        reward_model:
          type: dpok_pipeline.datasets.models.ScorerDataset
          kind: image_reward
          path: data/01_raw/emoji_world/image_reward
        ```
    """

    def load(self) -> Any:
        """Return the `ScorerConfig`.

        Raises:
            InputError: A field is misspelt or missing.
        """
        return _scorer_config("reward_model", self._fields)


class ScorersDataset(NamedDataset):
    """The specifications of several scorers, by the columns that hold their scores.

    Raises:
        InputError: A scorer's name cannot be that of a column.
    """

    def __init__(
        self, *, scorers: dict[str, dict[str, Any]], metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(metadata=metadata)
        where = "conf/*/catalog*.yml: scorers.scorers"
        if not isinstance(scorers, dict):
            raise InputError(f"{where} is {scorers!r}: give each scorer by the name of its column")
        for name, fields in scorers.items():
            if reason := reason_against_scorer(name):
                raise InputError(f"{where} has {name!r}: {reason}")
            if not isinstance(fields, dict):
                raise InputError(f"{where}.{name} is {fields!r}: give its fields, such as `kind`")
        self._fields = scorers

    def load(self) -> dict[str, Any]:
        """Return the `ScorerConfig` of each scorer, by the names of their columns."""
        return {name: _scorer_config(name, fields) for name, fields in self._fields.items()}

    @or_nothing
    def preview(self) -> TablePreview:
        """Return one line per scorer, in the form that kedro-viz shows."""
        return facts(
            (name, ", ".join(f"{field} {value}" for field, value in fields.items()))
            for name, fields in self._fields.items()
        )


class ModelFolderDataset(FolderOrHubDataset):
    """A CLIP in a folder, or on the hub with its revision; nodes get the local folder."""

    def load(self) -> Path:
        """Return the folder.

        Raises:
            InputError: There is no such folder, the hub's files cannot be fetched, or a file is not
                the one in the folder's `SHA256SUMS`.
        """
        hub_id, revision = self._fields["hub_id"], self._fields["revision"]
        if hub_id:
            from dpok_pipeline.rewards.clip import CLIP_FILES, CLIP_TOKENIZER

            _check_pinned("embedder", hub_id, revision)
            return find_files(hub_id, CLIP_FILES, CLIP_TOKENIZER, revision)
        folder = Path(self._fields["path"])
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; correct its entry in conf/*/catalog*.yml")
        verify_checksums(folder)
        return folder


def _check_pinned(name: str, hub_id: str, revision: str | None) -> None:
    """Refuse a hub id without a revision; a path to nothing looks the same.

    Raises:
        InputError: There is no folder of this name, and no revision.
    """
    if revision is None and not Path(hub_id).is_dir():
        raise InputError(
            f"{name} {hub_id}: no such folder here; correct the path, or, for a model of the hub, "
            "set its commit as `revision`, so that nobody can change the model under you"
        )


def _scorer_config(name: str, fields: dict[str, Any]) -> Any:
    from dpok_pipeline.rewards.load import ScorerConfig

    try:
        return ScorerConfig(**_with_hub_ids(name, fields))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"conf/*/catalog*.yml: {name}.{field}: {first['msg']}") from None


def _with_hub_ids(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Put `hub_id` into the field `path`; Kedro would have made it absolute there."""
    fields = dict(fields)
    if "hub_id" in fields:
        if fields.get("path"):
            raise InputError(f"conf/*/catalog*.yml: {name}: give either `path` or `hub_id`")
        fields["path"] = fields.pop("hub_id")
        _check_pinned(name, fields["path"], fields.get("revision"))
    clip = fields.get("clip_path")
    if isinstance(clip, str) and is_hub_id(clip) and not Path(clip).exists():
        _check_pinned(name, clip, fields.get("revision"))
    parts = fields.get("parts")
    if isinstance(parts, dict):
        fields["parts"] = {
            part: _with_hub_ids(f"{name}.{part}", spec) if isinstance(spec, dict) else spec
            for part, spec in parts.items()
        }
    return fields
