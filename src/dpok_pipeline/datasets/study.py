"""What the human study keeps: raters' files, and outputs that need not be there yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset
from kedro.io.core import VersionNotFoundError

from dpok_pipeline.datasets.whole_files import CSVDataset, ParquetDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.study.votes import Votes, read_votes


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
