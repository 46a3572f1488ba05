"""Placeholder."""

from __future__ import annotations


class TrackingHooks:
    """Nothing yet."""
