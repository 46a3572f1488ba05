"""Pictures and pages of the report, which kedro-viz can preview."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractVersionedDataset, Version

from dpok_pipeline.files.durable import save_whole

if TYPE_CHECKING:
    from PIL.Image import Image


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

    def preview(self) -> Any:
        """Return the picture in the form that kedro-viz shows."""
        from kedro_datasets._typing import ImagePreview

        return ImagePreview(base64.b64encode(self._read()).decode())


class PageDataset(_FileDataset):
    """A self-contained HTML page."""

    def save(self, data: str) -> None:
        """Write the page."""
        self._write(data.encode("utf-8"))

    def load(self) -> str:
        """Return the page."""
        return self._read().decode("utf-8")

    def preview(self) -> Any:
        """Return the page in the form that kedro-viz shows."""
        from kedro_datasets._typing import HTMLPreview

        return HTMLPreview(self.load())
