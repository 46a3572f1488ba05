"""Load the published `ImageReward.pt`, whose tensors carry BLIP's names.

THUDM/ImageReward v1.0 holds `blip.visual_encoder.*` (a timm-style ViT-L/16), `blip.text_encoder.*`
(BERT-base with cross-attention) and `mlp.layers.*`. Its tensors are those of transformers' classes
under other names.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.files.hub import find_files, hub_sha256
from dpok_pipeline.rewards.folders import (
    check_source,
    load_weights,
    read_foreign_checkpoint,
    require_file,
)
from dpok_pipeline.rewards.image_reward import ImageReward, ImageRewardConfig

#: The published file, and the model on the hub whose vocabulary the file leaves out.
CHECKPOINT = "ImageReward.pt"
VOCABULARY_HUB_ID = "google-bert/bert-base-uncased"

#: Pattern of a published name, and this project's name for it. The first match is taken.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"^visual_encoder\.cls_token$", "vision.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed$", "vision.embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"^visual_encoder\.norm\.", "vision.post_layernorm."),
    (r"^visual_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision.encoder.layers.\1.layer_norm\2."),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.qkv\.", r"vision.encoder.layers.\1.self_attn.qkv."),
    (
        r"^visual_encoder\.blocks\.(\d+)\.attn\.proj\.",
        r"vision.encoder.layers.\1.self_attn.projection.",
    ),
    (r"^visual_encoder\.blocks\.(\d+)\.mlp\.", r"vision.encoder.layers.\1.mlp."),
    (r"^text_encoder\.", "text."),
    (r"^mlp\.layers\.", "head.layers."),
)

#: Index buffers that older releases of transformers saved with the weights.
IGNORED = re.compile(r"\.position_ids$")


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors this project's names; unknown names stay as they are and are reported later."""
    renamed = {}
    for published, tensor in state.items():
        name = published.removeprefix("blip.")
        if IGNORED.search(name):
            continue
        for pattern, replacement in RENAMES:
            name, count = re.subn(pattern, replacement, name)
            if count:
                break
        renamed[name] = tensor
    return renamed


def load_published(
    checkpoint: Path | str,
    sha256: str | None = None,
    config: ImageRewardConfig | None = None,
) -> ImageReward:
    """Load the published checkpoint, and save a safetensors copy that is used from then on.

    Args:
        checkpoint: The file `ImageReward.pt`. The `vocab.txt` of bert-base-uncased must lie beside
            it, unless it lies in the hub's cache, from which the vocabulary is then taken, too.
        sha256: The hash of the checkpoint, or of the one that the copy was made from. None accepts
            any checkpoint, and compares a copy with the checkpoint if that is still there.
        config: Sizes of the model; None means those of the published one.

    Returns:
        The model in evaluation mode.

    Raises:
        InputError: A file is missing or damaged, or its tensors do not fit.
    """
    checkpoint = Path(checkpoint)
    converted = checkpoint.with_suffix("")  # ImageReward.pt → ImageReward/
    if (converted / "model.safetensors").is_file():
        check_source(converted / "model.safetensors", checkpoint, sha256)
        return ImageReward.from_folder(converted)
    state = rename_published(read_foreign_checkpoint(checkpoint, sha256))
    vocab = checkpoint.parent / "vocab.txt"
    if not vocab.is_file() and hub_sha256(checkpoint):
        vocab = find_files(VOCABULARY_HUB_ID, [vocab.name]) / vocab.name
    require_file(vocab, "put the vocabulary of bert-base-uncased there")
    model = ImageReward(
        config or ImageRewardConfig(), vocab.read_text(encoding="utf-8").splitlines()
    )
    load_weights(model, state, checkpoint)
    _save_whole(model, converted, file_sha256(checkpoint))
    return model.eval()


def _save_whole(model: ImageReward, folder: Path, source_sha256: str) -> None:
    """Write the folder whole or not at all, because it is used from then on if it is there."""
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        model.save(partial, {"source_sha256": source_sha256})
        partial.rename(folder)
    except OSError as error:
        message = f"{folder}: cannot be written ({error}); copy the .pt elsewhere"
        raise InputError(message) from error
