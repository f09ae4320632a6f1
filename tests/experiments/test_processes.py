"""Commands as processes: one after another on one log, and a failure's last line."""

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from experiments.processes import Processes
from unglossed.errors import InputError


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def processes(told: list[str]) -> Processes:
    return Processes(2, 1, told.append)


def write_sentences(path: Path) -> str:
    path.write_text("morgen regnet es im norden\n", encoding="utf-8")
    return str(path)


def test_a_command_writes_to_its_log(processes: Processes, tmp_path: Path) -> None:
    sentences = write_sentences(tmp_path / "sentences.txt")
    log = tmp_path / "new" / "score.log"

    processes.run(["score", sentences, sentences, "--language", "de"], log, lambda: False)

    assert "BLEU-1..4 100.00" in log.read_text(encoding="utf-8")


def test_a_failure_is_one_line_with_the_last_words_of_the_log(
    processes: Processes, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing.txt")
    log = tmp_path / "score.log"

    with pytest.raises(InputError) as caught:
        processes.run(["score", missing, missing, "--language", "de"], log, lambda: False)

    message = str(caught.value)
    assert message.startswith(f"{log}: unglossed score ended with code 2: ")
    assert missing in message
    assert "\n" not in message


def test_what_is_done_is_not_done_again(processes: Processes, tmp_path: Path) -> None:
    log = tmp_path / "score.log"

    processes.run(["no such command"], log, lambda: True)

    assert log.read_text(encoding="utf-8") == ""


def test_a_log_that_another_process_writes_is_waited_for(
    processes: Processes, told: list[str], tmp_path: Path
) -> None:
    log = tmp_path / "score.log"
    done = threading.Event()
    with log.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=processes.run, args=(["none"], log, done.is_set))
        waiting.start()
        while not told and waiting.is_alive():
            time.sleep(0.01)
        assert told == [f"waiting: another process still writes {log}"]
        done.set()
    waiting.join(timeout=60)

    assert not waiting.is_alive()
    assert log.read_text(encoding="utf-8") == ""  # the other had done it


def test_when_one_fails_the_others_are_ended_and_none_begins(
    processes: Processes, tmp_path: Path
) -> None:
    never = tmp_path / "never.txt"
    os.mkfifo(never)  # who reads it waits for ever
    log = tmp_path / "score.log"

    def fail() -> None:
        while not log.exists():
            time.sleep(0.01)
        raise InputError("first.log: failed")

    def endless() -> None:
        processes.run(["score", str(never), str(never), "--language", "de"], log, lambda: False)

    def later() -> None:
        processes.run(["doctor"], tmp_path / "doctor.log", lambda: False)

    with pytest.raises(InputError, match=r"first\.log: failed"):
        processes.side_by_side([fail, endless, later, later])

    with log.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it any more
    doctor = tmp_path / "doctor.log"
    assert not doctor.exists() or not doctor.read_bytes()
