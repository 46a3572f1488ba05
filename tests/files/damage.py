"""Ways to damage a file that a test must find out about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "zero bytes": lambda path: path.write_bytes(b""),
    "flipped bit": flip_a_bit,
    "missing": Path.unlink,
}
