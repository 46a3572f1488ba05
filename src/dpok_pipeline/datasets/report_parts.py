"""What one experiment contributes to the joint report, in one folder per version."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from kedro.io.core import VersionNotFoundError

from dpok_pipeline.datasets.versioned import SealedFolderDataset
from dpok_pipeline.files.manifest import check, partial_path, seal

if TYPE_CHECKING:
    from PIL.Image import Image


class ReportParts(NamedTuple):
    """An experiment as reports show it.

    Attributes:
        experiment: Its name.
        scores: One row per image.
        embeddings: CLIP embeddings `(rows, d)` in the order of `scores`.
        curves: Learning curves by model, `rl` and `sft`.
        sheets: Contact sheets, of the training prompt first.
        provenance: How it was made, in titled sections.
    """

    experiment: str
    scores: pd.DataFrame
    embeddings: pd.DataFrame
    curves: dict[str, pd.DataFrame]
    sheets: list[Image]
    provenance: dict[str, dict[str, str]]


class ReportPartsDataset(SealedFolderDataset[ReportParts, "ReportParts | None"]):
    """The parts of the newest evaluation; None for an experiment that has not been evaluated.

    So the joint report can be made of the experiments that are present.
    """

    # Absence is an answer, too: a run does not stop at it.
    may_be_absent = True

    def save(self, data: ReportParts) -> None:
        """Write the frames as Parquet and the sheets as PNG."""
        final = Path(self._get_save_path())
        partial = partial_path(final)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        data.scores.to_parquet(partial / "scores.parquet", index=False)
        data.embeddings.to_parquet(partial / "embeddings.parquet", index=False)
        for model, curve in data.curves.items():
            curve.to_parquet(partial / f"curves_{model}.parquet", index=False)
        for number, sheet in enumerate(data.sheets):
            sheet.save(partial / f"sheet_{number:02d}.png")
        seal(partial, final, {"experiment": data.experiment, "provenance": data.provenance})

    def load(self) -> ReportParts | None:
        """Read the parts; None if there are none."""
        from PIL import Image

        try:
            folder = self._finished_folder()
        except VersionNotFoundError:
            return None
        about = check(folder)
        return ReportParts(
            experiment=about["experiment"],
            provenance=about["provenance"],
            scores=pd.read_parquet(folder / "scores.parquet"),
            embeddings=pd.read_parquet(folder / "embeddings.parquet"),
            curves={
                path.stem.removeprefix("curves_"): pd.read_parquet(path)
                for path in sorted(folder.glob("curves_*.parquet"))
            },
            sheets=[Image.open(path).copy() for path in sorted(folder.glob("sheet_*.png"))],
        )
