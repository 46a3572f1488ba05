"""Real files that lie beside some checkouts; tests that read them skip where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def shared_file(name: str) -> Path:
    """Find `shared/data/{name}` beside the checkout or above it, or skip the test."""
    for folder in (ROOT, *ROOT.parents[:2]):
        path = folder / "shared" / "data" / name
        if path.exists():
            return path
    pytest.skip(f"shared/data/{name} is not on this machine")
