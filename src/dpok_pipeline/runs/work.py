"""The folders of unfinished work, whose names depend on what is made and not on the run.

Kedro's run id is new at each start, so that checkpoints cannot lie under it. The same command finds
them here when it is started again after an interruption, and a run that succeeds clears them.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpok_pipeline.configuration.conf_files import check_path
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.locks import locked

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

    from dpok_pipeline.pipelines.task import Task

logger = logging.getLogger(__name__)

#: Folder of unfinished work, below an environment's data folder.
WORK = Path("06_models", "work")


@dataclass(frozen=True)
class WorkFolders:
    """The work folders of one environment and training seed.

    Attributes:
        data: Data folder of the environment, with Kedro's layers in it.
        training_seed: Seed of the training, by which the runs of `kedro claims` are kept apart.
    """

    data: Path
    training_seed: int = 0

    @classmethod
    def of(cls, context: KedroContext) -> WorkFolders:
        """Return the work folders of a Kedro context's environment.

        Raises:
            InputError: The setting `data` does not name a folder.
        """
        loader = context.config_loader
        data = _data_folder(context.project_path, loader["globals"].get("data"))
        return cls(data, int((loader.runtime_params or {}).get("training_seed", 0)))

    @property
    def runs(self) -> Path:
        """Folder of journals and of notes on finished runs."""
        return self.data / WORK / "runs"

    def folder(self, task: Task, node: str) -> Path:
        """Return the path of one node's work folder."""
        root = self.data / WORK / f"seed_{self.training_seed}"
        return root / task.experiment / (task.method or "experiment") / node


def _data_folder(project: Path, name: object) -> Path:
    """Return the folder that globals.yml names, if data can be kept there.

    Raises:
        InputError: It is not the name of a folder, or of the root of all folders, below which
            nobody means to have `/03_primary`.
    """
    where = f"conf/*/globals.yml: data is {name!r}"
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: name a folder, such as data")
    if "://" in name or name.startswith("~"):
        raise InputError(f"{where}: give the path of a folder on this machine, without `~`")
    data = Path(project, name)
    check_path(data)
    if data.resolve() == Path(data.anchor):
        raise InputError(f"{where}, the root of the file system; name a folder, such as data")
    for path in (data, *data.parents):
        if (path.exists() or path.is_symlink()) and not path.is_dir():
            raise InputError(f"{where}: {path}: Not a directory; name a folder")
    return data


def is_used(folder: Path) -> bool:
    """Say whether a work folder holds any file."""
    return any(path.is_file() for path in folder.rglob("*"))


def clear(folder: Path) -> None:
    """Remove a work folder, so that the next run starts afresh.

    If another command works in the folder by now, it is left to that command.
    """
    if not folder.exists():
        return
    try:
        with locked(folder):
            shutil.rmtree(folder, ignore_errors=True)
    except InputError:
        logger.warning("%s is in use by another command, which will clear it", folder)
