"""What the human study keeps: raters' files, and outputs that need not be there yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro.io import AbstractDataset
from kedro.io.core import VersionNotFoundError

from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.pictures import Group, Tile, contact_sheet
from dpok_pipeline.datasets.previews.tables import facts
from dpok_pipeline.datasets.whole_files import CSVDataset, ParquetDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.study.votes import Votes, read_votes

if TYPE_CHECKING:
    from kedro_datasets._typing import ImagePreview, TablePreview

# Of the sets that an experiment offers, so many rows are shown.
PREVIEW_ROWS = 2


class VotesDataset(AbstractDataset[Votes, Votes]):
    """A folder of raters' files, one per person; an absent or empty one is a study without votes.

    Example:
        ```yaml
        votes:
          type: dpok_pipeline.datasets.study.VotesDataset
          path: data/01_raw/votes
        ```
    """

    # A run does not stop at a missing dataset with this mark: no votes is one of its values.
    may_be_absent = True
    # Votes decide no image and no score. A run that stopped at a file that cannot be counted goes
    # on once it is away, and `kedro claims` need not train anew because somebody has voted.
    may_change = True

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self.metadata = metadata
        self.path = Path(path)

    def load(self) -> Votes:
        """Read every file.

        Raises:
            InputError: A file cannot be counted. The message names it.
        """
        return read_votes(self.path)

    def save(self, data: Votes) -> None:
        """Refuse to write: people write the files.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{self.path}: raters' files are read only; no node writes them")

    @or_nothing
    def preview(self) -> TablePreview:
        """Return how much has been voted, and by how many, whose names are nobody's business."""
        files = self.load().files.values()
        return facts({"raters": len(files), "votes on pairs": sum(len(f.votes) for f in files)})

    def _exists(self) -> bool:
        return self.path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": self.path.as_posix()}


class StudySetsDataset(ParquetDataset):
    """The sets of images that an experiment offers to the study; None if it was not evaluated."""

    may_be_absent = True

    def load(self) -> pd.DataFrame | None:
        """Return the newest version's table; None if there is none."""
        try:
            table: pd.DataFrame = super().load()
        except VersionNotFoundError:
            return None
        return table

    @or_nothing
    def preview(self) -> ImagePreview:  # type: ignore[override]
        """Return the first sets as one picture, in the form that kedro-viz shows."""
        table = self.load()
        rows = [] if table is None else table.head(PREVIEW_ROWS).to_dict("records")
        return contact_sheet(
            [
                Group(f"{row['prompt']} · {row[side]}", [Tile(x) for x in row[f"{side}_images"]])
                for row in rows
                for side in ("ours", "theirs")
            ]
        )


class StudyResultsDataset(CSVDataset):
    """The study's counted votes; None where no study has been made yet.

    The joint report can therefore be made again of evaluations from before there were studies.
    """

    may_be_absent = True

    def load(self) -> pd.DataFrame | None:  # type: ignore[override]
        """Return the newest version's table; None if there is none."""
        try:
            return super().load()
        except VersionNotFoundError:
            return None
