"""Ctrl-C, pressed once or more often, and a kill: what a terminal sends to the whole group."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

NUM_CLIPS = 40


@pytest.fixture
def endless(tmp_path):
    """A corpus with a picture that nobody ever writes: who reads it waits for ever."""
    rows = []
    for number in range(NUM_CLIPS):
        folder = tmp_path / f"clips/{number}"
        folder.mkdir(parents=True)
        picture = np.full((24, 32, 3), number, np.uint8)
        assert cv2.imwrite(str(folder / "0.png"), picture)
        row = {"id": str(number), "media": f"clips/{number}", "text": f"satz {number}"}
        rows.append(row | {"split": "train", "language": "de"})
    (tmp_path / "clips/30/0.png").unlink()
    os.mkfifo(tmp_path / "clips/30/0.png")
    lines = [json.dumps(row) + "\n" for row in rows]
    (tmp_path / "own.jsonl").write_text("".join(lines), encoding="utf-8")
    return f"table:{tmp_path / 'own.jsonl'}"


@pytest.fixture
def start():
    """Starts `unglossed` in a process group of its own, as a terminal does."""
    started = []

    def run(*arguments):
        command = [sys.executable, "-m", "unglossed", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Tests that run in the background were started with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if is_there(process):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_there(process):
    """Whether a process of the group still runs."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(is_true, process):
    deadline = time.monotonic() + 60
    while not is_true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def workers_of(process):
    """The processes that work for one, by their numbers."""
    found = []
    for path in Path("/proc").iterdir():
        # One that ends meanwhile has no group any more.
        with suppress(OSError, ValueError):
            if os.getpgid(int(path.name)) == process.pid:
                found += [int(path.name)] * (b"spawn_main" in (path / "cmdline").read_bytes())
    return found


def finish(process):
    """The end of standard error comes when the last process of the group has gone."""
    errors = process.communicate(timeout=20)[1]
    deadline = time.monotonic() + 20
    while is_there(process):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return errors


@pytest.mark.parametrize("gaps", [(), (0.05,), (0, 0.1, 0.2)])
def test_packing_stops_with_one_line_and_can_go_on(endless, start, tmp_path, gaps):
    out = tmp_path / "out"
    process = start("corpus", "pack", endless, out, "--workers", 2)
    wait_until((out / "shards/.train-000000.tar.partial").exists, process)

    for gap in (0, *gaps):
        time.sleep(gap)
        if is_there(process):
            os.killpg(process.pid, signal.SIGINT)

    errors = finish(process)
    assert (process.returncode, errors) == (130, "stopped; run the same command again to go on\n")
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["unfinished.json"]


@pytest.mark.parametrize("delay", [0.02, 0.2])
def test_packing_stops_while_its_processes_start(endless, start, tmp_path, delay):
    process = start("corpus", "pack", endless, tmp_path / "out", "--workers", 3)
    wait_until((tmp_path / "out/unfinished.json").exists, process)

    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)

    errors = finish(process)
    assert (process.returncode, errors) == (130, "stopped; run the same command again to go on\n")


def test_a_deep_check_stops(endless, start):
    process = start("corpus", "check", endless, "--deep", "--workers", 2)
    wait_until(lambda: len(workers_of(process)) == 2, process)
    time.sleep(0.5)

    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)

    errors = finish(process)
    assert (process.returncode, errors) == (130, "stopped\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("to_group", [False, True])
def test_kill_and_a_closed_terminal_tidy_up_as_ctrl_c_does(
    endless, start, tmp_path, number, to_group
):
    out = tmp_path / "out"
    process = start("corpus", "pack", endless, out, "--workers", 2)
    wait_until((out / "shards/.train-000000.tar.partial").exists, process)

    (os.killpg if to_group else os.kill)(process.pid, number)

    errors = finish(process)
    told = f"stopped by {number.name}; run the same command again to go on\n"
    assert (process.returncode, errors) == (128 + number, told)
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["unfinished.json"]


def test_a_process_that_was_killed_is_told_in_one_line(endless, start, tmp_path):
    out = tmp_path / "out"
    process = start("corpus", "pack", endless, out, "--workers", 2)
    wait_until((out / "shards/.train-000000.tar.partial").exists, process)

    for worker in workers_of(process):
        os.kill(worker, signal.SIGKILL)

    errors = finish(process)
    assert process.returncode == 2
    assert errors.startswith("error: a worker process was ended from outside or crashed (code -9)")
    assert errors.count("\n") == 1
