"""The notebook runs from top to bottom, on a LoRA as training leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from dpok_pipeline.files.manifest import copy_sealed
from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from dpok_pipeline.diffusion.config import LoRAConfig
from dpok_pipeline.diffusion.lora import attach_lora, lora_parameters, save_lora
from tests.project import make_project

# One worker runs the notebook, once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("notebook")]

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "plain_diffusers.ipynb"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions of a LoRA: the newer one moves the tiny model's images."""
    folder = make_project(tmp_path_factory.mktemp("notebook") / "project")
    save_version(folder, "2026-01-01T00.00.00.000Z", scale=0.0)
    save_version(folder, "2026-01-02T00.00.00.000Z", scale=0.5)
    # A version that was not finished.
    unfinished = folder / "data/06_models/color/dpok/lora/2026-01-03T00.00.00.000Z/lora.partial"
    unfinished.mkdir(parents=True)
    return folder


def save_version(project: Path, version: str, scale: float) -> None:
    model = load_base_model(
        describe_base_model(project / "data" / "01_raw" / "emoji_world" / "base_model")
    )
    attach_lora(model.unet, LoRAConfig(rank=2), seed=0)
    for parameter in lora_parameters(model.unet):
        parameter.data.copy_(torch.randn(parameter.shape) * scale)
    sampling = {"ddim_steps": 4, "eta": 1.0, "guidance_scale": 2.0}
    save_lora(model.unet, project / "made", {"sampling": sampling})
    final = project / "data" / "06_models" / "color" / "dpok" / "lora" / version / "lora"
    copy_sealed(project / "made", final, {})


@pytest.fixture(scope="module")
def executed(project: Path) -> Any:
    (project / "notebooks").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # What the test looks at; the notebook itself shows pictures.
    notebook.cells.append(nbformat.v4.new_code_cell("base[0].tobytes() != tuned[0].tobytes()"))
    notebook.cells.append(nbformat.v4.new_code_cell("len({p.tobytes() for p in base}), len(tuned)"))
    where = {"metadata": {"path": str(project / "notebooks")}}
    return NotebookClient(notebook, timeout=240, resources=where).execute()


def results(notebook: Any) -> list[str]:
    return [
        output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "execute_result"
    ]


def test_it_takes_the_newest_finished_version(executed: Any) -> None:
    assert any("2026-01-02" in text for text in results(executed))


def test_it_samples_as_configured(executed: Any) -> None:
    assert any("'guidance_scale'" in text and "'ddim_steps'" in text for text in results(executed))


def test_base_and_tuned_images_differ(executed: Any) -> None:
    assert results(executed)[-2:] == ["True", "(8, 8)"]


def test_it_shows_a_picture(executed: Any) -> None:
    kinds = [
        kind
        for cell in executed.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    assert "image/png" in kinds


def test_it_is_kept_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
