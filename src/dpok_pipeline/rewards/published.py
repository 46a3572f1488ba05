"""Load the published `ImageReward.pt`, whose tensors carry BLIP's names.

THUDM/ImageReward v1.0 holds `blip.visual_encoder.*` (a timm-style ViT-L/16), `blip.text_encoder.*`
(BERT-base with cross-attention) and `mlp.layers.*`. The tensors are the same as transformers'; only
the names differ.
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

#: The published file, and the hub's model that has the vocabulary which the file leaves out.
CHECKPOINT = "ImageReward.pt"
VOCABULARY_HUB_ID = "google-bert/bert-base-uncased"

#: Published name (a pattern) → this project's name. The first that matches is taken.
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

#: Index buffers that older transformers saved with the weights.
IGNORED = re.compile(r"\.position_ids$")


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under this project's names; unknown names stay and are reported later."""
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
    """Load the published checkpoint; from then on a safetensors copy beside it is used.

    Args:
        checkpoint: `ImageReward.pt`; `vocab.txt` of bert-base-uncased must lie beside it, unless
            the checkpoint lies in the hub's cache: then the vocabulary comes from there, too.
        sha256: what the checkpoint must hash to, or the file that an earlier copy was made from;
            None compares a copy with the checkpoint, where that is still there.
        config: sizes; the published model's unless given.

    Returns:
        The model in evaluation mode.

    Raises:
        InputError: a file is missing or damaged, or its tensors do not fit.
    """
    checkpoint = Path(checkpoint)
    kept = checkpoint.with_suffix("")  # ImageReward.pt → ImageReward/
    if (kept / "model.safetensors").is_file():
        check_source(kept / "model.safetensors", checkpoint, sha256)
        return ImageReward.from_folder(kept)
    state = rename_published(read_foreign_checkpoint(checkpoint, sha256))
    vocab = checkpoint.parent / "vocab.txt"
    if not vocab.is_file() and hub_sha256(checkpoint):
        vocab = find_files(VOCABULARY_HUB_ID, [vocab.name]) / vocab.name
    require_file(vocab, "put the vocabulary of bert-base-uncased there")
    model = ImageReward(
        config or ImageRewardConfig(), vocab.read_text(encoding="utf-8").splitlines()
    )
    load_weights(model, state, checkpoint)
    _keep(model, kept, file_sha256(checkpoint))
    return model.eval()


def _keep(model: ImageReward, folder: Path, source_sha256: str) -> None:
    """Write the folder whole or not at all: what is there is used from then on."""
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        model.save(partial, {"source_sha256": source_sha256})
        partial.rename(folder)
    except OSError as error:
        message = f"{folder}: cannot be written ({error}); copy the .pt elsewhere"
        raise InputError(message) from error
