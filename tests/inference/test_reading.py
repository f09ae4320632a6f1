"""What is said of clips before they are translated: nothing in them, far longer than training's."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import tiny
from unglossed.cli import app
from unglossed.corpora.sample import Sample
from unglossed.evaluation.evaluate import evaluate
from unglossed.inference.translator import SignTranslator
from unglossed.models.saved import TrainedLengths

FAST = {"beams": 1, "max_new_tokens": 3}
FAST_OPTIONS = ("--beams", "1", "--max-new-tokens", "3")


def write_alike(folder: Path, frame: np.ndarray, num_frames: int) -> Path:
    folder.mkdir()
    for number in range(num_frames):
        cv2.imwrite(str(folder / f"{number:04d}.png"), frame)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    scene = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    return {
        "moving": tiny.write_frames(folder / "moving", 20),
        "black": write_alike(folder / "black", scene * 0, 12),
        "blank": write_alike(folder / "blank", scene * 0 + 130, 12),
        "still": write_alike(folder / "still", scene, 12),
        "one_frame": write_alike(folder / "one_frame", scene, 1),
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.tiny_translator(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(scope="module")
def translator(model: Path) -> SignTranslator:
    return SignTranslator.from_pretrained(model)


def test_a_clip_with_nothing_in_it_gets_no_invented_sentence(translator, clips, capsys) -> None:
    rows = translator.translate(list(clips.values()), attention=True, **FAST)
    assert [row.media for row in rows] == [str(path) for path in clips.values()]
    assert rows[0].text
    assert (rows[0].reason, rows[0].notes) == (None, ())
    for name, row in list(zip(clips, rows, strict=True))[1:]:
        assert (row.text, row.score, row.n_best, row.reason) == ("", None, (), name)
        assert row.to_dict()["reason"] == name
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert told[0] == f"note: {clips['black']}: nothing is in it to translate: the video is black"


def test_it_is_translated_where_asked(translator, clips) -> None:
    (row,) = translator.translate(clips["still"], translate_empty=True, **FAST)
    assert row.text
    assert row.score is not None
    assert row.reason is None
    assert row.notes == ("nothing is in it to translate: the video stands still, nothing moves",)


def test_the_command_gives_an_empty_line_a_note_and_exit_code_0(model, clips) -> None:
    files = [str(clips["still"]), str(clips["moving"])]
    result = CliRunner().invoke(app, ["translate", str(model), *files, *FAST_OPTIONS])
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == f"{files[0]}\t"
    assert second.removeprefix(f"{files[1]}\t")
    assert result.stderr.count("note: ") == 1
    options = (*FAST_OPTIONS, "--translate-empty", "--format", "json")
    result = CliRunner().invoke(app, ["translate", str(model), files[0], *options])
    (row,) = json.loads(result.stdout)
    assert row["text"]
    assert row["notes"] == ["nothing is in it to translate: the video stands still, nothing moves"]


def test_a_clip_far_longer_than_training_saw_is_told(model, clips, tmp_path: Path, capsys) -> None:
    translator = SignTranslator.from_pretrained(model)
    assert not translator.translate(clips["moving"], **FAST)[0].notes  # a model that does not know
    lengths = TrainedLengths.of([0.2, 0.4], limit=48.0)
    assert lengths is not None
    translator.processor.trained_seconds = lengths.to_dict()
    translator.model.save_pretrained(tmp_path)
    translator.processor.save_pretrained(tmp_path)
    again = SignTranslator.from_pretrained(tmp_path)
    capsys.readouterr()
    whole, part = (
        Sample(name, clips["moving"], "", "test", "de", end_seconds=end)
        for name, end in (("whole", None), ("part", 0.5))
    )
    rows = again.translate([whole, part], **FAST)
    assert [len(row.notes) for row in rows] == [1, 0]
    assert rows[0].text
    assert rows[0].to_dict()["notes"] == list(rows[0].notes)
    told = "0.8 seconds long, more than 1.5 times the 0.4 of the longest clip of training"
    assert rows[0].notes[0].startswith(told)
    assert capsys.readouterr().err.startswith(f"note: whole: {told}")


def test_evaluation_translates_every_clip_and_counts_those_noted(
    model, tmp_path: Path, capsys
) -> None:
    spec = tiny.write_corpus(tmp_path / "corpus", num_dev=3)
    (clip,) = (tmp_path / "corpus").rglob("test/test-1")
    frame = cv2.imread(str(next(clip.iterdir())))
    for path in clip.iterdir():
        cv2.imwrite(str(path), frame)
    scores = evaluate(model, spec, "test", tmp_path / "scores", **FAST)
    assert scores.num_samples == 3
    lines = (tmp_path / "scores/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row.get("notes") for row in rows] == [
        None,
        ["nothing is in it to translate: the video stands still, nothing moves"],
        None,
    ]
    assert all(row["hypothesis"] for row in rows)
    assert "note: 1 of 3 clips " in capsys.readouterr().err


def test_a_corpus_of_times_without_texts_is_translated_part_by_part(model, tmp_path: Path) -> None:
    video = tiny.write_frames(tmp_path / "talks" / "talk", 60)
    rows = [{"id": f"part {n}", "media": str(video), "start": n, "end": n + 1} for n in range(2)]
    table = tmp_path / "parts.jsonl"
    table.write_text(
        "".join(
            json.dumps(row | {"text": "", "split": "test", "language": "de"}) + "\n" for row in rows
        )
    )
    options = (*FAST_OPTIONS, "--format", "json")
    result = CliRunner().invoke(app, ["translate", str(model), f"table:{table}", *options])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [row["media"] for row in found] == ["part 0", "part 1"]
    assert [(row["start_seconds"], row["end_seconds"]) for row in found] == [(0, 1), (1, 2)]
    assert all(row["text"] for row in found)


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--beams", "every beam is a row of the model's batch"),
        ("--n-best", "every text is a beam or a draw of its own"),
        ("--batch-size", "the clips of a batch are in memory together"),
        ("--max-new-tokens", "no language model has positions for more"),
    ],
)
def test_numbers_beyond_all_bounds_are_refused_before_a_model_is_looked_for(
    option: str, why: str
) -> None:
    result = CliRunner().invoke(app, ["translate", "no model", "clip.mp4", option, "100000"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {option}: found 100000, expected at most ")
    assert result.stderr.endswith(f": {why}\n")
