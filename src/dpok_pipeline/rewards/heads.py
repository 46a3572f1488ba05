"""The regression head that ImageReward and the LAION aesthetic predictor share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

#: Hidden widths of the two published heads.
PUBLISHED_HEAD = (1024, 128, 64, 16)

#: Positions of the five linear maps among the layers; dropouts have the others.
LINEAR_POSITIONS = (0, 2, 4, 6, 7)


class ScoreHead(nn.Module):
    """Five linear maps from an embedding to one number, named `layers.{0,2,4,6,7}`.

    Neither published head has an activation between the maps. In evaluation they are one affine
    function; the depth has only shaped their training.

    Shape: `(b, width) -> (b,)`.
    """

    def __init__(self, width: int, hidden: Sequence[int] = PUBLISHED_HEAD) -> None:
        """Build the head.

        Args:
            width: Width of the embeddings that the head reads.
            hidden: The four hidden widths.
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
        return score.squeeze(-1)  # (b, 1) to (b,)
