"""The filmstrip: the same noises from the base model to the end, beside the training's numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from dpok_pipeline.algorithms.catalogue import ALGORITHMS
from dpok_pipeline.diffusion.base_model import DiffusionModel
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.diffusion.lora import attached_lora, lora_parameters
from dpok_pipeline.diffusion.sampler import decode, png_bytes, sample
from dpok_pipeline.files.manifest import Manifest, describe_file, read_manifest, write_manifest
from dpok_pipeline.training import loop
from dpok_pipeline.training.checkpoints import STATE
from dpok_pipeline.training.monitoring.filmstrip import (
    _SEED,
    FRAMES,
    NOISES,
    Filmstrip,
    Subject,
)
from tests.algorithms.support import LORA, PROMPTS, SAMPLING, lora_bytes, run_dpok
from tests.algorithms.test_resume import Interrupted, train

SUBJECT = Subject(PROMPTS[0], SAMPLING)


class Recorder:
    """Keeps what it is told, and raises once a step is done but not saved."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.frames = stop, dict[int, Tensor]()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        pass

    def log_image(self, key: str, image: Tensor, step: int) -> None:
        assert key == "filmstrip"
        assert step not in self.frames
        self.frames[step] = image
        if step == self.stop:
            raise Interrupted


def pictures(table: pd.DataFrame) -> list[bytes]:
    return [image["bytes"] for image in table["image"]]


def test_every_frame_has_the_same_noises_and_the_first_is_the_base_models(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    halved = SamplingConfig(ddim_steps=2, guidance_scale=3)  # of three steps
    drawn = sample(tiny_model, [PROMPTS[0]] * NOISES, halved, seed=_SEED, indices=range(NOISES))
    base = [png_bytes(image) for image in decode(tiny_model, drawn.latents)]
    with attached_lora(tiny_model.unet, LORA, seed=0):
        strip = Filmstrip(tiny_model, SUBJECT, 3, tmp_path / "filmstrip.png")
        state = torch.get_rng_state()
        for parameter in lora_parameters(tiny_model.unet):
            parameter.data.fill_(0.3)
        moved = strip.draw_if_due(1, 10)
        # The base model's can be drawn late: the LoRA is off for it.
        first = strip.draw_if_due(0, 0)
        again = strip.draw_if_due(2, 20)
        assert strip.draw_if_due(2, 20) is None
        assert torch.equal(state, torch.get_rng_state())
    assert first is not None
    assert moved is not None
    assert again is not None
    assert first.shape == (3, 32, NOISES * 32)
    assert torch.equal(moved, again)  # the same weights, so the same noises
    assert not torch.equal(first, moved)
    table = strip.table()
    assert pictures(table[table["step"] == 0]) == base
    assert len(set(base)) == NOISES
    assert list(table["images_seen"].drop_duplicates()) == [0, 10, 20]
    assert list(table["noise"]) == [*range(NOISES)] * 3
    assert set(table["prompt"]) == {PROMPTS[0]}
    with Image.open(tmp_path / "filmstrip.png") as sheet:
        assert sheet.size == (3 * 32, NOISES * 32)


def test_a_run_of_any_length_has_a_handful_of_frames(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    for steps, expected in ((2, [0, 1, 2]), (1000, [0, 200, 400, 600, 800, 1000])):
        strip = Filmstrip(tiny_model, SUBJECT, steps, tmp_path)
        assert sorted(strip._due) == expected
        assert len(expected) <= FRAMES


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_training_comes_to_the_same_bytes_without_it(
    tiny_model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    told = Recorder()
    shown = train(name, tiny_model, tmp_path / "shown", told)
    assert sorted(told.frames) == [0, 1, 2, 3, 4]
    assert shown.filmstrip is not None
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Filmstrip", lambda *_: None)
        plain = train(name, tiny_model, tmp_path / "plain")
    assert plain.filmstrip is None
    assert lora_bytes(plain) == lora_bytes(shown)


@pytest.mark.parametrize("stop", [0, 3])
def test_a_run_that_goes_on_has_the_pictures_of_a_whole_one(
    tiny_model: DiffusionModel, tmp_path: Path, stop: int
) -> None:
    whole = train("rwr", tiny_model, tmp_path / "whole").filmstrip
    killed, later = Recorder(stop), Recorder()
    with pytest.raises(Interrupted):
        train("rwr", tiny_model, tmp_path / "parts", killed, checkpoint_every=2)
    parts = train("rwr", tiny_model, tmp_path / "parts", later, checkpoint_every=2).filmstrip
    assert whole is not None
    assert parts is not None
    pd.testing.assert_frame_equal(parts, whole)
    # What is told twice is the same, and the tracker of MLflow leaves it out.
    assert sorted({*killed.frames, *later.frames}) == [0, 1, 2, 3, 4]
    for step in killed.frames.keys() & later.frames.keys():
        assert torch.equal(killed.frames[step], later.frames[step])


def test_a_checkpoint_from_before_there_were_filmstrips_is_taken_up(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    whole = run_dpok(tiny_model, tmp_path / "whole", iterations=4)
    run_dpok(tiny_model, tmp_path / "parts", iterations=2)
    forget_filmstrip(tmp_path / "parts/checkpoints/step-00000002")
    parts = run_dpok(tiny_model, tmp_path / "parts", iterations=4)
    assert lora_bytes(parts) == lora_bytes(whole)
    assert parts.filmstrip is not None
    assert whole.filmstrip is not None
    late = whole.filmstrip[whole.filmstrip["step"].isin([0, 3, 4])].reset_index(drop=True)
    pd.testing.assert_frame_equal(parts.filmstrip, late)


def test_a_run_that_ended_before_there_were_filmstrips_gets_its_ends(
    tiny_model: DiffusionModel, tmp_path: Path
) -> None:
    whole = run_dpok(tiny_model, tmp_path, iterations=2)
    forget_filmstrip(tmp_path / "checkpoints/step-00000002")
    again = run_dpok(tiny_model, tmp_path, iterations=2)
    assert again.filmstrip is not None
    assert whole.filmstrip is not None
    ends = whole.filmstrip[whole.filmstrip["step"] != 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.filmstrip, ends)


def forget_filmstrip(checkpoint: Path) -> None:
    """Make a checkpoint one that has no filmstrip; its tensors stay, which nothing reads."""
    document: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
    del document["state"]["filmstrip"]
    (checkpoint / STATE).write_text(json.dumps(document))
    manifest = read_manifest(checkpoint)
    files = {**manifest.files, STATE: describe_file(checkpoint / STATE)}
    write_manifest(checkpoint, Manifest(manifest.metadata, files))
