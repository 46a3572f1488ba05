"""Networks of EmojiWorld, whose classes save themselves into a folder and load from one."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from dpok_pipeline.datasets.previews.guard import or_nothing
from dpok_pipeline.datasets.previews.models import describe_folder
from dpok_pipeline.datasets.previews.tables import facts
from dpok_pipeline.errors import InputError

if TYPE_CHECKING:
    from kedro_datasets._typing import TablePreview

# Packages whose classes an entry may name. Besides them, only a user's reward is imported by name.
PACKAGES = ("diffusers", "dpok_pipeline")


class NetworkDataset(AbstractDataset[Any, Any]):
    """A folder that a network writes by `save_pretrained` or `save`.

    The network's class reads it by `from_pretrained` or `from_folder`.

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
            InputError: The class is neither from this project nor from diffusers.
        """
        module, _, name = self._network.rpartition(".")
        if module.partition(".")[0] not in PACKAGES:
            raise InputError(
                f"network {self._network}: only {' and '.join(PACKAGES)} have networks to load; "
                "correct its entry in conf/*/catalog*.yml"
            )
        network = getattr(importlib.import_module(module), name)
        load = getattr(network, "from_pretrained", None) or network.from_folder
        safe = {"use_safetensors": True} if module.startswith("diffusers") else {}
        return load(self._filepath, **safe)

    def save(self, data: Any) -> None:
        """Write the folder under another name, then put it in the place of the old folder."""
        partial = self._filepath.with_name(f"{self._filepath.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        save = getattr(data, "save_pretrained", None) or data.save
        save(partial)
        shutil.rmtree(self._filepath, ignore_errors=True)
        partial.rename(self._filepath)

    @or_nothing
    def preview(self) -> TablePreview:
        """Return the network's class, parts and size, in the form that kedro-viz shows."""
        return facts([("network", self._network), *describe_folder(self._filepath)])

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "network": self._network}
