from __future__ import annotations

import pytest
import torch

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.rewards.image_reward import ImageReward, ImageRewardConfig
from dpok_pipeline.rewards.published import load_published, rename_published
from tests.rewards.blip_reference import random_state, reference_score
from tests.rewards.conftest import VOCAB, tiny_image_reward


@pytest.fixture(scope="module")
def config():
    return tiny_image_reward(score_std=0.25).config


@pytest.fixture
def checkpoint(config, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    torch.save(random_state(config), tmp_path / "ImageReward.pt")
    return tmp_path / "ImageReward.pt"


@torch.no_grad()
def test_published_weights_give_the_published_forward_pass(checkpoint, config):
    model = load_published(checkpoint, config=config)
    pixels = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(8))
    prompts = ["a cat .", "a dog .", "four wolves in the park .", "cat", "a a a", "the moon"]
    ids, mask = model.tokenise(prompts)
    expected = reference_score(random_state(config), config, pixels, ids, mask)
    got = (model(pixels, ids, mask) - config.score_mean) / config.score_std
    assert expected.std() > 1  # equality of near-constants would prove nothing
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


def test_every_published_tensor_finds_its_place_at_the_published_size():
    with torch.device("meta"):
        config = ImageRewardConfig()
        tokens = [*VOCAB, *(f"[unused{number}]" for number in range(30522 - len(VOCAB)))]
        model = ImageReward(config, tokens)
        expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    small = ImageRewardConfig(
        vision_layers=config.vision_layers,
        text_layers=config.text_layers,
        vision_width=16,
        text_width=12,
        vocab_size=30524,
    )
    assert set(rename_published(random_state(small))) == set(expected)
    assert expected["vision.embeddings.position_embedding"] == (1, 197, 1024)
    assert expected["text.encoder.layer.0.crossattention.self.key.weight"] == (768, 1024)


def test_the_second_load_reads_the_safetensors_copy(checkpoint, config):
    first = load_published(checkpoint, config=config)
    checkpoint.unlink()
    second = load_published(checkpoint)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


def test_a_copy_made_from_another_file_is_refused(checkpoint, config):
    sha256 = file_sha256(checkpoint)
    load_published(checkpoint, config=config)
    load_published(checkpoint, sha256=sha256.upper())
    with pytest.raises(InputError, match=rf"made from a file with sha256 {sha256}; delete it"):
        load_published(checkpoint, sha256="00")


def test_a_copy_of_what_has_since_been_replaced_is_refused(checkpoint, config):
    load_published(checkpoint, config=config)
    checkpoint.write_bytes(checkpoint.read_bytes() + b"newer")
    with pytest.raises(InputError, match="made from a file with sha256"):
        load_published(checkpoint)


def test_a_copy_is_written_whole_or_not_at_all(checkpoint, config, monkeypatch):
    def fail(self, folder, metadata):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ImageReward, "save", fail)
        with pytest.raises(InputError, match="cannot be written .*No space left"):
            load_published(checkpoint, config=config)
    assert not checkpoint.with_suffix("").exists()
    load_published(checkpoint, config=config)


def test_the_hash_is_checked_before_anything_is_read(checkpoint, config):
    with pytest.raises(InputError, match=r"sha256 is .* expected 00"):
        load_published(checkpoint, sha256="00", config=config)
    load_published(checkpoint, sha256=file_sha256(checkpoint).upper(), config=config)


def test_a_pickle_that_holds_more_than_tensors_is_not_opened(tmp_path):
    (tmp_path / "evil.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match="not a readable weights file"):
        load_published(tmp_path / "evil.pt")


def test_a_list_of_tensors_is_not_a_state_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="expected a state dict"):
        load_published(tmp_path / "list.pt")


def test_a_missing_tensor_is_named(checkpoint, config):
    state = random_state(config)
    del state["blip.visual_encoder.blocks.1.attn.qkv.bias"]
    torch.save(state, checkpoint)
    with pytest.raises(InputError, match=r"layers\.1\.self_attn\.qkv\.bias` is missing"):
        load_published(checkpoint, config=config)


def test_the_vocabulary_must_lie_beside_it(checkpoint, config):
    (checkpoint.parent / "vocab.txt").unlink()
    with pytest.raises(InputError, match=r"vocab\.txt: no such file"):
        load_published(checkpoint, config=config)
