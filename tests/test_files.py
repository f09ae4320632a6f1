"""Files and folders: whole or not at all, and by one at a time."""

import os
import threading
from pathlib import Path

import pytest

from unglossed.errors import InputError
from unglossed.files import (
    check_new_folder,
    check_writable,
    exclusive,
    whole_file,
    whole_folder,
    write_text,
)


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


def test_a_link_to_a_file_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    check_writable(tmp_path / "link")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "words")
    assert os.read(reader, 100) == b"words"
    os.close(reader)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe", "target"]


def test_a_link_to_a_folder_and_the_folder_one_is_in_are_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    for target, name in ((tmp_path / "link", "a"), (Path(), "b")):
        with whole_folder(target) as partial:
            (partial / name).touch()
        assert [path.name for path in (tmp_path / "real").iterdir()] == [name]
        os.chdir(tmp_path / "real")
    assert (tmp_path / "link").is_symlink()


def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"found a folder, expected a file"):
        check_writable(tmp_path)
    for path in (tmp_path / "file" / "out.txt", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match=r"cannot be written to: "):
            check_writable(path)
    check_writable(tmp_path / "new.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_with_something_in_it_is_not_new(tmp_path: Path) -> None:
    check_new_folder(tmp_path / "none")
    check_new_folder(tmp_path)
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="exists already, expected a new or an empty folder"):
            check_new_folder(path)
