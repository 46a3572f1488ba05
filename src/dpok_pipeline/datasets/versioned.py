"""Versions of sealed folders: only finished ones exist."""

from __future__ import annotations

import logging
from glob import iglob
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from kedro.io import AbstractVersionedDataset, Version
from kedro.io.core import VersionNotFoundError

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import MARKER, read_marker

logger = logging.getLogger(__name__)
Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class SealedFolderDataset(AbstractVersionedDataset[Saved, Loaded]):
    """What the datasets that keep a folder per version share.

    Kedro takes the newest path it finds as the newest version. Here a version exists once its
    marker does, so that a run that was killed while saving leaves nothing that is ever loaded.
    """

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._writing: str | None = None
        self.metadata = metadata
        super().__init__(
            PurePosixPath(filepath),
            version,
            exists_function=self._is_finished,
            glob_function=self._find_versions,
        )

    @property
    def unfinished(self) -> bool:
        """Whether a version is being written that more is to come for."""
        return self._writing is not None

    def _is_finished(self, path: str) -> bool:
        return path == self._writing or (Path(path) / MARKER).is_file()

    def _find_versions(self, pattern: str) -> list[str]:
        # The version being written has its real name only at the end, but Kedro compares
        # the newest version with the one just saved after every chunk.
        found = set(iglob(pattern))
        return sorted(found | {self._writing} if self._writing else found)

    def _finished_folder(self) -> Path:
        """Find the folder to load, and say which newer versions were left unfinished.

        Raises:
            InputError: There are versions, but none is finished.
        """
        unfinished = self._unfinished()
        try:
            folder = Path(self._get_load_path())
        except VersionNotFoundError:
            if not unfinished:
                raise
            raise InputError(
                f"{unfinished[-1]}: not finished, its marker {MARKER} is missing, and no other "
                "version is there; make it again"
            ) from None
        for left in unfinished:
            if left.parent.name > folder.parent.name:
                logger.warning(
                    "%s was not finished and is left out; using version %s",
                    left,
                    folder.parent.name,
                )
        read_marker(folder)
        return folder

    def _unfinished(self) -> list[Path]:
        """Folders of versions without a marker, oldest first."""
        if self._version is None:
            return []
        found = Path(self._filepath).glob(f"*/{Path(self._filepath).name}*")
        return sorted(path for path in found if not (path / MARKER).is_file())

    def _exists(self) -> bool:
        return self._is_finished(self._get_load_path().as_posix())

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix(), "version": self._version}
