"""Previews are small, say what a person looks for, and are none where there is nothing."""

from __future__ import annotations

import base64
import inspect
import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import kedro_datasets._typing as kinds
import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import Version
from kedro.utils import load_obj
from PIL import Image

from dpok_pipeline.datasets.lora import LoRADataset
from dpok_pipeline.datasets.models import BaseModelDataset, ScorersDataset
from dpok_pipeline.datasets.pictures import PageDataset, PictureDataset
from dpok_pipeline.datasets.previews.pictures import Group, Tile, contact_sheet
from dpok_pipeline.datasets.previews.tables import cell, facts
from dpok_pipeline.datasets.prompts.sources import PromptSourcesDataset
from dpok_pipeline.datasets.study import StudySetsDataset
from dpok_pipeline.datasets.whole_files import CurvesDataset, JSONDataset, ParquetDataset

ROOT = Path(__file__).parents[3]
WORLD = ROOT / "data" / "01_raw" / "emoji_world"
VERSION = Version(None, "2026-01-01T00.00.00.000Z")
KINDS = {"TablePreview", "ImagePreview", "PlotlyPreview", "JSONPreview", "HTMLPreview"}


def entries() -> dict[str, dict[str, Any]]:
    files = sorted((ROOT / "conf" / "base").glob("catalog*.yml"))
    return {
        name: entry for path in files for name, entry in yaml.safe_load(path.read_text()).items()
    }


def png(side: int, value: int = 90) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", entries())
def test_kedro_viz_can_tell_which_kind_of_preview_an_entry_has(name: str) -> None:
    """It goes by the name of the annotated type; any other name shows nothing."""
    kind = entries()[name]["type"]
    dataset = load_obj(kind if kind.startswith("dpok_pipeline.") else f"kedro_datasets.{kind}")
    annotation = inspect.signature(dataset.preview).return_annotation
    kind = getattr(annotation, "__name__", str(annotation))
    assert kind in KINDS
    assert hasattr(kinds, kind)
    arguments = entries()[name]["metadata"]["kedro-viz"].get("preview_args", {})
    inspect.signature(dataset.preview).bind(None, **arguments)


def test_a_models_preview_needs_no_torch() -> None:
    code = "import sys, dpok_pipeline.datasets.previews.models as m, pathlib\n"
    code += f"list(m.describe_folder(pathlib.Path({str(WORLD / 'base_model')!r})))\n"
    code += "print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_a_base_model_is_shown_by_its_parts() -> None:
    shown = dict(BaseModelDataset(path=str(WORLD / "base_model")).preview()["data"])
    assert shown["unet"].startswith("UNet2DConditionModel, ")
    assert shown["size"].endswith(" MB")
    absent = BaseModelDataset(hub_id="somebody/model", revision="abc")
    assert dict(absent.preview()["data"]) == {"hub_id": "somebody/model", "revision": "abc"}


def test_scorers_and_prompts_are_shown_by_line() -> None:
    scorers = ScorersDataset(scorers={"judge": {"kind": "my.judge", "path": f"{Path.cwd()}/x"}})
    assert scorers.preview()["data"] == [["judge", "kind my.judge, path x"]]
    path = str(ROOT / "data" / "01_raw" / "prompts" / "paper.yml")
    sources = {"paper": {"path": path, "format": "experiments"}}
    table = PromptSourcesDataset(sources=sources).preview()
    assert table["data"][0][0] == "A green colored rabbit."
    assert PromptSourcesDataset(sources={"paper": {"path": "no such file"}}).preview() is None


def test_a_lora_is_shown_by_its_card(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = tmp_path / "work"
    folder.mkdir()
    tensors = {
        "a.lora_A.weight": np.zeros((2, 8), np.float32),
        "a.lora_B.weight": np.zeros((8, 2), np.float32),
    }
    save_file(tensors, folder / "pytorch_lora_weights.safetensors", metadata={"format": "pt"})
    card = "# LoRA by DPOK\n\n## Training\n\n| | |\n| --- | --- |\n| rank | 2 |\n\n"
    card += "## Scores when training ended\n\n| | |\n| --- | --- |\n| last reward | 0.5 |\n"
    (folder / "README.md").write_text(card)
    path = (tmp_path / "lora").as_posix()
    assert LoRADataset(filepath=path, version=VERSION).preview() is None
    LoRADataset(filepath=path, version=VERSION).save(folder)
    rows = LoRADataset(filepath=path, version=Version(None, None)).preview()["data"]
    names = [name for name, _ in rows]
    assert names[:3] == ["trained by", "rank", "weights"]
    assert names[3:5] == ["scores when training ended: last reward", "training: rank"]
    assert dict(rows)["rank"] == 2
    assert dict(rows)["weights"].startswith("32 numbers, ")


def test_a_wide_table_is_cut_and_only_its_first_rows_are_read(tmp_path: Path) -> None:
    dataset = ParquetDataset(filepath=(tmp_path / "wide.parquet").as_posix())
    assert dataset.preview() is None
    dataset.save(pd.DataFrame({f"d{number}": np.arange(50) / 3 for number in range(30)}))
    shown = dataset.preview(nrows=4, columns=3)
    assert shown["columns"] == ["d0", "d1", "d2", "… 27 more"]
    assert shown["data"][1] == [0.3333, 0.3333, 0.3333, "…"]
    assert len(shown["data"]) == 4


def test_curves_are_drawn_from_what_was_measured(tmp_path: Path) -> None:
    dataset = CurvesDataset(filepath=(tmp_path / "curves.parquet").as_posix())
    columns = {"reward/mean": [0.1, None, 0.3], "grad/norm": [1.0, 2.0, 3.0], "x": [0, 0, 0]}
    dataset.save(pd.DataFrame({"images_seen": [8, 16, 24], **columns}))
    figure = dataset.preview()
    assert [curve["name"] for curve in figure["data"]] == ["reward/mean", "grad/norm"]
    assert figure["data"][0]["x"] == [8, 24]
    json.dumps(figure, allow_nan=False)
    dataset.save(pd.DataFrame({"images_seen": [8], "other": [1.0]}))
    assert dataset.preview() is None


def test_large_pictures_and_pages_are_shown_small(tmp_path: Path) -> None:
    picture = PictureDataset(filepath=(tmp_path / "sheet.png").as_posix())
    assert picture.preview() is None
    picture.save(Image.new("RGB", (3000, 900), "teal"))
    assert Image.open(BytesIO(base64.b64decode(picture.preview()))).size == (1000, 667)
    page = PageDataset(filepath=(tmp_path / "report.html").as_posix())
    answer = "DPOK scores <b>higher</b> &amp; stays near the base model on all four prompts."
    script = f"<script>{'<p>' + 'x' * 100 + '</p>'}</script>"
    page.save(f"<title>t</title>{script}<h1>Is it <i>better</i>?</h1><p>{answer}</p>")
    shown = page.preview()
    assert "<h2>Is it better?</h2><p>DPOK scores higher &amp; stays near" in shown
    assert "xxx" not in shown
    assert "report.html" in shown


def test_study_sets_are_pictures_and_absent_ones_are_nothing(tmp_path: Path) -> None:
    path = (tmp_path / "sets.parquet").as_posix()
    dataset = StudySetsDataset(filepath=path, version=VERSION)
    assert dataset.preview() is None
    row = {"prompt": "a cat", "ours": "dpok", "theirs": "base"}
    row |= {"ours_images": [png(16)] * 4, "theirs_images": [png(16)] * 4}
    dataset.save(pd.DataFrame([row]))
    shown = StudySetsDataset(filepath=path, version=Version(None, None)).preview()
    assert Image.open(BytesIO(base64.b64decode(shown))).height > 200


def test_a_contact_sheet_keeps_its_images_apart_and_in_order() -> None:
    tiles = [Tile(png(8, value), "reward 1") for value in (40, 120, 200)]
    sheet = Image.open(BytesIO(base64.b64decode(contact_sheet([Group("a cat", tiles)]))))
    line = np.asarray(sheet.convert("L"))[sheet.height // 2]
    middles = [int(line[6 + number * 118 + 56]) for number in range(3)]
    assert middles == pytest.approx([40, 120, 200], abs=6)
    with pytest.raises(ValueError, match="no images"):
        contact_sheet([Group("a cat", [])])


def test_cells_are_json_that_a_person_can_read() -> None:
    values = [0.123456, float("nan"), float("inf"), np.float32(2), None, b"12345", "x" * 200]
    written = [cell(value) for value in values]
    assert written[:6] == [0.1235, "", "inf", 2.0, "", "5 bytes"]
    assert len(str(written[6])) == 100
    assert cell(list(range(9))) == "0, 1, 2, … 9 in all"
    assert facts({"kept": 0, "left out": None})["data"] == [["kept", 0]]


def test_an_unreadable_document_has_no_preview(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    path.write_text("{")
    assert JSONDataset(filepath=path.as_posix()).preview() is None
