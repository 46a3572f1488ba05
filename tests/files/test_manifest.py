from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dpok_pipeline.errors import InputError
from dpok_pipeline.files import manifest as manifest_module
from dpok_pipeline.files.manifest import (
    MANIFEST,
    Manifest,
    check_folder,
    copy_sealed,
    describe_file,
    is_complete,
    link_sealed,
    partial_path,
    read_manifest,
    seal,
    write_manifest,
)
from tests.files.damage import DAMAGE
from tests.files.killed import run_killed

ENTRY = {"bytes": 3, "sha256": hashlib.sha256(b"one").hexdigest()}
METADATA = {"experiment": "colour, Füchse", "rows": 6}


def written(folder: Path) -> Path:
    """A folder with one file at its top and one further down, not sealed."""
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"one")
    (folder / "inner" / "b.txt").write_bytes(b"three")
    return folder


def sealed(folder: Path) -> Path:
    seal(written(partial_path(folder)), folder, METADATA)
    return folder


def test_the_format_is_one_json_file(tmp_path: Path) -> None:
    document = json.loads((sealed(tmp_path / "final") / MANIFEST).read_text(encoding="utf-8"))
    assert document == {
        "complete": True,
        "metadata": METADATA,
        "files": {
            "a.txt": {"bytes": 3, "sha256": hashlib.sha256(b"one").hexdigest()},
            "inner/b.txt": {"bytes": 5, "sha256": hashlib.sha256(b"three").hexdigest()},
        },
    }


def test_a_sealed_folder_comes_back_and_its_partial_name_is_gone(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "final")
    assert check_folder(folder) == METADATA
    assert is_complete(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    entry = describe_file(written(tmp_path / "x") / "a.txt")
    files = {"b": entry, "a": entry}
    for complete in (True, False):
        manifest = Manifest(METADATA, files, complete)
        write_manifest(tmp_path, manifest)
        assert read_manifest(tmp_path, unfinished=True) == manifest
        assert list(read_manifest(tmp_path, unfinished=True).files) == ["a", "b"]
        assert is_complete(tmp_path) is complete


def test_an_unfinished_folder_is_never_read_as_finished(tmp_path: Path) -> None:
    folder = written(tmp_path / "final")
    with pytest.raises(InputError, match=rf"/final: not finished, its manifest {MANIFEST} is mis"):
        check_folder(folder)
    write_manifest(folder, Manifest({}, {}, complete=False))
    with pytest.raises(InputError, match=rf"/final: not finished, its manifest {MANIFEST} is not"):
        check_folder(folder)
    assert not is_complete(folder)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"complete": true}',
        '{"complete": true, "metadata": {}, "files": ["a.txt"]}',
        '{"complete": true, "metadata": {}, "files": {"a.txt": {"bytes": 3}}}',
        '{"complete": true, "metadata": {}, "files": {"a.txt": "sha256"}}',
        '{"complete": true, "metadata": 1, "files": {}}',
        '{"metadata": {}, "files": {}}',
    ],
)
@pytest.mark.parametrize("unfinished", [False, True])
def test_a_damaged_manifest_is_refused_by_name(
    tmp_path: Path, content: str, unfinished: bool
) -> None:
    folder = sealed(tmp_path / "final")
    (folder / MANIFEST).write_text(content)
    with pytest.raises(InputError, match=rf"final/{MANIFEST}: cannot be read .*make it again"):
        read_manifest(folder, unfinished=unfinished)
    assert not is_complete(folder)


@pytest.mark.parametrize("word", ['"yes"', "1", "null", "{}"])
def test_only_true_means_complete(tmp_path: Path, word: str) -> None:
    (tmp_path / MANIFEST).write_text(f'{{"complete": {word}, "metadata": {{}}, "files": {{}}}}')
    assert not is_complete(tmp_path)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["a.txt", "inner/b.txt"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, name: str, damage: str) -> None:
    folder = sealed(tmp_path / "final")
    DAMAGE[damage](folder / name)
    with pytest.raises(InputError, match=rf"{name}: .*make it again"):
        check_folder(folder)


def test_a_copy_has_a_manifest_of_its_own(tmp_path: Path) -> None:
    source = sealed(tmp_path / "source")
    copy_sealed(source, tmp_path / "final", {"of": "another"})
    assert check_folder(tmp_path / "final") == {"of": "another"}
    assert read_manifest(tmp_path / "final").files == read_manifest(source).files


def test_a_link_shares_the_bytes_and_outlives_its_source(tmp_path: Path) -> None:
    source = sealed(tmp_path / "source")
    link_sealed(source, tmp_path / "layer" / "final", {"of": "another"})
    final = tmp_path / "layer" / "final"
    for name in ("a.txt", "inner/b.txt"):
        assert (final / name).stat().st_ino == (source / name).stat().st_ino
    assert (final / MANIFEST).stat().st_ino != (source / MANIFEST).stat().st_ino
    DAMAGE["missing"](source / "a.txt")
    assert check_folder(final) == {"of": "another"}


def test_links_become_copies_across_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    source = sealed(tmp_path / "source")
    link_sealed(source, tmp_path / "final", METADATA)
    assert (tmp_path / "final" / "a.txt").stat().st_ino != (source / "a.txt").stat().st_ino
    assert check_folder(tmp_path / "final") == METADATA


@pytest.mark.parametrize("state", ["unfinished", "file missing"])
def test_nothing_is_linked_from_a_folder_that_is_not_whole(tmp_path: Path, state: str) -> None:
    source = sealed(tmp_path / "source")
    if state == "unfinished":
        write_manifest(source, Manifest({}, read_manifest(source).files, complete=False))
    else:
        (source / "a.txt").unlink()
    with pytest.raises(InputError, match="source"):
        link_sealed(source, tmp_path / "final", {})
    assert not (tmp_path / "final").exists()


@pytest.mark.parametrize("make", [copy_sealed, link_sealed])
def test_a_full_disk_leaves_no_final_folder_and_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    source = sealed(tmp_path / "source")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(manifest_module, "replace_durably", full)
        with pytest.raises(OSError, match="No space"):
            make(source, tmp_path / "final", METADATA)
    assert not (tmp_path / "final").exists()
    make(source, tmp_path / "final", METADATA)
    assert check_folder(tmp_path / "final") == METADATA


KILLED = """
import os, signal, sys
from pathlib import Path
from dpok_pipeline.files import manifest

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(manifest if sys.argv[1] == "replace_durably" else os, sys.argv[1], killed)
getattr(manifest, sys.argv[2])(Path(sys.argv[3]), Path(sys.argv[4]), {})
"""


@pytest.mark.parametrize("moment", ["replace_durably", "replace"])
@pytest.mark.parametrize("make", ["copy_sealed", "link_sealed"])
def test_a_killed_process_leaves_no_final_folder_and_no_hindrance(
    tmp_path: Path, make: str, moment: str
) -> None:
    source = sealed(tmp_path / "source")
    run_killed(KILLED, moment, make, source, tmp_path / "final")
    assert partial_path(tmp_path / "final").is_dir()
    assert not (tmp_path / "final").exists()
    getattr(manifest_module, make)(source, tmp_path / "final", METADATA)
    assert check_folder(tmp_path / "final") == METADATA
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "source"]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({}, "it lists no files"),
        ({"../secret": ENTRY}, "'../secret' is no file inside the folder"),
        ({"inner/../../secret": ENTRY}, "is no file inside the folder"),
        ({"/etc/hostname": ENTRY}, "'/etc/hostname' is no file inside the folder"),
        ({"": ENTRY}, "'' is no file inside the folder"),
        ([], "it lists no files"),
        (None, "cannot be read"),
        ({"a.txt": 3}, "cannot be read"),
    ],
    ids=str,
)
def test_a_manifest_that_lists_nothing_or_something_outside_is_refused(
    tmp_path: Path, files: object, named: str
) -> None:
    folder = sealed(tmp_path / "final")
    (tmp_path / "secret").write_bytes(b"one")
    document = {"complete": True, "metadata": {}, "files": files}
    (folder / MANIFEST).write_text(json.dumps(document))
    for read in (check_folder, lambda path: link_sealed(path, tmp_path / "linked", {})):
        with pytest.raises(InputError) as caught:
            read(folder)
        assert str(caught.value).startswith(f"{folder / MANIFEST}: ")
        assert named in str(caught.value)
        assert str(caught.value).endswith("make it again")
    assert not is_complete(folder)
    assert not (tmp_path / "linked").exists()
