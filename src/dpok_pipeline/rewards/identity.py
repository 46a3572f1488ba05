"""What decides a reward: by this, runs that go on and results that are compared know it again."""

from __future__ import annotations

import hashlib
from typing import Any

from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.rewards.load import ScorerConfig, scorer_files, scorer_kinds
from dpok_pipeline.rewards.own.code import code_hash


def scorer_identity(scorer: ScorerConfig) -> dict[str, Any]:
    """Describe what decides a reward: settings, and hashes of files and of a user's code."""
    digest = hashlib.sha256()
    for file in scorer_files(scorer):
        digest.update(file_sha256(file).encode())
    return {
        **_settings(scorer),
        "files": digest.hexdigest(),
        "code": [code_hash(kind) for kind in scorer_kinds(scorer)],
    }


def _settings(scorer: ScorerConfig) -> dict[str, Any]:
    """Return the settings, those of all parts included, without where files lie."""
    settings = scorer.model_dump(mode="json", exclude={"path", "clip_path"})
    if scorer.parts:
        settings["parts"] = {name: _settings(part) for name, part in scorer.parts.items()}
    return settings
