"""Parameters of world building; the defaults in `conf/base` made the world that is in git."""

from __future__ import annotations

from pydantic import Field

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.diffusion.config import SamplingConfig


class TrainingConfig(FrozenConfig):
    """How long and how fast one network is trained."""

    steps: int = Field(ge=1, description="Updates.")
    batch_size: int = Field(ge=2, description="Pictures, or pairs of them, per update.")
    learning_rate: float = Field(gt=0, description="Peak of the schedule.")
    seed: int = Field(description="Of weights, data and noise; no two networks share one.")


class SamplesConfig(FrozenConfig):
    """The base model's own pictures, which the reward model ranks."""

    captions: int = Field(ge=1, description="How many captions are drawn.")
    images_per_caption: int = Field(ge=2, description="Samples of each; every two are a pair.")
    ddim_steps: int = Field(ge=1, description="Denoising steps per sample.")
    guidance_scale: float = Field(ge=1, description="Weight of the prompt; 1 is none.")
    seed: int = Field(description="Of captions, noise and the rater's label noise.")

    def sampling(self) -> SamplingConfig:
        """How the samples are drawn."""
        return SamplingConfig(
            ddim_steps=self.ddim_steps, eta=1.0, guidance_scale=self.guidance_scale
        )


class CorpusConfig(FrozenConfig):
    """Captioned pictures for the UNet."""

    pictures: int = Field(ge=1, description="How many.")
    seed: int = Field(description="Of scenes and wrong captions.")


class WorldConfig(FrozenConfig):
    """Everything that world building takes."""

    sprites: str = Field(description="Folder of the sprites' PNG files.")
    corpus: CorpusConfig = Field(description="Large, its captions often wrong.")
    filtered_corpus: CorpusConfig = Field(description="Smaller, its captions less often wrong.")
    autoencoder: TrainingConfig
    clip: TrainingConfig
    unet: TrainingConfig = Field(description="On the large corpus.")
    unet_filtered: TrainingConfig = Field(description="Then on the filtered one.")
    judge: TrainingConfig
    rater: TrainingConfig
    reward_captioning: TrainingConfig = Field(description="The reward's text half, as BLIP's.")
    reward_ranking: TrainingConfig = Field(description="Pairs of renders and of samples.")
    aesthetic: TrainingConfig
    samples: SamplesConfig
