"""Images in Parquet shards, which are drawn in a work folder and linked into the catalog."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

from dpok_pipeline.datasets.versioned import SealedFolderDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import link_sealed, read_manifest
from dpok_pipeline.files.shards import Shards

PREVIEW_IMAGES = 24
PREVIEW_COLUMNS = 8
PREVIEW_PIXELS = 96


class ShardedParquetDataset(SealedFolderDataset[Path, Shards]):
    """A folder of finished shards, one per version.

    Saving takes the folder in which the shards were drawn. Its files are linked and not copied, so
    that every image is written to the disk once. Loading returns a reader of the shards.

    A column `image` in Hugging Face's form (a struct of `bytes` and `path`) gets a contact sheet
    as its preview in kedro-viz.

    Example:
        ```yaml
        "{experiment}.sft_samples":
          type: dpok_pipeline.datasets.shards.ShardedParquetDataset
          filepath: data/05_model_input/{experiment}/sft_samples
          versioned: true
        ```
    """

    def save(self, data: Path) -> None:
        """Put a folder of finished shards into the catalog.

        Args:
            data: Folder whose manifest says that it is complete.

        Raises:
            InputError: The folder is not complete.
        """
        manifest = read_manifest(Path(data))
        link_sealed(Path(data), Path(self._get_save_path()), manifest.metadata)

    def load(self) -> Shards:
        """Return a reader of the newest finished version."""
        return Shards(self._finished_folder())

    def preview(self) -> Any:
        """Return the first images as one picture, in the form that kedro-viz shows."""
        from kedro_datasets._typing import ImagePreview
        from PIL import Image

        frame = next(self.load().read(["image"]), None)
        if frame is None:
            raise InputError(f"{self._filepath}: no images to preview")
        tiles = [
            Image.open(BytesIO(image["bytes"])).convert("RGB")
            for image in frame["image"].head(PREVIEW_IMAGES)
        ]
        side = PREVIEW_PIXELS
        rows = -(-len(tiles) // PREVIEW_COLUMNS)
        sheet = Image.new("RGB", (side * PREVIEW_COLUMNS, side * rows), "white")
        for number, tile in enumerate(tiles):
            place = (number % PREVIEW_COLUMNS * side, number // PREVIEW_COLUMNS * side)
            sheet.paste(tile.resize((side, side)), place)
        buffer = BytesIO()
        sheet.save(buffer, "PNG")
        return ImagePreview(base64.b64encode(buffer.getvalue()).decode())
