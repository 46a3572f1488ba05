"""One member leads a training run: it says which step comes next, and the others take it too.

Member 0 alone looks at checkpoints and signals. So the members never disagree about the next step:
each waits for member 0's word before it begins one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dpok_pipeline.errors import InputError
from dpok_pipeline.team.members import Followed, Team
from dpok_pipeline.training.checkpoints import pack, unpack
from dpok_pipeline.training.signals import Stopped, stop_requests

if TYPE_CHECKING:
    from dpok_pipeline.training.loop import Learner, Stateful, Step

# Parts of a learner that every member trains by itself, on the same numbers.
_COMPARED = ("optimiser", "critic")


class _End(NamedTuple):
    """What member 0 says in place of a step's number.

    Attributes:
        signal_number: The signal that has ended the run; None if none has.
    """

    signal_number: int | None = None


class Lead:
    """Takes steps together with the other members."""

    def __init__(self, learner: Learner, team: Team) -> None:
        """Lead from now on.

        Args:
            learner: This member's.
            team: Of which this is member 0.
        """
        self.learner, self.team = learner, team
        self.stepping = False

    def step(self, number: int) -> Step:
        """Take a step.

        Raises:
            InputError: The members' weights differ: one machine computes otherwise than another.
        """
        self.stepping = True
        self.team.share(number)
        step = self.learner.step(number)
        _compare(self.learner, self.team, number)
        self.stepping = False
        return step


@contextmanager
def leading(learner: Learner, team: Team, done: int) -> Iterator[Lead]:
    """Bring the other members to this one's state; let them go when the context ends.

    Args:
        learner: This member's, at the state to begin with.
        team: Of which this is member 0.
        done: Number of steps done; before the first one all members are alike.
    """
    lead = Lead(learner, team)
    if team.size > 1:
        team.share(_packed(learner) if done else None)
    try:
        yield lead
    except BaseException as error:
        # In the middle of a step the others wait for its numbers, and would take any word for
        # them. They see this process's end.
        if not lead.stepping:
            with suppress(Exception):
                team.share(_End(getattr(error, "signal_number", None)))
        raise
    team.share(_End())


def follow(learner: Learner, team: Team) -> None:
    """Take the steps that member 0 names, to the end.

    Raises:
        Followed: Member 0 has come to the end.
        Stopped: It was stopped by a signal; its state is saved.
    """
    # Whoever sends a signal to all processes means the run, of which member 0 decides.
    with stop_requests("step"):
        packed = team.share(None)
        if packed is not None:
            load_learner_state(learner, unpack(*packed))
        while not isinstance(word := team.share(None), _End):
            learner.step(word)
            _compare(learner, team, word)
    if word.signal_number is not None:
        raise Stopped(word.signal_number)
    raise Followed


def _packed(learner: Learner) -> tuple[Any, dict[str, Tensor]]:
    """Return a learner's state with its tensors on the CPU: a member's GPU is its own."""
    tensors: dict[str, Tensor] = {}
    return pack(learner_state(learner), tensors), tensors


def learner_state(learner: Learner) -> dict[str, Any]:
    """Return the state of each of a learner's parts, by its name in a checkpoint."""
    return {name: part.state_dict() for name, part in _stateful(learner).items()}


def load_learner_state(learner: Learner, state: Mapping[str, Any]) -> None:
    """Restore what `learner_state` returned, also after a passage through a checkpoint."""
    for name, part in _stateful(learner).items():
        part.load_state_dict(state[name])


def _stateful(learner: Learner) -> dict[str, Stateful]:
    return {name: part for name, part in learner.parts().items() if part is not None}


def _compare(learner: Learner, team: Team, number: int) -> None:
    """Compare what each member has trained by itself, after every step."""
    if team.size == 1:
        return
    digests = team.gather(_digest(learner)[None])  # (size, 32)
    for rank, other in enumerate(digests):
        if not torch.equal(other, digests[0]):
            raise InputError(
                f"worker {rank} holds other weights than worker 0 after step {number + 1}; use "
                "workers with the same processor, GPU, torch and number of threads"
            )


def _digest(learner: Learner) -> Tensor:
    """Return the sha256 of the compared parts' tensors, `(32,)` uint8."""
    digest = hashlib.sha256()
    tensors: dict[str, Tensor] = {}
    compared = [part for name, part in _stateful(learner).items() if name in _COMPARED]
    pack([part.state_dict() for part in compared], tensors)
    for tensor in tensors.values():
        digest.update(tensor.numpy().tobytes())
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)
