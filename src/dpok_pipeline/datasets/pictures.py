"""Pictures and pages of the report, which kedro-viz can preview."""

from __future__ import annotations

import re
from html import escape, unescape
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro.io import AbstractVersionedDataset, Version

from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.pictures import picture
from dpok_pipeline.datasets.previews.tables import cell, size
from dpok_pipeline.datasets.whole_files import ParquetDataset
from dpok_pipeline.files.durable import save_whole

if TYPE_CHECKING:
    from kedro_datasets._typing import HTMLPreview, ImagePreview
    from PIL.Image import Image


# Of a page's preview: how many of its first paragraphs, and what counts as one.
LINES, FEWEST_CHARACTERS = 2, 60
# What a browser does not show, among it the libraries of interactive figures.
UNSEEN = r"<(script|style|noscript)\b.*?</\1>"


class _FileDataset(AbstractVersionedDataset[Any, Any]):
    """A dataset of one file per version, which is either whole or absent."""

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.metadata = metadata
        super().__init__(PurePosixPath(filepath), version)

    def _write(self, content: bytes) -> None:
        save_whole(self._get_save_path(), content)

    def _read(self) -> bytes:
        return Path(self._get_load_path()).read_bytes()

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath.as_posix(), "version": self._version}


class PictureDataset(_FileDataset):
    """A PIL image in a PNG file, with the preview that Kedro's image dataset lacks."""

    def save(self, data: Image) -> None:
        """Write a PIL image as PNG."""
        buffer = BytesIO()
        data.save(buffer, "PNG")
        self._write(buffer.getvalue())

    def load(self) -> Image:
        """Return the picture as a PIL image."""
        from PIL import Image

        image = Image.open(BytesIO(self._read()))
        image.load()
        return image

    @or_nothing
    def preview(self) -> ImagePreview:
        """Return the picture, no wider than a page, in the form that kedro-viz shows."""
        return picture(self.load())


class FilmstripDataset(ParquetDataset):
    """What a method made of the same noises while it trained; None if nobody drew it.

    A LoRA from before there were filmstrips can therefore be evaluated.
    """

    may_be_absent = True

    def load(self) -> pd.DataFrame | None:
        """Return the table of the version to load; None if there is none."""
        # A run that goes on can ask for its own version, of a node that was done without one.
        if not self.exists():
            return None
        table: pd.DataFrame = super().load()
        return table

    @or_nothing
    def preview(self) -> ImagePreview:  # type: ignore[override]
        """Return the whole strip as one picture, in the form that kedro-viz shows."""
        from dpok_pipeline.report.pictures.strips import draw_strip, on_white

        return picture(on_white(draw_strip(super().load())))


class PageDataset(_FileDataset):
    """A self-contained HTML page."""

    def save(self, data: str) -> None:
        """Write the page."""
        self._write(data.encode("utf-8"))

    def load(self) -> str:
        """Return the page."""
        return self._read().decode("utf-8")

    @or_nothing
    def preview(self) -> HTMLPreview:
        """Return what a page is about and where it lies: whole, it may be megabytes."""
        from kedro_datasets._typing import HTMLPreview

        page = re.sub(UNSEEN, "", self.load(), flags=re.DOTALL)
        heading, *_ = _texts("h1", page) or _texts("title", page)
        lines = [text for text in _texts("p", page) if len(text) >= FEWEST_CHARACTERS]
        path = Path(self._get_load_path())
        return HTMLPreview(
            f"<h2>{escape(heading)}</h2>"
            + "".join(f"<p>{escape(line)}</p>" for line in lines[:LINES])
            + f"<p>{size(path.stat().st_size)}, to be opened in a browser:<br>"
            + f"<code>{escape(str(cell(path)))}</code></p>"
        )


def _texts(element: str, page: str) -> list[str]:
    """Return the texts of all elements of a name, without what is marked up in them."""
    contents = re.findall(rf"<{element}\b[^>]*>(.*?)</{element}>", page, flags=re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]+>", "", text)).split()) for text in contents]
