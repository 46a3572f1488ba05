from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from dpok_pipeline.errors import InputError
from dpok_pipeline.rewards.image_reward import ImageReward, ImageRewardConfig
from tests.rewards.conftest import VOCAB, tiny_image_reward

PROMPTS = ["A cat and a dog.", "A green colored rabbit.", "Four wolves in the park."]


@pytest.fixture
def images():
    return torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(5))


def test_tokens_begin_with_cls_and_are_padded_to_thirty_five(image_reward):
    ids, mask = image_reward.tokenise(["A green cat."])
    cls, sep = VOCAB.index("[CLS]"), VOCAB.index("[SEP]")
    words = [VOCAB.index(word) for word in ("a", "green", "cat", ".")]
    assert ids.shape == mask.shape == (1, 35)
    assert ids[0, :6].tolist() == [cls, *words, sep]
    assert mask[0].tolist() == [1] * 6 + [0] * 29


def test_prompts_whose_end_is_not_seen_are_known(image_reward):
    most = image_reward.config.max_tokens - 2  # beside [CLS] and [SEP]
    whole, cut = " ".join(["cat"] * most), " ".join(["cat"] * (most + 1))
    assert image_reward.cut_short([whole, cut, "cat"]) == [cut]


def test_a_long_prompt_is_cut_and_still_ends_with_sep(image_reward):
    ids, mask = image_reward.tokenise(["cat " * 100])
    assert ids.shape == (1, 35)
    assert ids[0, -1] == VOCAB.index("[SEP]")
    assert mask.sum() == 35


@torch.no_grad()
def test_a_score_does_not_depend_on_the_rest_of_the_batch(image_reward, images):
    together = image_reward.score(images, PROMPTS)
    alone = torch.cat([image_reward.score(images[i : i + 1], PROMPTS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@torch.no_grad()
def test_padding_does_not_move_the_score(image_reward, images):
    ids, mask = image_reward.tokenise(PROMPTS)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(6))
    shortest = int(mask.sum(1).max())
    padded = image_reward(pixels, ids, mask)
    torch.testing.assert_close(
        padded, image_reward(pixels, ids[:, :shortest], mask[:, :shortest]), rtol=0, atol=1e-4
    )
    scrambled = torch.where(mask == 1, ids, 7)
    torch.testing.assert_close(padded, image_reward(pixels, scrambled, mask), rtol=0, atol=1e-4)


@torch.no_grad()
def test_one_word_or_one_image_moves_the_score(image_reward, images):
    same = image_reward.score(images[:1].repeat(3, 1, 1, 1), ["A cat.", "A dog.", "A cat."])
    assert same[0] == pytest.approx(same[2].item(), abs=1e-5)
    assert abs(same[0] - same[1]) > 0.05
    different = image_reward.score(images, ["A cat."] * 3)
    assert (different[0] - different[1]).abs() > 0.05


@torch.no_grad()
def test_a_later_word_changes_the_first_token_so_attention_is_not_causal(image_reward):
    pixels = torch.randn(1, 3, 32, 32)
    ids, mask = image_reward.tokenise(["a cat", "a dog"])
    scores = [image_reward(pixels, ids[i : i + 1], mask[i : i + 1]).item() for i in (0, 1)]
    assert scores[0] != pytest.approx(scores[1], abs=1e-3)


@torch.no_grad()
def test_the_score_is_the_raw_output_shifted_and_scaled(image_reward):
    images = torch.rand(2, 3, 32, 32)  # already of the model's size: no resize
    from dpok_pipeline.rewards.preprocessing import normalise

    raw = image_reward(normalise(images), *image_reward.tokenise(PROMPTS[:2]))
    torch.testing.assert_close(image_reward.score(images, PROMPTS[:2]), (raw - 0.25) / 2.0)


def test_a_gradient_flows_to_the_images(image_reward, images):
    images.requires_grad_()
    image_reward.score(images, PROMPTS).sum().backward()
    assert images.grad is not None
    assert images.grad.flatten(1).norm(dim=1).min() > 0


@torch.no_grad()
def test_pil_images_and_tensors_agree_up_to_pillows_rounding(image_reward):
    grey_levels = torch.randint(0, 256, (4, 48, 64, 3), generator=torch.Generator().manual_seed(7))
    pil = [Image.fromarray(one.to(torch.uint8).numpy()) for one in grey_levels]
    tensors = grey_levels.permute(0, 3, 1, 2) / 255
    prompts = ["A cat."] * 4
    difference = image_reward.score(pil, prompts) - image_reward.score(tensors, prompts)
    assert difference.abs().max() < 0.03


def test_as_many_prompts_as_images(image_reward, images):
    with pytest.raises(ValueError, match="3 images but 1 prompts"):
        image_reward.score(images, ["A cat."])


@torch.no_grad()
def test_saved_and_loaded_it_scores_the_same(image_reward, images, tmp_path):
    image_reward.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "vocab.txt",
    }
    loaded = ImageReward.from_folder(tmp_path)
    assert not loaded.training
    assert torch.equal(loaded.score(images, PROMPTS), image_reward.score(images, PROMPTS))


def test_every_parameter_can_learn():
    model = tiny_image_reward()
    pixels = torch.randn(4, 3, 32, 32)
    ids, mask = model.tokenise([*PROMPTS, "a cat on the moon ."])
    model(pixels, ids, mask).square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias on the keys shifts all scores of a row alike, and the softmax forgets it.
    assert [name for name in silent if not name.endswith("key.bias")] == []


def test_the_defaults_are_the_published_sizes():
    config = ImageRewardConfig()
    assert (config.vision_width, config.vision_layers, config.patch_size) == (1024, 24, 16)
    assert (config.text_width, config.text_layers, config.vocab_size) == (768, 12, 30524)
    assert (config.score_mean, config.score_std) == (0.16717362830052426, 1.0333394966054072)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30}, "multiple of patch_size"),
        ({"vision_heads": 5}, "multiples of their heads"),
        ({"max_tokens": 41}, "must not exceed text_positions"),
        ({"score_std": 0}, "greater than 0"),
        ({"layers": 3}, "Extra inputs"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        tiny_image_reward(**changes)


@pytest.mark.parametrize("size", [5, 500])
def test_a_vocabulary_of_another_size_than_the_embedding_is_refused(size):
    with pytest.raises(ValueError, match=f"vocab.txt has .* tokens.* vocab_size is {size}"):
        tiny_image_reward(vocab_size=size)


def test_a_vocabulary_that_is_not_whole_is_refused(image_reward):
    tokens = list(image_reward.vocab)
    with pytest.raises(ValueError, match=r"vocab.txt has no \[UNK\]"):
        ImageReward(image_reward.config, [token for token in tokens if token != "[UNK]"])
    with pytest.raises(ValueError, match="a token twice"):
        ImageReward(image_reward.config, [*tokens[:-1], tokens[0]])


class TestDamagedFolder:
    @pytest.fixture
    def folder(self, image_reward, tmp_path):
        image_reward.save(tmp_path)
        return tmp_path

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
    def test_a_missing_file_is_named(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(InputError, match=f"{name}: no such file"):
            ImageReward.from_folder(folder)

    def test_truncated_weights(self, folder):
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        with pytest.raises(InputError, match=r"model\.safetensors: truncated or damaged"):
            ImageReward.from_folder(folder)

    def test_truncated_config(self, folder):
        config = folder / "config.json"
        config.write_text(config.read_text()[:20])
        with pytest.raises(InputError, match=r"config\.json: not readable as JSON"):
            ImageReward.from_folder(folder)

    def test_a_config_of_another_size(self, folder):
        config = folder / "config.json"
        sizes = json.loads(config.read_text())
        config.write_text(json.dumps({**sizes, "text_width": 64}))
        with pytest.raises(InputError, match=r"has shape .* the configuration says .*64"):
            ImageReward.from_folder(folder)

    def test_a_misspelt_field(self, folder):
        config = folder / "config.json"
        sizes = json.loads(config.read_text())
        config.write_text(json.dumps({**sizes, "widht": 64}))
        with pytest.raises(InputError, match="field `widht`"):
            ImageReward.from_folder(folder)

    def test_every_message_is_one_line(self, folder):
        (folder / "model.safetensors").write_bytes(b"")
        with pytest.raises(InputError) as caught:
            ImageReward.from_folder(folder)
        assert "\n" not in str(caught.value)
