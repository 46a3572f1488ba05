"""LoRA weights in a versioned folder that plain diffusers loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.models import describe_lora
from dpok_pipeline.datasets.previews.tables import facts
from dpok_pipeline.datasets.versioned import SealedFolderDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import check_folder, copy_sealed

if TYPE_CHECKING:
    from kedro_datasets._typing import TablePreview


class LoRADataset(SealedFolderDataset[Path, Path]):
    """A folder for `StableDiffusionPipeline.load_lora_weights`, one per version.

    Saving copies the folder that training has finished. Loading compares every file with its hash,
    and returns the folder of the version.

    Example:
        ```yaml
        "{experiment}.{method}.lora":
          type: dpok_pipeline.datasets.lora.LoRADataset
          filepath: data/06_models/{experiment}/{method}/lora
          versioned: true
        ```
    """

    def save(self, data: Path) -> None:
        """Copy a finished LoRA folder.

        Args:
            data: Folder that holds `pytorch_lora_weights.safetensors`.

        Raises:
            InputError: The folder does not hold that file.
        """
        from dpok_pipeline.diffusion.lora import WEIGHTS_NAME

        if not (Path(data) / WEIGHTS_NAME).is_file():
            raise InputError(f"{data}: no LoRA to save, {WEIGHTS_NAME} is missing")
        copy_sealed(Path(data), Path(self._get_save_path()), metadata={})

    def load(self) -> Path:
        """Return the folder of the newest finished version.

        Raises:
            InputError: A file of the folder is missing, truncated or changed.
        """
        folder = self._finished_folder()
        check_folder(folder)
        return folder

    @or_nothing
    def preview(self) -> TablePreview:
        """Return what the LoRA's card says of it, in the form that kedro-viz shows."""
        return facts(describe_lora(self._finished_folder()))
