"""Parameters of world building, whose values in `conf/base` made the world that is in git."""

from __future__ import annotations

from pydantic import Field

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.diffusion.config import SamplingConfig


class TrainingConfig(FrozenConfig):
    """Length and speed of one network's training."""

    steps: int = Field(ge=1, description="Number of updates.")
    batch_size: int = Field(ge=2, description="Pictures, or pairs of them, per update.")
    learning_rate: float = Field(gt=0, description="Peak of the learning rate's schedule.")
    seed: int = Field(description="Seed of weights, data and noise, another one for each network.")


class SamplesConfig(FrozenConfig):
    """Samples of the base model, which the reward model learns to rank."""

    captions: int = Field(ge=1, description="Number of captions whose samples are ranked.")
    images_per_caption: int = Field(
        ge=2, description="Samples of each caption, of which every two are a pair."
    )
    ddim_steps: int = Field(ge=1, description="Denoising steps per sample.")
    guidance_scale: float = Field(
        ge=1, description="Weight of the prompt in guidance; 1 means none."
    )
    seed: int = Field(description="Seed of captions, noise and the rater's label noise.")

    def sampling(self) -> SamplingConfig:
        """Return the settings by which the samples are drawn."""
        return SamplingConfig(
            ddim_steps=self.ddim_steps, eta=1.0, guidance_scale=self.guidance_scale
        )


class CorpusConfig(FrozenConfig):
    """A corpus of captioned pictures for the UNet."""

    pictures: int = Field(ge=1, description="Number of pictures.")
    seed: int = Field(description="Seed of captions, scenes and errors.")


class WorldConfig(FrozenConfig):
    """All parameters of world building."""

    sprites: str = Field(description="Folder of the sprites' PNG files.")
    corpus: CorpusConfig = Field(description="Large corpus, whose captions are often wrong.")
    filtered_corpus: CorpusConfig = Field(
        description="Smaller corpus, whose captions are less often wrong."
    )
    autoencoder: TrainingConfig = Field(description="Training of the autoencoder.")
    clip: TrainingConfig = Field(description="Training of the CLIP.")
    unet: TrainingConfig = Field(description="Training of the UNet on the large corpus.")
    unet_filtered: TrainingConfig = Field(description="Training of the UNet on the filtered one.")
    judge: TrainingConfig = Field(description="Training of the judge.")
    rater: TrainingConfig = Field(description="Training of the rater.")
    reward_captioning: TrainingConfig = Field(
        description="Training of the reward model's text half, which learns to caption like BLIP."
    )
    reward_ranking: TrainingConfig = Field(
        description="Training of the reward model on ranked pairs of renders and of samples."
    )
    aesthetic: TrainingConfig = Field(description="Training of the aesthetic score.")
    samples: SamplesConfig = Field(description="Samples of the base model that are ranked.")
