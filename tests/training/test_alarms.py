"""Alarms: the range of the first rollout, and means that leave it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from dpok_pipeline.training.rollouts.alarms import Watch

NAN = float("nan")


def level(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Mean level of each image, `(n,)`; all are unknown if one is, as distances to others are."""
    assert len(images) == len(prompts)
    values = images.flatten(1).mean(1)
    return values if values.isfinite().all() else torch.full_like(values, NAN)


def images(*levels: float) -> Tensor:
    return torch.stack([torch.full((3, 2, 2), value) for value in levels])


def look(watch: Watch, iteration: int, *levels: float) -> dict[str, float]:
    watch.look(images(*levels), ["A dog."] * len(levels), iteration)
    return watch.metrics()


def test_a_mean_outside_of_the_first_rollouts_range_rings_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch({"level": level}, deviations=2)
    assert look(watch, 1, 0.4, 0.6) == {"images/level": pytest.approx(0.5), "alarm/level": 0}
    assert look(watch, 2, 0.6, 0.6)["alarm/level"] == 0  # one deviation of 0.1
    with caplog.at_level(logging.WARNING):
        assert look(watch, 3, 0.8, 0.8)["alarm/level"] == 1
        assert look(watch, 4, 0.9, 0.9)["alarm/level"] == 1
    assert caplog.text.count("Alarm in iteration") == 1
    assert (
        "Alarm in iteration 3: level is 0.8, the base model's images have 0.5 ± 0.1" in caplog.text
    )


def test_an_image_that_is_not_finite_leaves_range_and_alarm_to_the_others() -> None:
    watch = Watch({"level": level}, deviations=2)
    assert look(watch, 1, 0.4, NAN, 0.6)["images/level"] == pytest.approx(0.5)
    assert watch.state_dict()["base"] == {"level": pytest.approx([0.5, 0.1])}
    assert look(watch, 2, 0.9, NAN) == {"images/level": pytest.approx(0.9), "alarm/level": 1}


def test_where_nothing_is_known_there_is_no_alarm() -> None:
    watch = Watch({"level": level}, deviations=2)
    look(watch, 1, 0.4, 0.6)
    found = look(watch, 2, NAN, NAN)
    assert math.isnan(found["images/level"])
    assert found["alarm/level"] == 0
    assert look(Watch({"level": level}, deviations=None), 1, 0.5) == {}
