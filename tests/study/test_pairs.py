"""Which images raters see, and that nothing tells them who drew which."""

from __future__ import annotations

import hashlib
import json
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dpok_pipeline.evaluation.config import ComparisonConfig
from dpok_pipeline.evaluation.names import BASE, MethodLabel
from dpok_pipeline.report.pictures.webp import as_webp, compression
from dpok_pipeline.study.config import StudyConfig
from dpok_pipeline.study.page import render_study
from dpok_pipeline.study.pairs import (
    SIDES,
    Study,
    _sides,
    make_study,
    study_contrasts,
)
from tests.study import made

LABELS = (BASE, MethodLabel("sft", "SFT", "#d0842a"), MethodLabel("dpok", "DPOK", "#0b5d7a"))


def drawn_by(image: bytes) -> tuple[str, int]:
    """Who drew an image, and from which noise, by its colour."""
    red, green, _ = Image.open(BytesIO(image)).convert("RGB").getpixel((0, 0))
    return {colour: method for method, colour in made.COLOURS.items()}[red], green


def test_every_image_is_on_the_side_that_the_key_says() -> None:
    study = made.study()
    assert len(study.pairs) == 20
    for pair, entry in zip(study.pairs, study.key["pairs"], strict=True):
        assert pair.pair == entry["pair"]
        assert pair.prompt == entry["prompt"]
        for side, images in (("left", pair.left), ("right", pair.right)):
            assert [drawn_by(image) for image in images] == [
                (entry[side], noise) for noise in entry["noises"]
            ]


def test_the_key_has_the_hashes_of_the_pngs_that_the_page_shows() -> None:
    for entry in made.study().key["pairs"]:
        assert entry["image_sha256"] == {
            method: [hashlib.sha256(made.png(method, n)).hexdigest() for n in entry["noises"]]
            for method in (entry["ours"], entry["theirs"])
        }


def test_sets_of_an_earlier_release_make_a_key_without_hashes() -> None:
    older = made.sets("color").drop(columns=["ours_sha256", "theirs_sha256"])
    study = make_study([older, made.sets("count")], made.CONFIG)
    known = {e["experiment"] for e in study.key["pairs"] if "image_sha256" in e}
    assert known == {"count"}
    assert study.study == made.study().study


def test_sides_are_drawn_by_lot_and_halved_in_every_contrast() -> None:
    entries = made.study().key["pairs"]
    for ours, theirs in made.CONTRASTS:
        sides = [e["left"] == ours for e in entries if (e["ours"], e["theirs"]) == (ours, theirs)]
        assert len(sides) == 10
        assert sum(sides) == 5
        assert sides not in ([True, False] * 5, [False, True] * 5)
    other = made.study(StudyConfig(pairs=20, seed=4, quality_margin=0.1)).key["pairs"]
    assert [e["left"] for e in other] != [e["left"] for e in entries]


def test_of_an_odd_number_either_side_may_have_one_more() -> None:
    drawn = [_sides([("a", "b")] * 3, np.random.default_rng(seed)) for seed in range(20)]
    assert {sum(sides) for sides in drawn} == {1, 2}
    assert len({tuple(sides) for sides in drawn}) == 6


def test_prompts_and_contrasts_have_as_many_pairs_and_share_no_image() -> None:
    entries = made.study().key["pairs"]
    cells = [(e["experiment"], e["theirs"]) for e in entries]
    assert {cells.count(cell) for cell in cells} == {5}
    for cell in set(cells):
        noises = [n for e, c in zip(entries, cells, strict=True) if c == cell for n in e["noises"]]
        assert len(noises) == len(set(noises)) == 20


def test_different_contrasts_show_other_noises_while_there_are_enough() -> None:
    config = StudyConfig(pairs=8, seed=1, quality_margin=0)
    entries = made.study(config, noises=16).key["pairs"]
    for experiment in made.PROMPTS:
        noises = [n for e in entries if e["experiment"] == experiment for n in e["noises"]]
        assert sorted(noises) == list(range(16))


@pytest.mark.parametrize(("noises", "pairs", "size"), [(6, 4, 4), (3, 4, 3), (11, 8, 4)])
def test_few_images_make_few_pairs(noises: int, pairs: int, size: int) -> None:
    study = made.study(noises=noises)
    assert len(study.pairs) == pairs
    assert {len(pair.left) for pair in study.pairs} == {size}


def test_unseen_prompts_are_not_asked_about() -> None:
    assert {e["prompt"] for e in made.study().key["pairs"]} == set(made.PROMPTS.values())


def test_the_same_images_and_seed_are_the_same_study_and_others_another() -> None:
    assert made.study() == made.study()
    assert made.study(side=17).study != made.study().study
    assert made.study(StudyConfig(pairs=20, seed=4, quality_margin=0.1)).study != made.study().study


def test_an_experiment_alone_fills_the_page() -> None:
    study = make_study([made.sets("color", noises=64)], made.CONFIG)
    assert len(study.pairs) == 20


def without_images(page: str) -> str:
    return re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", page)


def test_the_page_knows_neither_methods_nor_sides() -> None:
    study = made.study()
    text = without_images(render_study(study)).lower()
    for label in LABELS[1:]:
        assert label.name not in text
        assert label.label.lower() not in text
    assert not re.search(r"\bbase\b", text.replace("base-uri", ""))
    for word in ("reinforcement", "fine-tun", "contrast", "ours", "theirs", "noises", "experiment"):
        assert not re.search(rf"\b{word}", text), word
    data = json.loads(re.search(r'id="study">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert set(data) == {"format", "study", "questions", "pairs"}
    assert {frozenset(pair) for pair in data["pairs"]} == {
        frozenset({"pair", "prompt", "left", "right"})
    }


def test_the_page_asks_the_network_for_nothing_and_a_prompt_is_text() -> None:
    page = without_images(render_study(made.study()))
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "<b>wolves" not in page
    assert "\\u003cb>wolves" in page


def test_a_study_without_pairs_says_so() -> None:
    page = render_study(Study("0" * 16, [], {"study": "0" * 16, "pairs": []}))
    assert "There is nothing to compare" in page


def test_the_largest_page_of_photographs_stays_within_fifteen_megabytes() -> None:
    budget = int(13_000_000 / (4 / 3) / (8 * 60))
    pngs = [made.photograph()] * 4
    options = compression(pngs, budget, SIDES, lossless=True)
    webp = as_webp(pngs[0], options)
    assert len(webp) <= budget
    opened = Image.open(BytesIO(webp))
    assert opened.size in ((384, 384), (256, 256))
    assert not opened.getexif()
    assert not {"exif", "xmp", "icc_profile"} & set(opened.info)


def test_contrasts_are_the_configured_ones_of_methods_that_there_are() -> None:
    contrasts = (("dpok", "base"), ("dpok", "sft"), ("dpok", "rwr"))
    config = ComparisonConfig(methods=LABELS, contrasts=contrasts)
    assert study_contrasts(config) == [("dpok", "base"), ("dpok", "sft")]
    own = ComparisonConfig(
        methods=(BASE, MethodLabel("mine", "Mine", "#000000")), contrasts=contrasts
    )
    assert study_contrasts(own) == [("mine", "base")]
    assert study_contrasts(ComparisonConfig(contrasts=contrasts)) == []
