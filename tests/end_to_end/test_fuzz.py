"""Some inputs of `python -m benchmarks.fuzz`: a new one of each kind, and all that have failed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from benchmarks.fuzz.__main__ import FAMILIES, KEPT, try_family
from benchmarks.fuzz.cases import Case, draw
from benchmarks.fuzz.project import Project

from tests.stressed import always_or_stressed

pytestmark = pytest.mark.xdist_group("whole run")

#: What users write most; the others are tried with the long series.
ALWAYS = ("prompts", "parameters")
KEPT_CASES = [Case(**json.loads(line)) for line in KEPT.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def own_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with Project(tmp_path_factory.mktemp("fuzz")) as project:
        yield project


@pytest.mark.parametrize("family", always_or_stressed(FAMILIES, ALWAYS))
def test_inputs_work_or_are_refused_in_one_line(own_project: Project, family: str) -> None:
    drawn = draw(FAMILIES[family].cases(own_project.template), number=1, chosen=None)
    cases = [*drawn, *(case for case in KEPT_CASES if case.family == family)]
    figures, failures = try_family(own_project, family, cases)
    assert failures == []
    assert figures["cases"] == len(cases)


def test_what_has_failed_once_is_of_a_family_that_is_tried() -> None:
    assert {case.family for case in KEPT_CASES} <= set(FAMILIES)
