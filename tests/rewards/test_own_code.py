"""A reward is all of the user's code that it is made from."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import file_sha256
from dpok_pipeline.rewards.load import ScorerConfig, load_scorer
from dpok_pipeline.rewards.own.code import code_hash

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes modules of the user's, given by their paths; each would fail if it were imported."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def files(**modules: str) -> None:
        for name, code in modules.items():
            path = tmp_path / f"{name.replace('__in_', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{code}\nraise RuntimeError\n" if code else "")
        importlib.invalidate_caches()

    return files


@pytest.mark.parametrize(
    ("statement", "helper"),
    [
        ("import own_helpers", "own_helpers"),
        ("from own_helpers import brightness", "own_helpers"),
        ("def score(images, prompts):\n    import own_helpers", "own_helpers"),
        ("from own_package.inner import brightness", "own_package__in_inner"),
        ("import own_package.inner as inner", "own_package__in_inner"),
        ("from own_package import inner", "own_package__in_inner"),
        ("from own_package import inner", "own_package__in___init__"),
        ("from own_package import *", "own_package__in_deep__in_far"),
        ("import own_first", "own_second"),
    ],
)
def test_a_change_of_what_a_reward_imports_is_another_reward(
    write: Write, statement: str, helper: str
) -> None:
    modules = {
        "own_helpers": "",
        "own_first": "from own_second import x",
        "own_second": "import own_first",  # a circle
        "own_package__in___init__": "from .deep import far\nfrom . import missing",
        "own_package__in_inner": "",
        "own_package__in_deep__in_far": "from ... import own_helpers\nfrom ..inner import x",
        "own_reward": statement,
        "own_bystander": "",
    }
    write(**modules)
    imported = set(sys.modules)
    before = code_hash("own_reward.score")
    write(own_bystander="x = 1")
    assert code_hash("own_reward.score") == before
    write(**{helper: f"{modules[helper]}\nx = 2"})
    assert code_hash("own_reward.score") != before
    write(**modules)
    assert code_hash("own_reward.score") == before
    assert not {name for name in sys.modules if name.startswith("own_")} - imported


def test_a_helper_beside_a_reward_in_a_package(write: Write, tmp_path: Path) -> None:
    write(
        mine_of_a_test__in___init__="",
        mine_of_a_test__in_rewards="from .helpers import x",
        mine_of_a_test__in_helpers="x = 1",
    )
    before = code_hash("mine_of_a_test.rewards.score")
    write(mine_of_a_test__in_helpers="x = 2")
    assert code_hash("mine_of_a_test.rewards.score") != before


def test_a_reward_without_helpers_is_its_file(write: Write, tmp_path: Path) -> None:
    """So it was before helpers counted: the runs of then go on."""
    write(own_reward="import json, torch\nfrom dpok_pipeline.rewards import clip\nimport no_such")
    assert code_hash("own_reward.score") == file_sha256(tmp_path / "own_reward.py")
    judge = "dpok_pipeline.emoji_world.judge"
    found = importlib.util.find_spec(judge)
    assert found is not None
    assert code_hash(f"{judge}.JudgeScorer") == file_sha256(Path(str(found.origin)))


def test_installed_packages_are_no_helpers(write: Write, tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    write(own_reward="import own_installed")
    before = code_hash("own_reward.score")
    installed.mkdir()
    (installed / "own_installed.py").write_text("x = 1")
    sys.path.insert(0, str(installed))  # pytest takes the folder before it off the path again
    try:
        importlib.invalidate_caches()
        assert code_hash("own_reward.score") == before
    finally:
        sys.path.remove(str(installed))


@pytest.mark.parametrize("code", ["def score(", "x = '\0'", "from . import x", "import __main__"])
def test_a_module_that_cannot_be_imported_is_its_file(
    write: Write, tmp_path: Path, code: str
) -> None:
    write(own_reward=code)
    assert code_hash("own_reward.score") == file_sha256(tmp_path / "own_reward.py")


class Edited:
    """A reward of the user's with a helper, in files that are edited between two commands."""

    kind = "edited_of_a_test.score"

    def __init__(self, folder: Path) -> None:
        self.files = {name: folder / f"{name}_of_a_test.py" for name in ("edited", "aid")}
        self.write("aid", "def level(images):\n    return images.mean((1, 2, 3))\n")
        self.write("edited", "import aid_of_a_test\ndef score(images, prompts):\n    return images")

    def write(self, name: str, code: str) -> None:
        self.files[name].write_text(code)
        importlib.invalidate_caches()

    def load(self, kind: str = kind) -> None:
        load_scorer(ScorerConfig(kind=kind))


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edited]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Edited(tmp_path)
    for name in [name for name in sys.modules if name.endswith("_of_a_test")]:
        del sys.modules[name]


@pytest.mark.parametrize("changed", ["edited", "aid"])
def test_what_has_changed_since_it_was_imported_is_refused(edited: Edited, changed: str) -> None:
    """This process goes on with the old code, which the file's hash would not be that of."""
    edited.load()
    before, code = code_hash(edited.kind), edited.files[changed].read_text()
    edited.load()
    edited.write(changed, f"{code}\nFACTOR = 2\n")
    for again in (lambda: code_hash(edited.kind), edited.load):
        with pytest.raises(InputError, match=f"{changed}_of_a_test.py has changed since") as error:
            again()
        assert "\n" not in str(error.value)
    edited.write(changed, code)
    assert code_hash(edited.kind) == before
    edited.load()


def test_a_helper_that_another_reward_has_imported_is_refused(
    edited: Edited, tmp_path: Path
) -> None:
    edited.load()
    edited.write("aid", "FACTOR = 2\n")
    (tmp_path / "second_of_a_test.py").write_text(edited.files["edited"].read_text())
    importlib.invalidate_caches()
    with pytest.raises(InputError, match="second_of_a_test.score.*aid_of_a_test.py has changed"):
        edited.load("second_of_a_test.score")


def test_a_reward_that_could_not_be_imported_may_be_corrected(edited: Edited) -> None:
    code = edited.files["edited"].read_text()
    edited.write("edited", f"{code}\nraise RuntimeError\n")
    with pytest.raises(InputError, match="cannot be imported"):
        edited.load()
    edited.write("edited", code)
    edited.load()


@pytest.mark.parametrize(
    "kind",
    ["image_reward", "no_such_package.score", "sys.exit", "os.path.isdir.x", ".score", "..."],
)
def test_what_has_no_module_of_its_own_has_no_code(kind: str) -> None:
    assert code_hash(kind) is None
