"""What is run, what is taken over, and what comes of it, with trials that only count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from dpok_pipeline.configuration import selection
from dpok_pipeline.diffusion.base_model import describe_base_model
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation import scores
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.pipelines.models import ComputeConfig
from dpok_pipeline.rewards.load import ScorerConfig
from dpok_pipeline.sweeps import page as page_module
from dpok_pipeline.sweeps import trial as trial_module
from dpok_pipeline.sweeps.conductor import Conductor, Ground, Ledger
from dpok_pipeline.sweeps.page import render_page
from dpok_pipeline.sweeps.search import Candidate, halve, try_all
from dpok_pipeline.sweeps.setup import Setup
from dpok_pipeline.sweeps.space import combine, read_space
from dpok_pipeline.sweeps.trial import Models, Outcome, Trial, code_of_trials, turns
from dpok_pipeline.sweeps.tried import Aim, Tried, command, describe, ranked
from dpok_pipeline.training.config import GenerationConfig, Resume
from tests import tiny
from tests.rewards.conftest import tiny_image_reward

RATE, SFT_RATE = "rl_training.learning_rate", "sft_training.learning_rate"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    tiny_image_reward().save(folder / "reward")
    tiny.write_base_model(folder / "base")
    return folder


@pytest.fixture
def ground(world: Path) -> Ground:
    reward = ScorerConfig(kind="image_reward", path=str(world / "reward"))
    method = next(one for one in selection.current().methods if one.name == "dpok")
    return Ground(
        setup=Setup(
            method,
            SamplingConfig(ddim_steps=15, eta=1.0, guidance_scale=2.0),
            GenerationConfig(images=384),
        ),
        prompts={"color": ("a green cat",), "count": ("cat in the park",)},
        seeds=(7000, 7001),
        drawn=8,
        models=Models(
            describe_base_model(str(world / "base")),
            reward,
            {"image_reward": reward, "aesthetic": reward},
            ComputeConfig(device="cpu"),
        ),
        code="code",
        work=world / "work",
    )


class Counted:
    """Gives trials a reward by their learning rate, and notes which are run."""

    def __init__(self, aesthetic: Callable[[float], float] = lambda rate: 6.0) -> None:
        self.run_trials: list[str] = []
        self._aesthetic = aesthetic

    def run(self, trials: Sequence[Trial], told: Callable[[Trial, Outcome], None]) -> None:
        for trial in trials:
            self.run_trials.append(trial.title)
            told(trial, self._outcome(trial))

    def _outcome(self, trial: Trial) -> Outcome:
        if trial.setup.method is None:
            return Outcome(scores={"image_reward": 0.0, "aesthetic": 6.0}, images=0, seconds=0)
        training = trial.setup.method.training
        rate = training.learning_rate
        luck = 0.1 if training.seed == 7001 else -0.1
        scores = {"image_reward": 1000 * rate + luck, "aesthetic": self._aesthetic(rate)}
        return Outcome(scores=scores, images=trial.setup.trained_images, seconds=60, curve=[0, 1])


def conduct(
    ground: Ground,
    folder: Path,
    runs: Counted,
    values: str,
    factor: int | None = None,
    resume: Resume = "auto",
) -> list[Tried]:
    name = RATE if ground.setup.method and ground.setup.method.online else SFT_RATE
    settings = combine(read_space([f"{name}={values}"]))
    search = halve(settings, factor) if factor else try_all(settings)
    aim = Aim("image_reward", {"aesthetic": 0.5})
    return Conductor(ground, aim, Ledger(folder), runs, lambda tried: None, resume).run(search)


def test_every_setting_is_run_on_every_experiment_with_every_seed(
    ground: Ground, tmp_path: Path
) -> None:
    runs = Counted()
    tried = conduct(ground, tmp_path, runs, "1e-3,2e-3")
    assert runs.run_trials == [
        "color, base model",
        "count, base model",
        *(
            f"{experiment}, learning_rate {rate}, seed {seed}"
            for rate in (0.001, 0.002)
            for experiment in ("color", "count")
            for seed in (7000, 7001)
        ),
    ]
    best, second = ranked(tried)
    assert best.candidate.setting == {RATE: 2e-3}
    assert best.scores == pytest.approx({"image_reward": 2.0, "aesthetic": 6.0})
    assert best.by_seed == pytest.approx([1.9, 2.1])
    assert best.seconds == 240
    assert second.row()["lowest_seed"] == pytest.approx(0.9)


def test_what_is_done_is_not_run_again_by_this_sweep_or_another(
    ground: Ground, tmp_path: Path
) -> None:
    first, again, wider = Counted(), Counted(), Counted()
    expected = [one.row() for one in conduct(ground, tmp_path, first, "1e-3,2e-3")]
    assert [one.row() for one in conduct(ground, tmp_path, again, "1e-3,2e-3")] == expected
    assert again.run_trials == []
    conduct(ground, tmp_path, wider, "2e-3,3e-3")
    assert {title.split(", ")[1] for title in wider.run_trials} == {"learning_rate 0.003"}


def test_a_damaged_trial_is_run_again(
    ground: Ground, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conduct(ground, tmp_path, Counted(), "1e-3")
    for path in sorted(tmp_path.iterdir())[:2]:
        path.write_bytes(path.read_bytes()[:20])
    runs = Counted()
    conduct(ground, tmp_path, runs, "1e-3")
    assert len(runs.run_trials) == 2
    assert "damaged; the trial is run again" in caplog.text


def test_a_run_that_is_cut_short_keeps_the_trials_that_are_done(
    ground: Ground, tmp_path: Path
) -> None:
    class Stopping(Counted):
        def _outcome(self, trial: Trial) -> Outcome:
            if len(self.run_trials) == 4:
                raise KeyboardInterrupt
            return super()._outcome(trial)

    with pytest.raises(KeyboardInterrupt):
        conduct(ground, tmp_path, Stopping(), "1e-3")
    runs = Counted()
    conduct(ground, tmp_path, runs, "1e-3")
    assert len(runs.run_trials) == 3  # of two base models and four trials


def test_halving_tries_the_best_longer(ground: Ground, tmp_path: Path) -> None:
    tried = conduct(ground, tmp_path, Counted(), "1e-3,2e-3,3e-3,4e-3", factor=2)
    rates = [1000 * float(one.candidate.setting[RATE] or 0) for one in tried]
    assert rates == pytest.approx([1, 2, 3, 4, 3, 4, 4])
    whole = ground.setup.trained_images
    assert [one.images / whole for one in tried] == pytest.approx([0.25] * 4 + [0.5] * 2 + [1])
    # The one that had a whole run comes first, then the others of the round before.
    assert [one.number for one in ranked(tried)][:3] == [7, 6, 5]


def test_reward_that_costs_too_much_beauty_comes_last(ground: Ground, tmp_path: Path) -> None:
    runs = Counted(aesthetic=lambda rate: 5.4 if rate > 1.5e-3 else 5.6)
    tried = conduct(ground, tmp_path, runs, "1e-3,2e-3")
    assert [one.candidate.setting[RATE] for one in ranked(tried)] == [1e-3, 2e-3]
    assert tried[1].verdict.excess == pytest.approx(0.1)


class Diverging(Counted):
    """Diverges with the second seed, if the learning rate is too high."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self._limit = limit

    def _outcome(self, trial: Trial) -> Outcome:
        whole = super()._outcome(trial)
        method = trial.setup.method
        if method is None or method.training.seed == 7000:
            return whole
        if method.training.learning_rate < self._limit:
            return whole
        return whole.model_copy(update={"scores": {}, "curve": [], "diverged": "of <its> rate"})


def test_a_setting_that_diverges_comes_last_and_the_others_are_tried(
    ground: Ground, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tried = conduct(ground, tmp_path, Diverging(2.5e-3), "1e-3,3e-3,2e-3")
    order = ranked(tried)
    assert [one.candidate.setting[RATE] for one in order] == [2e-3, 1e-3, 3e-3]
    assert "learning_rate 0.003, seed 7001: diverged, of <its> rate; about" in caplog.text
    table = pd.DataFrame([one.row() for one in order]).set_index(RATE)
    assert table["diverged"].to_dict() == {2e-3: "", 1e-3: "", 3e-3: "of <its> rate"}
    assert table.loc[3e-3, ["image_reward", "aesthetic", "too_low_by", "lowest_seed"]].isna().all()
    assert table["image_reward_base"].notna().all()
    again = Diverging(2.5e-3)
    assert [one.row() for one in conduct(ground, tmp_path, again, "3e-3")] == [
        {**tried[1].row(), "number": 1}
    ]
    assert again.run_trials == []
    conduct(ground, tmp_path, again, "2e-3,3e-3", resume="never")
    assert again.run_trials == [
        f"{experiment}, learning_rate 0.003, seed 7001" for experiment in ("color", "count")
    ]


def test_settings_that_diverge_are_no_longer_tried_by_halving(
    ground: Ground, tmp_path: Path
) -> None:
    tried = conduct(ground, tmp_path, Diverging(2.5e-3), "1e-3,2e-3,3e-3,4e-3", factor=2)
    rates = [1000 * float(one.candidate.setting[RATE] or 0) for one in tried]
    assert rates == pytest.approx([1, 2, 3, 4, 1, 2, 2])


def test_a_finalist_that_diverges_is_not_the_best(ground: Ground, tmp_path: Path) -> None:
    class Late(Counted):
        def _outcome(self, trial: Trial) -> Outcome:
            outcome = super()._outcome(trial)
            if outcome.images == ground.setup.trained_images:
                return outcome.model_copy(update={"scores": {}, "curve": [], "diverged": "late"})
            return outcome

    tried = conduct(ground, tmp_path, Late(), "1e-3,2e-3,3e-3,4e-3", factor=2)
    assert [one.number for one in ranked(tried)][:2] == [6, 5]
    assert ranked(tried)[-1].diverged == "late"


def test_a_rollout_that_was_skipped_moves_no_other(ground: Ground, tmp_path: Path) -> None:
    class Skipping(Counted):
        def _outcome(self, trial: Trial) -> Outcome:
            skipped = trial.setup.method is not None and trial.setup.method.training.seed == 7001
            curve = [0.0, None, 4.0] if skipped else [0.0, 1.0, 2.0]
            return super()._outcome(trial).model_copy(update={"curve": curve})

    tried = conduct(ground, tmp_path, Skipping(), "1e-3")
    assert conduct(ground, tmp_path, Counted(), "1e-3")[0].outcomes == tried[0].outcomes
    (line,) = page_module._curves(tried).data
    assert line.y == (0.0, 1.0, 3.0)
    assert line.x[-1] == ground.setup.trained_images


def test_trials_leave_out_no_prompt(ground: Ground) -> None:
    texts = tuple(f"a cat number {number}" for number in range(9))
    with pytest.raises(InputError, match=r"color has 9 training prompts, .* give `--images 9`"):
        replace(ground, prompts={"color": texts}).trials(Candidate({}))
    sft = next(one for one in selection.current().methods if one.name == "sft")
    many = replace(ground, prompts={"color": texts}, drawn=9)
    many = replace(many, setup=replace(ground.setup, method=sft))
    assert many.trials(Candidate({}))
    with pytest.raises(InputError, match="a trial learns from 4 images; raise"):
        many.trials(Candidate({}, 0.01))


@pytest.mark.parametrize(("values", "word"), [("1e-3,2e-3,3e-3", "Best"), ("3e-3", "All have")])
def test_the_report_says_what_has_diverged(
    ground: Ground, tmp_path: Path, values: str, word: str
) -> None:
    tried = conduct(ground, tmp_path, Diverging(2.5e-3), values)
    method, space = ground.setup.method, read_space([f"{RATE}={values}"])
    assert method is not None
    page = render_page(tried, method=method, space=space, env=None, facts=[])
    assert f'<div class="word">{word}' in page
    assert "diverged: of &lt;its&gt; rate</td>" in page
    assert ("methods.dpok.rl_training.learning_rate=0.002" in page) == (word == "Best")


def test_a_training_that_diverges_is_an_outcome(ground: Ground, tmp_path: Path) -> None:
    """It leaves the model as it was, for the trials that follow in the same process."""
    setting = {"rl_training.iterations": 40, "sampling.ddim_steps": 3}
    ground = replace(ground, setup=ground.setup.changed({**setting}), work=tmp_path / "one")
    trial = ground.trials(Candidate({RATE: 1e30}))["color", 7000]
    base = ground.base_trials(Candidate({}))["color"]
    before = base.run()
    outcome = trial.run()
    assert outcome.scores == {}
    assert "updates in a row were skipped, the last because" in outcome.diverged
    assert ";" not in outcome.diverged
    assert base.run() == before
    brief = ground.trials(Candidate({RATE: 1e-4}, 0.05))["color", 7000]
    after = brief.run()
    alone = replace(brief, work=tmp_path / "other").run()
    assert after.model_copy(update={"seconds": alone.seconds}) == alone


def test_a_trials_score_is_the_mean_of_its_prompts(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt without a score would else leave the mean to those that are easier to score."""
    given = pd.DataFrame({"image_reward": [1.0, 5.0, 3.0], "saturation": 0.5})
    monkeypatch.setattr(scores, "score_columns", lambda images, texts, scorers: given)
    ground = replace(ground, prompts={"color": ("a green cat", "cat in the park")}, drawn=3)
    trial = ground.base_trials(Candidate({}))["color"]
    assert trial.run().scores == {"image_reward": 3.5, "saturation": 0.5}
    given.loc[0, "image_reward"] = np.nan  # the cat's other image has a score
    assert trial.run().scores["image_reward"] == 4
    given.loc[1, "image_reward"] = np.nan
    with pytest.raises(InputError, match=r"image_reward: no image of 'cat in the park' \(color\)"):
        trial.run()


def test_what_decides_a_trial_is_in_its_identity(ground: Ground) -> None:
    def identity(ground: Ground, **setting: float) -> str:
        return ground.trials(Candidate({**setting}))["color", 7000].identity

    first = identity(ground)
    assert identity(ground) == first
    method = ground.setup.method
    assert method is not None
    training = method.training.model_copy(update={"stop_after_skipped": 500})
    patient = replace(ground.setup, method=method.model_copy(update={"training": training}))
    others = [
        identity(replace(ground, drawn=9)),
        identity(replace(ground, code="other")),
        identity(replace(ground, seeds=(7000, 7002), prompts={"color": ("a green dog",)})),
        identity(ground, **{RATE: 0.5}),
        identity(ground, **{"lora.rank": 3}),
        identity(ground, **{"sampling.guidance_scale": 3.0}),
        ground.trials(Candidate({}))["color", 7001].identity,
        ground.trials(Candidate({}, 0.5))["color", 7000].identity,
        ground.base_trials(Candidate({}))["color"].identity,
        identity(replace(ground, setup=patient)),
    ]
    assert len({first, *others}) == len(others) + 1


def test_the_code_that_measures_a_trial_is_in_its_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = code_of_trials()
    assert code_of_trials() == before
    for name, counts in (("trial.py", True), ("setup.py", True), ("page.py", False)):
        with monkeypatch.context() as patch:
            patch.setattr(
                trial_module,
                "file_sha256",
                lambda path, name=name: "edited" if path.name == name else file_sha256(path),
            )
            assert (code_of_trials() != before) == counts


def test_a_longer_online_run_goes_on_in_the_folder_of_the_shorter(ground: Ground) -> None:
    short, whole = (ground.trials(Candidate({}, share))["color", 7000] for share in (0.5, 1.0))
    assert short.folders == whole.folders
    assert ground.trials(Candidate({}))["color", 7001].folders != whole.folders


def test_runs_that_differ_in_length_alone_do_not_meet_in_a_folder(ground: Ground) -> None:
    def folders(iterations: int, share: float = 1.0) -> list[Path]:
        candidate = Candidate({"rl_training.iterations": iterations}, share)
        return ground.trials(candidate)["color", 7000].folders

    assert folders(200) != folders(100)
    assert folders(200, 0.5) == folders(200, 0.25) == folders(200)
    # As long as a whole run of 100, but the beginning of another one.
    assert folders(200, 0.5) != folders(100)


class Leaving(Counted):
    """Notes how many files there are in a trial's folders, and leaves another in each."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def _outcome(self, trial: Trial) -> Outcome:
        for folder in trial.folders:
            folder.mkdir(parents=True, exist_ok=True)
            self.found.append(len([*folder.iterdir()]))
            (folder / f"{len(self.found)}").touch()
        return super()._outcome(trial)


@pytest.mark.parametrize(("resume", "found"), [("auto", [0, 1, 2]), ("never", [0, 0, 1])])
def test_never_resuming_begins_every_trial_anew_once(
    ground: Ground, tmp_path: Path, resume: Resume, found: list[int]
) -> None:
    ground = replace(ground, prompts={"color": ("a green cat",)}, seeds=(7000,))
    folder, *_ = ground.trials(Candidate({RATE: 2e-3}))["color", 7000].folders
    folder.mkdir(parents=True)
    (folder / "interrupted").touch()
    runs = Leaving()
    conduct(ground, tmp_path, runs, "1e-3,2e-3", factor=2, resume=resume)
    # Of the one setting, then of the other, whose second round goes on from its first.
    assert runs.found == found
    assert not folder.exists()


def test_the_turns_of_another_sweep_at_drawing_are_left_to_it(
    ground: Ground, tmp_path: Path
) -> None:
    sft = next(one for one in selection.current().methods if one.name == "sft")
    ground = replace(ground, setup=replace(ground.setup, method=sft), seeds=(7000,))
    first, second = (turns(one.folders[1]) for one in ground.trials(Candidate({})).values())
    second.parent.mkdir(parents=True, exist_ok=True)
    first.touch()
    with FileLock(second):
        conduct(ground, tmp_path, Counted(), "1e-3")
        assert second.exists()
    assert not first.exists()


def test_the_report_shows_every_setting_and_the_command_of_the_best(
    ground: Ground, tmp_path: Path
) -> None:
    space = read_space([f"{RATE}=1e-3,2e-3"])
    tried = conduct(ground, tmp_path, Counted(), "1e-3,2e-3")
    method = ground.setup.method
    assert method is not None
    page = render_page(tried, method=method, space=space, env="smoke", facts=["<b> A fact."])
    assert "methods.dpok.rl_training.learning_rate=0.002" in page
    assert "&lt;b&gt; A fact." in page
    assert '"parcoords"' in page
    assert "1.90 to 2.10" in page
    assert "http" not in page.split("</script>", 1)[1].replace("http://www.w3.org", "")


def test_a_single_setting_has_a_report_too(ground: Ground, tmp_path: Path) -> None:
    method = ground.setup.method
    assert method is not None
    tried = conduct(ground, tmp_path, Counted(), "1e-3")
    page = render_page(tried, method=method, space=read_space([f"{RATE}=1e-3"]), env=None, facts=[])
    assert "1 setting of DPOK" in page
    assert "parcoords" not in page.split("</script>", 1)[1]


def test_how_settings_are_written() -> None:
    setting = {RATE: 0.001, "lora.rank": 4, "sampling.eta": 0.5, "rl_training.x": None}
    assert describe(setting) == "learning_rate 0.001, rank 4, eta 0.5, x null"
    assert describe({}) == "as configured"
    assert command("dpok", {}, None) == "kedro run"
    assert command("dpok", setting, "smoke") == (
        "kedro run --env smoke --params methods.dpok.rl_training.learning_rate=0.001,"
        "methods.dpok.lora.rank=4,sampling.eta=0.5,methods.dpok.rl_training.x=null"
    )


def test_a_table_has_a_row_for_each_setting(ground: Ground, tmp_path: Path) -> None:
    table = pd.DataFrame([one.row() for one in conduct(ground, tmp_path, Counted(), "1e-3,2e-3")])
    assert list(table[RATE]) == [1e-3, 2e-3]
    assert list(table["image_reward_base"]) == [0, 0]
    assert list(table["highest_seed"]) == pytest.approx([1.1, 2.1])
