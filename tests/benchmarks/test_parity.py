from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.parity import PROMPTS, compare, pictures, random_image

SCORES = [float(number) for number in range(len(PROMPTS))]


def verdict(folder: Path, **changed: Any) -> dict[str, Any]:
    runs = {"package": SCORES, "ours": SCORES, "ours_there": SCORES}
    for name, scores in runs.items():
        run = {"environment": {}, "scores": changed.get(name, scores)}
        (folder / f"{name}.json").write_text(json.dumps(run))
    moves = {"least_move_by_one_word": 0.06, "least_move_by_another_image": 0.06}
    found = moves | {key: value for key, value in changed.items() if key in moves}
    (folder / "changes.json").write_text(json.dumps(found))
    return compare(folder)


def test_equal_scores_that_differ_among_themselves_prove_it(tmp_path: Path) -> None:
    result = verdict(tmp_path)
    assert result["proven"]
    assert result["ours"]["within_tolerance"] == 20


@pytest.mark.parametrize(
    "changed",
    [
        {"ours": [*SCORES[:-1], SCORES[-1] + 2e-4]},
        {"ours_there": [SCORES[0] - 2e-4, *SCORES[1:]]},
        {"ours": [float("nan"), *SCORES[1:]]},
        {name: [0.1] * 20 for name in ("package", "ours", "ours_there")},
        {"least_move_by_one_word": 0.04},
        {"least_move_by_another_image": 0.04},
    ],
)
def test_anything_less_does_not(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert not verdict(tmp_path, **changed)["proven"]


def test_the_images_have_odd_sizes_and_several_modes(tmp_path: Path) -> None:
    for index in range(len(PROMPTS)):
        random_image(index).save(tmp_path / f"{index:02d}.png")
    images = pictures(tmp_path)
    assert all(side % 2 for image in images for side in image.size)
    assert len({image.size for image in images}) == 20
    assert {image.mode for image in images} == {"RGB", "RGBA", "L"}
    assert random_image(3).tobytes() == images[3].tobytes()


def test_the_committed_result_is_a_proof_for_these_prompts() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "parity.json"
    result = json.loads(path.read_text())
    assert result["proven"]
    assert len(result["package"]["scores"]) == len(PROMPTS)
