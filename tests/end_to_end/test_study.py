"""Votes of another page: the run that finds them stops late, and goes on once they are away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Command, Outcome, error_of

pytestmark = pytest.mark.xdist_group("whole run")

FOREIGN = {
    "format": "study-votes/1",
    "study": "0123456789abcdef",
    "rater": "Anna",
    "votes": [{"pair": "1a2b3c4d", "alignment": "left", "quality": "tie"}],
}


@pytest.mark.stress
def test_votes_of_another_page_cost_no_work(
    environment: Callable[..., str], kedro_run: Command, project: Path
) -> None:
    env = environment("votes")
    (project / "conf" / env / "experiments.yml").write_text("experiments: [count]\n")
    # Its runs are not to be taken for those of the whole run, which other tests look at.
    (project / "conf" / env / "mlflow.yml").write_text(f"experiment_name: {env}\n")
    folder = project / "data" / env / "01_raw" / "votes"
    folder.mkdir(parents=True)
    path = folder / "anna.json"
    path.write_text(json.dumps(FOREIGN), encoding="utf-8")
    stopped = kedro_run(env=env)
    assert "anna.json: study: the file is of the page 0123456789abcdef" in error_of(stopped)
    path.unlink()
    again = kedro_run(env=env)
    assert again.exit_code == 0, again.output
    assert "count votes" in again.log
    for done in ("draw method images", "score images", "make study page"):
        assert done in stopped.log
        assert done not in again.log


def test_a_broken_file_stops_a_run_before_its_first_node(
    finished: Outcome, kedro_run: Command, project: Path
) -> None:
    folder = project / "data" / "smoke" / "01_raw" / "votes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "anna.json").write_text("{", encoding="utf-8")
    stopped = kedro_run()
    (folder / "anna.json").unlink()
    assert "anna.json: not the JSON that the page writes" in error_of(stopped)
    assert "[1/" not in stopped.log
