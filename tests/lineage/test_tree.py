"""What `kedro lineage` prints of versions and records made by hand, without MLflow."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.io import DataCatalog, Version

from dpok_pipeline.commands.versions.lineage import choose
from dpok_pipeline.configuration.tracking import TrackingConfig
from dpok_pipeline.datasets.models import ModelFolderDataset
from dpok_pipeline.datasets.whole_files import ParquetDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.lineage.chain import Archive
from dpok_pipeline.lineage.document import document
from dpok_pipeline.lineage.records import RECORD, Command, Record, Source, write_record
from dpok_pipeline.lineage.tracked import Store
from dpok_pipeline.lineage.tree import Tree

OLD, NEW = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"
PROMPTS, CURVES, LORA = "prompts", "color.dpok.curves", "color.dpok.lora"
FILES = {
    PROMPTS: "03_primary/prompts.parquet",
    CURVES: "07_model_output/curves.parquet",
    LORA: "06_models/lora",
}
SOURCE = "data/01_raw/prompts/paper.yml"
Show = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in which two commands have made prompts, and a third the curves of a training."""
    source = tmp_path / SOURCE
    source.parent.mkdir(parents=True)
    source.write_text("color: {train: [a green cat]}")
    for version in (OLD, NEW):
        files = {SOURCE: file_sha256(source)}
        save(
            tmp_path, PROMPTS, version, Source(name="prompt_sources", digest="0" * 64, files=files)
        )
    digest = file_sha256(data(tmp_path, PROMPTS, OLD))
    save(tmp_path, CURVES, NEW, Source(name=PROMPTS, version=OLD, digest=digest))
    return tmp_path


@pytest.fixture
def catalog(project: Path) -> DataCatalog:
    entries = {
        name: ParquetDataset(filepath=f"{project}/data/{path}", version=Version(None, None))
        for name, path in FILES.items()
    }
    return DataCatalog({**entries, "embedder": ModelFolderDataset(path=str(project / "data"))})


@pytest.fixture
def store(project: Path) -> Store:
    """One whose database is gone."""
    uri = f"sqlite:///{project / 'mlflow.db'}"
    return Store(TrackingConfig(tracking_uri=uri, experiment_name="here"), {})


@pytest.fixture
def show(project: Path, catalog: DataCatalog, store: Store) -> Show:
    def lines(dataset: str, *, downstream: bool = False) -> str:
        archive = Archive(catalog, project, memory=store)
        root = choose(dataset, archive, catalog, {*FILES, "embedder"}, project)
        chain = archive.downstream(root, project / "data") if downstream else archive.upstream(root)
        return "\n".join(Tree(chain, store, downstream=downstream).lines())

    return lines


def data(project: Path, name: str, version: str) -> Path:
    path = project / "data" / FILES[name]
    return path / version / path.name


def save(project: Path, name: str, version: str, *inputs: Source) -> None:
    path = data(project, name, version)
    path.parent.mkdir(parents=True)
    path.write_text(f"{name} of {version}")
    command = Command(
        text="kedro run --env smoke",
        started=version,
        env="smoke",
        parameters={"training_seed": 3},
        commit="a" * 40,
        dirty=version == NEW,
    )
    record = Record(
        name=name,
        version=version,
        path=path.relative_to(project).as_posix(),
        digest=file_sha256(path),
        node=f"{name}_node",
        inputs=inputs,
        parameters={"methods.dpok.training.seed": 3},
        command=command,
    )
    write_record(path.parent, record)


def test_the_newest_version_and_an_older_one(show: Show) -> None:
    for name, version in ((PROMPTS, NEW), (f"{PROMPTS}:{OLD}", OLD)):
        shown = show(name)
        assert shown.startswith(f"prompts  {version}")
        assert "All of these 2 files and folders are as they were." in shown
    assert f"git checkout {'a' * 40}\n" in show(f"{PROMPTS}:{OLD}")
    assert f"git checkout {'a' * 40}  # it had changes or settings" in show(PROMPTS)


def test_the_chain_leads_to_the_version_that_was_read(show: Show, project: Path) -> None:
    shown = show(CURVES)
    tree = shown.partition("Commands")[0]
    assert f"└─ prompts  {OLD}" in tree
    assert NEW not in tree.partition("└─ prompts")[2]
    assert "└─ prompt_sources  000000000000" in tree
    assert f"{SOURCE}  {file_sha256(project / SOURCE)[:12]}\n" in tree
    assert "methods.dpok.training.seed 3" in tree
    assert (
        f"kedro run --nodes {CURVES}_node --env smoke --params training_seed=3 "
        f"--load-versions prompts:{OLD}"
    ) in shown


def test_downstream_has_the_readers_of_that_version_only(show: Show) -> None:
    assert CURVES in show(f"{PROMPTS}:{OLD}", downstream=True)
    assert CURVES not in show(PROMPTS, downstream=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("promts", "promts: no such dataset; did you mean prompts?"),
        ("color.dpok.lara", "color.dpok.lara: no such dataset; did you mean color.dpok.lora?"),
        (f"prompts:{NEW[:-2]}9Z", f"no such version; there are {NEW}, {OLD}"),
        ("prompts:../../01_raw", f"no such version; there are {NEW}, {OLD}"),
        (LORA, f"{LORA} has not been made yet"),
        ("embedder:1", "embedder has no versions; leave :1 out"),
    ],
)
def test_what_is_not_there_is_answered_in_one_line(show: Show, name: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        show(name)


def test_without_mlflow_it_says_what_is_missing_and_makes_no_store(
    show: Show, store: Store, project: Path
) -> None:
    assert "MLflow is away (" in show(PROMPTS)
    assert not (project / "mlflow.db").exists()


def test_the_document_has_the_same(project: Path, catalog: DataCatalog, store: Store) -> None:
    archive = Archive(catalog, project)
    root = archive.version(CURVES, NEW)
    assert root is not None
    told = json.loads(json.dumps(document(archive.upstream(root), store, downstream=False)))
    assert told["root"] == f"{CURVES}:{NEW}"
    assert told["entries"][0]["made_from"] == [f"prompts:{OLD}"]
    assert "its database is gone" in told["mlflow"]


def test_a_changed_file_is_named(show: Show, project: Path) -> None:
    data(project, PROMPTS, OLD).write_text("other")
    (project / SOURCE).write_text("color: {train: [a cat]}")
    shown = show(CURVES)
    assert f"data/{FILES[PROMPTS]}/{OLD}/prompts.parquet  CHANGED: sha256 " in shown
    assert re.search(rf"{SOURCE}  \w{{12}}  CHANGED: sha256 ", shown)
    assert f"{SOURCE} (changed)" in shown


def test_a_file_that_changed_between_two_commands_is_named(show: Show, project: Path) -> None:
    path = data(project, PROMPTS, OLD)
    path.write_text("other")
    read = Source(name=PROMPTS, version=OLD, digest=file_sha256(path))
    shutil.rmtree(data(project, CURVES, NEW).parent)
    save(project, CURVES, NEW, read)
    assert "CHANGED: sha256 " in show(CURVES)


def test_a_renamed_file_is_gone_and_the_chain_goes_on(show: Show, project: Path) -> None:
    path = data(project, PROMPTS, OLD)
    path.rename(path.with_name("renamed.parquet"))
    shown = show(CURVES)
    assert f"data/{FILES[PROMPTS]}/{OLD}/prompts.parquet  GONE since" in shown
    assert "└─ prompt_sources" in shown


def test_a_version_that_was_removed_leaves_the_rest_unknown(show: Show, project: Path) -> None:
    shutil.rmtree(data(project, PROMPTS, OLD).parent)
    shown = show(CURVES)
    assert "GONE since" in shown
    assert "unknown: what made it" in shown
    assert "prompt_sources" not in shown


def test_a_damaged_record_is_named(show: Show, project: Path) -> None:
    record = data(project, PROMPTS, OLD).parent / RECORD
    record.write_text(json.dumps({"name": PROMPTS}))
    assert f"{RECORD}: not a record of lineage" in show(f"{PROMPTS}:{OLD}")
