"""LoRA weights as a versioned folder that plain diffusers loads."""

from __future__ import annotations

from pathlib import Path

from dpok_pipeline.datasets.versioned import SealedFolderDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import check, copy_sealed


class LoRADataset(SealedFolderDataset[Path, Path]):
    """A folder for ``StableDiffusionPipeline.load_lora_weights``, one per version.

    Saving takes the folder that training finished and copies it; loading returns the folder
    of the version after comparing every file with its hash.

    Example:
        ```yaml
        "{experiment}.rl_lora":
          type: dpok_pipeline.datasets.lora.LoRADataset
          filepath: data/06_models/{experiment}/rl_lora
          versioned: true
        ```
    """

    def save(self, data: Path) -> None:
        """Copy a finished LoRA folder.

        Args:
            data: A folder that holds `pytorch_lora_weights.safetensors`.

        Raises:
            InputError: It does not.
        """
        from dpok_pipeline.diffusion.lora import WEIGHTS_NAME

        if not (Path(data) / WEIGHTS_NAME).is_file():
            raise InputError(f"{data}: no LoRA to save, {WEIGHTS_NAME} is missing")
        copy_sealed(Path(data), Path(self._get_save_path()), metadata={})

    def load(self) -> Path:
        """Return the folder of the newest finished version.

        Raises:
            InputError: A file of it is missing, truncated or changed.
        """
        folder = self._finished_folder()
        check(folder)
        return folder
