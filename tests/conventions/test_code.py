"""What the code keeps to: sizes, light imports, thin nodes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LINES_PER_FILE = 350
LINES_PER_FUNCTION = 60
STATEMENTS_PER_NODE = 15
HEAVY = ("torch", "diffusers", "transformers", "mlflow", "kedro", "pandas", "numpy")


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_PER_FILE
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= LINES_PER_FUNCTION, f"{function.name} has {length} lines"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "src").rglob("pipelines/*/nodes.py")), ids=lambda path: path.parent.name
)
def test_nodes_are_thin(path: Path) -> None:
    for function in functions(path):
        body = function.body[1:] if ast.get_docstring(function) else function.body
        statements = sum(isinstance(node, ast.stmt) for item in body for node in ast.walk(item))
        assert statements <= STATEMENTS_PER_NODE, f"{function.name} has {statements} statements"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, dpok_pipeline; print([n for n in {HEAVY} if n in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_the_engine_imports_without_kedro_and_mlflow() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['kedro', 'mlflow']))\n"
        "import dpok_pipeline.algorithms.dpok.train, dpok_pipeline.report.page\n"
        "import dpok_pipeline.rewards.load, dpok_pipeline.study.section"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_makefile_lists_every_target() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    targets = {line.split(":")[0] for line in lines if line[:1].isalpha() and ":" in line}
    targets -= {line.split(":")[0] for line in lines if ":=" in line or "?=" in line}
    answer = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in answer.stdout.splitlines()}
    assert targets - {"export DO_NOT_TRACK", "export MLFLOW_DISABLE_TELEMETRY"} <= listed


FOLDERS = sorted({path.parent for path in SOURCES})
MODULES_PER_FOLDER, LOOSE_MODULES = 10, 7


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_folders_can_be_taken_in_at_a_glance(folder: Path) -> None:
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MODULES_PER_FOLDER


def test_nothing_lies_loose_at_the_top_but_what_is_looked_for_by_name() -> None:
    loose = list((ROOT / "src" / "dpok_pipeline").glob("*.py"))
    assert len(loose) <= LOOSE_MODULES
