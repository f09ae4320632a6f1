"""The measures of long and live videos, and that their programs run."""

import json
import sys
from pathlib import Path

import pytest

from experiments import live_stream, long_videos
from experiments.long_videos import laal, nearest
from moving import write_moving
from tiny import tiny_translator
from unglossed.corpora.segments import Segment
from unglossed.inference.sentences import Sentence
from unglossed.inference.subtitles import Cue, write_srt
from unglossed_synth.meaning import Meaning


def test_a_word_that_comes_when_it_is_due_has_no_delay() -> None:
    segment = Segment(10.0, 14.0, "a b c d")

    assert laal([10.0, 11.0, 12.0, 13.0], segment) == [0, 0, 0, 0]
    assert laal([11.0, 12.0, 13.0, 13.9], segment) == pytest.approx([1, 1, 1, 0.9])


def test_words_behind_the_first_that_comes_after_the_end_do_not_count() -> None:
    assert laal([15.0, 15.0, 15.0, 15.0], Segment(10.0, 14.0, "a b c d")) == [5.0]


def test_more_words_than_the_reference_has_are_due_sooner() -> None:
    assert laal([12.0, 12.0], Segment(10.0, 14.0, "a")) == [2.0, 0.0]


def test_the_nearest_sentence_shares_most_time() -> None:
    rows = [Sentence(n, start, end, "", None) for n, (start, end) in enumerate([(0, 3), (4, 9)])]

    assert nearest(rows, Segment(2.0, 6.0)) is rows[1]
    assert nearest(rows, Segment(3.1, 3.9)) is None
    assert nearest([], Segment(1.0, 2.0)) is None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A corpus of one recording in the layout broadcast."""
    root = tmp_path_factory.mktemp("broadcast")
    (root / "test").mkdir()
    times = [(5.0, 7.0), (9.0, 11.0)]
    video = write_moving(root / "test" / "recording0001.mp4", times, 13.0)
    text = "morgen regnet es im norden"
    video.with_suffix(".srt").write_text(write_srt([Cue(*one, text) for one in times]))
    meaning = Meaning(day="tomorrow", place="north", phenomenon="rain").to_dict()
    row = {"media": "test/recording0001.mp4", "meaning": meaning}
    (root / "generated.jsonl").write_text(2 * (json.dumps(row) + "\n"))
    return root


@pytest.mark.slow
def test_files_and_live_are_scored(corpus: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    model = tiny_translator(tmp_path / "model")
    out = tmp_path / "figures.json"
    words = [str(model), str(corpus), "--live", "--output", str(out)]
    monkeypatch.setattr(sys, "argv", ["long_videos", *words])

    long_videos.main()

    figures = json.loads(out.read_text())
    assert list(figures) == ["true times", "motion", "live"]
    assert figures["true times"]["f1_50"] == 1.0
    assert figures["motion"]["found"] == figures["motion"]["true"] == 2
    assert figures["live"]["taken_back"] == 0
    assert "times real" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stream_is_timed(corpus: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    model = tiny_translator(tmp_path / "model")
    monkeypatch.setattr(sys, "argv", ["live_stream", str(model), str(corpus), "--minutes", "0.1"])
    monkeypatch.setattr(live_stream, "PART_SECONDS", 3)
    monkeypatch.setattr(live_stream, "REST_SECONDS", 4)

    live_stream.main()

    told = capsys.readouterr().out
    assert "two minutes at rest" not in told
    assert "4 seconds at rest, by motion: [0, 0] sentences" in told
    assert told.count(" MB, ") >= 2
    assert "two cameras at once" in told
