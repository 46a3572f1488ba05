"""The judge, which says whether a picture shows what its prompt says.

It stands in for the paper's human raters, and is therefore used in evaluation only, never in
training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dpok_pipeline.emoji_world.captions import parse
from dpok_pipeline.emoji_world.scene_reader import SceneReader
from dpok_pipeline.errors import InputError

# Least probability of "exactly what the caption says" at which a picture counts as right. A judge
# that cannot tell what it sees therefore calls the picture wrong.
CONFIDENCE = 0.5


class JudgeScorer(nn.Module):
    """Scorer of 1 for a picture that is right, and 0 for one that is wrong or cannot be read."""

    def __init__(self, reader: SceneReader) -> None:
        """Judge pictures by what `reader` reads off them."""
        super().__init__()
        self.reader = reader

    @classmethod
    def from_folder(cls, folder: Path | str) -> JudgeScorer:
        """Load the judge from its `config.json` and `model.safetensors`.

        Raises:
            InputError: A file is missing, truncated or of another shape.
        """
        return cls(SceneReader.from_folder(Path(folder)))

    @torch.no_grad()
    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Judge pictures `(b, 3, h, w)` in [0, 1], and return `(b,)` float32 of 0 and 1.

        Raises:
            InputError: A prompt is not a sentence of EmojiWorld's grammar.
        """
        captions = [parse(prompt) for prompt in prompts]
        for prompt, caption in zip(prompts, captions, strict=True):
            if caption is None:
                raise InputError(
                    f"prompt {prompt!r}: the judge reads only EmojiWorld's sentences; "
                    "leave `judge` out of the evaluation's scorers for other prompts"
                )
        reading = self.reader(images.float())
        verdicts = [
            reading.log_likelihood(row, caption) > math.log(CONFIDENCE)
            for row, caption in enumerate(captions)
            if caption is not None
        ]
        return torch.tensor(verdicts, dtype=torch.float32)
