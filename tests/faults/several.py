"""Trains with several processes on one machine, each a fork of this one, and compares with one.

`python tests/faults/several.py NAME` checks one of `CHECKS`; without a name it checks all.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from sweep import ROOT, run_forked

TINY = str(ROOT / "tests" / "end_to_end" / "tiny.yaml")
TOLERANCE = 1e-4
"""Of losses, relative: float32 sums in another order, over the steps of a stage; measured are 4e-6
at most over three stages, and twenty times that with the contrast."""
EPOCHS = {"pretraining": 1, "visual_initialing": 2, "llm_fine_tuning": 1}
ODD = [
    f"stages.{name}.{key}" for name in EPOCHS for key in ("batch_size=3", f"epochs={EPOCHS[name]}")
]
"""Three clips a step, of seven."""
CONTRAST = [*ODD, "stages.visual_initialing.alignment={near_texts: 2}"]
CONTRAST += ["stages.visual_initialing.learning_rates.alignment=0.01"]
_FOUND = "{source: visual_initialing, retrieved: {number: 2}, folds: 2}"
CONTEXT = [*CONTRAST, f"stages.llm_fine_tuning.context={_FOUND}"]
CONTEXT += ["stages.llm_fine_tuning.learning_rates.context=0.01"]


def train(
    arguments: Sequence[str],
    count: int,
    prepare: Callable[[int], Callable[[], None] | None] = lambda rank: None,
) -> list[tuple[int, str]]:
    """Run `unglossed` on so many processes; exit code and standard error of each."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])

    def begin(rank: int) -> Callable[[], None]:
        inner = prepare(rank)

        def run() -> None:
            if count > 1:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            if inner is not None:
                inner()

        return run

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda rank: run_forked(arguments, prepare=begin(rank)), range(count)))


def check_ends(ended: Sequence[tuple[int, str]]) -> None:
    """Assert that all ended well."""
    assert all(code == 0 for code, _ in ended), ended


def rows_of(run: Path) -> list[dict[str, Any]]:
    """All rows of metrics of a run, in the order of its stages."""
    files = sorted(run.glob("[0-9]*-*/metrics.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def check_alike(run: Path, other: Path) -> None:
    """Assert that two runs have the same losses within the tolerance, and print the worst."""
    rows, others = rows_of(run), rows_of(other)
    assert [one["step"] for one in rows] == [one["step"] for one in others]
    worst = 0.0
    for row, same in zip(rows, others, strict=True):
        if "loss" in row:
            worst = max(worst, abs(row["loss"] - same["loss"]) / abs(row["loss"]))
        elif "eval_loss" in row:  # with running statistics, which lag behind
            assert abs(row["eval_loss"] - same["eval_loss"]) <= 1e-3 * row["eval_loss"]
    print(f"losses differ by {worst:.1e} at most")
    assert worst <= TOLERANCE


def end_after_steps(steps: int, number: int) -> Callable[[], None]:
    """What has a process send itself a signal after so many optimiser steps."""

    def prepare() -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        done = 0

        def count(*_: Any) -> None:
            nonlocal done
            done += 1
            if done == steps:
                os.kill(os.getpid(), number)

        register_optimizer_step_post_hook(count)

    return prepare


def tell_held(file: Path) -> Callable[[], None]:
    """What has a process write how many values it holds of all values of sharded weights."""

    def prepare() -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        def tell(optimizer: Any, *_: Any) -> None:
            weights = [one for group in optimizer.param_groups for one in group["params"]]
            shards = [one for one in weights if hasattr(one, "to_local")]
            own = sum(one.to_local().numel() for one in shards)
            file.write_text(json.dumps({"own": own, "all": sum(one.numel() for one in shards)}))

        register_optimizer_step_post_hook(tell)

    return prepare


class Workshop:
    """A corpus of seven clips, three of dev, and commands on it."""

    def __init__(self, folder: Path) -> None:
        import tiny

        self.folder = folder
        (folder / "corpus").mkdir(parents=True)
        self.corpus = tiny.write_corpus(folder / "corpus", 7, 3)

    def command(self, run: str, changes: Sequence[str], *options: str) -> list[str]:
        """Arguments that train a run."""
        line = ["train", TINY, "--corpus", self.corpus, "--output", str(self.folder / run)]
        return [*line, *options, *changes]


def two_are_as_one(work: Workshop) -> None:
    """Seven clips, three a step: the last step has one clip, and a process none."""
    for run, count in (("one", 1), ("two", 2), ("three", 3)):
        check_ends(train(work.command(run, ODD), count))
        check_alike(work.folder / "one", work.folder / run)


def a_sharded_model_goes_on_whole(work: Workshop) -> None:
    """Begun sharded by two and gone on with one, and the reverse; parts are cut unevenly."""
    changes = [*ODD, "stages.llm_fine_tuning.frame_budget=60"]
    changes += ["stages.llm_fine_tuning.optimizer={name: sgd, momentum_dtype: bfloat16}"]
    shard = "--shard-model"
    held = work.folder / "held"
    check_ends(train(work.command("one", changes), 1))
    for run, first, then in (("fewer", 2, 1), ("more", 1, 2)):
        begin = work.command(run, changes, *([shard] if first > 1 else []))
        ended = train(begin, first, lambda rank: end_after_steps(7, signal.SIGTERM))
        assert [code for code, _ in ended] == [143] * first, ended
        resumed = work.command(run, changes, "--resume", *([shard] if then > 1 else []))
        check_ends(train(resumed, then, lambda rank: tell_held(held.with_suffix(f".{rank}"))))
        check_alike(work.folder / "one", work.folder / run)
    shares = [json.loads(held.with_suffix(f".{rank}").read_text()) for rank in range(2)]
    assert shares[0]["all"] == shares[1]["all"] == sum(one["own"] for one in shares), shares
    assert max(one["own"] for one in shares) < 0.6 * shares[0]["all"], shares


def folds_are_trained_by_all(work: Workshop) -> None:
    """Texts beside the features are found once, by models that all processes trained."""
    for run, count in (("one", 1), ("two", 2)):
        check_ends(train(work.command(run, CONTEXT), count))
    check_alike(work.folder / "one", work.folder / "two")
    one, two = (
        [
            json.loads(line)
            for path in sorted((work.folder / run).glob("context/*/fold-*.jsonl"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        for run in ("one", "two")
    )
    assert len(one) == 7
    for row, same in zip(one, two, strict=True):
        assert row["id"] == same["id"]
        for text, other in zip(row["texts"], same["texts"], strict=True):
            assert text["text"] == other["text"]
            # With running statistics, which lag behind, as the loss on dev.
            assert abs(text["confidence"] - other["confidence"]) <= 0.01 * text["confidence"]


def the_contrast_sees_all_clips(work: Workshop) -> None:
    """Negatives are those of the whole step, whichever process has them."""
    for run, count in (("one", 1), ("two", 2)):
        check_ends(train(work.command(run, CONTRAST), count))
    check_alike(work.folder / "one", work.folder / "two")


def another_number_goes_on(work: Workshop) -> None:
    """Begun with two and gone on with one, and the reverse."""
    check_ends(train(work.command("one", ODD), 1))
    for run, first, then in (("fewer", 2, 1), ("more", 1, 2)):
        ended = train(
            work.command(run, ODD),
            first,
            lambda rank: end_after_steps(8, signal.SIGTERM) if rank == 0 else None,
        )
        assert [code for code, _ in ended] == [143] * first, ended
        step = 4 + first  # several agree on it at the next step
        assert f"saved after step {step} of visual_initialing" in ended[0][1]
        assert [text for _, text in ended[1:]] == [""] * (first - 1)
        check_ends(train(work.command(run, ODD, "--resume"), then))
        check_alike(work.folder / "one", work.folder / run)


def a_lost_process_ends_the_others(work: Workshop) -> None:
    """One line each within thirty seconds; and the run goes on."""
    check_ends(train(work.command("one", ODD), 1))
    ended = train(
        work.command("run", ODD, "--save-every", "2"),
        2,
        lambda rank: end_after_steps(8, signal.SIGKILL) if rank == 1 else None,
    )
    assert ended[1][0] == -signal.SIGKILL
    assert ended[0][0] == 2, ended
    errors = [line for line in ended[0][1].splitlines() if line.startswith("error:")]
    assert len(errors) == 1, ended
    assert "another process of the training has ended" in errors[0]
    assert "Traceback" not in ended[0][1]
    check_ends(train(work.command("run", ODD, "--resume"), 2))
    check_alike(work.folder / "one", work.folder / "run")


def a_mistake_is_told_once(work: Workshop) -> None:
    """All end with exit code 2, and the first one says why."""
    ended = train(work.command("run", ["stages.pretraining.epochs=none"]), 2)
    assert [code for code, _ in ended] == [2, 2], ended
    assert [text.count("error:") for _, text in ended] == [1, 0], ended
    assert not list(work.folder.glob("run/recipe*"))


def each_clip_is_scored_once(work: Workshop) -> None:
    """Predictions of three processes are those of one, to the byte."""
    check_ends(train(work.command("one", ODD), 1))
    line = ["evaluate", str(work.folder / "one"), "--corpus", work.corpus, "--split", "train"]
    for name, count in (("alone", 1), ("shared", 3)):
        output = ["--output", str(work.folder / name), "--batch-size", "2"]
        check_ends(train([*line, *output], count))
    for name in ("predictions.jsonl", "metrics.json"):
        alone, shared = (work.folder / run / name for run in ("alone", "shared"))
        assert alone.read_bytes() == shared.read_bytes(), name


def slurm_gets_the_job_back(work: Workshop) -> None:
    """SIGUSR1 saves, and then the job is queued again, once, by Slurm's own program."""
    told = work.folder / "told"
    program = work.folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{told}"\n')
    program.chmod(0o755)

    def prepare(rank: int) -> Callable[[], None]:
        ends = end_after_steps(4, signal.SIGUSR1)

        def run() -> None:
            os.environ |= {"SLURM_JOB_ID": "7", "PATH": f"{program.parent}:{os.environ['PATH']}"}
            ends()

        return run

    ended = train(work.command("run", ODD, "--requeue"), 2, prepare)
    assert [code for code, _ in ended] == [138, 138], ended
    assert told.read_text() == "requeue 7\n"
    check_ends(train(work.command("run", ODD, "--resume"), 1))


def a_clock_that_goes_back_changes_nothing(work: Workshop) -> None:
    """By a day at each look."""

    def prepare(rank: int) -> Callable[[], None]:
        def run() -> None:
            now = time.time()

            def earlier() -> float:
                nonlocal now
                now -= 86400
                return now

            time.time = earlier

        return run

    check_ends(train(work.command("one", ODD), 1))
    check_ends(train(work.command("back", ODD), 1, prepare))
    for name in ("model/model.safetensors", "2-visual_initialing/metrics.jsonl"):
        one, back = (work.folder / run / name for run in ("one", "back"))
        assert one.read_bytes() == back.read_bytes(), name


CHECKS = {
    check.__name__: check
    for check in (
        two_are_as_one,
        a_sharded_model_goes_on_whole,
        the_contrast_sees_all_clips,
        folds_are_trained_by_all,
        another_number_goes_on,
        a_lost_process_ends_the_others,
        each_clip_is_scored_once,
        a_mistake_is_told_once,
        slurm_gets_the_job_back,
        a_clock_that_goes_back_changes_nothing,
    )
}


def main() -> None:
    """Run the checks that are named."""
    for name in sys.argv[1:] or CHECKS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            CHECKS[name](Workshop(Path(scratch) / "work"))
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
