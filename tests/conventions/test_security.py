"""What could run code or read more than meant: each call, and the only places that may."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])

# Whatever else they do, these run what a file or a string holds.
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load"}
FORBIDDEN_CALLS |= {"yaml.unsafe_load", "yaml.full_load", "pd.read_pickle", "pandas.read_pickle"}
# Imports by name: a user's reward; the project's own networks; a plugin, to keep it quiet.
IMPORTERS = {"rewards/load.py", "rewards/own/loading.py", "datasets/networks.py"}
IMPORTERS |= {"algorithms/catalogue.py"}
# Classes whose from_pretrained reads weights, and so must say that they are safetensors.
WEIGHTED = ("Model", "AutoencoderKL", "UNet2DConditionModel", "Pipeline")

sources = pytest.mark.parametrize(
    "path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> str | None:
    found = [ast.unparse(item.value) for item in call.keywords if item.arg == name]
    return found[0] if found else None


@sources
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = {name.name.partition(".")[0] for name in node.names}
            assert not modules & FORBIDDEN_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in FORBIDDEN_MODULES
    for name, call in calls(path):
        assert name not in FORBIDDEN_CALLS, f"line {call.lineno}: {name}"
        if name.endswith("torch.load"):
            assert keyword(call, "weights_only") == "True", f"line {call.lineno}"
        assert keyword(call, "allow_pickle") in (None, "False"), f"line {call.lineno}"
        assert keyword(call, "trust_remote_code") in (None, "False"), f"line {call.lineno}"
        assert keyword(call, "shell") in (None, "False"), f"line {call.lineno}"


@sources
def test_weights_are_safetensors_and_hub_models_have_a_revision(path: Path) -> None:
    text = path.read_text()
    for name, call in calls(path):
        owner = name.removesuffix(".from_pretrained")
        if name.endswith(".from_pretrained") and owner.endswith(WEIGHTED):
            given = keyword(call, "use_safetensors") == "True"
            # `**weights`: one dictionary for several components.
            spread = any(item.arg is None for item in call.keywords)
            assert given or (spread and '"use_safetensors": True' in text), f"line {call.lineno}"
        if name.endswith(("snapshot_download", "hf_hub_download")):
            assert keyword(call, "revision") is not None, f"line {call.lineno}"


@sources
def test_modules_are_imported_by_name_in_few_places(path: Path) -> None:
    if any(name.endswith("import_module") for name, _ in calls(path)):
        assert any(path.as_posix().endswith(f"dpok_pipeline/{place}") for place in IMPORTERS)
