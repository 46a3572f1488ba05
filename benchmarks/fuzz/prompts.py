"""Prompt files of every format, and the descriptions of such files in the catalog."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from typing import Any

from hypothesis import strategies as st
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from benchmarks.fuzz.cases import Case, Edit, Family, misspelt, odd_values

NAME = "mine"
FOLDER = "data/01_raw/prompts"
CATALOG = "conf/smoke/catalog.yml"
CORPORA = ("parti", "coco", "drawbench", "cub")
SPLITS = ("train", "unseen")

WORDS = ("a", "cat", "dog", "moon", "green", "park", "rabbit", "on", "the", "and", "4", "Zebra")
ODD_TEXTS = (
    "", " ", "\t", "\u200b", "\ufeff", "\ufeffa cat", "a\u00a0cat", "a  cat", " a cat ", "A CAT",
    "a cat", "a c\u200bat", "caf\u00e9", "cafe\u0301", "\u3164", "\u2800", "a\x00cat", "a\x1bcat",
    "a\ufffdcat", "\ud83d", "🐈", "قطة", "=1+1", "@cat", "-cat", "<b>cat</b>", "![x](y)", "# cat",
    "null", "5", "1.5", "true", "~", '"cat"', 'a "cat', "'cat'", "a, cat", "a;cat", "a\\ncat",
    "a\ncat", "a\r\ncat", "a\rcat", "a\x0bcat", "a\x0ccat", "a\x85cat", "a\u2028cat", "a: cat",
    "- a cat", "{a: cat}", "[cat]", "*cat", "&cat", "!cat", "%cat", "|", ">", "<|endoftext|>",
    "cat <|startoftext|>", "a\tcat", "../cat", "cat " * 11, "x" * 400, "a" * 40, "\u0301", "ﬁsh",
    "ＣＡＴ", "i\u0307", "ß", "ſ", "\u202ecat",
)  # fmt: skip
ENCODINGS = (
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "latin-1",
    "cp1252",
    "utf-7",
    "shift_jis",
)
COLUMNS = ("text", "experiment", "split", "category")


texts = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=8),
)
some_texts = st.lists(texts, min_size=0, max_size=5)


@st.composite
def lines(pick: st.DrawFn, prompts: list[str]) -> str:
    """Write one prompt per line."""
    end = pick(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"]))
    return end.join(prompts) + pick(st.sampled_from(["", end, end * 3]))


@st.composite
def parti(pick: st.DrawFn, prompts: list[str]) -> str:
    """Write PartiPrompts."""
    headers = ["Prompt\tCategory\tChallenge\tNote"] * 3 + ["Prompt", "Prompt,Category"]
    rows = ["\t".join([text, "Animals", "Basic", "a note"]) for text in prompts]
    return "\n".join([pick(st.sampled_from(headers)), *rows]) + "\n"


@st.composite
def coco(pick: st.DrawFn, prompts: list[str]) -> str:
    """Write COCO's captions."""
    notes: list[Any] = [{"id": n, "image_id": 1, "caption": text} for n, text in enumerate(prompts)]
    if notes and pick(st.integers(0, 3)) == 0:
        notes[0] = pick(st.sampled_from([{}, None, {"caption": 5}, {"caption": None}, []]))
    whole: Any = {"annotations": notes, "images": []}
    return json.dumps(pick(st.sampled_from([whole] * 4 + [notes, {"annotation": notes}])))


@st.composite
def drawbench(pick: st.DrawFn, prompts: list[str]) -> str:
    """Write DrawBench as DPOK's official code has it."""
    details = [{"category": "Colors"}] * 3 + [{}, "Colors", None, {"category": 5}]
    category = pick(st.sampled_from(details))
    return json.dumps({text: category for text in prompts})


@st.composite
def experiments(pick: st.DrawFn, prompts: list[str]) -> str:
    """Write prompts by experiment and split. JSON is YAML, too; letters are kept as they are."""
    splits = {"train": prompts, "unseen": ["a park and a moon"]}
    trees = [{"color": splits}] * 4 + [{"color": prompts}, {"Color": splits}, prompts, {}]
    tree: Any = pick(st.sampled_from(trees))
    if tree and isinstance(tree, dict) and pick(st.integers(0, 3)) == 0:
        name = pick(st.sampled_from(["color", "count", "new", "5"]))
        tree = {**tree, name: {"train": pick(odd_values)}}
    return json.dumps(tree, ensure_ascii=False)


@st.composite
def csv_files(pick: st.DrawFn, prompts: list[str]) -> str:
    """Write prompts as CSV, as spreadsheets do, or nearly so."""
    columns = ["text", *pick(st.lists(st.sampled_from(COLUMNS[1:]), max_size=2, unique=True))]
    rows = [
        [
            {"text": text, "experiment": "color", "split": "train", "category": "x"}[name]
            for name in columns
        ]
        for text in prompts
    ]
    if pick(st.integers(0, 3)) == 0:
        changed = pick(st.integers(0, len(columns) - 1))
        columns[changed] = pick(misspelt(columns[changed]) | st.sampled_from(COLUMNS))
    if pick(st.integers(0, 5)) == 0 and rows:
        rows[0] = [*rows[0], "more"] if len(columns) == 1 or pick(st.booleans()) else rows[0][:-1]
    if pick(st.integers(0, 5)) == 0:
        rows.insert(pick(st.integers(0, len(rows))), [])  # an empty line, which is none
    delimiter = pick(st.sampled_from([",", ",", ",", ",", ";", "\t"]))
    file = io.StringIO()
    quoting = pick(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(
        file,
        delimiter=delimiter,
        quoting=quoting,
        lineterminator=pick(st.sampled_from(["\n", "\r\n"])),
    )
    writer.writerows([columns, *rows])
    return file.getvalue()


WRITERS = {
    "text": lines,
    "csv": csv_files,
    "experiments": experiments,
    "parti": parti,
    "coco": coco,
    "drawbench": drawbench,
    "cub": lines,
}


@st.composite
def places(pick: st.DrawFn, path: str, text: str) -> list[Edit]:
    """Put a file there, most often as it should be."""
    whole = {"path": path, "text": text}
    raw = text.encode("utf-8", "surrogatepass")
    if pick(st.integers(0, 3)):
        return [whole]
    encoding = pick(st.sampled_from(ENCODINGS))
    cut = pick(st.integers(0, len(raw)))
    return pick(
        st.sampled_from(
            [
                [{"path": path, "hex": text.encode(encoding, "replace").hex()}],
                [{"path": path, "hex": raw[:cut].hex()}],
                [{"path": path, "hex": (raw[:cut] + b"\xff" + raw[cut:]).hex()}],
                [{"path": path, "folder": True}],
                [{"path": path, "link": "nowhere"}],
                [{"path": path, "link": "paper.yml"}],
                [{"path": path, "link": path.rpartition("/")[2]}],
                [{"path": path, "pipe": True}],
                [{"path": path, "link": "/dev/zero"}],
                [{"path": path, "remove": True}],
                [whole, {"path": path, "mode": 0}],
                [{"path": path, "text": text + text}],
                [{"path": path, "text": ""}],
            ]
        )
    )


@st.composite
def sources(pick: st.DrawFn, description: dict[str, Any]) -> dict[str, Any]:
    """Change a source's description in the catalog, most often not at all."""
    if pick(st.integers(0, 2)):
        return description
    key = pick(
        st.sampled_from(
            [
                "path",
                "format",
                "experiment",
                "split",
                "file_split",
                "categories",
                "first",
                "sample",
                "seed",
            ]
        )
    )
    value = pick(
        odd_values | st.sampled_from(["train", "unseen", "x", ["x"], ["Animals"], *WRITERS])
    )
    if pick(st.booleans()):
        return {**description, key: value}
    return {**description, pick(misspelt(key)): description.get(key, value)}


@st.composite
def cases(pick: st.DrawFn) -> Case:
    """Describe a prompt file, where it lies, and how the catalog names it."""
    kind, prompts = pick(st.sampled_from(sorted(WRITERS))), pick(some_texts)
    text = pick(WRITERS[kind](prompts))
    path = f"{FOLDER}/{NAME}" + ("" if kind == "cub" else ".txt")
    file = f"{path}/001.Cat/one.txt" if kind == "cub" else path
    edits = pick(places(file, text))
    plain = edits == [{"path": file, "text": text}]
    given = {"path": path, "format": kind, "experiment": "color", "split": "train"}
    source = pick(sources(given))
    paper = {"path": f"{FOLDER}/paper.yml", "format": "experiments"}
    entry = {
        "type": "dpok_pipeline.datasets.prompts.sources.PromptSourcesDataset",
        "sources": {"paper": paper, NAME: source},
    }
    edits = [*edits, {"path": CATALOG, "text": json.dumps({"prompt_sources": entry})}]
    # What an experiments file says last is of its own; the prompts come before it.
    checked = plain and source == given and kind != "experiments"
    expected = {"texts": prompts, "corpus": kind in CORPORA} if checked else {}
    return Case("prompts", edits, expected=expected)


def look(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, Any]:
    """Show the prompts that were read from the case's own file."""
    from dpok_pipeline.hooks.checks import present_prompts

    table = present_prompts(pipeline, catalog)
    return {"texts": list(table["text"][table["source"].str.contains(f"/{NAME}")])}


def check(case: Case, outcome: Any, plain: dict[str, Any]) -> str | None:
    """Find every word of the file again, or a warning about those that were left out."""
    if not case.expected:
        return None
    arrived, given = (_words(texts) for texts in (outcome.seen["texts"], case.expected["texts"]))
    # A collection's repeats are left out, or cannot even be written.
    if arrived == given or (case.expected["corpus"] and set(arrived) == set(given)):
        return None
    if case.expected["corpus"] and "left out" in outcome.output and set(arrived) <= set(given):
        return None
    return f"the file has {given}, but {arrived} arrived"


def _words(texts: list[str]) -> list[str]:
    joined = " ".join(unicodedata.normalize("NFC", text.replace("\ufeff", "")) for text in texts)
    return joined.split()


FAMILY = Family(lambda template: cases(), look, check)
