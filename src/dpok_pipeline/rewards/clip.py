"""CLIP image and text embeddings, for the aesthetic score, for diversity and for CLIPScore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from dpok_pipeline.files.networks import load_clip_tokenizer, load_network
from dpok_pipeline.rewards.folders import require_file
from dpok_pipeline.rewards.preprocessing import pixels_from_tensor

#: Files that a CLIP on the hub must have, and those that its tokenizer may consist of.
CLIP_FILES = ("config.json", "model.safetensors")
CLIP_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)


class ClipEmbedder(nn.Module):
    """Projected, L2-normalised CLIP embeddings of images and prompts."""

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
        """Wrap a loaded CLIP; the weights are frozen.

        Args:
            model: The two towers with their projections.
            tokenizer: The tokenizer that the text tower was trained with.
        """
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.image_size: int = model.config.vision_config.image_size
        self.max_tokens: int = model.config.text_config.max_position_embeddings
        self.width: int = model.config.projection_dim

    @classmethod
    def from_folder(cls, folder: Path | str) -> ClipEmbedder:
        """Load a `CLIPModel` and its `CLIPTokenizer`, both saved in one folder.

        Raises:
            InputError: A file is missing or truncated, a tensor is missing, unknown or of another
                shape, or the tokenizer is another model's.
        """
        folder = Path(folder)
        for name in CLIP_FILES:
            require_file(folder / name, "point the CLIP path at a saved CLIPModel")
        model = load_network(CLIPModel, folder, dtype=torch.float32)
        return cls(model, load_clip_tokenizer(folder, model.config.text_config.vocab_size))

    @property
    def device(self) -> torch.device:
        """Device that holds the weights."""
        device: torch.device = self.model.visual_projection.weight.device
        return device

    def embed(self, images: Tensor) -> Tensor:
        """Embed images.

        The tower and the projection are called one by one, because `get_image_features` returns a
        tensor in some releases of transformers and an output object in others.

        Args:
            images: Images `(b, 3, h, w)` with values in [0, 1].

        Returns:
            `(b, width)` float32, each row of length 1.
        """
        pixels = pixels_from_tensor(images.to(self.device), self.image_size)
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output  # (b, vision width)
        return functional.normalize(self.model.visual_projection(pooled).float(), dim=-1)

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts as `(b, width)` float32, each row of length 1; long prompts are cut."""
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        ).to(self.device)
        pooled = self.model.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
        return functional.normalize(self.model.text_projection(pooled).float(), dim=-1)


class CLIPScore(nn.Module):
    """The cosine between the image's and the prompt's CLIP embedding, in [-1, 1].

    Hessel et al. (2021) cut it at 0 and multiply it by 2.5. A reward is better without the cut,
    below which all images would be worth the same.
    """

    def __init__(self, clip: ClipEmbedder) -> None:
        """Score by the embeddings of `clip`."""
        super().__init__()
        self.clip = clip

    @classmethod
    def from_folder(cls, folder: Path | str) -> CLIPScore:
        """Load the scorer from a CLIP folder, which fails like `ClipEmbedder.from_folder`."""
        return cls(ClipEmbedder.from_folder(folder))

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return the cosine of each image `(b, 3, h, w)` with its prompt, `(b,)`."""
        return (self.clip.embed(images) * self.clip.embed_text(prompts)).sum(-1)


class PickScore(CLIPScore):
    """The cosine times CLIP's learned temperature, trained to tell which image people would pick.

    Kirstain et al., "Pick-a-Pic" (arXiv 2305.01569), fine-tuned a CLIP ViT-H/14 on choices between
    two images. The difference of two scores is the logit of the choice; a score of the published
    `yuvalkirstain/PickScore_v1` is about 20.
    """

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return `exp(logit_scale)` × cosine `(b,)` of images `(b, 3, h, w)` with their prompts."""
        scale: Tensor = self.clip.model.logit_scale.exp()
        return scale * super().score(images, prompts)
