"""Which images reports keep, and how they are handed to a page."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dpok_pipeline.report.pictures import album as albums
from dpok_pipeline.report.pictures.album import Album, Material
from dpok_pipeline.report.pictures.chosen import choose_pictures
from dpok_pipeline.report.pictures.galleries import PICTURE, hacked, worst
from tests.evaluation.synthetic import METHODS, make_scores, make_shards
from tests.study.made import photograph

BASE, _, DPOK = METHODS


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return make_scores(("color",), images=20)[0]


@pytest.fixture(scope="module")
def pictures(scores: pd.DataFrame) -> pd.DataFrame:
    return choose_pictures(scores, make_shards(scores))


def test_first_noises_and_galleries_are_kept_once_with_bases_own(
    scores: pd.DataFrame, pictures: pd.DataFrame
) -> None:
    kept = set(pictures[PICTURE].itertuples(index=False, name=None))
    assert len(kept) == len(pictures)
    expected = {
        (method.name, f"color-{split}", noise)
        for method in METHODS for split in ("train", "unseen") for noise in range(8)
    }  # fmt: skip
    for method in ("sft", "dpok"):
        for gallery in (worst(scores, method), hacked(scores, method)):
            for noise in gallery["index"].head(4):
                expected |= {(method, "color-train", noise), ("base", "color-train", noise)}
    assert kept == expected


def test_a_kept_picture_is_the_image_itself(scores: pd.DataFrame, pictures: pd.DataFrame) -> None:
    (shard,) = make_shards(scores)
    both = pictures.merge(shard, on=PICTURE)
    assert len(both) == len(pictures)
    for webp, image in zip(both["webp"], both["image"], strict=True):
        pixels = [np.asarray(Image.open(BytesIO(one))) for one in (webp, image["bytes"])]
        assert np.array_equal(*pixels)


def test_the_choice_depends_on_the_scores_and_not_on_the_order_of_the_rows(
    scores: pd.DataFrame, pictures: pd.DataFrame
) -> None:
    again = choose_pictures(scores[::-1], make_shards(scores))
    pd.testing.assert_frame_equal(again, pictures)


def test_large_images_are_reduced(scores: pd.DataFrame) -> None:
    (shard,) = make_shards(scores)
    shard["image"] = [{"bytes": photograph(), "path": None}] * len(shard)
    few = shard[(shard["index"] == 0) & (shard["method"] == "dpok")]
    kept = choose_pictures(scores, [few])
    assert {Image.open(BytesIO(one)).size for one in kept["webp"]} == {(256, 256)}


def test_a_picture_is_handed_out_once_and_named_after_that(
    scores: pd.DataFrame, pictures: pd.DataFrame
) -> None:
    album = Album({"color": Material(scores, pictures)}, ["image_reward", "aesthetic", "judge"])
    first = album.show("color", DPOK, "color-train", 3)
    again = album.show("color", DPOK, "color-train", 3)
    base = album.show("color", BASE, "color-train", 3)
    assert first is not None
    assert again is not None
    assert base is not None
    assert first.source.startswith("data:image/webp;base64,")
    assert again.source == ""
    assert again.place == first.place
    assert (first.base, base.base) == (base.place, "")
    assert album.show("color", DPOK, "color-unseen", 19) is None
    row = scores.set_index(PICTURE).loc[("dpok", "color-train", 3)]
    judge = "yes" if row["judge"] else "no"
    assert first.scores[2] == ("Judge", judge)
    assert first.reward == f"{row['image_reward']:.2f}".replace("-", "−")
    assert first.alternative.startswith(f"DPOK, noise 3: ImageReward {first.reward}, Aesthetic")


def test_pictures_over_the_budget_are_made_smaller(
    scores: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = pd.DataFrame({"method": "dpok", "prompt_id": "color-train", "index": range(3)})
    large = large.assign(webp=[photograph()] * 3)
    monkeypatch.setattr(albums, "BUDGET", 60_000)
    album = Album({"color": Material(scores, large)}, ["image_reward"])
    shown = [album.show("color", DPOK, "color-train", noise) for noise in range(3)]
    assert sum(len(picture.source) for picture in shown if picture) <= 60_500
