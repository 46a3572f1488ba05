"""YAML files of the configuration, as hands and editors spoil them."""

from __future__ import annotations

from pathlib import Path
from pprint import pformat
from typing import Any

import yaml
from hypothesis import strategies as st
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from benchmarks.fuzz.cases import Case, Edit, Family, misspelt, odd_values

# What is written for a value that is not odd enough.
SCALARS = (
    "5", "-1", "0", "1e-3", "yes", "no", "null", "~", "''", '"x"', "[a, b]", "{a: 1}", "[]", "{}",
    "2024-01-01", "0o17", "1:30", ".nan", ".inf", "${typo}", "${globals:typo}", "${globals:data}",
    "${own_work:typo}", "${project_path:}", "${oc.env:HOME}", "${runtime_params:x}",
    "${runtime_params:x, 1}", "*anchor", "&a 5", "!!int x", "!!str 5", "!!binary x",
    "!!python/object:os.system x", "!!set {a}", "!!timestamp x", "|", ">", "@x", "`x", "%x",
    "a: b", "- a", "'", '"', "{", "[", "]", "#", "x # y", "x\u00a0y", "\u201cx\u201d", "???", "${",
    "$x", "${a:b:c}", "\\${x}", "<<", "=", "<<: *x",
)  # fmt: skip
INSERTED = (
    "---", "...", "%YAML 1.2", "<<: *x", "x", "x: 1", "_x: 1", "5: 1", "? a", "- a", "null: 1",
    "yes: 1", "[a]: 1", "'': 1", "x.y: 1", "{{x}}: 1",
)  # fmt: skip
LETTERS = (
    "\u00a0", "\u200b", "\x00", "\ufeff", "\u2028", "\x85", "\x7f", "{", "'", ":", "#", "*",
    "\ud83d", "🐈", "é",
)  # fmt: skip
#: Kinds of files that decide what a run does.
KINDS = (
    "parameters",
    "catalog",
    "globals",
    "experiments",
    "methods",
    "mlflow",
    "expected_seconds",
)
NAMES = (*KINDS, "custom", "logging", "credentials")
WHOLE = (
    "", "#", "---", "null", "[]", "{}", "5", "a", "a: 1", "- a", "{", "\t", "\ufeff", "?", "'",
    "a: 1\n---\nb: 2", "a:\n b\n  c: 1",
)  # fmt: skip
LINKS = ("nowhere", "/dev/null", "/dev/zero", "..", "../base/parameters.yml")
SUFFIXES = (".yaml", ".json", ".YML", ".txt", ".yml.bak", "")
ENCODINGS = ("utf-8-sig", "utf-16", "utf-32", "latin-1")


def strategy(template: Path) -> st.SearchStrategy[Case]:
    """Make the strategy from the files that there are."""
    texts = {
        path.relative_to(template).as_posix(): path.read_text()
        for env in ("base", "smoke", "custom")
        for path in sorted((template / "conf" / env).glob("*.yml"))
    }
    return cases(texts)


@st.composite
def cases(pick: st.DrawFn, texts: dict[str, str]) -> Case:
    """Spoil a file, or put one where it does not belong."""
    path = pick(st.sampled_from(sorted(texts)))
    env = path.split("/")[1]
    if pick(st.integers(0, 3)) == 0:
        return Case("configurations", pick(files(path, texts)), env=env)
    text = texts[path]
    for _ in range(pick(st.sampled_from([1, 1, 1, 2]))):
        text = pick(spoilt(text))
    return Case(
        "configurations", [{"path": path, "text": text}], env=env, expected={"was": texts[path]}
    )


@st.composite
def spoilt(pick: st.DrawFn, text: str) -> str:
    """Change a line or two of a file."""
    lines = text.split("\n")
    telling = [
        n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")
    ]
    if not telling:
        return text
    number = pick(st.sampled_from(telling))
    line = lines[number]
    indent = line[: len(line) - len(line.lstrip())]
    key, colon, value = line.strip().partition(":")
    if pick(st.booleans()):
        lines[number] = pick(_respelt(indent, key, colon, value))
    else:
        pick(_moved(lines, number, telling))
    return "\n".join(lines)


@st.composite
def _respelt(pick: st.DrawFn, indent: str, key: str, colon: str, value: str) -> str:
    """Write a line with another value or key, or punctuated in another way."""
    line = f"{indent}{key}{colon}{value}"
    odd = pick(st.sampled_from(SCALARS) | odd_values.map(_first_line))
    position, letter = pick(st.integers(0, len(line))), pick(st.sampled_from(LETTERS))
    ways = [f"{indent}{key}: {odd}"] * 4 + [f"{indent}{pick(misspelt(key))}{colon}{value}"] * 2
    ways += [
        line[:position], line[:position] + letter + line[position:], f" {line}", f"  {line}",
        f"\t{line}", line.lstrip(), line[1:], f"{indent}{key}:{value.strip()}",
        f"{indent}{key} {value}", f"{indent}{key} :{value}", f"{indent}{key}={value}",
        f"{indent}- {key}{colon}{value}", f"{indent}{key}:: {value}",
    ]  # fmt: skip
    return pick(st.sampled_from(ways))


def _first_line(value: Any) -> str:
    return yaml.safe_dump(value, allow_unicode=True).split("\n")[0]


@st.composite
def _moved(pick: st.DrawFn, lines: list[str], number: int, telling: list[int]) -> None:
    """Remove a line, repeat it, exchange it with another one, or put a new one above it."""
    way, line, other = pick(st.integers(0, 4)), lines[number], pick(st.sampled_from(telling))
    if way == 0:
        del lines[number]
    elif way == 1:
        lines.insert(pick(st.sampled_from([number, len(lines)])), line)
    elif way == 2:
        lines[number], lines[other] = lines[other], line
    elif way == 3:
        lines.insert(number, pick(st.sampled_from(INSERTED)))
    else:
        del lines[number:]


@st.composite
def files(pick: st.DrawFn, path: str, texts: dict[str, str]) -> list[Edit]:
    """Spoil a file as a whole, its name, its encoding or its place."""
    folder, _, name = path.rpartition("/")
    text, stem = texts[path], name.removesuffix(".yml")
    other = pick(st.sampled_from(sorted(texts)))
    known = pick(st.sampled_from(NAMES))
    move = [{"path": path, "remove": True}]
    encoding, end = pick(st.sampled_from(ENCODINGS)), pick(st.sampled_from(["\r\n", "\r", "\n\n"]))
    ways: list[list[Edit]] = [
        move,
        [{"path": path, "text": pick(st.sampled_from(WHOLE))}],
        [{"path": path, "hex": f"ä: 1\n{text}".encode(encoding, "replace").hex()}],
        [{"path": path, "hex": text.encode(encoding, "replace").hex()}],
        [{"path": path, "text": text.replace("\n", end)}],
        [{"path": path, "text": text + text}],
        [{"path": path, "text": texts[other]}],
        [{"path": path, "folder": True}],
        [{"path": path, "link": pick(st.sampled_from([*LINKS, name]))}],
        [{"path": path, "pipe": True}],
        [{"path": path, "mode": 0}],
        [*move, {"path": f"{folder}/{pick(misspelt(stem))}.yml", "text": text}],
        [*move, {"path": f"{folder}/{stem}{pick(st.sampled_from(SUFFIXES))}", "text": text}],
        [*move, {"path": f"{folder}/more/{name}", "text": text}],
        [{"path": f"{folder}/{stem}_more.yml", "text": text}],
        [{"path": f"{folder}/{known}.yml", "text": pick(st.sampled_from([*WHOLE, texts[other]]))}],
        [{"path": f"{folder}/{known}/{name}", "text": "a: 1"}],
        [{"path": f"{folder}/.{name}", "text": "a: 1"}],
        [{"path": f"{folder}/{name}~", "text": "a: 1"}],
    ]
    return pick(st.sampled_from(ways))


def look(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, Any]:
    """Show the whole configuration that holds, and the nodes that are to run."""
    from dpok_pipeline.hooks import JOURNAL

    loader = JOURNAL._context.config_loader  # type: ignore[union-attr]
    seen = {kind: _read(loader, kind) for kind in KINDS}
    return {**seen, "nodes": sorted(node.name for node in pipeline.nodes), "env": loader.env}


def _read(loader: Any, kind: str) -> Any:
    from kedro.config import MissingConfigException

    try:
        return loader[kind]
    except MissingConfigException:
        return None


def check(case: Case, outcome: Any, plain: dict[str, Any]) -> str | None:
    """Refuse a file that now says something else, of which nothing has arrived."""
    if "was" not in case.expected or repr(outcome.seen) != repr(plain):
        return None
    try:
        before, now = (_plain(text) for text in (case.expected["was"], case.edits[0]["text"]))
    except (yaml.YAMLError, ValueError):
        return "read what is not YAML"
    return None if before == now else "reads other values, of which none has arrived"


def _plain(text: str) -> str:
    content = yaml.safe_load(text)
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if not str(key).startswith("_")}
    # As text, because NaN equals nothing; of sorted keys, because their order says nothing.
    return pformat(content)


FAMILY = Family(strategy, look, check)
