"""Comparisons of more methods than bars, curves or columns have room for."""

from __future__ import annotations

import pytest

from tests.evaluation.synthetic import MANY, MANY_EFFECTS, compare_all, make_scores


@pytest.fixture(scope="module")
def joint():
    scores = make_scores(images=12, effects=MANY_EFFECTS)
    return compare_all(*scores, methods=MANY, replicates=100)


@pytest.fixture(scope="module")
def single():
    scores = make_scores(("color",), images=12, effects=MANY_EFFECTS)
    return compare_all(*scores, methods=MANY, replicates=100)
