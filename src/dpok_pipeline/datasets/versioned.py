"""The base of datasets that are sealed folders, of which only finished versions exist."""

from __future__ import annotations

import logging
from glob import iglob
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from kedro.io import AbstractVersionedDataset, Version
from kedro.io.core import VersionNotFoundError

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import MANIFEST, is_complete, read_manifest

logger = logging.getLogger(__name__)
Saved = TypeVar("Saved")
Loaded = TypeVar("Loaded")


class SealedFolderDataset(AbstractVersionedDataset[Saved, Loaded]):
    """A dataset that keeps one sealed folder per version.

    Kedro takes the newest path that it finds as the newest version. Here a version exists only with
    a complete manifest, so that a run that is killed while it saves leaves nothing that is loaded.
    """

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.metadata = metadata
        super().__init__(
            PurePosixPath(filepath),
            version,
            exists_function=is_sealed,
            glob_function=lambda pattern: sorted(iglob(pattern)),
        )

    def _finished_folder(self) -> Path:
        """Return the folder to load, and warn of newer versions that are not finished.

        Raises:
            InputError: There are versions, but none of them is finished.
        """
        unfinished = self._unfinished_folders()
        try:
            folder = Path(self._get_load_path())
        except VersionNotFoundError:
            if not unfinished:
                raise
            if (unfinished[-1] / MANIFEST).is_file():
                read_manifest(unfinished[-1])  # This raises an error that says what is wrong.
            raise InputError(
                f"{unfinished[-1]}: not finished, its manifest {MANIFEST} is missing, and no other "
                "version is there; make it again"
            ) from None
        for other in unfinished:
            if other.parent.name > folder.parent.name:
                logger.warning(
                    "%s was not finished and is left out; using version %s",
                    other,
                    folder.parent.name,
                )
        read_manifest(folder)
        return folder

    def _unfinished_folders(self) -> list[Path]:
        """List the versions without a complete manifest, the oldest first."""
        if self._version is None:
            return []
        folders = Path(self._filepath).glob(f"*/{Path(self._filepath).name}*")
        return sorted(path for path in folders if not is_complete(path))

    def _exists(self) -> bool:
        return is_sealed(self._get_load_path().as_posix())

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix(), "version": self._version}


def is_sealed(path: str) -> bool:
    """Say whether a folder is finished, so that its version exists."""
    return is_complete(Path(path))
