from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.rewards.aesthetic import AestheticScorer, head_from_state, keep_as_safetensors
from dpok_pipeline.rewards.clip import ClipEmbedder, CLIPScore, PickScore
from dpok_pipeline.rewards.folders import read_foreign_checkpoint
from dpok_pipeline.rewards.heads import ScoreHead
from tests.rewards.aesthetic_reference import embed, head_score, preprocess
from tests.rewards.conftest import write_clip
from tests.shared_data import shared_file

REAL_HEAD = "sac+logos+ava1-l14-linearMSE.pth"
REAL_HEAD_SHA256 = "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0"


@pytest.fixture(scope="module")
def clip(clip_folder):
    return ClipEmbedder.from_folder(clip_folder)


@pytest.fixture
def images():
    return torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_embeddings_have_length_one_and_the_projected_width(clip, images):
    embeddings = clip.embed(images)
    assert embeddings.shape == (4, 12)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(clip.embed_text(["a cat"]).norm(dim=1), torch.ones(1))


@torch.no_grad()
def test_embeddings_are_those_of_the_whole_clip_model(clip, clip_folder, images):
    from transformers import CLIPModel

    from dpok_pipeline.rewards.preprocessing import pixels_from_tensor

    tokens = clip.tokenizer(["a cat", "a dog"], padding=True, return_tensors="pt")
    whole = CLIPModel.from_pretrained(clip_folder).eval()(
        pixel_values=pixels_from_tensor(images, 16), **tokens
    )
    torch.testing.assert_close(clip.embed(images), whole.image_embeds)
    torch.testing.assert_close(clip.embed_text(["a cat", "a dog"]), whole.text_embeds)


@torch.no_grad()
def test_clip_score_is_the_cosine_of_image_and_prompt(clip, images):
    prompts = ["a cat", "a dog", "a cat", "the moon"]
    expected = torch.stack(
        [clip.embed(images)[i] @ clip.embed_text([prompts[i]])[0] for i in range(4)]
    )
    scores = CLIPScore(clip).score(images, prompts)
    torch.testing.assert_close(scores, expected)
    assert scores.abs().max() <= 1


def test_a_long_prompt_is_cut(clip):
    assert clip.embed_text(["abc " * 50]).shape == (1, 12)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        ClipEmbedder.from_folder(tmp_path)


def test_truncated_clip_weights_are_refused(clip_folder, tmp_path):
    folder = Path(shutil.copytree(clip_folder, tmp_path / "clip"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])
    with pytest.raises(InputError, match="no whole CLIPModel"):
        CLIPScore.from_folder(folder)


@torch.no_grad()
def test_the_head_is_one_affine_map_in_evaluation(head):
    x, y = torch.randn(2, 5, 12)
    middle = head((x + y) / 2)
    torch.testing.assert_close(middle, (head(x) + head(y)) / 2)


@torch.no_grad()
def test_aesthetic_score_is_the_head_on_the_embedding(clip_folder, clip, head, images, tmp_path):
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    scorer = AestheticScorer.from_files(tmp_path, clip_folder)
    torch.testing.assert_close(scorer.score(images, [""] * 4), head(clip.embed(images)))


def test_a_head_for_another_clip_is_refused(clip_folder, tmp_path):
    save_file(ScoreHead(16, (8, 8, 4, 4)).state_dict(), tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=r"width 16, the CLIP in .* gives 12"):
        AestheticScorer.from_files(tmp_path, clip_folder)


def test_something_that_is_no_head_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no matrix `layers\.0\.weight`"):
        head_from_state({"weight": torch.zeros(1)}, tmp_path)


def test_a_head_whose_widths_do_not_follow_is_refused(head, tmp_path):
    state = head.state_dict()
    state["layers.2.weight"] = torch.zeros(8, 9)
    with pytest.raises(InputError, match=r"layers\.2\.weight` has shape \(8, 9\)"):
        head_from_state(state, tmp_path)


class TestForeignHead:
    @pytest.fixture
    def foreign(self, head, tmp_path):
        torch.save(head.state_dict(), tmp_path / "head.pth")
        return tmp_path / "head.pth"

    def test_it_is_kept_as_safetensors_that_say_their_source(self, foreign, head):
        sha256 = file_sha256(foreign)
        kept = keep_as_safetensors(foreign, sha256)
        assert torch.equal(load_file(kept)["layers.7.bias"], head.state_dict()["layers.7.bias"])
        with safe_open(kept, "pt") as file:
            assert file.metadata() == {"source_sha256": sha256}
        foreign.unlink()
        assert keep_as_safetensors(foreign, sha256) == kept

    def test_a_wrong_hash_is_refused(self, foreign):
        with pytest.raises(InputError, match="do not use this file"):
            keep_as_safetensors(foreign, "ab" * 32)
        assert not foreign.with_suffix(".safetensors").exists()

    def test_a_kept_file_from_another_source_is_refused(self, foreign):
        keep_as_safetensors(foreign)
        with pytest.raises(InputError, match="made from a file with sha256"):
            keep_as_safetensors(foreign, "ab" * 32)

    def test_a_kept_file_of_what_has_since_been_replaced_is_refused(self, foreign):
        keep_as_safetensors(foreign)
        foreign.write_bytes(foreign.read_bytes() + b"newer")
        with pytest.raises(InputError, match="made from a file with sha256"):
            keep_as_safetensors(foreign)

    def test_it_scores_through_the_loader(self, foreign, clip_folder, images):
        scorer = AestheticScorer.from_files(foreign, clip_folder)
        assert scorer.score(images, [""] * 4).shape == (4,)


@pytest.fixture(scope="module")
def wide_clip(tmp_path_factory):
    """As narrow as the other, but with the embedding that the published head reads."""
    return write_clip(tmp_path_factory.mktemp("wide_clip"), width=768)


@pytest.fixture(params=["random head", "published head"])
def head_file(request, tmp_path):
    path = tmp_path / "head.safetensors"
    if request.param == "random head":
        torch.manual_seed(4)
        random = ScoreHead(768).state_dict()
        save_file({name: 3 * tensor for name, tensor in random.items()}, path)
    else:
        state = read_foreign_checkpoint(shared_file(f"weights/{REAL_HEAD}"), REAL_HEAD_SHA256)
        save_file(state, path)
    return path


@torch.no_grad()
@pytest.mark.parametrize("shape", [(16, 16), (40, 40), (61, 45), (9, 13)])
def test_from_image_to_score_as_in_numpy(wide_clip, head_file, shape):
    generator = torch.Generator().manual_seed(9)
    colours = torch.rand(5, 3, 1, 1, generator=generator)
    images = (colours + 0.5 * torch.rand(5, 3, *shape, generator=generator)).clamp(0, 1)
    scores = AestheticScorer.from_files(head_file, wide_clip).score(images, [""] * 5)

    weights = {k: v.double().numpy() for k, v in load_file(wide_clip / "model.safetensors").items()}
    head = {k: v.double().numpy() for k, v in load_file(head_file).items()}
    pixels = preprocess(images.double().numpy(), 16)
    expected = head_score(head, embed(weights, pixels, patch=4, layers=2, heads=2))

    assert expected.std() > 0.05  # equality of constants would prove nothing
    assert np.abs(scores.numpy() - expected).max() <= 1e-5


def test_the_published_head_loads_and_scores_on_its_scale():
    path = shared_file(f"weights/{REAL_HEAD}")
    state = read_foreign_checkpoint(path, REAL_HEAD_SHA256)
    head = head_from_state(state, path).eval()
    assert sum(p.numel() for p in head.parameters()) == 927_969
    embeddings = torch.nn.functional.normalize(torch.randn(64, 768), dim=-1)
    with torch.no_grad():
        scores = head(embeddings)
    assert torch.isfinite(scores).all()
    assert 1 < scores.mean() < 10


@torch.no_grad()
def test_pick_score_is_the_logit_of_the_whole_clip_model(clip_folder, images):
    from transformers import CLIPModel

    from dpok_pipeline.rewards.preprocessing import pixels_from_tensor

    scorer = PickScore.from_folder(clip_folder)
    prompts = ["a cat", "a dog", "a cat", "the moon"]
    whole = CLIPModel.from_pretrained(clip_folder).eval()
    with_temperature = whole(
        pixel_values=pixels_from_tensor(images, 16),
        **scorer.clip.tokenizer(prompts, padding=True, return_tensors="pt"),
    ).logits_per_image.diagonal()
    torch.testing.assert_close(scorer.score(images, prompts), with_temperature)
    assert with_temperature.abs().max() > 1  # not the bare cosine
