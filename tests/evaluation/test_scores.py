from __future__ import annotations

import colorsys

import numpy as np
import pandas as pd
import pytest
import torch

from dpok_pipeline.diffusion.sampler import png_bytes
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.comparison import metric_columns
from dpok_pipeline.evaluation.diversity import align
from dpok_pipeline.evaluation.drawing import decode_images
from dpok_pipeline.evaluation.scores import embed_images, saturation, score_columns, score_shards
from dpok_pipeline.rewards.clip import ClipEmbedder
from tests.rewards.conftest import write_clip
from tests.small_memory import SmallMemory


class Counting:
    """Scores by brightness and length of prompt; remembers how large the batches were."""

    def __init__(self):
        self.batches = []

    def score(self, images, prompts):
        self.batches.append(len(images))
        return images.mean((1, 2, 3)) + torch.tensor([float(len(p)) for p in prompts])


def test_saturation_by_hand():
    colours = [(1, 0, 0), (0.5, 0.5, 0.5), (0, 0, 0), (0.8, 0.6, 0.4), (1, 1, 1)]
    images = torch.tensor(colours, dtype=torch.float32)[:, :, None, None]
    assert saturation(images).tolist() == pytest.approx([1, 0, 0, 0.5, 0])


def test_saturation_is_the_mean_of_hsv_over_the_pixels():
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    pixels = images.permute(0, 2, 3, 1).reshape(2, -1, 3).tolist()
    expected = [np.mean([colorsys.rgb_to_hsv(*pixel)[1] for pixel in one]) for one in pixels]
    assert saturation(images).tolist() == pytest.approx(expected, rel=1e-5)


def test_scores_do_not_depend_on_the_batch_size():
    images, prompts = torch.rand(7, 3, 4, 4), [" " * i for i in range(7)]
    small, large = Counting(), Counting()
    frame = score_columns(images, prompts, {"own": small}, batch_size=3)
    assert small.batches == [3, 3, 1]
    other = score_columns(images, prompts, {"own": large}, batch_size=100)
    assert list(frame.columns) == ["own", "saturation"]
    np.testing.assert_allclose(frame, other, rtol=1e-6)


def test_a_scorer_that_gives_something_else_is_named():
    class Column(Counting):
        def score(self, images, prompts):
            return super().score(images, prompts)[:, None]

    with pytest.raises(InputError, match=r"`own`: returned shape \(2, 1\) for 2 images"):
        score_columns(torch.rand(2, 3, 4, 4), ["a", "b"], {"own": Column()})


def test_scores_that_are_not_finite_are_told(caplog):
    class Broken(Counting):
        def score(self, images, prompts):
            return [float("nan"), 1.0]  # numbers in a list will do

    frame = score_columns(torch.rand(2, 3, 4, 4), ["a", "b"], {"own": Broken()})
    assert frame["own"].isna().tolist() == [True, False]
    assert "own gave 1 of 2 images no finite score" in caplog.text


def test_scorers_and_embedder_get_less_when_memory_runs_out(tmp_path, monkeypatch):
    images, prompts = torch.rand(7, 3, 16, 16), [" " * i for i in range(7)]
    scorer, embedder = Counting(), ClipEmbedder.from_folder(write_clip(tmp_path))
    expected = embed_images(images, embedder, batch_size=4)
    monkeypatch.setattr(scorer, "score", SmallMemory(scorer.score, 4))
    monkeypatch.setattr(embedder, "embed", SmallMemory(embedder.embed, 4))
    frame = score_columns(images, prompts, {"own": scorer})
    assert scorer.batches == [4, 3]
    np.testing.assert_allclose(
        frame, score_columns(images, prompts, {"own": Counting()}), rtol=1e-6
    )
    np.testing.assert_array_equal(embed_images(images, embedder), expected)


class Shelf:
    """Stands in for the finished shards of one method."""

    def __init__(self, shards, recipe):
        self.shards, self.metadata = shards, {"recipe": recipe}

    def __iter__(self):
        return iter(self.shards)


def make_shard(prompt: str, seed: int) -> pd.DataFrame:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return pd.DataFrame(
        {
            "experiment": "color",
            "prompt_id": prompt,
            "prompt": prompt,
            "split": "train",
            "method": "dpok",
            "index": range(3),
            "kl": 0.1,
            "image": [{"bytes": png_bytes(image), "path": None} for image in images],
        }
    )


def test_the_shards_of_a_method_are_scored_and_embedded(tmp_path):
    shelf = Shelf([make_shard("cat", 0), make_shard("a dog", 1)], {"seed": 7})
    embedder = ClipEmbedder.from_folder(write_clip(tmp_path))
    scores, embeddings = score_shards(shelf, {"own": Counting()}, embedder)
    assert list(scores["index"]) == list(range(3)) * 2
    assert "image" not in scores
    assert scores["image_sha256"].nunique() == 6
    assert align(scores, embeddings[::-1]).shape == (6, 12)
    pixels = decode_images(make_shard("a dog", 1)["image"])
    expected = score_columns(pixels, ["a dog"] * 3, {"own": Counting()})
    np.testing.assert_array_equal(scores["own"][3:], expected["own"])
    assert metric_columns(scores) == ["kl", "own", "saturation"]


def test_recipe_and_scorers_are_told_apart_in_the_scores(tmp_path):
    embedder = ClipEmbedder.from_folder(write_clip(tmp_path))

    def recipe(drawn, scored):
        shelf = Shelf([make_shard("cat", 0)], drawn)
        return score_shards(shelf, {}, embedder, scored_by=scored)[0]["recipe"].unique().tolist()

    assert recipe({"seed": 7}, {"own": "v1"}) == recipe({"seed": 7}, {"own": "v1"})
    assert recipe({"seed": 7}, {"own": "v1"}) != recipe({"seed": 8}, {"own": "v1"})
    assert recipe({"seed": 7}, {"own": "v1"}) != recipe({"seed": 7}, {"own": "v2"})
    # Each experiment has prompts of its own.
    assert recipe({"seed": 7}, {}) == recipe({"seed": 7, "prompts": ["cat"]}, {})


def test_no_images_give_an_empty_frame():
    frame = score_columns(torch.empty(0, 3, 4, 4), [], {"own": Counting()})
    assert list(frame.columns) == ["own", "saturation"]
    assert frame.empty


def test_embeddings_in_batches(tmp_path):
    embedder = ClipEmbedder.from_folder(write_clip(tmp_path))
    images = torch.rand(5, 3, 16, 16)
    embeddings = embed_images(images, embedder, batch_size=2)
    assert embeddings.shape == (5, 12)
    np.testing.assert_allclose(embeddings, embed_images(images, embedder), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
