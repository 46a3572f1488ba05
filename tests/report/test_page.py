from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from dpok_pipeline.evaluation.claims import judge_claims
from dpok_pipeline.files.git import Commit
from dpok_pipeline.report import provenance
from dpok_pipeline.report.page import render_report
from dpok_pipeline.report.pictures.album import Material
from dpok_pipeline.report.pictures.chosen import choose_pictures, no_pictures
from dpok_pipeline.report.provenance import collect_provenance, commit_in_words
from tests.evaluation.synthetic import (
    EFFECTS,
    EXPERIMENTS,
    MANY,
    MANY_EFFECTS,
    METHODS,
    PAPER,
    compare_all,
    make_curves,
    make_scores,
    make_shards,
)

# All in one process, which makes the module's fixtures once.
pytestmark = pytest.mark.xdist_group("report page")

NASTY = "<script>alert('a')</script> & \"A cat\"</script>"


def make_report(
    experiments,
    *,
    judge=True,
    prompt=None,
    own_reward=False,
    methods=METHODS,
    effects=EFFECTS,
    learners=("dpok",),
    question=PAPER.question,
    kept=True,
    dropped=(),
    without_unseen="",
):
    scores, embeddings = make_scores(experiments, images=12, judge=judge, effects=effects)
    scores = scores.drop(columns=list(dropped))
    staying = (scores["experiment"] != without_unseen) | (scores["split"] != "unseen")
    scores, embeddings = scores[staying].reset_index(drop=True), embeddings[staying]
    if own_reward:
        scores["reward"] = -scores["image_reward"]
    if prompt:
        scores.loc[scores["split"] == "train", "prompt"] = prompt
    comparison = compare_all(scores, embeddings, methods, replicates=100)
    materials = {}
    for name, part in scores.groupby("experiment", sort=False):
        pictures = choose_pictures(part, make_shards(part)) if kept else no_pictures()
        materials[name] = Material(part, pictures)
    return render_report(
        comparison,
        judge_claims(comparison, PAPER.claims, methods),
        methods=methods,
        curves={name: {learner: make_curves() for learner in learners} for name in experiments},
        materials=materials,
        provenance=collect_provenance({"rl": {"kl_weight": 0.01}}, {"training seeds": [3]}),
        question=question,
    )


class Page(HTMLParser):
    """What a browser would load, run and show."""

    def __init__(self, text):
        super().__init__()
        self.links, self.scripts, self.words, self.kinds, self.inside = [], [], [], [], None
        self.sections = re.findall(r'<section id="([a-z-]+)">\s*<h2>(.*?)</h2>', text)
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        attributes = dict(attrs)
        self.links += [attributes[name] for name in ("src", "href", "srcset") if name in attributes]
        if tag == "script":
            self.kinds.append(attributes.get("type"))
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


def figures_of(page):
    data = [
        json.loads(text)
        for text, kind in zip(page.scripts, page.kinds, strict=True)
        if kind == "application/json"
    ]
    return [figure for figure in data if "layout" in figure]


@pytest.fixture(scope="module")
def joint():
    return Page(make_report(("color", "count", "location")))


def test_it_loads_nothing(joint):
    pictures = [link for link in joint.links if not link.startswith("#")]
    assert pictures
    assert all(link.startswith("data:image/webp;base64,") for link in pictures)
    assert len(set(pictures)) == len(pictures)  # each of them once


def test_alarms_are_told(joint):
    assert "color: saturation was outside in iterations 39, the last one among them." in joint.text
    assert "leave the base model's range" in joint.text


def test_no_style_asks_the_network():
    style = re.search(r"<style>(.*?)</style>", make_report(("color",)), re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_plotly_is_there_once_and_every_figure_is_data(joint):
    assert sum("plotly.js v" in script for script in joint.scripts) == 1
    figures = figures_of(joint)
    # Three metrics on two splits; a curve and a KL figure for each of three experiments.
    assert len(figures) == 3 * 2 + 3 + 3
    assert all(figure["data"] for figure in figures)


def test_dark_paper_has_a_colour_for_every_colour_of_its_figures(joint):
    (dark,) = (json.loads(text) for text in joint.scripts if '"#1f1f1c":' in text)
    drawn = json.dumps(figures_of(joint))
    colours = set(re.findall(r"#[0-9a-fA-F]{6}\b|rgba?\([^)]*\)", drawn)) - {"rgba(0,0,0,0)"}
    assert colours <= set(dark)
    assert {method.colour for method in METHODS} <= colours


def test_it_says_question_answer_contents_claims_and_origin_in_that_order(joint):
    words = (
        "Does online reinforcement learning beat",
        "DPOK scores higher on ImageReward than the base model and SFT on all three",
        "one training seed",
        *(title for _, title in joint.sections),
        "The same noise, before and after",
        "The numbers",
        "Learning, image by image",
        "What the reward costs",
        "Look for yourself",
        "Where it goes wrong",
        "What is claimed",
        "3 of 3",
        "How it was made",
        "rl.kl_weight",
    )
    place = 0
    for text in words:
        place = joint.text.index(text, place) + 1


def test_the_contents_lead_to_every_section(joint):
    assert len(joint.sections) == 10
    assert [f"#{place}" for place, _ in joint.sections] == [
        link for link in joint.links if link.startswith("#") and link != "#report"
    ][: len(joint.sections)]


def test_every_prompt_has_its_row(joint):
    for prompt in ("A green colored rabbit.", "Four birds in the park.", "A lion on the moon."):
        assert prompt in joint.text


def test_one_experiment_has_no_mean_and_no_tally():
    page = Page(make_report(("color",)))
    assert "Mean over prompts" not in page.text
    assert "Holds on" not in page.text
    assert "On “A green colored rabbit.” DPOK" in page.text


def test_every_sentence_of_the_lead_has_one_full_stop():
    methods = [METHODS[0], METHODS[1]._replace(description="trains once"), METHODS[2]]
    text = Page(make_report(("color",), methods=methods)).text
    assert "on the prompt “A green colored rabbit.” SFT trains once. DPOK" in text
    assert ".." not in text
    assert ".”." not in text


def test_without_judge_its_columns_and_claim_are_absent():
    text = Page(make_report(("color",), judge=False)).text.lower()
    assert "no judge is configured, so the aesthetic score has to tell" in text
    assert text.count("judge") == 1


def test_a_reward_of_the_users_own_takes_the_place_of_image_reward():
    page = Page(make_report(("color",), own_reward=True))
    assert "DPOK is not shown to score higher on the reward than" in page.text
    assert "its score, Reward" in page.text
    titles = [figure["layout"]["yaxis"]["title"]["text"] for figure in figures_of(page)]
    assert titles[0] == "Reward"
    assert titles[-2:] == ["Reward", "Reward"]  # learning curve and reward against KL


def test_a_prompt_is_text_and_never_markup():
    html = make_report(("color",), prompt=NASTY)
    page, clean = Page(html), Page(make_report(("color",)))
    assert len(page.scripts) == len(clean.scripts)
    assert NASTY in page.text
    assert "<script>alert" not in html


def test_the_parameters_of_a_typed_group_are_flattened():
    from dpok_pipeline.config import FrozenConfig

    class Group(FrozenConfig):
        eta: float = 1.0

    sections = collect_provenance({"sampling": Group(), "seed": 3}, {})
    assert sections["Parameters"] == {"sampling.eta": "1.0", "seed": "3"}
    assert {"torch", "python"} <= set(sections["Versions"])
    assert sections["Machine"]["cores"]


def test_outside_a_checkout_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_in_words(None) == "not in a git checkout"


def test_a_commit_says_whether_it_has_all_that_the_run_was_made_from(monkeypatch):
    monkeypatch.setattr(
        provenance, "describe_run_commit", lambda _, env: Commit("0" * 40, dirty=env is None)
    )
    assert commit_in_words(None) == f"{'0' * 12}, with changes or settings that are not in git"
    assert commit_in_words("paper") == "0" * 12


def test_the_default_reads_as_the_papers_comparison(joint):
    for words in (
        "The paper's comparison",
        "Two ways of learning from it are compared on three prompts. SFT trains on images that "
        "the base model drew once. DPOK draws new images as it learns.",
        "All three models draw from the same noise.",
        "the best of the three is underlined",
        "the share of noises on which DPOK scores higher",
        "images that DPOK draws while it learns",
        "While DPOK trained",
        "The claims on the judge and on reward per KL are this project’s, the others are the paper",
    ):
        assert words in joint.text
    assert "Base model SFT DPOK" in joint.text.replace("Base modelSFTDPOK", "Base model SFT DPOK")


class TestManyMethods:
    @pytest.fixture(scope="class")
    @classmethod
    def html(cls):
        learners = ("dpok", "dpok_no_kl", "dpok_value", "dpok_one_update", "rwr")
        return make_report(
            ("color", "count"), methods=MANY, effects=MANY_EFFECTS, learners=learners
        )

    @pytest.fixture(scope="class")
    @classmethod
    def page(cls, html):
        return Page(html)

    def test_it_speaks_of_all_of_them(self, page):
        for words in (
            "Fourteen methods on two prompts",
            "Fourteen ways of learning from it are compared on two prompts.",
            "All fifteen models draw from the same noise.",
            "Prompt by prompt",
            "the share of noises on which the first of the two scores higher",
            "Each row is a method",
            "images that a method draws while it learns",
            "joins the methods that no other one beats in both",
            "While the methods trained",
            "color · Online RWR: saturation was outside",
        ):
            assert words in page.text

    def test_every_method_is_in_its_tables_and_figures(self, page):
        for method in MANY:
            assert page.text.count(method.label) >= 4
        # Rows of points for three metrics; panels and frontier of two experiments, and of both.
        figures = figures_of(page)
        assert len(figures) == 3 + 2 + 3
        assert all(figure["data"] for figure in figures)

    def test_a_wide_figure_says_how_wide(self, html):
        single = make_report(("color",), methods=MANY, effects=MANY_EFFECTS)
        assert 'class="wide scroll"' in single
        assert re.search(r'class="plot" style="min-height:\d+px;min-width:\d+px"', single) is None
        assert re.search(r'class="plot" style="min-height:\d+px;min-width:\d+px"', html)


class TestPictures:
    def test_a_method_stands_beside_base_with_all_its_scores(self, joint):
        html = make_report(("color",))
        assert 'alt="DPOK, noise 7: ImageReward' in html
        assert '<table class="grid" id="grid-1">' in html
        assert "data-scores='[[" in html
        assert '<option value="dpok" selected>DPOK</option>' in html

    def test_no_hacked_picture_is_said(self):
        effects = {**EFFECTS, "dpok": (1.4, 5.45, 2.0, 0.42, 0.006)}  # all right by the judge
        text = Page(make_report(("color",), effects=effects)).text
        assert (
            "Hacked. None: no picture has a higher reward than the base model’s and is wr" in text
        )
        assert "The four lowest of 12 pictures." in text

    def test_neither_judge_nor_aesthetic_score_is_said(self):
        text = Page(make_report(("color",), dropped=["judge", "aesthetic"])).text
        assert "What was hacked cannot be told" in text
        assert "Hacked." not in text

    def test_an_experiment_without_unseen_prompts_has_one_grid(self):
        html = make_report(("color", "count"), without_unseen="count")
        assert html.count('<table class="grid"') == 3
        assert 'id="grid-2"' in html

    def test_parts_without_pictures_say_so_and_leave_the_sections_out(self):
        text = Page(make_report(("color",), kept=False)).text
        assert "evaluated before reports kept single pictures" in text
        assert "Where it goes wrong" not in text
        assert "The same noise, before and after" not in text


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("experiments", [("color",), ("color", "count")])
def test_few_methods(count, experiments):
    page = Page(make_report(experiments, methods=METHODS[:count], learners=()))
    assert "DPOK" not in page.text.replace("“DPOK: Reinforcement", "")
    assert "Which way of learning from a reward works best?" in page.text
    assert "What is claimed" not in page.text
    assert "Learning, image by image" not in page.text
    assert ("Image by image" in page.text) == (count == 2)
    expected = "the better of the two is underlined" if count == 2 else "The base model is measured"
    assert expected in page.text


def test_a_method_called_as_markup_is_text():
    methods = [*METHODS[:2], METHODS[2]._replace(label="<script>alert(2)</script>")]
    html = make_report(("color",), methods=methods)
    assert "<script>alert(2)" not in html
    assert "<script>alert(2)</script>" in Page(html).text


def test_groups_of_bars_are_scrolled_through_rather_than_squeezed():
    four = make_report(tuple(EXPERIMENTS))
    assert four.count("min-width:430px") == 3 * 2
    assert re.search('class="plot" style="[^"]*min-width', make_report(("color",))) is None
