from __future__ import annotations

import sys
import types

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import write_checksums
from dpok_pipeline.rewards.aesthetic import AestheticScorer
from dpok_pipeline.rewards.clip import CLIPScore
from dpok_pipeline.rewards.image_reward import ImageReward
from dpok_pipeline.rewards.load import ScorerConfig, load_scorer
from dpok_pipeline.rewards.scorer import Scorer


class Brightness:
    def score(self, images, prompts):
        return images.mean((1, 2, 3))


class FromFolder(Brightness):
    def __init__(self, folder):
        self.folder = folder

    @classmethod
    def from_folder(cls, folder):
        return cls(folder)


@pytest.fixture
def own(monkeypatch):
    module = types.ModuleType("own_rewards")
    module.Brightness = Brightness
    module.FromFolder = FromFolder
    module.brightness = lambda images, prompts: images.mean((1, 2, 3))
    module.as_list = lambda images, prompts: [float(len(prompt)) for prompt in prompts]
    module.one_argument = lambda images: images
    module.one_number = lambda images, prompts: 1.0
    module.no_numbers = lambda images, prompts: ["a"]
    module.without_values = lambda images, prompts: images.mean((1, 2, 3)).to("meta")
    module.sparse = lambda images, prompts: images.mean((1, 2, 3)).to_sparse()
    module.constant = 3
    monkeypatch.setitem(sys.modules, "own_rewards", module)


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 16)


def test_image_reward_by_its_kind(image_reward, tmp_path):
    image_reward.save(tmp_path)
    scorer = load_scorer(ScorerConfig(kind="image_reward", path=str(tmp_path)))
    assert isinstance(scorer, ImageReward)
    assert isinstance(scorer, Scorer)
    assert not any(parameter.requires_grad for parameter in scorer.parameters())


def test_clip_score_and_aesthetic_by_their_kind(clip_folder, head, tmp_path, images):
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    spec = ScorerConfig(kind="aesthetic", path=str(tmp_path), clip_path=str(clip_folder))
    assert isinstance(load_scorer(spec), AestheticScorer)
    scorer = load_scorer(ScorerConfig(kind="clip_score", path=str(clip_folder)))
    assert isinstance(scorer, CLIPScore)
    assert scorer.score(images, ["a"] * 3).shape == (3,)


@torch.no_grad()
def test_bfloat16_gives_float32_scores_close_to_float32(image_reward, tmp_path, images):
    image_reward.save(tmp_path)
    spec = {"kind": "image_reward", "path": str(tmp_path)}
    exact = load_scorer(ScorerConfig(**spec)).score(images, ["a cat"] * 3)
    rounded = load_scorer(ScorerConfig(**spec, precision="bfloat16")).score(images, ["a cat"] * 3)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0, atol=0.1)


@pytest.mark.usefixtures("own")
class TestUsersOwn:
    def test_a_class(self, images):
        scores = load_scorer(ScorerConfig(kind="own_rewards.Brightness")).score(images, [""] * 3)
        torch.testing.assert_close(scores, images.mean((1, 2, 3)))

    def test_a_class_with_a_folder(self):
        scorer = load_scorer(ScorerConfig(kind="own_rewards.FromFolder", path="here"))
        assert scorer.folder == "here"

    def test_a_folder_that_is_not_what_its_list_says(self, tmp_path):
        (tmp_path / "weights").write_text("1")
        write_checksums(tmp_path)
        spec = ScorerConfig(kind="own_rewards.FromFolder", path=str(tmp_path))
        assert load_scorer(spec).folder == str(tmp_path)
        (tmp_path / "weights").write_text("2")
        with pytest.raises(InputError, match="its sha256 is not that of SHA256SUMS"):
            load_scorer(spec)

    def test_a_function(self, images):
        scores = load_scorer(ScorerConfig(kind="own_rewards.brightness")).score(images, [""] * 3)
        torch.testing.assert_close(scores, images.mean((1, 2, 3)))

    def test_a_function_that_returns_a_list(self, images):
        scorer = load_scorer(ScorerConfig(kind="own_rewards.as_list"))
        assert scorer.score(images, ["a", "bb", "ccc"]).tolist() == [1, 2, 3]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("one_number", r"shape \(\) for 3 images"),
            ("no_numbers", "returned no numbers"),
            ("without_values", "returned no numbers: a tensor of device meta"),
            ("sparse", "returned no numbers: .* layout torch.sparse_coo"),
        ],
    )
    def test_a_function_that_returns_the_wrong_thing(self, name, message, images):
        with pytest.raises(InputError, match=message):
            load_scorer(ScorerConfig(kind=f"own_rewards.{name}")).score(images, [""] * 3)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ({"kind": "own_rewards.absent"}, "`own_rewards` has no `absent`"),
            ({"kind": "no_such_package.reward"}, "cannot be imported"),
            ({"kind": "own_rewards.one_argument"}, r"callable as \(images, prompts\)"),
            ({"kind": "own_rewards.constant"}, "neither callable"),
            ({"kind": "own_rewards.FromFolder"}, "cannot be built"),
            ({"kind": "own_rewards.Brightness", "path": "x"}, "no from_folder"),
            ({"kind": "imagereward"}, "is none of aesthetic, clip_score, image_reward"),
            ({"kind": "image_reward"}, "`path` is not set"),
            ({"kind": "aesthetic", "path": "x"}, "`clip_path` is not set"),
        ],
    )
    def test_a_wrong_specification_is_one_clear_line(self, spec, message):
        with pytest.raises(InputError, match=message) as caught:
            load_scorer(ScorerConfig(**spec))
        assert "\n" not in str(caught.value)


def test_a_misspelt_field_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        ScorerConfig(kind="clip_score", pth="x")
