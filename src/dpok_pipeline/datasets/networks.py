"""Networks of the world: any class that saves itself into a folder and loads itself from one."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from dpok_pipeline.errors import InputError

# A reward of the user's own is the only other thing that is imported by its name.
KNOWN = ("diffusers", "dpok_pipeline")


class NetworkDataset(AbstractDataset[Any, Any]):
    """A folder written by `save_pretrained` or `save`, read by `from_pretrained` or `from_folder`.

    Example:
        ```yaml
        world.autoencoder:
          type: dpok_pipeline.datasets.networks.NetworkDataset
          filepath: data/06_models/world/autoencoder
          network: diffusers.AutoencoderKL
        ```
    """

    def __init__(
        self, *, filepath: str, network: str, metadata: dict[str, Any] | None = None
    ) -> None:
        self._filepath = Path(filepath)
        self._network = network
        self.metadata = metadata

    def load(self) -> Any:
        """Return the network.

        Raises:
            InputError: Its class is neither the project's own nor diffusers'.
        """
        module, _, name = self._network.rpartition(".")
        if module.partition(".")[0] not in KNOWN:
            raise InputError(
                f"network {self._network}: only {' and '.join(KNOWN)} have networks to load; "
                "correct its entry in conf/*/catalog*.yml"
            )
        network = getattr(importlib.import_module(module), name)
        load = getattr(network, "from_pretrained", None) or network.from_folder
        safe = {"use_safetensors": True} if module.startswith("diffusers") else {}
        return load(self._filepath, **safe)

    def save(self, data: Any) -> None:
        """Write the folder aside and put it in the old one's place."""
        partial = self._filepath.with_name(f"{self._filepath.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        save = getattr(data, "save_pretrained", None) or data.save
        save(partial)
        shutil.rmtree(self._filepath, ignore_errors=True)
        partial.rename(self._filepath)

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "network": self._network}
