"""Files and folders: whole or not at all, and by one at a time."""

import threading
from pathlib import Path

import pytest

from unglossed.errors import InputError
from unglossed.files import exclusive, whole_file, whole_folder, write_text


def fail_within(target: Path, name: str) -> None:
    """Write one file of a folder, and fail before the rest is written."""
    with whole_folder(target) as partial:
        (partial / name).write_text("half")
        raise RuntimeError("disk full")


def test_a_whole_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    for content in ("old", "new"):
        with whole_folder(target) as partial:
            (partial / content).write_text(content)
            assert partial != target

    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_a_folder_whose_writing_fails_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with whole_folder(target) as partial:
        (partial / "weights").write_text("old")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_within(target, "weights")

    assert (target / "weights").read_text() == "old"


def test_leftovers_of_a_failed_writing_do_not_enter_the_next(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with pytest.raises(RuntimeError, match="disk full"):
        fail_within(target, "leftover")
    assert not target.exists()

    with whole_folder(target) as partial:
        (partial / "weights").touch()

    assert [path.name for path in target.iterdir()] == ["weights"]


def test_a_file_whose_writing_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "metrics.json"
    write_text(path, "alt: äöü\n")

    with pytest.raises(RuntimeError, match="disk full"), whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError("disk full")

    assert path.read_bytes() == "alt: äöü\n".encode()
    assert [file.name for file in path.parent.iterdir()] == ["metrics.json"]


def test_of_two_that_want_a_file_one_is_told_and_waits(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "deep" / "lock"
    told, order = threading.Event(), []

    def second() -> None:
        with exclusive(path, told.set):
            order.append("second")

    waiting = threading.Thread(target=second)
    with exclusive(path, pytest.fail):
        waiting.start()
        assert told.wait(timeout=60)
        order.append("first")
    waiting.join(timeout=60)

    assert order == ["first", "second"]


def test_who_does_not_want_to_wait_for_a_file_raises(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "lock"

    def refuse() -> None:
        raise InputError("busy")

    with exclusive(path, refuse) as file:
        file.write(b"mine")
        with pytest.raises(InputError, match="busy"), exclusive(path, refuse):
            pass
    with exclusive(path, refuse) as file:  # it was let go, and is appended to
        file.write(b", again")
    assert path.read_bytes() == b"mine, again"
