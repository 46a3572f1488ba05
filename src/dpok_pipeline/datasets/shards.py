"""Images in Parquet shards, which are drawn in a work folder and linked into the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.pictures import COLUMNS, Group, Tile, contact_sheet
from dpok_pipeline.datasets.versioned import SealedFolderDataset
from dpok_pipeline.files.manifest import link_sealed, read_manifest
from dpok_pipeline.files.shards import Shards

if TYPE_CHECKING:
    import pandas as pd
    from kedro_datasets._typing import ImagePreview

PREVIEW_SHARDS = 4
# What is said of an image, if its shard says so.
CAPTIONS = {"reward": "reward", "kl": "KL"}


class ShardedParquetDataset(SealedFolderDataset[Path, Shards]):
    """A folder of finished shards, one per version.

    Saving takes the folder in which the shards were drawn. Its files are linked and not copied, so
    that every image is written to the disk once. Loading returns a reader of the shards.

    A column `image` in Hugging Face's form (a struct of `bytes` and `path`) gets a contact sheet
    as its preview in kedro-viz: the first of a few shards, with their rewards where there are any.

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

    @or_nothing
    def preview(self) -> ImagePreview:
        """Return some images as one picture, in the form that kedro-viz shows."""
        return contact_sheet([_group(rows) for rows in self.load().glance(PREVIEW_SHARDS, COLUMNS)])


def _group(rows: pd.DataFrame) -> Group:
    """Return a shard's first images with what is known of each."""
    prompts: list[str] = list(rows["prompt"].unique()) if "prompt" in rows else []
    known = next((name for name in CAPTIONS if name in rows), None)
    captions = [""] * len(rows)
    if known is not None:
        captions = [f"{CAPTIONS[known]} {number:.2g}" for number in rows[known]]
    images = [image["bytes"] for image in rows["image"]]
    return Group(" · ".join(prompts), list(map(Tile, images, captions)))
