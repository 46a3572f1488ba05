"""What a training run hands back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
        lora_folder: holds `pytorch_lora_weights.safetensors`, inside the work folder.
        curves: one row per iteration (DPOK) or logged update (SFT): `step`, `images_seen`, and
            metrics named `family/name`.
        summary: a few numbers of the whole run.
    """

    lora_folder: Path
    curves: pd.DataFrame
    summary: dict[str, Any]
