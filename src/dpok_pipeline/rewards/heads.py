"""The regression head that ImageReward and the LAION aesthetic predictor share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

#: Hidden widths of the two published heads.
PUBLISHED_HEAD = (1024, 128, 64, 16)

#: Where the five linear maps stand in the published checkpoints; dropouts sit between them.
LINEAR_POSITIONS = (0, 2, 4, 6, 7)


class ScoreHead(nn.Module):
    """Five linear maps from an embedding to one number, named `layers.{0,2,4,6,7}`.

    Both published heads have no activation between the maps: in evaluation they are one affine
    function, and the depth only shaped how they were trained.

    Shape: `(b, width) -> (b,)`.
    """

    def __init__(self, width: int, hidden: Sequence[int] = PUBLISHED_HEAD) -> None:
        """Build the head.

        Args:
            width: size of the embedding that comes in.
            hidden: the four hidden widths.
        """
        super().__init__()
        self.width = width
        first, second, third, fourth = hidden
        self.layers = nn.Sequential(
            nn.Linear(width, first),
            nn.Dropout(0.2),
            nn.Linear(first, second),
            nn.Dropout(0.2),
            nn.Linear(second, third),
            nn.Dropout(0.1),
            nn.Linear(third, fourth),
            nn.Linear(fourth, 1),
        )

    def forward(self, embedding: Tensor) -> Tensor:
        """Return one score per row of `embedding`."""
        score: Tensor = self.layers(embedding)
        return score.squeeze(-1)
