"""Notes on whole runs that have finished, which the comparison over seeds need not repeat."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from dpok_pipeline.files.json_files import read_json, write_json
from dpok_pipeline.runs.identity import Identity


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
    content = read_json(_path(folder, identity))
    return None if content is None else str(content["version"])


def _path(folder: Path, identity: Identity) -> Path:
    text = json.dumps(identity, sort_keys=True).encode()
    return folder / "finished" / f"{hashlib.sha256(text).hexdigest()[:16]}.json"
