"""The report's section on where each number comes from."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from dpok_pipeline.evaluation.claims import judge_claims
from dpok_pipeline.report.page import render_report
from dpok_pipeline.report.provenance import Fact, Lineage, Origin
from tests.evaluation.synthetic import METHODS, PAPER, compare_all, make_scores
from tests.report.test_page import Page

RUN = "http://127.0.0.1:5000/#/experiments/1/runs/abc"
FILE = "../../06_models/color/dpok/lora/2026/lora/"


@pytest.fixture(scope="module")
def comparison() -> pd.DataFrame:
    scores, embeddings = make_scores(("color",), images=12)
    return compare_all(scores, embeddings, METHODS, replicates=100)


def made(*methods: str, pages_command: str = "kedro mlflow ui --env smoke") -> Lineage:
    facts = (
        Fact("LoRA", "2026-01-01", "sha256 0123456789ab", FILE),
        Fact("Training run", "color dpok", "abc", RUN),
        Fact("Registered model", "none <b>yet</b>"),
    )
    origins = tuple(
        Origin("color", method, "LoRA 2026", facts, f"kedro lineage color.{method}.lora:2026")
        for method in methods
    )
    return Lineage(origins, "http://127.0.0.1:5000", pages_command, "kedro lineage color.report")


def render(comparison: pd.DataFrame, lineage: Lineage | None) -> str:
    return render_report(
        comparison,
        judge_claims(comparison, PAPER.claims, METHODS),
        methods=METHODS,
        curves={},
        materials={},
        provenance={},
        lineage=lineage,
    )


def test_every_label_leads_to_its_methods_row_and_every_fact_to_its_place(
    comparison: pd.DataFrame,
) -> None:
    text = render(comparison, made("dpok", "sft"))
    page = Page(text)
    anchors = {link for link in page.links if link.startswith("#made-")}
    assert anchors == {"#made-dpok", "#made-sft"}
    assert all(f'id="{anchor[1:]}"' in text for anchor in anchors)
    assert {RUN, FILE} <= set(page.links)
    assert "sha256 0123456789ab" in page.text
    assert "none <b>yet</b>" in page.text
    assert "kedro lineage color.dpok.lora:2026" in page.text


def test_a_reader_of_a_copy_is_told_that_links_lead_to_the_makers_machine(
    comparison: pd.DataFrame,
) -> None:
    text = Page(render(comparison, made("dpok"))).text
    assert "The links lead to the machine that made this page" in text
    assert "while kedro mlflow ui --env smoke serves them there" in text
    assert "From a copy of this page they lead nowhere." in text
    served = Page(render(comparison, made("dpok", pages_command=""))).text
    assert "kedro mlflow ui" not in served


def test_without_lineage_there_is_no_section_and_no_link(comparison: pd.DataFrame) -> None:
    text = render(comparison, None)
    assert "Where each number comes from" not in text
    # But for those within the page itself.
    assert not re.findall(r'<a [^>]*href="[^#][^"]*"', text.partition("</script>")[2])
    assert "#made-" not in text
