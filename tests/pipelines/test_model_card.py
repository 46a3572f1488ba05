from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.diffusion.base_model import BaseModelHandle, describe_base_model
from dpok_pipeline.diffusion.components import CARD
from dpok_pipeline.diffusion.config import SamplingConfig
from dpok_pipeline.evaluation.names import one_line
from dpok_pipeline.pipelines.model_card import base_licence, describe_scorer, write_model_card
from dpok_pipeline.rewards.load import ScorerConfig


@pytest.fixture
def base(tiny_model_folder: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "my-base"))
    front = "---\nlanguage: en\nlicense: creativeml-openrail-m\ntags:\n- text\n---\n\nlicense: no\n"
    (folder / "README.md").write_text(front)
    return folder


def test_the_card_says_what_the_lora_was_made_from(base: Path, tmp_path: Path) -> None:
    handle = describe_base_model(base)
    method = Method(
        name="mine",
        algorithm="dpok",
        label="DPOK of mine",
        colour="#000000",
        lora={"rank": 4},
        training={"iterations": 2000, "kl_weight": 0.02, "checkpoint_every": 7},
    )
    write_model_card(
        tmp_path,
        method=method,
        base_model=handle,
        prompts=[f"prompt {number}." for number in range(25)],
        reward="image_reward, ImageReward.pt",
        scores={"last_reward": 1.23456, "seconds": 7.0},
        sampling=SamplingConfig(ddim_steps=50, guidance_scale=7.5),
    )
    text = (tmp_path / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model"] == "my-base"
    assert front["license"] == "creativeml-openrail-m"
    assert "dpok" in front["tags"]
    for line in (
        "| revision | none: a folder |",
        f"| sha256 of its files | {handle.content_hash} |",
        "| licence, which binds this LoRA too | creativeml-openrail-m |",
        "| reward | image_reward, ImageReward.pt |",
        "| method | DPOK of mine |",
        "| ddim steps | 50 |",
        "| rank | 4 |",
        "| iterations | 2000 |",
        "| kl weight | 0.02 |",
        "| last reward | 1.235 |",
        "Prompts (25):",
        "* `prompt 19.`",
        "… and 5 more.",
    ):
        assert line in text.splitlines(), line
    assert "seconds" not in text
    assert "checkpoint" not in text.partition("## Scores")[0]
    assert "prompt 20." not in text


@pytest.fixture(scope="module")
def handle(tiny_model_folder: Path) -> BaseModelHandle:
    return describe_base_model(tiny_model_folder)


@pytest.fixture(scope="module")
def card_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("card")


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a cat</details><script>alert(1)</script>",
    "![pixel](https://example.com/seen.png)",
    "[click](javascript:alert(1)) <https://example.com> www.example.com me@example.com",
    "# a heading",
    "--- a cat ---",
    "``` a `fence` ```",
    "`",
    "a | b \\| c || d \\\\",
    "**bold** _slanted_ __init__ ~~gone~~ $x$ a_b &lt; &#60; :cat:",
    "* 1. + - > a list",
    "\\",
    "x" * 900,
    "a \u202e cat",
]
TEXTS = st.one_of(
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from([*"`|\\*_[]()<>&!#~:-. ab", "http://"])).map("".join),
    st.text(),
).filter(lambda text: one_line(text, 1000))


def card(base: BaseModelHandle, folder: Path, prompts: list[str], text: str) -> str:
    method = Method(
        name="mine",
        algorithm="dpok",
        label=text,
        colour="#000000",
        lora={"rank": 4},
        training={"iterations": 1},
    )
    write_model_card(
        folder,
        method=method,
        base_model=base,
        prompts=prompts,
        reward=text,
        scores={"last_reward": text},
    )
    return (folder / CARD).read_text(encoding="utf-8")


@settings(deadline=None)
@given(prompts=st.lists(TEXTS, min_size=1, max_size=4), text=TEXTS)
@example(prompts=HOSTILE, text="a cat")
@example(prompts=["a cat"], text="".join(HOSTILE[:12]))
def test_a_reader_sees_prompts_and_names_as_they_are_and_nothing_else(
    handle: BaseModelHandle, card_folder: Path, prompts: list[str], text: str
) -> None:
    _, _, page = card(handle, card_folder, prompts, text).partition("\n---\n")
    plain = card(handle, card_folder, ["a cat"] * len(prompts), "a cat").partition("\n---\n")[2]
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens, expected = markdown.parse(page), markdown.parse(plain)
    assert [token.type for token in tokens] == [token.type for token in expected]
    spans = [token.children for token in tokens if token.type == "inline"]
    assert {span.type for line in spans for span in line} == {"text", "code_inline"}
    code = [span.content for line in spans for span in line if span.type == "code_inline"]
    assert code[1:] == [one_line(prompt, 1000) for prompt in prompts]
    cells = ["".join(span.content for span in line) for line in spans]
    for name in ("method", "reward", "last reward"):
        assert cells[cells.index(name) + 1] == one_line(text, 1000)


@pytest.mark.parametrize(
    "name",
    ["a\n---\nb: c", "---", "a: b # c", "<img>", b"a\xff".decode("utf-8", "surrogateescape")],
)
def test_no_name_of_a_folder_ends_the_front_matter(base: Path, tmp_path: Path, name: str) -> None:
    folder = base.rename(tmp_path / name)
    text = card(describe_base_model(folder), tmp_path, ["a cat"], "mine")
    start, front, page = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert start == ""
    assert yaml.safe_load(front)["license"] == "creativeml-openrail-m"
    assert page.startswith("\n\n# LoRA by")


def test_a_base_models_card_in_another_encoding_is_read_all_the_same(base: Path) -> None:
    (base / "README.md").write_bytes(b"---\nlicense: mit\nauthor: J\xf6rg\n---\n")
    assert base_licence(describe_base_model(base)) == "mit"


def test_a_licence_that_is_not_stated_is_not_made_up(base: Path, tmp_path: Path) -> None:
    handle = describe_base_model(base)
    assert base_licence(handle) == "creativeml-openrail-m"
    for text in (None, "license: mit\n", "---\nlanguage: en\n---\n"):
        (base / "README.md").unlink()
        (base / "README.md").write_text(text or "")
        assert base_licence(handle) == "not stated in its folder"


def test_a_scorer_is_named_by_what_was_configured() -> None:
    given = ScorerConfig(kind="image_reward", path="reward.pt", precision="bfloat16")
    assert describe_scorer(given) == "image_reward, reward.pt, bfloat16"
    assert describe_scorer(ScorerConfig(kind="mine.reward")) == "mine.reward"


def test_a_reward_is_named_without_the_folders_of_this_machine() -> None:
    given = {"kind": "image_reward", "path": "/models/of/mine/reward.pt"}
    assert describe_scorer(ScorerConfig(**given)) == "image_reward, reward.pt"
    summed = ScorerConfig(kind="weighted_sum", parts={"one": {**given, "weight": 0.5}})
    assert describe_scorer(summed) == "weighted_sum, one (image_reward, reward.pt, 0.5)"
