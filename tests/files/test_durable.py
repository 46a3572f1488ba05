from __future__ import annotations

import errno
import hashlib
from pathlib import Path, PurePosixPath

import pytest

from dpok_pipeline.errors import InputError
from dpok_pipeline.files import durable
from dpok_pipeline.files.durable import describe_bytes, replace_durably, save_whole
from dpok_pipeline.runs.json_files import read_json, write_json


def test_a_file_is_replaced_and_nothing_is_left_over(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        replace_durably(tmp_path / "a", content)
        assert (tmp_path / "a").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_durably(tmp_path / "a", b"one")

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "write_durably", full)
    with pytest.raises(OSError, match="No space"):
        replace_durably(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_whole_file_gets_its_folder(tmp_path: Path) -> None:
    path = PurePosixPath(tmp_path) / "version" / "name" / "a"
    save_whole(path, b"one")
    assert Path(path).read_bytes() == b"one"


def test_bytes_are_described_as_a_manifest_lists_them() -> None:
    assert describe_bytes(b"one") == {"bytes": 3, "sha256": hashlib.sha256(b"one").hexdigest()}


def test_json_comes_back_and_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "a.json"
    assert read_json(path) is None
    write_json(path, {"b": [1, None], "a": "ü"})
    assert read_json(path) == {"b": [1, None], "a": "ü"}
    path.write_text("{")
    with pytest.raises(InputError, match=r"a\.json: not JSON .*; remove it"):
        read_json(path)
    path.write_text("[]")
    with pytest.raises(InputError, match=r"a\.json: not what this project wrote; remove it"):
        read_json(path)
