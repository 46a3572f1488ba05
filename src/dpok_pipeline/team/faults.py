"""What goes wrong in one member of a team is said by all, so that none waits for the others."""

from __future__ import annotations

import torch

from dpok_pipeline.errors import InputError
from dpok_pipeline.team.members import Team

# Of a message, as UTF-8: members exchange it as a tensor of a fixed size.
_LENGTH = 2048


def raise_together(team: Team, fault: InputError | None) -> None:
    """Let every member raise the fault of the first that has one.

    Args:
        team: All of its members call this at the same point.
        fault: This member's; None if all went well here.

    Raises:
        InputError: A member had a fault.
    """
    if team.size == 1:
        if fault is not None:
            raise fault
        return
    text = b"" if fault is None else str(fault).encode()[:_LENGTH]
    own = torch.zeros((1, _LENGTH), dtype=torch.uint8)
    own[0, : len(text)] = torch.tensor(list(text), dtype=torch.uint8)
    for row in team.gather(own):
        said = bytes(row.tolist()).rstrip(b"\0").decode(errors="ignore")
        if said:
            raise InputError(said)
