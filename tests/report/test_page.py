from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from dpok_pipeline.evaluation.claims import judge_claims
from dpok_pipeline.evaluation.comparison import compare
from dpok_pipeline.report.contact_sheet import contact_sheet
from dpok_pipeline.report.page import render_report
from dpok_pipeline.report.provenance import collect_provenance, git_commit
from tests.evaluation.synthetic import make_curves, make_picture, make_scores

NASTY = "<script>alert('a')</script> & \"A cat\"</script>"


def make_report(experiments, *, judge=True, prompt=None, own_reward=False):
    scores, embeddings = make_scores(experiments, images=12, judge=judge)
    if own_reward:
        scores["reward"] = -scores["image_reward"]
    if prompt:
        scores.loc[scores["split"] == "train", "prompt"] = prompt
    comparison = compare(scores, embeddings, replicates=100)
    pictures = {model: [make_picture(hue) for hue in range(3)] for model in ("base", "sft", "rl")}
    sheet = contact_sheet(pictures, prompt=prompt or "A cat.", indices=range(3), cell=32)
    return render_report(
        comparison,
        judge_claims(comparison),
        curves={name: {"rl": make_curves()} for name in experiments},
        sheets={name: [sheet] for name in experiments},
        provenance=collect_provenance({"rl": {"kl_weight": 0.01}}, {"training seeds": [3]}),
    )


class Page(HTMLParser):
    """What a browser would load, run and show."""

    def __init__(self, text):
        super().__init__()
        self.links, self.scripts, self.words, self.kinds, self.inside = [], [], [], [], None
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


@pytest.fixture(scope="module")
def joint():
    return Page(make_report(("color", "count", "location")))


def test_it_loads_nothing(joint):
    assert joint.links
    assert all(link.startswith("data:image/webp;base64,") for link in joint.links)


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
    figures = [
        json.loads(script)
        for script, kind in zip(joint.scripts, joint.kinds, strict=True)
        if kind == "application/json"
    ]
    # Three metrics on two splits; a curve and a KL figure for each of three experiments.
    assert len(figures) == 3 * 2 + 3 + 3
    assert all(figure["data"] for figure in figures)


def test_it_says_question_answer_claims_and_origin_in_that_order(joint):
    places = [
        joint.text.index(words)
        for words in (
            "Does online reinforcement learning beat",
            "DPOK scores higher on ImageReward than the base model and SFT on all three",
            "one training seed",
            "The numbers",
            "Learning, image by image",
            "What the reward costs",
            "Look for yourself",
            "What is claimed",
            "3 of 3",
            "How it was made",
            "rl.kl_weight",
        )
    ]
    assert places == sorted(places)


def test_every_prompt_has_its_row(joint):
    for prompt in ("A green colored rabbit.", "Four birds in the park.", "A lion on the moon."):
        assert prompt in joint.text


def test_one_experiment_has_no_mean_and_no_tally():
    page = Page(make_report(("color",)))
    assert "Mean over prompts" not in page.text
    assert "Holds on" not in page.text
    assert "On “A green colored rabbit.” DPOK" in page.text


def test_without_judge_its_columns_and_claim_are_absent():
    page = Page(make_report(("color",), judge=False))
    assert "judge" not in page.text.lower()


def test_a_reward_of_the_users_own_takes_the_place_of_image_reward():
    page = Page(make_report(("color",), own_reward=True))
    assert "DPOK is not shown to score higher on the reward than" in page.text
    assert "its score, Reward" in page.text
    figures = [json.loads(text) for text, kind in zip(page.scripts, page.kinds, strict=True)
               if kind == "application/json"]  # fmt: skip
    titles = [figure["layout"]["yaxis"]["title"]["text"] for figure in figures]
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

    sections = collect_provenance({"sampling": Group(), "seed": 3})
    assert sections["Parameters"] == {"sampling.eta": "1.0", "seed": "3"}
    assert {"torch", "python"} <= set(sections["Versions"])
    assert sections["Machine"]["cores"]


def test_outside_a_checkout_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() == "not in a git checkout"
