"""Kills small trainings at random moments and resumes them: the end has to be the same to the byte.

`python tests/faults/kills.py --kills 40 --seed 0` (or `make kills`) trains a recipe of three stages
on signs and one on speech to their ends. Then it trains them again, again and again: each is ended,
by SIGKILL, SIGTERM, SIGUSR1 or Ctrl-C, in the course of one of `EVENTS` or after a random time, and
resumed, until it was ended a few times; then it is trained to its end. Compared with the whole one:
the weights and metrics of every stage, and what `unglossed evaluate` predicts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from sweep import ROOT, digest, run_forked

EVENTS = {
    "step": ("unglossed.training.trainer", "StageTrainer.training_step"),
    "end of an epoch": ("unglossed.training.trainer", "StageTrainer.log"),
    "scoring": ("unglossed.training.job", "DevSplit.encoded"),
    "begin of a save": ("unglossed.training.trainer", "StageTrainer._write"),
    "save, half written": ("unglossed.training.saving", "Progress.write"),
    "save, before its seal": ("unglossed.training.checkpoint", "seal"),
    "save, before others go": ("unglossed.training.trainer", "rotate"),
    "writing features": ("unglossed.training.shards", "Shards.write"),
    "model of a stage": ("unglossed.training.train", "_write_stage"),
    "between stages": ("unglossed.training.train", "put_away"),
    "model of the run": ("unglossed.training.train", "_write_model"),
}
"""What may be under way, and the function that is called then."""
LARGEST = {
    "step": 24,
    "end of an epoch": 10,
    "scoring": 5,
    "writing features": 2,
    "model of a stage": 3,
    "between stages": 3,
    "model of the run": 1,
}
"""Of the calls of a function, the number of the one that is ended; else 4."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SPEECH = """
description: for the tests of training
seed: 3
tokenizer: {vocab_size: 120}
audio: {max_seconds: 2.0}
decoding: {max_new_tokens: 12}
num_workers: 0
stages:
  - name: translation
    encoder: {config: {frontend: FRONTEND}}
    adapter: {config: {hidden_dim: 32, dropout: 0.2}}
    language_model: {config: {light_t: {layers: 1, heads: 2, width: 32, ffn_dim: 64}}}
    learning_rates: {encoder: 0.01, adapter: 0.01, language_model: 0.01}
    optimizer: {max_grad_norm: 1.0}
    precision: float32
    batch_size: 1
    epochs: 3
"""


@dataclass(frozen=True)
class Training:
    """A training to be killed.

    Args:
        name: of it.
        arguments: of `unglossed train`, without the output.
        whole: its run that nobody ended.
        seconds: how long that took.
        wanted: digests of what it left, see `results`.
    """

    name: str
    arguments: tuple[str, ...]
    whole: Path
    seconds: float
    wanted: dict[str, str]


def prepare_trainings(folder: Path) -> list[Training]:
    """Make corpora and train on them to the end."""
    import tiny

    for name in ("signs-corpus", "speech-corpus"):
        (folder / name).mkdir(parents=True)
    recipe = folder / "speech.yaml"
    recipe.write_text(SPEECH.replace("FRONTEND", json.dumps(tiny.FRONTEND)), encoding="utf-8")
    signs = tiny.write_corpus(folder / "signs-corpus", num_train=8, num_dev=2)
    speech = tiny.write_speech_corpus(folder / "speech-corpus")
    made = []
    for name, path, corpus in (
        ("signs", ROOT / "tests" / "end_to_end" / "tiny.yaml", signs),
        ("speech", recipe, speech),
    ):
        arguments = ("train", str(path), "--corpus", corpus, "--save-every", "3")
        began = time.monotonic()
        code, text = run_forked([*arguments, "--output", str(folder / name)])
        assert code == 0, text
        seconds, run = time.monotonic() - began, folder / name
        made.append(Training(name, arguments, run, seconds, results(corpus, run)))
    return made


def end_at(event: str, call: int, number: int) -> Callable[[], None]:
    """What has a process send itself a signal in a call of an event's function."""
    module, name = EVENTS[event]

    def prepare() -> None:
        owner: Any = sys.modules[module]
        *outer, last = name.split(".")
        for part in outer:
            owner = getattr(owner, part)
        before, calls = getattr(owner, last), 0

        def call_and_end(*arguments: Any, **settings: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), number)
            return before(*arguments, **settings)

        setattr(owner, last, call_and_end)

    return prepare


def end_after(seconds: float, number: int) -> Callable[[int], None]:
    """What sends a process a signal after a time."""

    def begun(child: int) -> None:
        def send() -> None:
            time.sleep(seconds)
            try:
                os.kill(child, number)
            except ProcessLookupError:
                return

        threading.Thread(target=send, daemon=True).start()

    return begun


def results(corpus: str, run: Path) -> dict[str, str]:
    """Digests of what a run left: weights, metrics and predictions."""
    files = [*run.glob("*/model/model.safetensors"), *run.glob("*/metrics.jsonl")]
    found = {
        str(path.relative_to(run)): digest(path)
        for path in [*files, run / "model" / "model.safetensors"]
    }
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "scores"
        command = ["evaluate", str(run), "--corpus", corpus, "--split", "dev"]
        code, text = run_forked([*command, "--output", str(output)])
        assert code == 0, text
        found["predictions"] = digest(output / "predictions.jsonl")
    return found


def try_training(training: Training, draw: random.Random, kills: int, output: Path) -> list[str]:
    """Train, ended some times, to the end; gives a line for each time. Raises where it differs."""
    told = []
    command = [*training.arguments, "--output", str(output)]
    done = 0
    while done < kills:
        number = draw.choice(SIGNALS)
        resume = ["--resume"] if output.exists() else []
        if draw.random() < 0.3:
            what = "at a random time"
            seconds = draw.uniform(0.05, training.seconds)
            code, text = run_forked([*command, *resume], begun=end_after(seconds, number))
        else:
            event = draw.choice(sorted(EVENTS))
            call = draw.randint(1, LARGEST.get(event, 4))
            what = f"{event}, call {call}"
            code, text = run_forked([*command, *resume], prepare=end_at(event, call, number))
        name = signal.Signals(number).name
        assert "Traceback" not in text, f"{what}, {name}: {text}"
        if code == 0:  # it had ended before
            check_results(training, told, output)
            shutil.rmtree(output)
            told.append(f"{training.name}: (ended well in between)")
            continue
        expected = -number if number == signal.SIGKILL else 128 + number
        assert code == expected, f"{what}, {name}: exit code {code}: {text}"
        told.append(f"{training.name}: {name}, {what}")
        done += 1
    resume = ["--resume"] if output.exists() else []
    code, text = run_forked([*command, *resume])
    assert code == 0, f"{told}: {text}"
    check_results(training, told, output)
    return [line for line in told if "(" not in line]


def check_results(training: Training, told: list[str], output: Path) -> None:
    """Assert that a run ended as the whole one did."""
    arguments = training.arguments
    corpus = arguments[arguments.index("--corpus") + 1]
    found, wanted = results(corpus, output), training.wanted
    different = [name for name in wanted if found.get(name) != wanted[name]]
    assert not different, f"{told}: {', '.join(different)} differ"


def main() -> int:
    """Kill and resume; prints what was done, and fails where a result differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    told: list[str] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        trainings = prepare_trainings(Path(scratch))
        while len(told) < given.kills:
            training = trainings[1 if draw.random() < 0.3 else 0]
            kills = min(draw.randint(1, 4), given.kills - len(told))
            output = Path(scratch) / f"run-{len(told)}"
            told += try_training(training, draw, kills, output)
            shutil.rmtree(output)
    for line, count in sorted(Counter(told).items()):
        print(f"{count} x {line}")
    print(f"{len(told)} ends, all as if never ended, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
