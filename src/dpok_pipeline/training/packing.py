"""Nested state to JSON and tensors, and back, without pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

_TENSOR = "__tensor__"
_ITEMS = "__items__"


def pack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """Replace every tensor in a tree by its number, and collect the tensors.

    Dictionaries with keys that are no text (an optimiser's state) become lists of pairs; tuples
    become lists. Floats survive JSON exactly.

    Args:
        tree: dicts, lists, tuples, tensors, arrays, numbers, text, None.
        tensors: filled with copies on the CPU.

    Returns:
        What `json.dumps` takes.
    """
    if isinstance(tree, np.ndarray):
        tree = torch.from_numpy(tree.copy())
    if isinstance(tree, Tensor):
        name = f"{len(tensors):06d}"
        # Cloned: safetensors refuses tensors that share memory.
        tensors[name] = tree.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: name}
    if isinstance(tree, dict):
        if all(isinstance(key, str) for key in tree):
            return {key: pack(value, tensors) for key, value in tree.items()}
        return {_ITEMS: [[key, pack(value, tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return [pack(value, tensors) for value in tree]
    return tree


def unpack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo `pack`, except that tuples stay lists and arrays tensors."""
    if isinstance(tree, dict):
        if tree.keys() == {_TENSOR}:
            return tensors[tree[_TENSOR]]
        if tree.keys() == {_ITEMS}:
            return {key: unpack(value, tensors) for key, value in tree[_ITEMS]}
        return {key: unpack(value, tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [unpack(value, tensors) for value in tree]
    return tree
