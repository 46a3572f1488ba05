"""A filmstrip: what the policy makes of the same few noises, from the base model to the end.

Its noises are none of training's or evaluation's, and drawing it takes no random number from them:
a training comes to the same weights with it and without.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import reference_policy
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.diffusion.sampler import decode, image_of, png_bytes, sample
from dpok_pipeline.files.durable import replace_durably

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

#: Noises that every frame begins from: enough to tell what is common to them.
NOISES = 3
#: Frames of a run of any length, the base model's and the last one among them.
FRAMES = 6

# The same for every training, so that methods and training seeds can be compared by eye.
_SEED = derive_seed(0, "filmstrip")


class Subject(NamedTuple):
    """What a filmstrip shows.

    Attributes:
        prompt: What all of its pictures are asked for.
        sampling: How images are drawn.
    """

    prompt: str
    sampling: SamplingConfig

    @property
    def sketched(self) -> SamplingConfig:
        """How pictures are drawn: in half the steps, because they are looked at, not measured."""
        steps = -(-self.sampling.ddim_steps // 2)
        return self.sampling.model_copy(update={"ddim_steps": steps})


class Frame(NamedTuple):
    """The pictures of one moment.

    Attributes:
        step: Iterations or updates done; 0 is the base model.
        images_seen: Images drawn or trained on by then.
        pictures: A PNG file's content for each noise.
    """

    step: int
    images_seen: int
    pictures: list[bytes]


class Filmstrip:
    """Draws frames when they are due, and keeps them.

    Attributes:
        frames: Those drawn so far, in the order of their steps.
    """

    def __init__(self, model: DiffusionModel, subject: Subject, steps: int, path: Path) -> None:
        """Plan the frames; nothing is drawn yet.

        Args:
            model: The base model with its LoRA attached.
            subject: What is shown.
            steps: Length of the run.
            path: The PNG file that shows all frames so far, renewed with each.
        """
        self._model, self._subject, self._path = model, subject, path
        self._due = {round(frame * steps / (FRAMES - 1)) for frame in range(FRAMES)}
        self.frames: list[Frame] = []
        self._batch_size = NOISES

    def draw_if_due(self, step: int, images_seen: int) -> Tensor | None:
        """Draw a frame if one is due at a step and is not there yet.

        Args:
            step: Iterations or updates done.
            images_seen: Images drawn or trained on by then.

        Returns:
            The frame's pictures side by side, `(3, H, NOISES·W)` in [0, 1] on the CPU, or None.
        """
        if step not in self._due or step in {frame.step for frame in self.frames}:
            return None
        images = self._draw(step)
        self.frames.append(Frame(step, images_seen, [png_bytes(image) for image in images]))
        self.frames.sort(key=lambda frame: frame.step)
        self._write()
        return torch.cat(list(images), dim=2)  # NOISES × (3, H, W), side by side

    def _draw(self, step: int) -> Tensor:
        """Draw the pictures, `(NOISES, 3, H, W)` on the CPU."""
        # The base model's can be drawn at any time, also of a run that began without a filmstrip.
        policy = nullcontext() if step else reference_policy(self._model.unet)
        # Not compiled: batches of another size than training's would need graphs of their own.
        with policy, self._model.eager() as model:
            samples = sample(
                model,
                [self._subject.prompt] * NOISES,
                self._subject.sketched,
                seed=_SEED,
                indices=range(NOISES),
                batch_size=self._batch_size,
            )
            # What fitted in memory is where the next frame begins.
            self._batch_size = samples.batch_size
            return decode(model, samples.latents, self._batch_size).cpu()

    def _write(self) -> None:
        """Renew the file: a row for each noise, a column for each frame."""
        first = not self._path.exists()
        columns = [
            torch.cat([image_of(png) for png in frame.pictures], dim=1) for frame in self.frames
        ]
        replace_durably(self._path, png_bytes(torch.cat(columns, dim=2)))
        if first:
            logger.info(
                "What it makes of the same noises while it trains, the base model's first: %s "
                "(renewed as it learns; MLflow keeps them all)",
                os.path.relpath(self._path)
                if self._path.is_relative_to(Path.cwd())
                else self._path,
            )

    def table(self) -> pd.DataFrame:
        """Return one row for each picture; `image` is in Hugging Face's form."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "step": frame.step,
                    "images_seen": frame.images_seen,
                    "noise": noise,
                    "prompt": self._subject.prompt,
                    "image": {"bytes": picture, "path": None},
                }
                for frame in self.frames
                for noise, picture in enumerate(frame.pictures)
            ]
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the frames, for a checkpoint."""
        return {
            "frames": [
                {
                    "step": frame.step,
                    "images_seen": frame.images_seen,
                    "pictures": [
                        torch.frombuffer(bytearray(picture), dtype=torch.uint8)
                        for picture in frame.pictures
                    ],
                }
                for frame in self.frames
            ]
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.frames = [
            Frame(
                int(frame["step"]),
                int(frame["images_seen"]),
                [picture.numpy().tobytes() for picture in frame["pictures"]],
            )
            for frame in state["frames"]
        ]
