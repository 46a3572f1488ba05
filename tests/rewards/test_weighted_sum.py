from __future__ import annotations

import sys
import types

import pytest
import torch
from pydantic import ValidationError

from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.models import scorer_identity
from dpok_pipeline.rewards.load import ScorerConfig, load_scorer
from dpok_pipeline.rewards.scorer import WeightedSum

PROMPTS = ["a cat", "a dog", "the moon"]


def brightness(images, prompts):
    return images.mean((1, 2, 3))


def letters(images, prompts):
    return [float(len(prompt)) for prompt in prompts]


def one_number(images, prompts):
    return images.mean()


@pytest.fixture(autouse=True)
def own(monkeypatch):
    module = types.ModuleType("own_rewards")
    for function in (brightness, letters, one_number):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, "own_rewards", module)


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def summed(**parts):
    return ScorerConfig(kind="weighted_sum", parts=parts)


def test_the_sum_by_hand(images):
    images[:] = torch.tensor([0.25, 0.5, 1.0]).view(3, 1, 1, 1)
    spec = summed(
        bright={"weight": 2.0, "kind": "own_rewards.brightness"},
        short={"weight": -0.1, "kind": "own_rewards.letters"},
    )
    scores = load_scorer(spec).score(images, PROMPTS)
    torch.testing.assert_close(scores, torch.tensor([0.5 - 0.5, 1.0 - 0.5, 2.0 - 0.8]))


def test_published_kinds_and_ones_own_go_together(image_reward, clip_folder, tmp_path, images):
    image_reward.save(tmp_path)
    reward = {"kind": "image_reward", "path": str(tmp_path)}
    clip = {"kind": "clip_score", "path": str(clip_folder)}
    mine = {"kind": "own_rewards.brightness"}
    parts = {"reward": (1.0, reward), "clip": (3.0, clip), "mine": (0.5, mine)}
    spec = summed(**{name: {"weight": w, **part} for name, (w, part) in parts.items()})
    expected = sum(
        weight * load_scorer(ScorerConfig(**part)).score(images, PROMPTS)
        for weight, part in parts.values()
    )
    torch.testing.assert_close(load_scorer(spec).score(images, PROMPTS), expected)


def test_a_sum_may_be_part_of_a_sum(images):
    inner = {"weight": 1.0, "kind": "own_rewards.brightness"}
    outer = {"weight": 2.0, "kind": "weighted_sum", "parts": {"mine": inner}}
    scores = load_scorer(summed(all=outer)).score(images, PROMPTS)
    torch.testing.assert_close(scores, 2 * images.mean((1, 2, 3)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["image_reward", "aesthetic", "clip_score", "pick_score", "sum"])
def test_every_scorer_is_differentiable(
    kind, precision, image_reward, head, clip_folder, tmp_path, images
):
    from safetensors.torch import save_file

    image_reward.save(tmp_path / "image_reward")
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    specs = {
        "image_reward": {"path": str(tmp_path / "image_reward")},
        "aesthetic": {"path": str(tmp_path), "clip_path": str(clip_folder)},
        "clip_score": {"path": str(clip_folder)},
        "pick_score": {"path": str(clip_folder)},
    }
    if kind == "sum":
        each = {name: {"kind": name, "weight": 0.5, **spec} for name, spec in specs.items()}
        spec = ScorerConfig(kind="weighted_sum", parts=each, precision=precision)
    else:
        spec = ScorerConfig(kind=kind, precision=precision, **specs[kind])
    images.requires_grad_()
    scores = load_scorer(spec).score(images, PROMPTS)
    assert scores.shape == (3,)
    assert scores.dtype == torch.float32
    scores.sum().backward()
    assert images.grad is not None
    assert images.grad.flatten(1).norm(dim=1).min() > 0


def test_a_part_that_returns_the_wrong_thing_is_named(images):
    class WrongShape:
        def score(self, images, prompts):
            return images.mean()

    with pytest.raises(InputError, match=r"reward `mine`: returned shape \(\) for 3 images"):
        WeightedSum({"mine": (1.0, WrongShape())}).score(images, PROMPTS)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "weighted_sum"}, "`parts`, at least one"),
        ({"kind": "weighted_sum", "parts": {}}, "`parts`, at least one"),
        ({"kind": "clip_score", "parts": {"a": {"weight": 1, "kind": "b.c"}}}, "`parts`, at least"),
        ({"kind": "weighted_sum", "parts": {"a": {"kind": "b.c"}}}, "weight"),
        (
            {"kind": "weighted_sum", "path": "x", "parts": {"a": {"weight": 1, "kind": "b.c"}}},
            "no files of its own",
        ),
    ],
)
def test_a_wrong_specification_is_refused(spec, message):
    with pytest.raises(ValidationError, match=message):
        ScorerConfig(**spec)


def test_other_weights_or_files_of_a_part_are_another_reward(tmp_path):
    def identity(weight):
        part = {"kind": "own_rewards.FromFolder", "path": str(tmp_path), "weight": weight}
        return scorer_identity(summed(mine=part))

    (tmp_path / "weights").write_text("one")
    before = identity(1.0)
    assert identity(1.0) == before
    assert identity(2.0) != before
    (tmp_path / "weights").write_text("two")
    assert identity(1.0) != before


def test_the_clip_of_an_aesthetic_score_is_part_of_its_identity(tmp_path):
    (tmp_path / "head.safetensors").write_text("head")
    (tmp_path / "clip").write_text("one")
    spec = ScorerConfig(
        kind="aesthetic",
        path=str(tmp_path / "head.safetensors"),
        clip_path=str(tmp_path / "clip"),
    )
    before = scorer_identity(spec)
    (tmp_path / "clip").write_text("two")
    assert scorer_identity(spec) != before
