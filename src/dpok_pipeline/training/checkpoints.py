"""Checkpoints that are whole or not there: safetensors and JSON in a folder that is renamed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from dpok_pipeline.diffusion.files import check_safetensors
from dpok_pipeline.errors import InputError
from dpok_pipeline.training.packing import pack, unpack

logger = logging.getLogger(__name__)

KEPT = 2


def fingerprint(parts: dict[str, Any]) -> str:
    """Sha256 of everything that decides a run's numbers; JSON values only."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class CheckpointStore:
    """The checkpoints of one run, in `folder/step-00000012` and so on."""

    def __init__(self, folder: Path, run_fingerprint: str) -> None:
        """Open or make the folder.

        Args:
            folder: of this run alone.
            run_fingerprint: checkpoints of any other run are set aside.
        """
        self.folder, self.fingerprint = folder, run_fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("partial-*"):
            shutil.rmtree(leftover)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint and drop all but the last two.

        Args:
            step: iterations or updates done.
            state: nested dicts and lists of tensors and JSON values.
        """
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        tree = pack(state, tensors)
        partial = self.folder / f"partial-{step:08d}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        document = {"fingerprint": self.fingerprint, "step": step, "state": tree}
        write_durably(partial / "tensors.safetensors", save(tensors))
        write_durably(partial / "state.json", json.dumps(document).encode())
        final = self.folder / f"step-{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _sync_folder(self.folder)
        for old in self._steps()[:-KEPT]:
            shutil.rmtree(old)

    def load_newest(self, at_most: int) -> tuple[int, dict[str, Any]] | None:
        """The newest whole checkpoint of this run as (step, state), or None.

        Args:
            at_most: those of later steps are passed over (the run has been shortened).
        """
        for folder in reversed(self._steps()):
            if int(folder.name.removeprefix("step-")) > at_most:
                continue
            try:
                document, tensors = _read(folder)
            except (InputError, OSError, ValueError, KeyError) as error:
                logger.warning("%s is damaged (%s); trying the one before", folder, error)
                continue
            if document["fingerprint"] != self.fingerprint:
                logger.warning("%s is of other parameters or data; starting anew", folder)
                self.clear()
                return None
            return int(document["step"]), unpack(document["state"], tensors)
        return None

    def clear(self) -> None:
        """Remove every checkpoint."""
        for folder in self._steps():
            shutil.rmtree(folder)

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors.torch import load_file

    check_safetensors(folder / "tensors.safetensors")
    document = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    if document.keys() != {"fingerprint", "step", "state"}:
        raise InputError(f"{folder / 'state.json'}: not a checkpoint; remove the folder")
    return document, load_file(folder / "tensors.safetensors")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
