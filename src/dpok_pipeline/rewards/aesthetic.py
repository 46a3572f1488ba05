"""The LAION aesthetic predictor, which rates images from about 1 to 10 by how pleasing they are.

It is christophschuhmann/improved-aesthetic-predictor, a small head on CLIP's image embedding. It
does not read the prompt, and can therefore tell over-optimised images from good ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.rewards.clip import ClipEmbedder
from dpok_pipeline.rewards.folders import (
    check_source,
    load_weights,
    read_foreign_checkpoint,
    read_safetensors,
)
from dpok_pipeline.rewards.heads import LINEAR_POSITIONS, ScoreHead


class AestheticScorer(nn.Module):
    """A score head on L2-normalised CLIP image embeddings."""

    def __init__(self, clip: ClipEmbedder, head: ScoreHead) -> None:
        """Score the embeddings of `clip` by `head`."""
        super().__init__()
        self.clip = clip
        self.head = head.eval().requires_grad_(False)

    @classmethod
    def from_files(
        cls, head: Path | str, clip: Path | str, sha256: str | None = None
    ) -> AestheticScorer:
        """Load the head and the CLIP that it was trained on.

        Args:
            head: A folder with `head.safetensors`, that file, or the published `.pth`.
            clip: The folder of a saved `CLIPModel`.
            sha256: The hash that a published `.pth` must have; None accepts any.

        Raises:
            InputError: A file is missing or damaged, or the head does not fit the CLIP.
        """
        path = Path(head)
        path = path / "head.safetensors" if path.is_dir() else path
        if path.suffix != ".safetensors":
            path = keep_as_safetensors(path, sha256)
        loaded = head_from_state(read_safetensors(path), path)
        embedder = ClipEmbedder.from_folder(clip)
        width = loaded.width
        if width != embedder.width:
            raise InputError(
                f"{path}: reads embeddings of width {width}, the CLIP in {clip} gives "
                f"{embedder.width}; use the CLIP that the head was trained on"
            )
        return cls(embedder, loaded)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score images `(b, 3, h, w)` in [0, 1] as `(b,)`; the prompts are not read."""
        del prompts
        score: Tensor = self.head(self.clip.embed(images))
        return score


def head_from_state(state: Mapping[str, Tensor], source: Path) -> ScoreHead:
    """Build the head that fits the tensors `layers.{0,2,4,6,7}.{weight,bias}`.

    Raises:
        InputError: A tensor is missing, or the widths of two successive layers do not fit.
    """
    names = [f"layers.{position}.weight" for position in LINEAR_POSITIONS]
    for name in names:
        if name not in state or state[name].ndim != 2:
            raise InputError(f"{source}: no matrix `{name}`; not an aesthetic head")
    width = state[names[0]].shape[1]
    head = ScoreHead(width, [state[name].shape[0] for name in names[:-1]])
    load_weights(head, state, source)
    return head


def keep_as_safetensors(path: Path, sha256: str | None = None) -> Path:
    """Turn a published `.pth` head into a safetensors file beside it, once.

    Returns:
        The safetensors file, which names its source's hash and is used from then on.

    Raises:
        InputError: The `.pth` is missing, damaged or has another hash, or the safetensors file that
            is there was made from another `.pth`.
    """
    converted = path.with_suffix(".safetensors")
    if converted.is_file():
        check_source(converted, path, sha256)
        return converted
    state = read_foreign_checkpoint(path, sha256)
    try:
        save_file(dict(state), converted, metadata={"source_sha256": file_sha256(path)})
    except OSError as error:
        message = f"{converted}: cannot be written ({error}); copy the .pth elsewhere"
        raise InputError(message) from error
    return converted
