"""The sprites, which are Noto Color Emoji glyphs as PNG files, and their coloured versions.

`draw_sprites` has drawn the files from the font (SIL Open Font Licence). They are kept in the
repository, so that nothing else needs the font.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dpok_pipeline.emoji_world.vocabulary import COLOURS, KIND_NAMES, KINDS, NATURAL
from dpok_pipeline.errors import InputError

FONT_SIZE = 109  # the only size that the font's bitmaps exist in
SPRITE_SIZE = 96


def draw_sprites(font_file: Path, folder: Path) -> list[Path]:
    """Draw every kind's glyph into `folder` as a 96x96 RGBA PNG and return the files."""
    font = ImageFont.truetype(str(font_file), FONT_SIZE)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind in KINDS:
        canvas = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
        ImageDraw.Draw(canvas).text((8, 8), kind.emoji, font=font, embedded_color=True)
        glyph = canvas.crop(canvas.getbbox())
        side = max(glyph.size)
        square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        square.paste(glyph, ((side - glyph.width) // 2, (side - glyph.height) // 2))
        file = folder / f"{kind.name}.png"
        square.resize((SPRITE_SIZE, SPRITE_SIZE), Image.Resampling.LANCZOS).save(file)
        files.append(file)
    return files


def tint(sprite: Image.Image, rgb: tuple[int, int, int]) -> Image.Image:
    """Colour a sprite by turning its brightness into a ramp from near-black over `rgb` to light.

    The ramp keeps eyes dark and highlights light, so that the kind can still be told.
    """
    pixels = np.asarray(sprite, dtype=np.float32)
    brightness = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255.0
    visible = pixels[..., 3] > 128
    # Stretched to the sprite's range, so that a dark wolf and a white rabbit get equally green.
    low, high = np.percentile(brightness[visible], [2, 98])
    level = np.clip((brightness - low) / max(high - low, 1e-3), 0, 1)[..., None]
    colour = np.array(rgb, dtype=np.float32)
    dark, light = colour * 0.15, colour + (255 - colour) * 0.30
    shaded = np.where(level < 0.6, dark + (colour - dark) * level / 0.6,
                      colour + (light - colour) * (level - 0.6) / 0.4)  # fmt: skip
    return Image.fromarray(
        np.concatenate([shaded, pixels[..., 3:]], axis=-1).round().astype(np.uint8), "RGBA"
    )


class SpriteSheet:
    """All sprites in all colours, resized on demand and then cached."""

    def __init__(self, folder: Path) -> None:
        """Read the sprites of every kind.

        Raises:
            InputError: A sprite is missing or unreadable.
        """
        self._sprites: dict[tuple[str, str], Image.Image] = {}
        self._resized: dict[tuple[str, str, int, bool], Image.Image] = {}
        for name in KIND_NAMES:
            file = Path(folder) / f"{name}.png"
            try:
                natural = Image.open(file).convert("RGBA")
            except OSError as error:
                raise InputError(f"{file}: cannot read this sprite ({error})") from error
            self._sprites[name, NATURAL] = natural
            for colour, rgb in COLOURS.items():
                self._sprites[name, colour] = tint(natural, rgb)

    def get(self, kind: str, colour: str, size: int, flipped: bool = False) -> Image.Image:
        """Return the RGBA sprite of a kind and colour at `size` pixels."""
        key = (kind, colour, size, flipped)
        if key not in self._resized:
            sprite = self._sprites[kind, colour].resize((size, size), Image.Resampling.LANCZOS)
            if flipped:
                sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            self._resized[key] = sprite
        return self._resized[key]
