"""Checkpoints that are whole or not there: safetensors and JSON in a folder that is renamed."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.durable import describe_bytes, flush, write_durably
from dpok_pipeline.files.fingerprint import check_same
from dpok_pipeline.training.config import CheckpointConfig, Resume
from dpok_pipeline.training.packing import pack, unpack

logger = logging.getLogger(__name__)

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
_SECONDS = 60.0


class CheckpointStore:
    """The checkpoints of one run, in `folder/step-00000012` and so on.

    Each holds its tensors, its state, and a manifest with size and sha256 of both. A change of
    any bit therefore shows: such a checkpoint is named in a warning, and an older one is taken.
    """

    def __init__(
        self,
        folder: Path,
        made_by: Mapping[str, Any],
        config: CheckpointConfig,
        resume: Resume = "auto",
    ) -> None:
        """Open or make the folder.

        Args:
            folder: of this run alone.
            made_by: all that decides the run's numbers, by the names a user knows it by.
            config: how often, and how many are kept.
            resume: `never` removes what is there.
        """
        self.folder, self.made_by, self.config = folder, dict(made_by), config
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("partial-*"):
            shutil.rmtree(leftover)
        if resume == "never":
            self.clear()
        self._last_saved = time.monotonic()
        self._seconds = 0.0

    def save_if_due(
        self, step: int, state: Callable[[], dict[str, Any]], at_once: bool = False
    ) -> None:
        """Save where the configured iterations or minutes have passed.

        Args:
            step: iterations or updates done.
            state: gives what `save` takes.
            at_once: whatever has passed: the run ends here.
        """
        every, minutes = self.config.checkpoint_every, self.config.checkpoint_minutes
        by_step = every is not None and step % every == 0
        waited = time.monotonic() - self._last_saved
        if at_once or by_step or (minutes is not None and waited >= minutes * _SECONDS):
            self.save(step, state())

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint and drop all but the last few.

        Args:
            step: iterations or updates done.
            state: nested dicts and lists of tensors and JSON values.

        Raises:
            OSError: the disk is full; the checkpoints before are as they were.
        """
        started = time.monotonic()
        partial = self.folder / f"partial-{step:08d}"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            self._write(partial, step, state)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        final = self.folder / f"step-{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        flush(self.folder)
        # Later ones are damaged, or of a longer run: they are neither counted nor removed.
        upto = [folder for folder in self._folders() if _step(folder) <= step]
        for old in upto[: -self.config.checkpoints_kept]:
            shutil.rmtree(old)
        self._last_saved = time.monotonic()
        self._seconds += self._last_saved - started

    def _write(self, partial: Path, step: int, state: dict[str, Any]) -> None:
        from safetensors.torch import save

        tensors: dict[str, Tensor] = {}
        tree = pack(state, tensors)
        document = {"made_by": self.made_by, "step": step, "state": tree}
        contents = {TENSORS: save(tensors), STATE: json.dumps(document).encode()}
        manifest = {name: describe_bytes(content) for name, content in contents.items()}
        partial.mkdir()
        for name, content in contents.items():
            write_durably(partial / name, content)
        write_durably(partial / MANIFEST, json.dumps(manifest).encode())
        flush(partial)

    def load_newest(self, at_most: int) -> tuple[int, dict[str, Any]] | None:
        """The newest whole checkpoint as (step, state), or None where there is none at all.

        Args:
            at_most: those of later steps are passed over (the run has been shortened).

        Raises:
            InputError: it was made with other inputs, or every one there is damaged.
        """
        damage = []
        for folder in reversed(self._folders()):
            if _step(folder) > at_most:
                continue
            try:
                document, tensors = _read(folder)
            except (InputError, OSError) as error:
                logger.warning("%s; taking the checkpoint before it", error)
                damage.append(str(error))
                continue
            check_same(document["made_by"], self.made_by, folder)
            return int(document["step"]), unpack(document["state"], tensors)
        if damage:
            raise InputError(
                f"{damage[0]}; no whole checkpoint is left, give `--params resume=never` to start "
                "anew"
            )
        return None

    def newest(self) -> str:
        """Where a run would go on from, for messages."""
        folders = self._folders()
        return f"the checkpoint {folders[-1]} is intact" if folders else "no checkpoint was made"

    def seconds_spent(self) -> float:
        """Seconds that saving has taken since this was last asked."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def clear(self) -> None:
        """Remove every checkpoint."""
        for folder in self._folders():
            shutil.rmtree(folder)

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("step-" + "[0-9]" * 8))


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint whose every bit is as it was written.

    Raises:
        InputError: naming the file that is missing or differs.
    """
    from safetensors.torch import load

    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed = {name: dict(manifest[name]) for name in (TENSORS, STATE)}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{folder / MANIFEST}: missing or damaged") from None
    contents = {}
    for name, expected in listed.items():
        path = folder / name
        contents[name] = path.read_bytes() if path.is_file() else b""
        if describe_bytes(contents[name]) != expected:
            raise InputError(
                f"{path}: damaged, {len(contents[name])} bytes that differ from those written"
            )
    document = json.loads(contents[STATE])
    if document["step"] != _step(folder):
        raise InputError(f"{folder}: holds the checkpoint of step {document['step']}")
    return document, load(contents[TENSORS])
