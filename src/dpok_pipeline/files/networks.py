"""Load networks of diffusers and transformers, every tensor of which must come from the file.

The libraries' own loaders fill what a file lacks with random numbers and pass over what they do
not know, with a warning at most. Such a network runs, and two loads of it give two results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpok_pipeline.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

#: What a loader says of a file's tensors, and what it means.
_FAULTS = {
    "missing_keys": "is missing in the file",
    "unexpected_keys": "is not part of this network",
    "mismatched_keys": "has another shape than config.json says",
}

#: The largest networks have about a hundred.
MOST_LAYERS = 1000

# Characters of a library's message that are shown.
_SHOWN = 200


def load_network(kind: Any, folder: Path, **options: Any) -> Any:
    """Load a network from its folder.

    Args:
        kind: Class of the network, with `from_pretrained`.
        folder: Folder with the configuration and the weights in safetensors format.
        options: Further arguments of `from_pretrained`, such as the number type.

    Raises:
        InputError: The folder does not hold such a network, a tensor is missing, unknown or of
            another shape, or a weight is not finite.
    """
    _check_layers(folder / "config.json")
    try:
        network, report = kind.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # the libraries raise many kinds for a damaged folder
        raise InputError(f"{folder}: no whole {kind.__name__} ({reason_of(error)})") from error
    for fault, meaning in _FAULTS.items():
        if report[fault]:
            # Some loaders list a shape beside the name.
            names = sorted(key if isinstance(key, str) else str(key[0]) for key in report[fault])
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"{folder}: no whole {kind.__name__}: tensor `{names[0]}`{more} {meaning}; "
                "copy the folder again, or correct config.json"
            )
    check_finite(network.named_parameters(), folder)
    return network


def _check_layers(path: Path) -> None:
    """Refuse numbers of layers that a library would go on building for hours."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # The library says what is wrong with the file.
    for name, number in _numbers("", config):
        if "layers" in name and number > MOST_LAYERS:
            raise InputError(
                f"{path}: {name} is {number}, more than {MOST_LAYERS}; copy the file again"
            )


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield every number of a configuration with the name that it stands under."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(name, inner)
    elif isinstance(value, int | float):
        yield name, value


def check_finite(weights: Iterable[tuple[str, Tensor]], source: Path) -> None:
    """Refuse weights of which one is infinite or no number: all that they compute would be, too.

    Args:
        weights: Floating-point tensors with their names.
        source: The file or folder that they come from.

    Raises:
        InputError: A tensor is not finite.
    """
    for name, weight in weights:
        if not weight.isfinite().all():
            raise InputError(f"{source}: tensor `{name}` is not finite; copy it again")


def reason_of(error: BaseException) -> str:
    """Return what an error says in one short line, or its kind where it says nothing."""
    words = " ".join(str(error).split())
    return words[:_SHOWN] + "…" * (len(words) > _SHOWN) if words else type(error).__name__


def load_clip_tokenizer(folder: Path, vocabulary: int) -> Any:
    """Load the tokenizer of a CLIP text encoder.

    Args:
        folder: Folder with the tokenizer's files.
        vocabulary: Number of tokens that the text encoder has an embedding for.

    Raises:
        InputError: The files hold no such tokenizer, or one with more tokens.
    """
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        largest = max(tokenizer.get_vocab().values())
        tokenizer("a")
    except Exception as error:  # the library raises many kinds for a damaged folder
        raise InputError(f"{folder}: no whole CLIPTokenizer ({reason_of(error)})") from error
    if largest >= vocabulary:
        raise InputError(
            f"{folder}: the tokenizer has tokens up to number {largest}, the text encoder's "
            f"vocabulary ends at {vocabulary - 1}; take the tokenizer of the same model"
        )
    return tokenizer
