"""The study's nodes: what they hand on, and what is refused before any of them runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from dpok_pipeline.datasets.report_parts import ReportParts
from dpok_pipeline.datasets.study import StudyResultsDataset, StudySetsDataset, VotesDataset
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.config import ComparisonConfig, EvaluationConfig
from dpok_pipeline.evaluation.names import BASE, MethodLabel
from dpok_pipeline.hooks.checks import check_raters_files
from dpok_pipeline.pipelines.evaluation.study import (
    choose_study_sets,
    count_votes,
    make_study_page,
)
from dpok_pipeline.runs.identity import describe_run
from dpok_pipeline.study.stand_in import name_pictures
from dpok_pipeline.study.votes import Votes
from tests.study import made

EVALUATION = EvaluationConfig(images_per_prompt=24, seed=1, batch_size=8, replicates=100)
METHODS = (BASE, MethodLabel("sft", "SFT", "#d0842a"), MethodLabel("dpok", "DPOK", "#0b5d7a"))
COMPARISON = ComparisonConfig(methods=METHODS, contrasts=tuple(made.CONTRASTS))


def chosen(experiment: str) -> pd.DataFrame:
    images: Any = [made.shards(experiment, method.name) for method in METHODS]
    return choose_study_sets(made.CONFIG, COMPARISON, *images)


def image_hash(method: str, noise: int) -> str:
    return hashlib.sha256(made.png(method, noise)).hexdigest()


def parts(experiment: str, **columns: float) -> ReportParts:
    rows = [
        {"experiment": experiment, "prompt_id": f"{experiment}-train", "method": method.name,
         "index": noise, "image_sha256": image_hash(method.name, noise), **columns}
        for method in METHODS for noise in range(24)
    ]  # fmt: skip
    return ReportParts(experiment, pd.DataFrame(rows), pd.DataFrame(), {}, pd.DataFrame(), {}, {})


def test_from_images_to_votes() -> None:
    page, key = make_study_page(made.CONFIG, chosen("color"), None, chosen("count"))
    assert key["study"] in page
    assert {entry["experiment"] for entry in key["pairs"]} == {"color", "count"}
    scored = [parts(name, judge=1.0, aesthetic=5.0) for name in ("color", "count")]
    results, figure = count_votes(
        made.CONFIG, EVALUATION, COMPARISON, key, Votes({}), scored[0], None, scored[1]
    )
    assert set(results["raters"]) == {"stand_in"}
    scores = pd.concat(one.scores for one in scored)
    assert set(results["pictures"]) == {name_pictures(scores)}
    assert set(results[results["choice"] == "tie"]["share"]) == {1.0}
    assert len(figure.data) == 8  # three choices and the intervals of two contrasts


def test_votes_on_images_that_were_drawn_anew_are_counted_without_the_judge(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, key = make_study_page(made.CONFIG, chosen("color"))
    scored = parts("color", judge=1.0, aesthetic=5.0)
    anew = scored._replace(scores=scored.scores.assign(image_sha256="0" * 64))
    pairs = len(key["pairs"])
    file = made.rater_file("Anna", key, ["left"] * pairs, ["tie"] * pairs)
    results, _ = count_votes(
        made.CONFIG, EVALUATION, COMPARISON, key, Votes({"anna.json": file}), anew
    )
    assert set(results["raters"]) == {"people"}
    assert set(results["pictures"]) == {"others"}
    assert "The judge does not stand in for people" in caplog.text


def test_without_a_judge_and_votes_there_is_nothing_to_show() -> None:
    _, key = make_study_page(made.CONFIG, chosen("color"))
    results, figure = count_votes(
        made.CONFIG, EVALUATION, COMPARISON, key, Votes({}), parts("color", aesthetic=5.0)
    )
    assert results.empty
    assert not figure.data


def test_no_experiment_at_all_is_an_error() -> None:
    with pytest.raises(InputError, match="run evaluation first"):
        make_study_page(made.CONFIG, None, None)


def graph(*inputs: str) -> Pipeline:
    return Pipeline([Node(lambda *_: 1, list(inputs), "counted", name="count_votes_node")])


def catalog(folder: Path, key: dict[str, Any]) -> DataCatalog:
    votes = VotesDataset(path=folder.as_posix())
    return DataCatalog({"votes": votes, "study_key": MemoryDataset(key)})


def test_files_are_looked_at_before_any_node(tmp_path: Path) -> None:
    key = made.key_of(("p1", "a", "b"))
    both, votes_alone = graph("study_key", "votes"), graph("votes")
    check_raters_files(both, catalog(tmp_path / "absent", key))
    file = made.rater_file("Anna", key, ["left"], ["tie"]).model_dump(mode="json")
    path = tmp_path / "anna.json"
    path.write_text(json.dumps(file))
    check_raters_files(both, catalog(tmp_path, key))
    foreign = {**key, "study": "fedcba9876543210"}
    with pytest.raises(InputError, match=r"anna\.json: study: "):
        check_raters_files(both, catalog(tmp_path, foreign))
    check_raters_files(votes_alone, catalog(tmp_path, foreign))  # the run makes the key anew
    path.write_text("{")
    with pytest.raises(Exception, match=r"anna\.json: not the JSON that the page writes"):
        check_raters_files(votes_alone, catalog(tmp_path, foreign))
    check_raters_files(graph("study_key"), catalog(tmp_path, foreign))


def test_votes_do_not_make_another_run(tmp_path: Path) -> None:
    key = made.key_of(("p1", "a", "b"))
    votes = catalog(tmp_path, key)
    before = describe_run(graph("votes"), votes)
    (tmp_path / "anna.json").write_text("{")
    assert describe_run(graph("votes"), votes) == before == {}


def test_votes_are_never_written(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="read only"):
        VotesDataset(path=tmp_path.as_posix()).save(Votes({}))


def test_outputs_of_an_older_evaluation_may_be_absent(tmp_path: Path) -> None:
    from kedro.io import Version

    version = Version(None, None)
    for kind in (StudySetsDataset, StudyResultsDataset):
        dataset = kind(filepath=(tmp_path / "table").as_posix(), version=version)
        assert dataset.load() is None
        assert dataset.may_be_absent
