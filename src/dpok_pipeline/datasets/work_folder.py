"""Where a node keeps its checkpoints until the run has succeeded."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.locks import claim

logger = logging.getLogger(__name__)


class WorkFolderDataset(AbstractDataset[NoReturn, Path]):
    """A folder whose name depends on environment, experiment and node, but not on the run.

    Kedro's run id is new at each start, so checkpoints cannot live under it: the same command
    started again after an interruption finds them here. A run that succeeds clears it.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Make the folder if need be, and return it."""
        self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    def save(self, data: Any) -> NoReturn:
        """Refuse: the engine writes into the folder itself."""
        raise DatasetError("A work folder is read as a path; the engine writes into it.")

    @property
    def used(self) -> bool:
        """Whether anything has been kept in it."""
        return any(path.is_file() for path in self._path.rglob("*"))

    def clear(self) -> None:
        """Remove the folder, so that the next run starts afresh.

        If another command has begun to work in it meanwhile, it is left to that one.
        """
        if not self._path.exists():
            return
        try:
            with claim(self._path):
                shutil.rmtree(self._path, ignore_errors=True)
        except InputError:
            logger.warning("%s is in use by another command, which will clear it", self._path)

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._path.as_posix()}
