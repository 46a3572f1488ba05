"""Chains of records: through MLflow's registry, and with files that are not what they were."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from kedro.framework.cli.utils import _split_params
from kedro.io import DataCatalog, Version

from dpok_pipeline.datasets.lora import LoRADataset
from dpok_pipeline.datasets.whole_files import JSONDataset
from dpok_pipeline.files.fingerprint import flatten
from dpok_pipeline.files.manifest import copy_sealed
from dpok_pipeline.lineage.again import command_again
from dpok_pipeline.lineage.chain import Archive, Chain, Entry
from dpok_pipeline.lineage.records import Command, Record, Source, content_digest, write_record

VERSION = "2026-01-01T00.00.00.000Z"
LORA, IMAGES, SCORES = "color.dpok.lora", "color.dpok.images", "color.dpok.scores"
REGISTERED = Source(name=LORA, version="models:/here.color.dpok/3", digest="abc")


class Registry:
    """Knows one registered LoRA, and no version without a record."""

    def __init__(self, origin: Source) -> None:
        self._origin = origin

    def remembered(self, name: str, version: str) -> None:
        return None

    def registered(self, uri: str) -> Source | None:
        return self._origin if uri == REGISTERED.version else None


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    def entry(kind: type, name: str) -> object:
        path = (tmp_path / "data" / "07_model_output" / name).as_posix()
        return kind(filepath=path, version=Version(None, None))

    kinds = {LORA: LoRADataset, IMAGES: JSONDataset, SCORES: JSONDataset}
    return DataCatalog({name: entry(kind, name) for name, kind in kinds.items()})


@pytest.fixture
def lora(tmp_path: Path) -> Source:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "lora.safetensors").write_bytes(b"weights")
    path = tmp_path / "data" / "07_model_output" / LORA / VERSION / LORA
    copy_sealed(weights, path, {})
    return note(tmp_path, LORA)


def note(project: Path, name: str, *inputs: Source) -> Source:
    """Write the record of a version, and its file if it is no folder."""
    path = project / "data" / "07_model_output" / name / VERSION / name
    if not path.exists():
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    record = Record(
        name=name,
        version=VERSION,
        path=path.relative_to(project).as_posix(),
        digest=content_digest(path),
        node=f"{name}_node",
        inputs=inputs,
        command=Command(text="kedro run", started=VERSION),
    )
    write_record(path.parent, record)
    return Source(name=name, version=VERSION, digest=record.digest)


def names(chain: Chain) -> list[str]:
    return [name for name, _ in chain.entries]


def state(entry: Entry) -> tuple[str, str]:
    (only,) = entry.paths.values()
    return only


def test_a_lora_from_the_registry_leads_on_to_its_version(
    catalog: DataCatalog, lora: Source, tmp_path: Path
) -> None:
    images = note(tmp_path, IMAGES, REGISTERED)
    archive = Archive(catalog, tmp_path, memory=Registry(lora))
    chain = archive.upstream(images)
    assert list(chain.entries) == [
        (IMAGES, VERSION),
        (LORA, str(REGISTERED.version)),
        (LORA, VERSION),
    ]
    assert (IMAGES, VERSION) in archive.downstream(lora, tmp_path / "data").entries
    alone = Archive(catalog, tmp_path).upstream(images)
    assert names(alone) == [IMAGES, LORA]
    assert "registry does not say" in alone.entries[LORA, str(REGISTERED.version)].unknown


def test_what_the_registry_gave_is_not_asked_for_by_a_version(
    catalog: DataCatalog, lora: Source, tmp_path: Path
) -> None:
    entry = Archive(catalog, tmp_path).entry(note(tmp_path, IMAGES, REGISTERED))
    assert entry.record is not None
    assert command_again(entry.record) == f"kedro run --nodes {IMAGES}_node"


def test_the_command_gives_the_parameters_as_they_were(
    catalog: DataCatalog, lora: Source, tmp_path: Path
) -> None:
    given = {
        "rl_training": {"alarm_deviations": None, "rate": 1e-05, "on": True, "names": ["null"]},
        "texts": {"number": "1", "none": "null", "words": "a cat's hat", "empty": ""},
    }
    command = Command(text="kedro run", started=VERSION, env="smoke", parameters=flatten(given))
    record = Record(
        name=IMAGES, version=VERSION, path="x", digest="x", node="draw_node", command=command
    )
    words = shlex.split(command_again(record))
    assert words[:7] == ["kedro", "run", "--nodes", "draw_node", "--env", "smoke", "--params"]
    assert _split_params(None, None, words[7]) == given

    several = {**command.parameters, "a.rates": [0.1, 0.2], "a.text": "a cat, a dog"}
    record = record.model_copy(
        update={"command": command.model_copy(update={"parameters": several})}
    )
    assert shlex.split(command_again(record), comments=True) == words
    remark = command_again(record).partition("  # ")[2]
    assert remark == (
        "a.rates: [0.1, 0.2]; a.text: a cat, a dog: set this in conf/smoke, --params takes no comma"
    )


def test_a_folder_that_lacks_a_file_is_changed(
    catalog: DataCatalog, lora: Source, tmp_path: Path
) -> None:
    archive = Archive(catalog, tmp_path)
    assert state(archive.entry(lora)) == ("unchanged", "")
    next(tmp_path.glob(f"data/**/{LORA}/lora.safetensors")).unlink()
    found, why = state(archive.entry(lora))
    assert found == "changed"
    assert "lora.safetensors: missing" in why


def test_a_version_that_two_nodes_have_read_differently_is_changed(
    catalog: DataCatalog, lora: Source, tmp_path: Path
) -> None:
    images = note(tmp_path, IMAGES, lora)
    other = lora.model_copy(update={"digest": "f" * 64})
    scores = note(tmp_path, SCORES, images, other)
    entries = Archive(catalog, tmp_path).follow([images, scores])
    assert state(entries[LORA, VERSION])[0] == "changed"
    assert "ffffffffffff" in state(entries[LORA, VERSION])[1]


def test_a_file_in_git_that_is_gone(catalog: DataCatalog, tmp_path: Path) -> None:
    source = Source(name="base_model", digest="a" * 64, files={"data/01_raw/model": "b" * 64})
    entry = Archive(catalog, tmp_path).entry(source)
    assert entry.paths == {"data/01_raw/model": ("gone", "")}


def test_a_dataset_that_the_catalog_no_longer_has(catalog: DataCatalog, tmp_path: Path) -> None:
    entry = Archive(catalog, tmp_path).entry(Source(name="gone.lora", version=VERSION, digest="a"))
    assert not entry.paths
    assert "no such dataset" in entry.unknown
