"""A case: what is changed in a project, the command that is given then, and what must arrive.

Everything in a case is JSON, so that one that fails can be kept and done again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

#: Where a case's edits may lie.
CHANGED = ("conf", "src", "data/01_raw")

Edit = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        family: Name of the family that it belongs to.
        edits: Changes of the project's files, one after the other; `apply_edit` says which there
            are.
        options: Options of `kedro run`, besides --env.
        env: The environment.
        expected: What must have arrived if the case is accepted, by the family's own names.
    """

    family: str
    edits: list[Edit] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    env: str = "smoke"
    expected: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the case as one line."""
        return json.dumps(asdict(self))


def draw(strategy: st.SearchStrategy[Case], number: int, chosen: int | None) -> list[Case]:
    """Draw different cases.

    Args:
        strategy: The family's strategy.
        number: Number of cases.
        chosen: Seed; None draws the same ones at every time, as tests must.
    """
    cases: dict[str, Case] = {}

    @settings(
        max_examples=5 * number,
        database=None,
        deadline=None,
        derandomize=chosen is None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(case: Case) -> None:
        cases.setdefault(case.to_json(), case)

    (collect if chosen is None else seed(chosen)(collect))()
    drawn = list(cases.values())
    # Hypothesis begins with small examples: the beginning alone would not be of all kinds.
    random.Random(0).shuffle(drawn)
    return drawn[:number]


def apply_edit(root: Path, edit: Edit) -> None:
    """Change one file of a project; what the keys mean can be read here."""
    path = root / edit["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if "text" in edit:
        path.write_bytes(edit["text"].encode("utf-8", "surrogatepass"))
    elif "hex" in edit:
        path.write_bytes(bytes.fromhex(edit["hex"]))
    elif "mode" in edit:
        path.chmod(edit["mode"])
    elif "truncate" in edit:
        path.write_bytes(path.read_bytes()[: -edit["truncate"]])
    elif "replace" in edit:
        content = json.loads(path.read_text())
        path.write_text(json.dumps(_changed(content, edit["replace"], edit)))
    elif "verb" in edit:
        _change_tensors(path, edit)
    elif "swap" in edit:
        other, kept = root / edit["swap"], path.with_name("kept")
        path.rename(kept)
        other.rename(path)
        kept.rename(other)
    else:
        _put_instead(path, edit)


def _put_instead(path: Path, edit: Edit) -> None:
    """Put a link, a folder or a pipe in a file's place, or nothing."""
    _remove(path)
    if "link" in edit:
        path.symlink_to(edit["link"])
    elif "folder" in edit:
        path.mkdir()
    elif "pipe" in edit:
        os.mkfifo(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _changed(content: Any, keys: list[str], edit: Edit) -> Any:
    """Return JSON with the value at nested keys changed, or left out."""
    first, *rest = keys
    if rest:
        content[first] = _changed(content.get(first, {}), rest, edit)
    elif "value" in edit:
        content[first] = edit["value"]
    else:
        content.pop(first, None)
    return content


def _change_tensors(path: Path, edit: Edit) -> None:
    """Do to one tensor of a safetensors file what the edit's verb says."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    names = sorted(tensors)
    name = names[edit["tensor"] % len(names)]
    tensor, verb = tensors[name], edit["verb"]
    if verb == "drop":
        del tensors[name]
    elif verb == "rename":
        tensors[edit["name"].format(name)] = tensors.pop(name)
    elif verb == "double":
        tensors[edit["name"].format(name)] = tensor.clone()
    elif verb == "swap":
        other = names[(edit["tensor"] + 1) % len(names)]
        tensors[name], tensors[other] = tensors[other], tensors[name]
    elif verb == "fill":
        tensors[name] = torch.full_like(tensor, float(edit["value"]))
    elif verb == "spoil":
        tensor.view(-1)[:1] = float(edit["value"])
    elif verb == "dtype":
        tensors[name] = tensor.to(getattr(torch, edit["value"]))
    elif verb == "dtypes":
        tensors = {key: value.to(getattr(torch, edit["value"])) for key, value in tensors.items()}
    else:
        shapes = {
            "flatten": tensor.reshape(-1),
            "transpose": tensor.transpose(0, -1) if tensor.ndim else tensor,
            "halve": tensor[: len(tensor) // 2] if tensor.ndim else tensor,
            "widen": torch.cat([tensor, tensor]) if tensor.ndim else tensor,
            "unsqueeze": tensor[None],
            "empty": tensor[:0] if tensor.ndim else tensor,
        }
        tensors[name] = shapes[verb].clone().contiguous()
    save_file(tensors, path)


class Family(NamedTuple):
    """One kind of input.

    Attributes:
        cases: Makes the strategy of its cases from a project's folder that no case has changed.
        look: Shows what has arrived in a run that is about to begin.
        check: Says what is wrong with a case that was accepted, from its outcome and from what
            arrives in an untouched project; None if nothing is.
    """

    cases: Callable[[Path], st.SearchStrategy[Case]]
    look: Callable[[Any, Any], dict[str, Any]]
    check: Callable[[Case, Any, dict[str, Any]], str | None]


#: What people and programs write where a number, a name or a list is expected.
ODD_VALUES: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 7, 64, 10**6, 10**12, 2**63, -(2**64), 0.0, -0.0, 0.5, 1.5, -0.5, 1e-12, 1e308,
    float("nan"), float("inf"), float("-inf"), True, False, None, "", " ", "1", "1e-3", "0x10",
    "1_000", "５", "one", "null", "true", "nan", "a\nb", "${oops}", "${globals:data}", "~", "/",
    "..", "x" * 300, "ÿ", "\u200b", [], {}, [1], ["a", "b"], [None], {"a": 1},
    {"rank": {"rank": 1}}, "auto", "mean", "none", "sum", "kl_d", "x0", "group", "gaussian",
    "float32",
)  # fmt: skip
odd_values = st.sampled_from(ODD_VALUES)


@st.composite
def misspelt(pick: st.DrawFn, name: str) -> str:
    """Misspell a name, as hands and programs do."""
    position = pick(st.integers(0, max(len(name) - 1, 0)))
    ways = [
        name[:position] + name[position + 1 :],
        name[:position] + name[position : position + 1] * 2 + name[position + 1 :], name.upper(),
        name.capitalize(), name + " ", " " + name, name + "s", name.replace("_", "-"),
        name.replace("_", ""), name.replace("a", "\u0430"), name + "\u200b", f'"{name}"', "",
    ]  # fmt: skip
    return pick(st.sampled_from(ways))
