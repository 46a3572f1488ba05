from __future__ import annotations

import io
import socket

import pytest
import torch
from safetensors.torch import save_file

from dpok_pipeline.datasets.models import ModelFolderDataset
from dpok_pipeline.diffusion.base_model import describe_base_model, load_base_model
from dpok_pipeline.errors import InputError
from dpok_pipeline.pipelines.models import scorer_identity
from dpok_pipeline.rewards.aesthetic import AestheticScorer
from dpok_pipeline.rewards.clip import CLIPScore
from dpok_pipeline.rewards.image_reward import ImageReward
from dpok_pipeline.rewards.load import ScorerConfig, load_scorer
from tests.hub_cache import COMMIT, add_to_cache
from tests.rewards.blip_reference import random_state
from tests.rewards.conftest import VOCAB, tiny_image_reward

PROMPTS = ["a cat", "a dog"]


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def published(cache, monkeypatch):
    """The published ImageReward in the cache, with tiny sizes."""
    config = tiny_image_reward().config
    monkeypatch.setattr("dpok_pipeline.rewards.published.ImageRewardConfig", lambda: config)
    content = io.BytesIO()
    torch.save(random_state(config), content)
    return add_to_cache(cache, "THUDM/ImageReward", {"ImageReward.pt": content.getvalue()})


@pytest.fixture
def vocabulary(cache):
    text = "\n".join(VOCAB) + "\n"
    add_to_cache(cache, "google-bert/bert-base-uncased", {"vocab.txt": text.encode()})


SPEC = ScorerConfig(kind="image_reward", path="THUDM/ImageReward")


@torch.no_grad()
@pytest.mark.usefixtures("vocabulary")
def test_image_reward_by_its_hub_id(published, images, tmp_path):
    scores = load_scorer(SPEC).score(images, PROMPTS)
    folder = tmp_path / "downloaded"  # as `hf download --local-dir` would fill it
    folder.mkdir()
    (folder / "ImageReward.pt").write_bytes((published / "ImageReward.pt").read_bytes())
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    local = load_scorer(ScorerConfig(kind="image_reward", path=str(folder)))
    assert torch.equal(scores, local.score(images, PROMPTS))
    assert torch.equal(scores, load_scorer(SPEC).score(images, PROMPTS))  # from the kept copy


@pytest.mark.usefixtures("vocabulary", "published")
def test_its_identity_is_the_same_before_and_after_it_is_kept_as_safetensors():
    before = scorer_identity(SPEC)
    load_scorer(SPEC)
    assert scorer_identity(SPEC) == before


@pytest.mark.usefixtures("vocabulary")
def test_a_download_that_is_not_what_was_published_is_refused(published):
    blob = (published / "ImageReward.pt").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"sha256 is .* do not use this file"):
        load_scorer(SPEC)


@pytest.mark.usefixtures("published")
def test_without_its_vocabulary_the_message_names_that_model():
    with pytest.raises(InputError, match="hf download google-bert/bert-base-uncased vocab.txt"):
        load_scorer(SPEC)


@torch.no_grad()
def test_a_clip_by_its_hub_id(cache, clip_folder, head, images, tmp_path):
    files = {path.name: path.read_bytes() for path in clip_folder.iterdir()}
    add_to_cache(cache, "openai/clip-vit-large-patch14", files)
    scorer = load_scorer(ScorerConfig(kind="clip_score", path="openai/clip-vit-large-patch14"))
    expected = CLIPScore.from_folder(clip_folder).score(images, PROMPTS)
    assert torch.equal(scorer.score(images, PROMPTS), expected)
    embedder = ModelFolderDataset(hub_id="openai/clip-vit-large-patch14", revision=COMMIT).load()
    assert torch.equal(CLIPScore.from_folder(embedder).score(images, PROMPTS), expected)

    save_file(head.state_dict(), tmp_path / "head.safetensors")
    spec = ScorerConfig(
        kind="aesthetic",
        path=str(tmp_path / "head.safetensors"),
        clip_path="openai/clip-vit-large-patch14",
    )
    expected = AestheticScorer.from_files(tmp_path, clip_folder).score(images, PROMPTS)
    assert torch.equal(load_scorer(spec).score(images, PROMPTS), expected)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("spec", "model"),
    [
        ({"kind": "image_reward", "path": "THUDM/ImageReward"}, "THUDM/ImageReward"),
        ({"kind": "clip_score", "path": "openai/clip"}, "openai/clip"),
        ({"kind": "pick_score", "path": "yuvalkirstain/PickScore_v1"}, "yuvalkirstain/PickScore"),
        ({"kind": "aesthetic", "path": "./head", "clip_path": "openai/clip"}, "openai/clip"),
    ],
)
def test_an_absent_model_is_one_line_that_names_it(spec, model):
    for given in (
        ScorerConfig(**spec),
        ScorerConfig(kind="weighted_sum", parts={"one": {"weight": 1.0, **spec}}),
    ):
        with pytest.raises(InputError, match=f"{model}.* local folder .*`hf download {model}") as e:
            load_scorer(given)
        assert "\n" not in str(e.value)


@pytest.mark.usefixtures("cache")
def test_an_aesthetic_head_is_a_file():
    with pytest.raises(InputError, match="camp/head: .*no such file"):
        load_scorer(ScorerConfig(kind="aesthetic", path="camp/head", clip_path="./clip"))


def test_local_folders_never_touch_the_network(
    clip_folder, head, image_reward, tiny_model_folder, tmp_path, images, monkeypatch
):
    """Not even to ask whether there is something newer; HF_HUB_OFFLINE is not set here."""
    asked = []

    def refuse(*address, **_):
        asked.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    image_reward.save(tmp_path / "image_reward")
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    parts = {
        "image_reward": {"path": str(tmp_path / "image_reward")},
        "aesthetic": {"path": str(tmp_path), "clip_path": str(clip_folder)},
        "clip_score": {"path": str(clip_folder)},
        "pick_score": {"path": str(clip_folder)},
    }
    each = {kind: {"kind": kind, "weight": 1.0, **spec} for kind, spec in parts.items()}
    scorer = load_scorer(ScorerConfig(kind="weighted_sum", parts=each))
    assert isinstance(scorer.parts["image_reward"][1], ImageReward)
    scorer.score(images, PROMPTS)
    load_base_model(describe_base_model(tiny_model_folder))
    assert asked == []
