"""The parts that one experiment contributes to the joint report, in one folder per version."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from kedro.io.core import VersionNotFoundError

from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.tables import facts, size, size_of
from dpok_pipeline.datasets.versioned import SealedFolderDataset
from dpok_pipeline.files.manifest import check_folder, partial_path, read_manifest, seal

if TYPE_CHECKING:
    from kedro_datasets._typing import TablePreview


class ReportParts(NamedTuple):
    """The data of one experiment that reports show.

    Attributes:
        experiment: Name of the experiment.
        scores: Scores, one row per image.
        embeddings: CLIP embeddings `(rows, d)` in the order of `scores`.
        curves: Learning curves by the names of methods.
        pictures: The images that reports show, as `report.pictures.chosen` describes them; none
            if the parts are of a release whose reports showed contact sheets only.
        provenance: Description of how the experiment was made, in titled sections.
        filmstrips: What methods made of the same noises while they trained, by their names, in the
            size of the page; nothing of one that was trained before there were filmstrips.
    """

    experiment: str
    scores: pd.DataFrame
    embeddings: pd.DataFrame
    curves: dict[str, pd.DataFrame]
    pictures: pd.DataFrame
    provenance: dict[str, dict[str, str]]
    filmstrips: dict[str, pd.DataFrame]


class ReportPartsDataset(SealedFolderDataset[ReportParts, "ReportParts | None"]):
    """The parts of an experiment's newest evaluation; None if there has been no evaluation.

    The joint report can therefore be made of the experiments that have been evaluated.
    """

    # A run does not stop at a missing dataset with this mark: None is one of its values.
    may_be_absent = True

    def save(self, data: ReportParts) -> None:
        """Write the frames as Parquet."""
        final = Path(self._get_save_path())
        partial = partial_path(final)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        data.scores.to_parquet(partial / "scores.parquet", index=False)
        data.embeddings.to_parquet(partial / "embeddings.parquet", index=False)
        for method, curve in data.curves.items():
            curve.to_parquet(partial / f"curves_{method}.parquet", index=False)
        data.pictures.to_parquet(partial / "pictures.parquet", index=False)
        for method, strip in data.filmstrips.items():
            strip.to_parquet(partial / f"filmstrip_{method}.parquet", index=False)
        seal(partial, final, {"experiment": data.experiment, "provenance": data.provenance})

    def load(self) -> ReportParts | None:
        """Return the parts; None if there are none."""
        from dpok_pipeline.report.pictures.chosen import no_pictures

        try:
            folder = self._finished_folder()
        except VersionNotFoundError:
            return None
        metadata = check_folder(folder)
        pictures = folder / "pictures.parquet"
        return ReportParts(
            experiment=metadata["experiment"],
            provenance=metadata["provenance"],
            scores=pd.read_parquet(folder / "scores.parquet"),
            embeddings=pd.read_parquet(folder / "embeddings.parquet"),
            curves=_by_method(folder, "curves"),
            filmstrips=_by_method(folder, "filmstrip"),
            pictures=pd.read_parquet(pictures) if pictures.is_file() else no_pictures(),
        )

    @or_nothing
    def preview(self) -> TablePreview:
        """Return what an experiment contributes, in the form that kedro-viz shows."""
        folder = self._finished_folder()
        scores = pd.read_parquet(folder / "scores.parquet", columns=["prompt", "method"])
        return facts(
            {
                "experiment": read_manifest(folder).metadata["experiment"],
                "methods": list(scores["method"].unique()),
                "prompts": list(scores["prompt"].unique()),
                "images": len(scores),
                "folder": folder,
                "size": size(size_of(folder)),
            }
        )


def _by_method(folder: Path, kind: str) -> dict[str, pd.DataFrame]:
    """Read the tables of a kind, each method's by its name."""
    return {
        path.stem.removeprefix(f"{kind}_"): pd.read_parquet(path)
        for path in sorted(folder.glob(f"{kind}_*.parquet"))
    }
