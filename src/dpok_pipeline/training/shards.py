"""The resumable loop by which images are drawn in shards, by one process or by a team."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.locks import locked
from dpok_pipeline.files.shards import ShardStore
from dpok_pipeline.team.faults import raise_together
from dpok_pipeline.team.members import Followed
from dpok_pipeline.team.torch_team import current_team
from dpok_pipeline.training.config import Resume
from dpok_pipeline.training.signals import Stopped, stop_requests
from dpok_pipeline.training.tracking import Progress

if TYPE_CHECKING:
    import pandas as pd

    from dpok_pipeline.team.members import Team

Make = Callable[[int, range], "pd.DataFrame"]


def fill_shards(
    folder: Path,
    recipe: Mapping[str, Any],
    shards: Sequence[range],
    make: Make,
    *,
    title: str,
    metadata: Mapping[str, Any],
    resume: Resume = "auto",
) -> Path:
    """Make the shards of a table one by one, those that are whole already left as they are.

    Where this process has joined a team, all members call this, and make a shard each at a time.
    Member 0 alone writes them.

    Args:
        folder: The folder of this run alone.
        recipe: Everything that decides the rows, by the names that a user knows it by.
        shards: The indices of each shard's rows.
        make: Makes one shard, given its place and the indices of its rows.
        title: What is made, on the progress bar.
        metadata: What a reader may want to know of the finished table.
        resume: `never` removes what is there.

    Returns:
        The folder, finished, as `Shards` opens it.

    Raises:
        InputError: The shards that are there were made by another recipe; another process is in
            the folder.
        Stopped: SIGINT or SIGTERM came; the shards that were begun are finished and saved.
        Followed: This process is not member 0 of its team, and its part is done.
    """
    team = current_team()
    if team.rank > 0:
        # Whoever sends a signal to all processes means the run, of which member 0 decides.
        with stop_requests("shard"):
            missing: list[int] = team.share(None)
            for numbers in _rounds(missing, team):
                _make_together(team, numbers, shards, make)
                _stop_together(team, None)
        raise Followed
    # Locked before the store is opened, which may remove what another process is writing.
    with locked(folder):
        store = ShardStore(folder, recipe, resume)
        missing = [number for number, rows in enumerate(shards) if not store.holds(number, rows)]
        team.share(missing)
        held = sum(len(rows) for number, rows in enumerate(shards) if number not in set(missing))
        with Progress(title, sum(map(len, shards)), "image", held) as bar:
            for numbers in _rounds(missing, team):
                with stop_requests("shard") as stop:
                    for number, frame in _make_together(team, numbers, shards, make):
                        store.write(number, shards[number], frame)
                    _stop_together(team, stop.signal_number)
                bar.advance(sum(len(shards[number]) for number in numbers))
        return store.finish(metadata)


def _rounds(missing: Sequence[int], team: Team) -> list[Sequence[int]]:
    """Return the numbers of the shards that are made at the same time, round by round."""
    return [missing[start : start + team.size] for start in range(0, len(missing), team.size)]


def _make_together(
    team: Team, numbers: Sequence[int], shards: Sequence[range], make: Make
) -> list[tuple[int, pd.DataFrame]]:
    """Make one round's shards, each by one member; return all of them, in order.

    Raises:
        InputError: A member could not make its own.
    """
    fault, frame = None, None
    if team.rank < len(numbers):
        number = numbers[team.rank]
        try:
            frame = make(number, shards[number])
        except InputError as error:
            fault = error
    raise_together(team, fault)
    frames = team.collect(frame)
    return [(n, part) for n, part in zip(numbers, frames, strict=False) if part is not None]


def _stop_together(team: Team, signal_number: int | None) -> None:
    """End every member if member 0 was asked to stop.

    Raises:
        Stopped: It was.
    """
    number: int | None = team.share(signal_number)
    if number is not None:
        raise Stopped(number)
