"""What models are used: light handles and specifications, never modules."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError
from pydantic import ValidationError

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import check_sums
from dpok_pipeline.files.hub import find_files, is_hub_id

logger = logging.getLogger(__name__)


class NamedDataset(AbstractDataset[NoReturn, Any]):
    """An entry that names something which exists already and is never written."""

    def __init__(self, *, metadata: dict[str, Any] | None = None, **given: Any) -> None:
        self._given = given
        self.metadata = metadata

    def check(self) -> None:
        """Open what is named, so that a run does not find out hours later that it cannot."""
        self.load()

    def save(self, data: Any) -> NoReturn:
        """Refuse: the entry describes what is there."""
        raise DatasetError("This entry names a model that exists; it is not written by a node.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return dict(self._given)


class FolderOrHubDataset(NamedDataset):
    """A folder, or what the hub has under an id.

    Kedro makes a relative `path` absolute, so a hub id must be given as `hub_id`.
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


class BaseModelDataset(FolderOrHubDataset):
    """The handle of a base model in diffusers' format.

    Where `hub_id` names a folder, the folder is taken and the revision ignored. Loading checks
    that every component is there and whole, and hashes it.

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

        where, revision = self._given["path"] or self._given["hub_id"], self._given["revision"]
        if self._given["hub_id"] and not Path(where).is_dir():
            _check_pinned("base_model", where, revision)
        return describe_base_model(where, revision)


class ScorerDataset(NamedDataset):
    """The specification of one scorer; its fields are those of `ScorerConfig`.

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
        return _scorer_config("reward_model", self._given)

    def check(self) -> None:
        """Load the scorer and let it go again."""
        from dpok_pipeline.rewards.load import load_scorer

        spec = self.load()
        _say_if_own("reward_model", spec.kind)
        load_scorer(spec)


class ScorersDataset(NamedDataset):
    """The specifications of several scorers, each under the name of its column."""

    def __init__(
        self, *, scorers: dict[str, dict[str, Any]], metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(metadata=metadata, **scorers)

    def load(self) -> dict[str, Any]:
        """Return a `ScorerConfig` for each name."""
        return {name: _scorer_config(name, given) for name, given in self._given.items()}

    def check(self) -> None:
        """Load each scorer and let it go again."""
        from dpok_pipeline.rewards.load import load_scorer

        for name, spec in self.load().items():
            _say_if_own(name, spec.kind)
            load_scorer(spec)


class ModelFolderDataset(FolderOrHubDataset):
    """A folder with a CLIP, or a hub id of one with its revision; nodes get the local folder."""

    def load(self) -> Path:
        """Return the folder.

        Raises:
            InputError: There is none and the hub's files are not to be had, or a file of it is
                not what its `SHA256SUMS` says.
        """
        hub_id, revision = self._given["hub_id"], self._given["revision"]
        if hub_id:
            from dpok_pipeline.rewards.clip import CLIP_FILES, CLIP_TOKENIZER

            _check_pinned("embedder", hub_id, revision)
            return find_files(hub_id, CLIP_FILES, CLIP_TOKENIZER, revision)
        folder = Path(self._given["path"])
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; correct its entry in conf/*/catalog*.yml")
        check_sums(folder)
        return folder


def _check_pinned(name: str, hub_id: str, revision: str | None) -> None:
    """Refuse a hub id without a revision.

    Raises:
        InputError: There is none.
    """
    if revision is None:
        raise InputError(
            f"{name} {hub_id}: no revision; set the hub's commit that you mean, so that nobody "
            "can change the model under you"
        )


def _say_if_own(name: str, kind: str) -> None:
    """Say that a dotted path runs code: the only entry of the catalog's models that does."""
    if "." in kind and not kind.startswith("dpok_pipeline."):
        logger.info("%s: code of your own is imported and run, %s", name, kind)


def _scorer_config(name: str, given: dict[str, Any]) -> Any:
    from dpok_pipeline.rewards.load import ScorerConfig

    try:
        return ScorerConfig(**_with_hub_ids(name, given))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"conf/*/catalog*.yml: {name}.{field}: {first['msg']}") from None


def _with_hub_ids(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Put `hub_id` in the place of `path`, which Kedro takes for a file and makes absolute."""
    given = dict(given)
    if "hub_id" in given:
        if given.get("path"):
            raise InputError(f"conf/*/catalog*.yml: {name}: give either `path` or `hub_id`")
        given["path"] = given.pop("hub_id")
        _check_pinned(name, given["path"], given.get("revision"))
    clip = given.get("clip_path")
    if isinstance(clip, str) and is_hub_id(clip) and not Path(clip).exists():
        _check_pinned(name, clip, given.get("revision"))
    parts = given.get("parts")
    if isinstance(parts, dict):
        given["parts"] = {
            part: _with_hub_ids(f"{name}.{part}", spec) if isinstance(spec, dict) else spec
            for part, spec in parts.items()
        }
    return given
