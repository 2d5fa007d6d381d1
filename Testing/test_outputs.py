"""A set of files is there whole or not at all, and nobody else's files are touched."""

import os

import pytest

from RelAPETLib.errors import OutputError
from RelAPETLib.outputs import check_destination, write_set


def _text(words):
    return lambda path: path.write_text(words)


def _tree(folder):
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def test_writes_into_a_new_folder(tmp_path):
    out = tmp_path / "new ü folder" / "deeper"
    paths = write_set(out, {"a.txt": _text("A"), "b.txt": _text("B")})
    assert [p.name for p in paths] == ["a.txt", "b.txt"] and _tree(out) == {"a.txt": "A", "b.txt": "B"}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failing_writer_leaves_nothing(tmp_path, error):
    def fail(path):
        path.write_text("half")
        raise error("stopped")

    with pytest.raises(error):
        write_set(tmp_path / "x" / "y", {"a.txt": _text("A"), "b.txt": fail})
    assert _tree(tmp_path) == {}


def test_an_existing_file_is_kept_without_overwrite_and_replaced_with_it(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.txt exists already; use --overwrite"):
        write_set(tmp_path, {"a.txt": _text("new")})
    assert _tree(tmp_path) == {"a.txt": "old", "mine.txt": "mine"}
    write_set(tmp_path, {"a.txt": _text("new")}, overwrite=True)
    assert _tree(tmp_path) == {"a.txt": "new", "mine.txt": "mine"}


def test_overwrite_removes_what_an_earlier_run_wrote_and_nothing_else(tmp_path):
    for name in ("pet", "uncertainty", "mine"):
        (tmp_path / name).write_text("old")
    write_set(tmp_path, {"pet": _text("new")}, owned=("pet", "uncertainty", "difference"), overwrite=True)
    assert _tree(tmp_path) == {"pet": "new", "mine": "old"}


def test_a_failure_between_two_renames_puts_the_old_files_back(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(f"old {name}")
    replace = os.replace

    def failing(source, target):
        if (
            os.path.basename(target) == "b"
            and os.path.dirname(target) == str(tmp_path)
            and "replaced" not in str(source)
        ):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("RelAPETLib.outputs.os.replace", failing)
    with pytest.raises(OutputError, match="No space left on device; nothing was changed"):
        write_set(tmp_path, {"a": _text("new"), "b": _text("new")}, owned=("a", "b", "c"), overwrite=True)
    assert _tree(tmp_path) == {"a": "old a", "b": "old b", "c": "old c"}


def test_destinations_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "taken" / "a.txt").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="is not a folder"):
            check_destination(folder, ["a.txt"], overwrite=True)
    with pytest.raises(OutputError, match="is a folder; move it"):
        check_destination(tmp_path / "taken", ["a.txt"], overwrite=True)
    check_destination(tmp_path / "not" / "yet", ["a.txt"], overwrite=False)
    assert not (tmp_path / "not").exists()


def test_an_unwritable_folder(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    if os.access(locked, os.W_OK):  # root may write anywhere, except where the system has no files to make
        locked = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else None
    if locked is None:
        pytest.skip("this user can write everywhere")
    with pytest.raises(OutputError, match="cannot write to"):
        check_destination(locked, ["a.txt"], overwrite=False)
