"""Catalog entries that take a LoRA, and what was logged with it, from MLflow's registry."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.manifest import (
    MANIFEST,
    check_folder,
    copy_sealed,
    folder_digest,
)
from dpok_pipeline.pipelines.mlflow_store import client_of, connect, in_one_line, reason_of
from dpok_pipeline.tracking.model_versions import CONTENT, DATASET, DATASET_VERSION

logger = logging.getLogger(__name__)

URI = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>\d+))")
#: Where MLflow's diffusers flavour keeps a LoRA inside a logged model.
ADAPTER = "adapter_weights"
#: Digits of a run's id in the name of a folder.
SHORT = 12
#: What MLflow answers when there is no such model, alias, version or file.
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class RegisteredDataset(AbstractDataset[Any, Any]):  # type: ignore[misc]
    """The base of entries that are read from a version of a registered model.

    An alias is resolved once, so that all of a command reads the same version.

    Args:
        uri: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        filepath: Folder that keeps what was downloaded.
        tracking_uri: MLflow's store; the configuration loader fills in that of mlflow.yml.
        metadata: Metadata of the entry.

    Attributes:
        only_read: Why no command can make it, for the line that refuses one.
    """

    only_read = "its catalog entry takes it from MLflow's registry"

    def __init__(
        self,
        *,
        uri: str,
        filepath: str,
        tracking_uri: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        match = URI.fullmatch(uri)
        if match is None:
            raise InputError(
                f"conf/*/catalog*.yml: uri is {uri!r}: give models:/NAME@ALIAS or models:/NAME/3"
            )
        self.metadata = metadata
        self._uri, self._store, self._parts = uri, tracking_uri, match.groupdict()
        self._cache = Path(filepath)
        self._resolved: Any = None

    @property
    def registered_version(self) -> str:
        """The version that is read, `models:/NAME/3`, whatever the alias points to later."""
        version = self._version_info()
        return f"models:/{version.name}/{version.version}"

    @property
    def local_path(self) -> Path:
        """The downloaded file or folder, checked."""
        raise NotImplementedError

    def _get_load_path(self) -> Path:
        return self.local_path

    def save(self, data: Any) -> None:
        """Refuse to write.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{self._uri}: {self.only_read}; it cannot be saved")

    def _version_info(self) -> Any:
        """Ask the registry for the version, once.

        Raises:
            InputError: The store does not answer, or has no such model, alias or version.
        """
        if self._resolved is None:
            connect(self._store)
            with self._absent_in_one_line():
                client, name = client_of(self._store), self._parts["name"]
                if (alias := self._parts["alias"]) is not None:
                    found = client.get_model_version_by_alias(name, alias)
                else:
                    found = client.get_model_version(name, self._parts["version"])
            self._resolved = found
            origin = found.tags.get(DATASET_VERSION, "of unknown origin")
            logger.info("%s is version %s (%s)", self._uri, found.version, origin)
        return self._resolved

    @contextmanager
    def _absent_in_one_line(self) -> Iterator[None]:
        """End in one line: the store does not answer, or has not what is asked for."""
        try:
            with in_one_line():
                yield
        except InputError as error:
            if getattr(error.__cause__, "error_code", None) not in ABSENT:
                raise
            raise InputError(
                f"{self._uri}: {reason_of(error.__cause__ or error)}; correct uri in "
                "conf/*/catalog*.yml, `kedro mlflow ui` lists the models"
            ) from None

    def _folder(self) -> Path:
        version = self._version_info()
        # Another store, or one that has begun anew, has versions of the same numbers.
        run = (version.run_id or "no_run")[:SHORT]
        return self._cache / run / f"{version.name}-v{version.version}"

    def _exists(self) -> bool:
        return True  # Reading says more exactly what is wrong.

    def _describe(self) -> dict[str, Any]:
        return {"uri": self._uri, "filepath": self._cache.as_posix()}


class RegisteredLoRADataset(RegisteredDataset):
    """A LoRA folder from MLflow's registry, for evaluation.

    Its files are downloaded once per version and compared with the hashes that were registered.

    Example:
        ```yaml
        "{experiment}.dpok.lora":
          type: dpok_pipeline.tracking.registered.RegisteredLoRADataset
          uri: "models:/dpok_pipeline.{experiment}.dpok@best"
          filepath: data/06_models/registered
        ```
    """

    @property
    def local_path(self) -> Path:
        """The LoRA's folder.

        Raises:
            InputError: The version holds no LoRA, or its files differ from what was registered.
        """
        folder = self._folder() / "lora"
        if not self._is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            self._download(folder)
            if not self._is_whole(folder):
                raise InputError(
                    f"{self.registered_version}: its files differ from the hash that was "
                    "registered; take another version"
                )
        return folder

    def load(self) -> Path:
        """Return the LoRA's folder."""
        return self.local_path

    def _is_whole(self, folder: Path) -> bool:
        """Say whether a folder has every file as it was registered."""
        expected = self._version_info().tags.get(CONTENT)
        try:
            check_folder(folder)
        except InputError:
            return False
        return expected in (None, folder_digest(folder))

    def _download(self, folder: Path) -> None:
        from mlflow.artifacts import download_artifacts

        version = self._version_info()
        with tempfile.TemporaryDirectory() as temporary:
            with self._absent_in_one_line():
                client = client_of(self._store)
                source = client.get_model_version_download_uri(version.name, version.version)
                model = download_artifacts(
                    artifact_uri=source, dst_path=temporary, tracking_uri=self._store
                )
            adapter = Path(model) / ADAPTER
            check_folder(adapter)
            (adapter / MANIFEST).unlink()
            copy_sealed(adapter, folder, metadata={})


class RegisteredTableDataset(RegisteredDataset):
    """A table that the run of a registered LoRA has logged beside it, such as its curves.

    Args:
        artifact: Path below the LoRA's namespace in the run's artifacts, as in the example.
        options: The fields of `RegisteredDataset`.

    Example:
        ```yaml
        "{experiment}.dpok.curves":
          type: dpok_pipeline.tracking.registered.RegisteredTableDataset
          uri: "models:/dpok_pipeline.{experiment}.dpok@best"
          filepath: data/06_models/registered
          artifact: curves/curves.parquet
        ```
    """

    def __init__(self, *, artifact: str, **options: Any) -> None:
        super().__init__(**options)
        self._artifact = artifact

    @property
    def local_path(self) -> Path:
        """The table's file."""
        path = self._folder() / self._artifact
        if not path.is_file():
            version = self._version_info()
            namespace = version.tags.get(DATASET, "").rpartition(".")[0].replace(".", "/")
            partial = self._folder() / "partial"
            partial.mkdir(parents=True, exist_ok=True)
            with self._absent_in_one_line():
                found = client_of(self._store).download_artifacts(
                    version.run_id, f"{namespace}/{self._artifact}", str(partial)
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            Path(found).replace(path)
            shutil.rmtree(partial)
        return path

    def load(self) -> pd.DataFrame:
        """Read the table."""
        return pd.read_parquet(self.local_path)
