"""Notes on whole runs that have finished, which the comparison over seeds need not repeat."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path

from dpok_pipeline.errors import InputError
from dpok_pipeline.runs.identity import Identity
from dpok_pipeline.runs.journal import VERSION
from dpok_pipeline.runs.json_files import read_json, write_json

logger = logging.getLogger(__name__)


def note_finished(folder: Path, identity: Identity, version: str) -> None:
    """Note that a whole run has finished.

    Args:
        folder: Folder of the environment's notes on runs.
        identity: Identity of the run, with its code.
        version: Version that its outputs were saved under.
    """
    write_json(_path(folder, identity), {"identity": identity, "version": version})


def find_finished(folder: Path, identity: Identity) -> str | None:
    """Return the version of the newest whole run of this identity; None if there is none."""
    return read_note(_path(folder, identity))


def read_note(path: Path) -> str | None:
    """Return the version that a note names; None if there is no note, or a damaged one.

    A damaged note is ignored with a warning: the run that it is about is made again.
    """
    try:
        content = read_json(path)
        if content is None:
            return None
        version = str(content["version"])
        if not re.fullmatch(VERSION, version):
            raise InputError(f"{version} is no version")
    except (InputError, KeyError) as error:
        logger.warning("%s is damaged (%s) and ignored; the run is made again", path, error)
        return None
    return version


def _path(folder: Path, identity: Identity) -> Path:
    text = json.dumps(identity, sort_keys=True).encode()
    return folder / "finished" / f"{hashlib.sha256(text).hexdigest()[:16]}.json"
