"""ImageReward, which scores how well an image answers its prompt as people would rank it.

Xu et al., "ImageReward: Learning and Evaluating Human Preferences for Text-to-Image Generation"
(arXiv 2304.05977). A BLIP vision transformer reads the image, a BERT reads the prompt while it
attends to the image, and a small head turns the first token into a number. This is the reward of
DPOK.

The class has no size built in. The published model and the small one of EmojiWorld differ in their
`ImageRewardConfig` only.

Notation of shapes: b images, t prompt tokens, p image tokens (the patches and one class token).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from pydantic import Field, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    BlipTextConfig,
    BlipTextModel,
    BlipVisionConfig,
    BlipVisionModel,
)

from dpok_pipeline.config import FrozenConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.networks import MOST_LAYERS, reason_of
from dpok_pipeline.rewards.folders import (
    load_weights,
    read_config,
    read_safetensors,
    require_file,
)
from dpok_pipeline.rewards.heads import PUBLISHED_HEAD, ScoreHead
from dpok_pipeline.rewards.preprocessing import pixels_from_pil, pixels_from_tensor

#: Tokens that every vocabulary of BERT's has.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
#: Rows of the token embedding that BLIP adds for tokens of its own.
ADDED_TOKENS = 2


class ImageRewardConfig(FrozenConfig):
    """Sizes of an ImageReward; the defaults are those of the published ImageReward-v1.0."""

    image_size: int = Field(
        224, ge=1, description="Side of the square that the model reads, in pixels."
    )
    patch_size: int = Field(16, ge=1, description="Side of one patch, in pixels.")
    vision_width: int = Field(1024, ge=1, description="Width of the vision transformer.")
    vision_layers: int = Field(
        24, ge=1, le=MOST_LAYERS, description="Blocks of the vision transformer."
    )
    vision_heads: int = Field(16, ge=1, description="Attention heads of the vision transformer.")
    text_width: int = Field(768, ge=1, description="Width of the text transformer.")
    text_layers: int = Field(
        12, ge=1, le=MOST_LAYERS, description="Blocks of the text transformer."
    )
    text_heads: int = Field(12, ge=1, description="Attention heads of the text transformer.")
    text_positions: int = Field(512, ge=1, description="Token positions that have an embedding.")
    vocab_size: int = Field(30524, ge=1, description="Rows of the token embedding: BERT's and two.")
    max_tokens: int = Field(35, ge=2, description="Tokens that prompts are padded or cut to.")
    head_sizes: tuple[int, int, int, int] = Field(
        PUBLISHED_HEAD, description="Hidden widths of the scoring head."
    )
    score_mean: float = Field(
        0.16717362830052426, description="Mean score, which is subtracted from the head's output."
    )
    score_std: float = Field(
        1.0333394966054072,
        gt=0,
        description="Standard deviation of the scores, by which the difference is divided.",
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> ImageRewardConfig:
        if self.image_size % self.patch_size:
            raise ValueError("image_size must be a multiple of patch_size")
        if self.vision_width % self.vision_heads or self.text_width % self.text_heads:
            raise ValueError("vision_width and text_width must be multiples of their heads")
        if self.max_tokens > self.text_positions:
            raise ValueError("max_tokens must not exceed text_positions")
        return self


class ImageReward(nn.Module):
    """The reward model; `forward` returns the head's raw output, `score` the normalised reward."""

    def __init__(self, config: ImageRewardConfig, vocab: Sequence[str]) -> None:
        """Build the model with fresh weights.

        Args:
            config: Sizes, and the normalisation of the score.
            vocab: WordPiece tokens in the order of their ids, among them `SPECIAL_TOKENS`.

        Raises:
            ValueError: The vocabulary is not whole, or not of the size that the configuration says.
        """
        super().__init__()
        _check_vocabulary(vocab, config.vocab_size)
        self.config = config
        self.vocab = tuple(vocab)
        self.tokenizer = _bert_tokenizer(self.vocab)
        self.vision = BlipVisionModel(_vision_config(config))
        self.text = BlipTextModel(_text_config(config), add_pooling_layer=False)
        self.head = ScoreHead(config.text_width, config.head_sizes)

    @classmethod
    def from_folder(cls, folder: Path | str) -> ImageReward:
        """Load what `save` wrote.

        Raises:
            InputError: A file is missing, truncated, or does not fit config.json.
        """
        folder = Path(folder)
        config = read_config(folder / "config.json", ImageRewardConfig)
        vocab = require_file(folder / "vocab.txt", "the folder is not whole, copy it again")
        try:
            model = cls(config, vocab.read_text(encoding="utf-8").splitlines())
        except Exception as error:  # the network's layers raise many kinds for odd sizes
            raise InputError(f"{folder}: no whole ImageReward ({reason_of(error)})") from error
        weights = folder / "model.safetensors"
        load_weights(model, read_safetensors(weights), weights)
        return model.eval()

    def save(self, folder: Path | str, metadata: dict[str, str] | None = None) -> None:
        """Write config.json, vocab.txt and model.safetensors, with `metadata`, into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(self.config.model_dump_json(indent=2) + "\n")
        (folder / "vocab.txt").write_text("\n".join(self.vocab) + "\n", encoding="utf-8")
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, folder / "model.safetensors", metadata)

    @property
    def device(self) -> torch.device:
        """Device that holds the weights."""
        return next(self.head.parameters()).device

    def tokenise(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token ids and attention mask, each `(b, max_tokens)`, on the model's device."""
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=self.config.max_tokens,
            return_tensors="pt",
        )
        return tokens["input_ids"].to(self.device), tokens["attention_mask"].to(self.device)

    def cut_short(self, prompts: Sequence[str]) -> list[str]:
        """Return those of the prompts whose end the model does not see, as in the original."""
        lengths = map(len, self.tokenizer(list(prompts))["input_ids"])
        return [
            prompt
            for prompt, length in zip(prompts, lengths, strict=True)
            if length > self.config.max_tokens
        ]

    def forward(self, pixel_values: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score each pair of image and prompt, differentiably in the pixels.

        Args:
            pixel_values: Pixels `(b, 3, image_size, image_size)`, normalised by CLIP's mean and
                deviation.
            input_ids: Token ids `(b, t)`.
            attention_mask: Mask `(b, t)`, 1 for a token and 0 for padding.

        Returns:
            The head's output `(b,)` before normalisation.
        """
        image = self.vision(pixel_values=pixel_values).last_hidden_state  # (b, p, vision_width)
        # `is_decoder=False` lets every token attend to all others; the cross-attention stays.
        text = self.text(
            input_ids=input_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=image,
            is_decoder=False,
        ).last_hidden_state  # (b, t, text_width)
        # The first token, [CLS], stands for the whole pair: (b, text_width) to (b,).
        score: Tensor = self.head(text[:, 0].float())
        return score

    def score(self, images: Tensor | Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """Return the reward of each image for its prompt.

        Args:
            images: Tensors `(b, 3, h, w)` in [0, 1], which are resized differentiably, or b PIL
                images, which Pillow resizes as in the published package.
            prompts: The prompts of the b images.

        Returns:
            `(raw - score_mean) / score_std`, `(b,)` float32.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images but {len(prompts)} prompts")
        size = self.config.image_size
        if isinstance(images, Tensor):
            pixels = pixels_from_tensor(images.to(self.device), size)
        else:
            pixels = pixels_from_pil(images, size).to(self.device)
        raw: Tensor = self(pixels, *self.tokenise(prompts))
        return (raw.float() - self.config.score_mean) / self.config.score_std


def _check_vocabulary(vocab: Sequence[str], size: int) -> None:
    """Refuse a vocabulary that is not whole: what it lacks would be read as unknown words.

    Raises:
        ValueError: A token is missing, or twice.
    """
    if absent := [token for token in SPECIAL_TOKENS if token not in vocab]:
        raise ValueError(f"vocab.txt has no {absent[0]}")
    if len(set(vocab)) < len(vocab):
        raise ValueError("vocab.txt has a token twice")
    if not 0 <= size - len(vocab) <= ADDED_TOKENS:
        raise ValueError(f"vocab.txt has {len(vocab)} tokens, config.json's vocab_size is {size}")


def _vision_config(config: ImageRewardConfig) -> BlipVisionConfig:
    """Describe BLIP's vision transformer, whose LayerNorm epsilon is not the class's default."""
    return BlipVisionConfig(
        hidden_size=config.vision_width,
        intermediate_size=4 * config.vision_width,
        num_hidden_layers=config.vision_layers,
        num_attention_heads=config.vision_heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        layer_norm_eps=1e-6,
        # The class's default of 1e-10 is for loading only; nothing could be trained from it.
        initializer_range=0.02,
    )


def _text_config(config: ImageRewardConfig) -> BlipTextConfig:
    """Describe BLIP's BERT, where `is_decoder` only asks for cross-attention layers."""
    return BlipTextConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.text_width,
        encoder_hidden_size=config.vision_width,
        intermediate_size=4 * config.text_width,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        max_position_embeddings=config.text_positions,
        is_decoder=True,
        # Only generation uses these, and the defaults lie outside a small vocabulary.
        bos_token_id=None,
        sep_token_id=None,
        eos_token_id=None,
    )


def _bert_tokenizer(vocab: Sequence[str]) -> BertTokenizer:
    """Build a lower-casing WordPiece tokenizer from a file, as every release of BERT's can."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
        tokenizer: BertTokenizer = BertTokenizer.from_pretrained(folder)
    return tokenizer
