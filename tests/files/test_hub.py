from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dpok_pipeline.errors import InputError
from dpok_pipeline.files.hub import find_files, hub_sha256, is_hub_id
from tests.hub_cache import add_to_cache


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `HF_HUB_OFFLINE=1` in the environment would have it; the library reads it only once."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("THUDM/ImageReward", True),
        ("data/clip", False),  # beside a folder `data`: a path that is misspelt
        ("./clip", False),
        ("/models/clip", False),
        ("~/clip", False),
        ("clip", False),
        ("a/b/c", False),
        ("owner/", False),
    ],
)
def test_what_can_be_a_hub_id(
    name: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    assert is_hub_id(name) is expected


def test_a_path_that_exists_never_asks_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object, **__: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    monkeypatch.chdir(tmp_path)
    Path("owner/model").mkdir(parents=True)
    assert find_files("owner/model", ["config.json"]) == Path("owner/model")
    assert find_files(str(tmp_path), ["config.json"]) == tmp_path


@pytest.mark.usefixtures("offline")
class TestOffline:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        return tmp_path

    def test_an_absent_model_is_one_line_with_both_remedies(self) -> None:
        with pytest.raises(InputError) as caught:
            find_files("THUDM/ImageReward", ["ImageReward.pt"], revision="5736be0")
        message = str(caught.value)
        assert message.startswith("THUDM/ImageReward: ")
        assert "give a local folder" in message
        command = "hf download THUDM/ImageReward ImageReward.pt --revision 5736be0"
        assert f"unset HF_HUB_OFFLINE and run `{command}`" in message
        assert "\n" not in message

    def test_the_command_fetches_what_a_model_may_have_too(self) -> None:
        with pytest.raises(InputError) as caught:
            find_files("openai/clip", ["config.json"], ["vocab.json", "merges.txt"])
        command = "--include config.json --include vocab.json --include merges.txt`"
        assert f"`hf download openai/clip {command}" in str(caught.value)

    def test_what_was_fetched_before_is_found(self, cache: Path) -> None:
        add_to_cache(cache, "owner/model", {"config.json": b"{}"})
        folder = find_files("owner/model", ["config.json"], ["tokenizer.json"])
        assert (folder / "config.json").read_bytes() == b"{}"

    def test_a_model_that_was_fetched_in_part_names_the_file(self, cache: Path) -> None:
        add_to_cache(cache, "owner/model", {"config.json": b"{}"})
        with pytest.raises(InputError, match=r"owner/model: .*model\.safetensors"):
            find_files("owner/model", ["config.json", "model.safetensors"])

    def test_the_cache_tells_what_a_large_file_must_hash_to(self, cache: Path) -> None:
        folder = add_to_cache(cache, "owner/model", {"weights.pt": b"a", "config.json": b"{}"})
        expected = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
        assert hub_sha256(folder / "weights.pt") == expected
        assert hub_sha256(folder / "config.json") is None  # kept under a git hash
        assert hub_sha256(cache / "models--owner--model" / "blobs" / expected) is None  # no link


def test_the_environment_variable_is_heeded(tmp_path: Path) -> None:
    code = (
        "from dpok_pipeline.errors import InputError\n"
        "from dpok_pipeline.rewards.load import ScorerConfig, load_scorer\n"
        "try: load_scorer(ScorerConfig(kind='clip_score', path='openai/clip-vit-large-patch14'))\n"
        "except InputError as error: print(error)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    assert answer.stdout.startswith("openai/clip-vit-large-patch14: no such folder here")
    assert "unset HF_HUB_OFFLINE and run `hf download" in answer.stdout
