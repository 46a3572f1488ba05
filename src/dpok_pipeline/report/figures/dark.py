"""What the colours of figures become on dark paper."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import ImageColor

from dpok_pipeline.report.figures.style import CONTEXT, HALO, INK, NEITHER, QUIET, RULE

#: The page's own dark colours, as `templates/page.css` has them.
PAPER = "#191917"
DARK = {
    INK: "#eeece4",
    QUIET: "#a8a69c",
    RULE: "#3d3c37",
    CONTEXT: "#4a4943",
    NEITHER: "#5a5951",
    HALO: "rgba(25, 25, 23, 0.7)",
}
#: The contrast that WCAG asks of text: methods are named in their colours.
CONTRAST = 4.5


def dark_colours(colours: Iterable[str]) -> dict[str, str]:
    """Return what stands for each colour on dark paper: those of figures, and the given ones.

    Args:
        colours: Further colours, such as those of methods, as `#rrggbb`.
    """
    return {**DARK, **{colour.lower(): on_dark(colour) for colour in colours}}


def on_dark(colour: str) -> str:
    """Lighten a colour, as far as needed, until a text in it can be read on dark paper."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    for white in range(0, 100, 5):
        mixed = tuple(round(part + (255 - part) * white / 100) for part in (red, green, blue))
        lighter = "#{:02x}{:02x}{:02x}".format(*mixed)
        if contrast(lighter, PAPER) >= CONTRAST:
            return lighter
    return "#ffffff"


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21, as WCAG 2.2 defines it."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    """Return the relative luminance of an sRGB colour."""
    parts = [value / 255 for value in ImageColor.getrgb(colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
