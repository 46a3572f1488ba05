"""Checkpoints that are whole or not there: safetensors and JSON in a folder that is renamed."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.durable import describe_bytes, flush, write_durably
from dpok_pipeline.files.fingerprint import check_same
from dpok_pipeline.files.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from dpok_pipeline.training.config import CheckpointConfig, Resume

logger = logging.getLogger(__name__)

TENSORS, STATE = "tensors.safetensors", "state.json"
_SECONDS = 60.0

# Keys by which `pack` marks what JSON has no form for.
_TENSOR = "__tensor__"
_ITEMS = "__items__"


class CheckpointStore:
    """The checkpoints of one run, in `folder/step-00000012` and so on.

    Each holds its tensors, its state, and a manifest with size and sha256 of both. A change of
    any bit therefore shows: such a checkpoint is named in a warning, and an older one is taken.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Mapping[str, Any],
        config: CheckpointConfig,
        resume: Resume = "auto",
    ) -> None:
        """Open the folder, or make it.

        Args:
            folder: The folder of this run alone.
            recipe: Everything that decides the run's numbers, by the names a user knows it by.
            config: How often checkpoints are made, and how many are kept.
            resume: `never` removes what is there; `auto` goes on from it.
        """
        self.folder, self.recipe, self.config = folder, dict(recipe), config
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
        """Save where the configured number of steps or minutes has passed.

        Args:
            step: Iterations or updates done.
            state: A function that returns what `save` takes.
            at_once: Whether to save whatever has passed, because the run ends here.
        """
        every, minutes = self.config.checkpoint_every, self.config.checkpoint_minutes
        by_step = every is not None and step % every == 0
        waited = time.monotonic() - self._last_saved
        if at_once or by_step or (minutes is not None and waited >= minutes * _SECONDS):
            self.save(step, state())

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint and drop all but the last few.

        Args:
            step: Iterations or updates done.
            state: Nested dicts and lists of tensors and JSON values.

        Raises:
            OSError: The disk is full. The checkpoints before are as they were.
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
        # The recipe is in the state, not in the manifest's metadata, which no hash protects.
        document = {"recipe": self.recipe, "step": step, "state": tree}
        contents = {TENSORS: save(tensors), STATE: json.dumps(document).encode()}
        partial.mkdir()
        for name, content in contents.items():
            write_durably(partial / name, content)
        files = {name: describe_bytes(content) for name, content in contents.items()}
        write_manifest(partial, Manifest({"step": step}, files))

    def load_newest(self, at_most: int) -> tuple[int, dict[str, Any]] | None:
        """Return the newest whole checkpoint as (step, state), or None where there is none at all.

        Args:
            at_most: Checkpoints of later steps are passed over (the run has been shortened).

        Raises:
            InputError: It was made with other inputs, or every one there is damaged.
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
            check_same(document["recipe"], self.recipe, folder)
            return int(document["step"]), unpack(document["state"], tensors)
        if damage:
            raise InputError(
                f"{damage[0]}; no whole checkpoint is left, give `--params resume=never` to start "
                "anew"
            )
        return None

    def newest(self) -> str:
        """Say where a run would go on from, for messages."""
        folders = self._folders()
        return f"the checkpoint {folders[-1]} is intact" if folders else "no checkpoint was made"

    def seconds_spent(self) -> float:
        """Return the seconds that saving has taken since this was last asked."""
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
        InputError: A file is missing or differs; the message names it.
    """
    from safetensors.torch import load

    try:
        listed = read_manifest(folder).files
        entries = {name: listed[name] for name in (TENSORS, STATE)}
    except (InputError, KeyError):
        raise InputError(f"{folder / MANIFEST}: missing or damaged") from None
    contents = {}
    for name, expected in entries.items():
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


def pack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """Replace every tensor in a tree by its number, and collect the tensors.

    Dictionaries with keys that are no text (an optimiser's state) become lists of pairs; tuples
    become lists. Floats survive JSON exactly. Nothing is pickled.

    Args:
        tree: Dicts, lists, tuples, tensors, arrays, numbers, texts, None.
        tensors: Filled with copies on the CPU.

    Returns:
        What `json.dumps` takes.
    """
    if isinstance(tree, np.ndarray):
        tree = torch.from_numpy(tree.copy())
    if isinstance(tree, Tensor):
        name = f"{len(tensors):06d}"
        # Cloned: safetensors refuses tensors that share memory.
        tensors[name] = tree.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: name}
    if isinstance(tree, dict):
        if all(isinstance(key, str) for key in tree):
            return {key: pack(value, tensors) for key, value in tree.items()}
        return {_ITEMS: [[key, pack(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return [pack(value, tensors) for value in tree]
    return tree


def unpack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo `pack`, except that tuples stay lists and arrays tensors."""
    if isinstance(tree, dict):
        if tree.keys() == {_TENSOR}:
            return tensors[tree[_TENSOR]]
        if tree.keys() == {_ITEMS}:
            return {key: unpack(value, tensors) for key, value in tree[_ITEMS]}
        return {key: unpack(value, tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [unpack(value, tensors) for value in tree]
    return tree
