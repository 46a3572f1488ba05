"""The names that experiments and methods can have: both become namespaces and folders."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TypeGuard

#: Names that mean something else: the base model, what is done over all experiments, the datasets
#: and parameters that stand beside methods in an experiment's namespace, and the folder of
#: unfinished work, which stands beside the experiments' models.
RESERVED = frozenset(
    {
        "all",
        "all_seeds",
        "base",
        "claims",
        "comparison",
        "evaluation",
        "experiment",
        "learning_curves",
        "provenance",
        "report",
        "report_parts",
        "reward_against_kl",
        "reward_bars",
        "sft_samples",
        "study_sets",
        "task",
        "train_sheet",
        "unseen_sheet",
        "work",
    }
)


def _is_name(name: object) -> TypeGuard[str]:
    """Say whether something can name a namespace: small letters, digits and underscores."""
    return isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None


def reason_against(name: object, taken: Collection[str] = ()) -> str | None:
    """Say why an experiment or a method cannot have a name; return None if it can.

    Args:
        name: The name in question.
        taken: Names that mean something else already.
    """
    if not _is_name(name):
        return "use small letters, digits and underscores, and a letter first"
    if name in RESERVED or name in taken:
        return "the name is used for something else; choose another"
    return None
