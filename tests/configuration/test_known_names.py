"""Names that no pipeline knows are refused, with the one that may be meant."""

from __future__ import annotations

from typing import Any

import pytest

from dpok_pipeline.configuration.known_names import check_catalog, check_expected_seconds
from dpok_pipeline.errors import InputError

DATASETS = ("prompts", "report", "color.dpok.lora", "color.report", "color_report_parts")


@pytest.mark.parametrize(
    "name", ["prompts", "{experiment}.report", "{e}.{m}.lora", "{e}_report_parts", "color.{any}"]
)
def test_an_entry_belongs_to_a_dataset_or_to_many(name: str) -> None:
    check_catalog({name: {"type": "x"}}, DATASETS)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("promts", "did you mean prompts?"),
        ("colour.report", "did you mean color.report?"),
        ("{experiment}.{method}.lroa", "did you mean {experiment}.{method}.lora?"),
        ("something_else_altogether", "check its spelling or remove it"),
    ],
)
def test_an_entry_of_no_dataset_is_refused(name: str, advice: str) -> None:
    entries = {"{experiment}.{method}.lora": {}, name: {}}
    with pytest.raises(InputError) as raised:
        check_catalog(entries, DATASETS)
    assert str(raised.value).endswith(f"{name}: no pipeline has such a dataset; {advice}")


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"inptu": True}, "mlflow.inptu: nothing reads this key; did you mean input?"),
        ({"input": "yes"}, "mlflow.input is 'yes': give true, or leave it out"),
        ({"artifact": True}, "mlflow.artifact is True: give report, or leave it out"),
        ({"model": "difusers"}, "mlflow.model is 'difusers': give diffusers, or leave it out"),
        ("input", "mlflow is 'input': give {input: true} or {artifact: FOLDER}"),
    ],
)
def test_what_mlflow_is_not_asked_for_is_refused(wishes: Any, said: str) -> None:
    with pytest.raises(InputError) as raised:
        check_catalog({"prompts": {"metadata": {"mlflow": wishes}}}, DATASETS)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ({"train": "banana"}, "train is 'banana': give a number of seconds"),
        ({"train": float("nan")}, "train is nan: give a number of seconds"),
        ({"train": -1}, "train is -1: give a number of seconds"),
        ({"train": True}, "train is True: give a number of seconds"),
        ({"trian": 1}, "trian: no node is called so; did you mean train?"),
    ],
)
def test_a_duration_is_a_number_of_seconds_of_a_node(seconds: dict[str, Any], said: str) -> None:
    check_expected_seconds({"train": 0.5}, ["train"])
    with pytest.raises(InputError) as raised:
        check_expected_seconds(seconds, ["train"])
    assert said in str(raised.value)
