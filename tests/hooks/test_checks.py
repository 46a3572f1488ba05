"""What is compared with the prompts' sources before a run takes up the table made of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset

from dpok_pipeline.datasets.prompts.sources import PromptSourcesDataset
from dpok_pipeline.diffusion.base_model import describe_base_model
from dpok_pipeline.errors import InputError
from dpok_pipeline.hooks.checks import _check_sources
from dpok_pipeline.pipelines.prompt_preparation.nodes import prepare_prompts
from tests import tiny


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    path.write_text("text,split\na cat,train\na dog,unseen\n")
    return path


@pytest.fixture
def catalog(source: Path, tmp_path: Path) -> DataCatalog:
    sources = {"mine": {"path": str(source), "format": "csv", "experiment": "color"}}
    base_model = describe_base_model(tiny.write_base_model(tmp_path / "base"))
    return DataCatalog(
        {
            "prompt_sources": PromptSourcesDataset(sources=sources),
            "base_model": MemoryDataset(base_model, copy_mode="assign"),
        }
    )


@pytest.fixture
def table(catalog: DataCatalog) -> pd.DataFrame:
    return prepare_prompts(catalog.load("prompt_sources"), catalog.load("base_model"))


def test_a_table_of_the_same_prompts_is_taken(catalog: DataCatalog, table: pd.DataFrame) -> None:
    _check_sources(table, catalog)


@pytest.mark.parametrize(
    "text",
    [
        "text,split\na cat,train\na cow,unseen\n",
        "text,split\na cat,train\n",
        "text,split\na cat,train\na cat,train\na dog,unseen\n",
        "text,split\na cat,nowhere\n",
        "prompt\na cat\n",
    ],
    ids=["another", "no unseen", "twice", "no split", "no column"],
)
def test_sources_that_have_changed_are_refused_whatever_is_wrong_with_them(
    catalog: DataCatalog, table: pd.DataFrame, source: Path, text: str
) -> None:
    source.write_text(text)
    with pytest.raises((InputError, DatasetError)):
        _check_sources(table, catalog)


def test_sources_on_another_machine_cannot_be_compared_which_is_said(
    catalog: DataCatalog, table: pd.DataFrame, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source.unlink()
    _check_sources(table, catalog)
    assert f"prompts: not compared with their sources, {source}: no such file" in caplog.text
