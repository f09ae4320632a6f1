"""What a run that is resumed refuses, accepts and says; runs of text alone, a second each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

import tiny
from processes import run_python
from unglossed.errors import InputError
from unglossed.models.processing import TranslatorProcessor
from unglossed.training.callbacks import read_metrics
from unglossed.training.train import train_recipe

RECIPE = Path(__file__).parents[1] / "end_to_end" / "tiny.yaml"
TEXT_ALONE = ["stages.1.skip=true", "stages.2.skip=true"]
STAGE = "1-pretraining"
CONSTANT = [*TEXT_ALONE, "stages.0.schedule={name: constant, warmup: 0}"]


def write_table(folder: Path, rows: Sequence[str] = (), num_rows: int = 8) -> str:
    """Write a table of frame folders, and rows besides; gives its spec."""
    lines = ["id,media,text,split,language"]
    for index in range(num_rows):
        if not (folder / f"c{index}").is_dir():
            tiny.write_frames(folder / f"c{index}", 4, seed=index)
        split = "train" if index else "dev"
        lines.append(f"c{index},c{index},regen im norden {index},{split},de")
    (folder / "own.csv").write_text("\n".join([*lines, *rows]) + "\n", encoding="utf-8")
    return f"table:{folder / 'own.csv'}"


@contextmanager
def interrupted(after: int) -> Iterator[None]:
    """Stop what trains after so many steps, as Ctrl-C does."""
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == after:
            raise KeyboardInterrupt

    handle = register_optimizer_step_post_hook(count)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        handle.remove()


def begin(spec: str, output: Path, overrides: Sequence[str] = TEXT_ALONE, after: int = 5) -> None:
    """Train one of two epochs, of four steps each, and a step of the second."""
    with interrupted(after):
        train_recipe(RECIPE, spec, output, overrides=overrides)


def resume(spec: str, output: Path, overrides: Sequence[str] = TEXT_ALONE, **options: Any) -> Path:
    return train_recipe(RECIPE, spec, output, resume=True, overrides=overrides, **options)


def refused(spec: str, output: Path, overrides: Sequence[str] = TEXT_ALONE) -> str:
    with pytest.raises(InputError) as caught:
        resume(spec, output, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def steps_of(output: Path, stage: str = STAGE) -> list[float]:
    return [row["step"] for row in read_metrics(output / stage / "metrics.jsonl")]


def assert_same_weights(one: Path, other: Path) -> None:
    mine, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("added", "train: 2 clips added (first: 'new0')"),
        ("removed", "train: 1 clip removed (first: 'c7')"),
        ("relabelled", "train: 1 clip with other labels (first: 'c3')"),
        (
            "times",
            "train: 1 clip with other times, boxes, frame rates or deinterlacing (first: 'c3')",
        ),
        (
            "rate",
            "train: 1 clip with other times, boxes, frame rates or deinterlacing (first: 'c3')",
        ),
        ("references", "dev: 1 clip with other labels (first: 'c0')"),
        ("order", "train: the clips are in another order"),
        ("dev", "dev: 1 clip with other labels (first: 'c0')"),
        ("split", "train: 1 clip removed (first: 'c3'); dev: 1 clip added (first: 'c3')"),
        ("media", "train: 1 clip with other media (first: 'c5')"),
        ("frames", "train: 1 clip with other media (first: 'c5')"),
    ],
)
def test_a_corpus_that_changed_is_refused_with_what_changed(
    change: str, told: str, tmp_path: Path
) -> None:
    rows = ["new0,c1,wind,train,de", "new1,c2,schnee,train,de"] if change == "added" else []
    spec, output = write_table(tmp_path), tmp_path / "run"
    columns = {"times": ["start", "end"], "rate": ["frame_rate"], "references": ["text_2"]}
    if change in columns:
        added, empty = ("".join(f",{x}" for x in columns[change]), "," * len(columns[change]))
        lines = (tmp_path / "own.csv").read_text(encoding="utf-8").splitlines()
        lines = [lines[0] + added, *(line + empty for line in lines[1:])]
        (tmp_path / "own.csv").write_text("\n".join(lines), encoding="utf-8")
    begin(spec, output)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    table = tmp_path / "own.csv"
    if change in ("added", "removed"):
        write_table(tmp_path, rows, num_rows=7 if change == "removed" else 8)
    elif change == "relabelled":
        tiny.edit(table, "regen im norden 3", "schnee im norden 3")
    elif change == "dev":
        tiny.edit(table, "regen im norden 0", "schnee im norden 0")
    elif change == "times":
        tiny.edit(table, "norden 3,train,de,,", "norden 3,train,de,0,0.12")
    elif change == "rate":
        tiny.edit(table, "norden 3,train,de,", "norden 3,train,de,50")
    elif change == "references":
        tiny.edit(table, "norden 0,dev,de,", "norden 0,dev,de,es regnet")
    elif change == "split":
        tiny.edit(table, "norden 3,train", "norden 3,dev")
    elif change == "order":
        lines = table.read_text(encoding="utf-8").splitlines()
        table.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n", encoding="utf-8")
    elif change == "media":
        shutil.rmtree(tmp_path / "c5")
        tiny.write_frames(tmp_path / "c5", 4, seed=99)
    elif change == "frames":
        (tmp_path / "c5" / "images0004.png").unlink()

    message = refused(spec, output)

    assert message.startswith(f"{output}: its corpus changed since it was begun: {told}; restore")
    assert message.endswith("--accept-changes")
    after = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert after == before


def test_a_corpus_may_move_to_another_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_table(tmp_path / "old")
    begin(spec, tmp_path / "run")
    shutil.copytree(tmp_path / "old", tmp_path / "new", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "old")
    for path in (tmp_path / "new").rglob("*.png"):
        os.utime(path, (0, 0))
    moved = f"table:{tmp_path / 'new' / 'own.csv'}"

    resume(moved, tmp_path / "run")

    assert f"its corpus was {spec}, is {moved}, with the same rows" in capsys.readouterr().err
    facts = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert facts["corpus"] == moved


def test_lengths_of_clips_outlast_a_resume_that_does_not_look_at_them(tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)
    model = resume(spec, output, check_media=False)
    lengths = TranslatorProcessor.from_pretrained(model).trained_seconds
    assert lengths is not None
    assert lengths["clips"] == 7


def test_a_model_writes_the_language_of_train_where_test_has_more_of_another(
    tmp_path: Path,
) -> None:
    rows = [f"t{index},c1,rain {index},test,en" for index in range(20)]
    spec = write_table(tmp_path, rows) + "?language=*"
    model = train_recipe(RECIPE, spec, tmp_path / "run", overrides=TEXT_ALONE)
    assert TranslatorProcessor.from_pretrained(model).language == "de"


def test_another_corpus_is_none_that_moved(tmp_path: Path) -> None:
    spec = write_table(tmp_path / "one")
    other = write_table(tmp_path / "two", num_rows=6)
    begin(spec, tmp_path / "run")

    message = refused(other, tmp_path / "run")

    assert f"was trained on {spec}, not on {other}: train: 2 clips removed (first: 'c6')" in message


def test_rows_that_were_accepted_begin_the_interrupted_stage_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)
    write_table(tmp_path, [f"new{i},c1,wind {i},train,de" for i in range(4)])

    resume(spec, output, accept_changes=True)

    said = capsys.readouterr().err
    assert "its corpus changed: train: 4 clips added (first: 'new0')" in said
    assert "its epochs have 4 steps, those of the corpus now 6: the stage begins anew" in said
    assert steps_of(output) == [6, 12]
    facts = json.loads((output / "run.json").read_text(encoding="utf-8"))
    assert facts["accepted"] == ["train: 4 clips added (first: 'new0')"]
    assert resume(spec, output) == output / "model"  # the corpus as it is now is the run's


def test_labels_that_were_accepted_are_gone_on_with(tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)
    kept = read_metrics(output / STAGE / "metrics.jsonl")[:1]
    tiny.edit(tmp_path / "own.csv", "regen im norden 3", "norden im regen 3")

    resume(spec, output, accept_changes=True)

    assert steps_of(output) == [4, 8]
    assert read_metrics(output / STAGE / "metrics.jsonl")[:1] == kept


def test_a_run_of_an_older_version_is_resumed_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)
    (output / "corpus.json").unlink()
    (output / STAGE / "checkpoint-4" / "checksums.json").unlink()

    resume(spec, output)

    assert "has no corpus.json: whether its corpus changed cannot" in capsys.readouterr().err
    assert (output / "corpus.json").is_file()
    assert steps_of(output) == [4, 8]


def test_a_run_whose_recipe_has_keys_of_an_earlier_version_is_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)
    path = output / "recipe.yaml"
    text = path.read_text(encoding="utf-8")
    older = text.replace("frame_share:", "sampling_rate:").replace(
        "extra_texts:", "generated_text:"
    )
    assert older.count("sampling_rate:") == older.count("generated_text:") == 1
    path.write_text(older, encoding="utf-8")
    capsys.readouterr()
    resume(spec, output)
    notes = capsys.readouterr().err
    assert f"{path}: video.sampling_rate is now called video.frame_share" in notes
    assert steps_of(output) == [4, 8]


def test_without_a_fingerprint_epochs_of_another_length_are_found(tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)
    (output / "corpus.json").unlink()
    write_table(tmp_path, [f"new{i},c1,wind {i},train,de" for i in range(4)])

    message = refused(spec, output)

    assert "checkpoint-4: its epochs have 4 steps, those of the corpus now 6" in message


@pytest.mark.parametrize(
    "damage", [b"", b'{"corpus": 3}', b"[1]", b'{"corpus": "ta', b"\xff", b"[" * 100_000, None]
)
@pytest.mark.parametrize("name", ["run.json", "corpus.json", "recipe.yaml"])
def test_a_damaged_file_of_a_run_is_named(
    name: str, damage: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)
    if damage is None:
        (output / name).unlink()
    else:
        (output / name).write_bytes(damage)
    if (name, damage) == ("corpus.json", None):
        return  # as an older version left it

    message = refused(spec, output)

    assert str(output / name if name != "recipe.yaml" or damage is not None else output) in message
    if name != "recipe.yaml":
        assert message.endswith("is given") or message.endswith("as it is")
        resume(spec, output, accept_changes=True)
        assert "it is written anew" in capsys.readouterr().err
        assert steps_of(output) == [4, 8]
        capsys.readouterr()
        resume(spec, output)
        assert "anew" not in capsys.readouterr().err


def test_a_damaged_model_of_a_stage_is_named(tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    train_recipe(RECIPE, spec, output, overrides=TEXT_ALONE)
    model = output / STAGE / "model" / "model.safetensors"
    data = bytearray(model.read_bytes())
    data[-9] ^= 64
    model.unlink()
    model.write_bytes(data)

    message = refused(spec, output)

    assert message.startswith(f"{model}: ")
    assert f"delete {output / STAGE}" in message


def test_a_damaged_tokenizer_of_a_run_is_named(tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)
    tokenizer = output / "processor" / "tokenizer.json"
    text = tokenizer.read_text(encoding="utf-8")
    tokenizer.write_text(text.replace('"norden"', '"nordem"').replace('"r"', '"R"'))

    assert refused(spec, output).startswith(f"{tokenizer}: differs from what was saved")


def test_the_newest_checkpoint_that_is_whole_is_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the run ends as one that nobody damaged."""
    spec, epochs = write_table(tmp_path), [*TEXT_ALONE, "stages.0.epochs=4"]
    train_recipe(RECIPE, spec, tmp_path / "whole", overrides=epochs)
    output = tmp_path / "damaged"
    begin(spec, output, epochs, after=14)
    newest = output / STAGE / "checkpoint-12"
    (newest / "optimizer.pt").unlink()

    resume(spec, output, epochs)

    said = capsys.readouterr().err
    assert f"{newest / 'optimizer.pt'}: missing" in said
    assert "checkpoint-12 is skipped" in said
    assert_same_weights(output / "model", tmp_path / "whole" / "model")
    rows = [read_metrics(tmp_path / run / STAGE / "metrics.jsonl") for run in ("whole", "damaged")]
    assert rows[0] == rows[1]


def test_checkpoints_left_by_a_kill_after_the_model_was_written_go(tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    train_recipe(RECIPE, spec, output, overrides=TEXT_ALONE)
    stage = output / STAGE
    (stage / "last").rename(stage / "checkpoint-8")
    shutil.copytree(stage / "checkpoint-8", stage / "checkpoint-4")
    (stage / "checkpoint-mine").mkdir()

    resume(spec, output)

    left = {path.name for path in stage.iterdir()}
    assert left == {"last", "checkpoint-mine", "metrics.jsonl", "tensorboard", "model"}


def test_folders_beside_the_checkpoints_are_left_alone(tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)
    for name in ("checkpoint-mine", "checkpoint-backup", "checkpoint-4-copy"):
        shutil.copytree(output / STAGE / "checkpoint-4", output / STAGE / name)
        (output / STAGE / name / "complete").unlink()

    resume(spec, output)

    for name in ("checkpoint-mine", "checkpoint-backup", "checkpoint-4-copy"):
        assert (output / STAGE / name / "model.safetensors").is_file()


@pytest.mark.parametrize("trained", [False, True])
def test_more_epochs_are_as_if_they_had_been_asked_for_at_first(
    trained: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the learning rate does not depend on how many there are."""
    spec, output, more = write_table(tmp_path), tmp_path / "run", [*CONSTANT, "stages.0.epochs=4"]
    train_recipe(RECIPE, spec, tmp_path / "whole", overrides=more)
    if trained:
        train_recipe(RECIPE, spec, output, overrides=CONSTANT)
    else:
        begin(spec, output, CONSTANT)

    resume(spec, output, more)

    assert "stages.pretraining: trains 4 epochs instead of 2" in capsys.readouterr().err
    assert_same_weights(output / "model", tmp_path / "whole" / "model")
    rows = [read_metrics(tmp_path / run / STAGE / "metrics.jsonl") for run in ("whole", "run")]
    assert rows[0] == rows[1]
    assert resume(spec, output, more) == output / "model"
    assert "stages.pretraining.epochs was 4, is 2" in refused(spec, output, CONSTANT)


def test_more_epochs_follow_the_learning_rates_of_all_of_them(tmp_path: Path) -> None:
    linear = [*TEXT_ALONE, "stages.0.schedule={name: linear, warmup: 0}"]
    spec, more = write_table(tmp_path), [*linear, "stages.0.epochs=4"]
    train_recipe(RECIPE, spec, tmp_path / "whole", overrides=more)
    output = tmp_path / "run"
    train_recipe(RECIPE, spec, output, overrides=linear)
    used: list[float] = []
    handle = register_optimizer_step_post_hook(
        lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"])
    )

    resume(spec, output, more)
    handle.remove()

    planned = [0.01 * (16 - step) / 16 for step in range(8, 16)]
    assert used == pytest.approx(planned)


def test_going_on_that_is_killed_at_its_begin_is_gone_on_with(tmp_path: Path) -> None:
    spec, output, more = write_table(tmp_path), tmp_path / "run", [*CONSTANT, "stages.0.epochs=4"]
    train_recipe(RECIPE, spec, tmp_path / "whole", overrides=more)
    train_recipe(RECIPE, spec, output, overrides=CONSTANT)
    with interrupted(1):
        resume(spec, output, more)
    assert (output / "model").is_dir()  # until another takes its place

    resume(spec, output, more)

    assert_same_weights(output / "model", tmp_path / "whole" / "model")


def test_without_its_last_checkpoint_a_stage_cannot_go_on(tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    train_recipe(RECIPE, spec, output, overrides=TEXT_ALONE)
    shutil.rmtree(output / STAGE / "last")

    message = refused(spec, output, [*TEXT_ALONE, "stages.0.epochs=4"])

    assert message.startswith(f"{output / STAGE / 'last'}: is missing")
    assert resume(spec, output) == output / "model"


@pytest.mark.parametrize(
    "change", ["stages.0.batch_size=1", "stages.0.epochs=1", "tokenizer.vocab_size=90", "seed=9"]
)
def test_what_a_stage_was_trained_with_does_not_change(change: str, tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output)

    assert "recipe.yaml: differs from the recipe given" in refused(
        spec, output, [*TEXT_ALONE, change]
    )


def test_a_stage_that_has_trained_nothing_may_change(tmp_path: Path) -> None:
    spec, output = write_table(tmp_path), tmp_path / "run"
    begin(spec, output, after=2)

    resume(spec, output, [*TEXT_ALONE, "stages.0.batch_size=4", "num_workers=0"])

    assert steps_of(output) == [2, 4]
    assert "batch_size: 4" in (output / "recipe.yaml").read_text(encoding="utf-8")


SMALL_DISK = """
import resource, sys
from unglossed.cli import main

limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_disk_that_is_full_is_one_line_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    """No file can grow beyond some bytes: notes of the run, TensorBoard's, a checkpoint's."""
    spec, output = write_table(tmp_path), tmp_path / "run"
    train_recipe(RECIPE, spec, tmp_path / "whole", overrides=TEXT_ALONE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    full: list[str] = []
    for limit in (200, 4_000, 40_000):
        finished = run_python(
            [
                *("-c", SMALL_DISK, str(limit), "train", str(RECIPE)),
                *("--corpus", spec, "--output", str(output), "--resume", *TEXT_ALONE),
            ],
            env=environment,
        )
        assert finished.returncode == 2, finished.stderr
        *notes, line = finished.stderr.splitlines()
        assert all(note.startswith("note: ") for note in notes), finished.stderr
        assert line.endswith(": make room, then --resume goes on from the last checkpoint")
        full.append(Path(line.split(": ")[1]).name)
        assert not list(output.rglob("*.partial"))
        assert not list(output.rglob("checkpoint-*"))
    assert full == ["run.json", "tensorboard", "checkpoint-4"]

    resume(spec, output)

    assert_same_weights(output / "model", tmp_path / "whole" / "model")


DISK_OF_ITS_OWN = """
import ctypes, os, shutil, sys
from pathlib import Path
from unglossed.cli import main

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = [*3 * [ctypes.c_char_p], ctypes.c_ulong, ctypes.c_char_p]
ids = os.getuid(), os.getgid()
NEW_USER, NEW_MOUNTS, READ_ONLY, AGAIN = 1 << 28, 1 << 17, 1, 1 << 5
if libc.unshare(NEW_USER | NEW_MOUNTS):
    sys.exit(77)
Path("/proc/self/setgroups").write_text("deny")
for name, number in zip(("uid_map", "gid_map"), ids):
    Path("/proc/self", name).write_text(f"0 {number} 1")

disk, kept, size, *words = sys.argv[1:]

def mount(flags, size):
    if libc.mount(b"none", disk.encode(), b"tmpfs", flags, f"size={size}".encode()):
        sys.exit(77)

def train():
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as end:
        return end.code

mount(READ_ONLY * (size == "0"), size)
print("code", train())
print("left", [str(path) for path in Path(disk).rglob("*") if path.suffix == ".partial"])
if size != "0":
    mount(AGAIN, "1g")
    print("code", train())
    shutil.copytree(Path(disk, "run", "model"), kept)
"""


def on_a_disk(folder: Path, size: str) -> tuple[list[str], str]:
    """Train on a disk of its own, of `size`, 0: read-only; then, made larger, again."""
    spec, disk = write_table(folder), folder / "disk"
    disk.mkdir()
    finished = run_python(
        [
            *("-c", DISK_OF_ITS_OWN, disk, folder / "kept", size, "train", RECIPE),
            *("--corpus", spec, "--output", disk / "run", "--resume", *TEXT_ALONE),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    if finished.returncode == 77:
        pytest.skip("no disk may be mounted here")
    assert finished.returncode == 0, finished.stderr
    told = [line for line in finished.stdout.splitlines() if line[:5] in ("code ", "left ")]
    problems = [line for line in finished.stderr.splitlines() if not line.startswith("note: ")]
    assert len(problems) == 1
    return told, problems[0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_small_disk_that_is_full_loses_nothing(tmp_path: Path) -> None:
    told, problem = on_a_disk(tmp_path, "400k")

    assert told == ["code 2", "left []", "code 0"]
    assert problem.endswith(": make room, then --resume goes on from the last checkpoint")
    train_recipe(RECIPE, f"table:{tmp_path / 'own.csv'}", tmp_path / "whole", overrides=TEXT_ALONE)
    assert_same_weights(tmp_path / "kept", tmp_path / "whole" / "model")


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_an_output_that_is_read_only_is_one_line(tmp_path: Path) -> None:
    told, problem = on_a_disk(tmp_path, "0")

    assert told == ["code 2", "left []"]
    assert problem == f"error: {tmp_path / 'disk' / 'run'}: Read-only file system"


TRAINS_SLOWLY = """
import sys, time
from pathlib import Path
from torch.optim.optimizer import register_optimizer_step_post_hook
from unglossed.training.train import train_recipe

def wait(*_):
    print("step", flush=True)
    time.sleep(60)

register_optimizer_step_post_hook(wait)
recipe, corpus, output, *overrides = sys.argv[1:]
train_recipe(recipe, corpus, Path(output), overrides=overrides)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    """Also where processes that read clips outlive the one that was killed for a moment."""
    spec, output = write_table(tmp_path), tmp_path / "run"
    overrides = [*TEXT_ALONE, "num_workers=1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", TRAINS_SLOWLY, str(RECIPE), spec, str(output), *overrides],
        env=environment,
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdout is not None
        while b"step" not in first.stdout.readline():
            assert first.poll() is None
        second = run_python(
            [
                *("-m", "unglossed", "train", str(RECIPE), "--corpus", spec),
                *("--output", str(output), "--resume", *overrides),
            ],
            env=environment,
        )
        first.send_signal(signal.SIGKILL)
        first.wait()

    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert line.startswith(f"error: {output / 'lock'}: is held by another process that trains")
    began = time.monotonic()
    resume(spec, output, overrides)
    assert time.monotonic() - began < 60
