"""`unglossed translate` of long videos and `unglossed align`, from the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner, Result

from moving import write_moving
from tiny import tiny_translator, write_film
from unglossed.cli import app
from unglossed.corpora.segments import read_segments
from unglossed.errors import InputError
from unglossed.inference.sentences import Sentence, SentenceTranslator
from unglossed.media.burn_in import burn_in
from unglossed.media.frames import read_frames

MOVING = [(6.0, 9.0), (11.0, 13.5)]
QUICK = ("--beams", 1, "--max-new-tokens", 6)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def assert_refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    for part in parts:
        assert part in lines[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_translator(tmp_path_factory.mktemp("run") / "model").parent


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_moving(tmp_path_factory.mktemp("moving") / "talk.mp4", MOVING, 16.0)


def near(found: list[tuple[float, float]], expected: list[tuple[float, float]]) -> bool:
    return len(found) == len(expected) and all(
        abs(a - b) < 0.3
        for one, other in zip(found, expected, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_subtitles_go_to_the_screen(model: Path, video: Path) -> None:
    result = run("translate", model, video, "-f", "srt", *QUICK)

    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("1\n00:00:0")
    assert result.stdout.count(" --> ") >= 2


def test_all_forms_go_to_a_folder(model: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("translate", model, video, "-f", "all", "-o", out, *QUICK)

    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    names = {path.name for path in out.iterdir()}
    assert names == {f"talk.{suffix}" for suffix in ("txt", "srt", "vtt", "eaf", "tsv", "json")}
    for suffix in ("eaf", "tsv", "json"):
        read = read_segments(out / f"talk.{suffix}")
        assert near([(one.start_seconds, one.end_seconds) for one in read], MOVING)
    segments = json.loads((out / "talk.json").read_text(encoding="utf-8"))["segments"]
    assert [row["text"] for row in segments] == (out / "talk.txt").read_text().splitlines()


def test_one_form_of_one_video_may_go_to_a_file_of_that_ending(
    model: Path, video: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.srt"
    result = run("translate", model, video, "-f", "srt", "-o", out, *QUICK)

    assert result.exit_code == 0, result.stderr
    assert f"wrote {out}: " in result.stderr
    assert len(read_segments(out)) >= 2


def test_a_video_without_a_sentence_is_told(model: Path, tmp_path: Path) -> None:
    still = write_moving(tmp_path / "still.mp4", [], 8.0)
    result = run("translate", model, still, "-f", "srt", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    assert "still.mp4: no sentence was found" in result.stderr
    assert (tmp_path / "out" / "still.srt").read_text() == ""


def test_sentences_of_a_file_and_of_the_command_line_are_taken(
    model: Path, video: Path, tmp_path: Path
) -> None:
    table = tmp_path / "times.csv"
    table.write_text("start,end\n6,9\n0:00:11,13.5\n")
    by_file = run("translate", model, video, "--segments", table, "-f", "tsv", *QUICK)
    by_hand = run(
        "translate", model, video, "--clip_timestamps", "6,9,11,13.5", "-f", "tsv", *QUICK
    )

    assert by_file.exit_code == by_hand.exit_code == 0, by_file.stderr + by_hand.stderr
    assert by_file.stdout == by_hand.stdout
    assert [line.split("\t")[:2] for line in by_hand.stdout.splitlines()[1:]] == [
        ["6.000", "9.000"],
        ["11.000", "13.500"],
    ]


def test_the_last_end_may_be_left_out(model: Path, video: Path) -> None:
    result = run("translate", model, video, "--clip-timestamps", "12", "-f", "tsv", *QUICK)

    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[1].split("\t")[:2] == ["12.000", "16.000"]


def test_one_damaged_video_keeps_no_other_from_its_subtitles(
    model: Path, video: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    result = run("translate", model, broken, video, "-f", "srt", "-o", tmp_path / "out", *QUICK)

    assert_refused(result, "broken.mp4")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["talk.srt"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["-f", "all"], ["--output: is missing", "-o DIR"]),
        (["-f", "srt", "--n-best", "2"], ["--n-best is for clips of one sentence"]),
        (["--max-line-width", "20"], ["--max-line-width is for long videos", "-f srt"]),
        (["--least-score", "-1"], ["--least-score is for long videos"]),
        (["-f", "srt", "--tier", "x"], ["--tier is for an ELAN file: add --segments"]),
        (["-f", "srt", "--font", "x.ttf"], ["--font is for --burn-in"]),
        (["-f", "srt", "--clip-timestamps", "3,2"], ["found '3,2'", "begin", "before its end"]),
        (["-f", "srt", "--clip-timestamps", "a"], ["found 'a'", "seconds separated by commas"]),
        (["-f", "srt", "--cut", "segmenter"], ["'segmenter' without a segmenter"]),
        (["-f", "srt", "--cut", "pauses"], ["'pauses' for a model that reads video"]),
        (["-f", "srt", "--cut", "motion", "--clip-timestamps", "1,2"], ["found both"]),
        (["-f", "srt", "--segments", "none.srt"], ["none.srt"]),
        (["-f", "srt", "--segmenter", "MODEL"], ["expected a segmenter"]),
        (["-f", "srt", "--clip-timestamps", "90,95"], ["segment from 90 to 95", "16.00 seconds"]),
    ],
)
def test_what_does_not_go_together_is_one_line(
    model: Path, video: Path, words: list[str], parts: list[str]
) -> None:
    words = [str(model) if word == "MODEL" else word for word in words]
    assert_refused(run("translate", model, video, *words), *parts)


def test_two_videos_of_one_name_are_refused_before_the_work(
    model: Path, video: Path, tmp_path: Path
) -> None:
    result = run("translate", model, video, "other/talk.mp4", "-f", "srt", "-o", tmp_path / "out")

    assert_refused(result, "found two files named 'talk'")
    assert not (tmp_path / "out").exists()


def test_what_segments_are_read_from_is_not_overwritten(
    model: Path, video: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "talk.srt"
    mine.write_text("1\n00:00:06,000 --> 00:00:09,000\nby hand\n")
    result = run("translate", model, video, "--segments", mine, "-f", "srt", "-o", tmp_path)

    assert_refused(result, "talk.srt: is what --segments reads")
    assert "by hand" in mine.read_text()


def test_what_was_found_before_a_fault_is_written(
    model: Path, video: Path, tmp_path: Path, monkeypatch
) -> None:
    def some(self: object, *_: object, **__: object) -> Iterator[Sentence]:
        yield Sentence(1, 6.0, 9.0, "regen", -0.5)
        raise InputError("talk.mp4: the video is damaged at frame 300")

    monkeypatch.setattr(SentenceTranslator, "translate", some)
    result = run("translate", model, video, "-f", "srt", "-o", tmp_path / "out")

    assert_refused(result, "damaged at frame 300")
    assert "1 sentences were found before that, up to 9.0 seconds" in result.stderr
    assert "regen" in (tmp_path / "out" / "talk.srt").read_text()


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(
    model: Path, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = run("translate", model, video, "-f", "srt", "-o", tmp_path / "file" / "out")

    assert_refused(result, "file")


def test_times_given_in_any_order_come_in_order(model: Path, video: Path) -> None:
    words = ("--clip-timestamps", "11,13,6,9", "-f", "tsv", *QUICK)
    result = run("translate", model, video, *words)

    assert [row.split("\t")[0] for row in result.stdout.splitlines()[1:]] == ["6.000", "11.000"]


def test_a_corpus_has_no_subtitles(model: Path, tmp_path: Path) -> None:
    result = run("translate", model, f"folder:{tmp_path}", "-f", "srt", "-o", tmp_path)

    assert_refused(result, "found a corpus")


def test_subtitles_in_the_picture(model: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("translate", model, video, "-f", "srt", "--burn-in", "-o", out, *QUICK)

    assert result.exit_code == 0, result.stderr
    assert {path.name for path in out.iterdir()} == {"talk.srt", "talk.subtitled.mp4"}
    with av.open(str(out / "talk.subtitled.mp4")) as made, av.open(str(video)) as given:
        pairs = zip(made.decode(video=0), given.decode(video=0), strict=True)
        changes = []
        for one, other in pairs:
            assert one.time == pytest.approx(other.time, abs=1e-3)
            ours, theirs = (frame.to_ndarray(format="rgb24").astype(int) for frame in (one, other))
            changes.append((other.time, abs(ours - theirs)[40:].mean()))
    during = [change for time, change in changes if 6.4 < time < 8.6]
    before = [change for time, change in changes if time < 5.5]
    assert min(during) > 5 * max(before)


def test_sound_stays_beside_subtitles_in_the_picture(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", 3, 3)
    burn_in(film, [(1.0, 2.0, "regen")], tmp_path / "made.mp4")

    with av.open(str(tmp_path / "made.mp4")) as made:
        assert [one.type for one in made.streams] == ["video", "audio"]
        assert sum(frame.samples for frame in made.decode(audio=0)) >= 2.9 * 16000


def test_a_video_whose_clock_starts_late_is_burnt_in_from_0(video: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.mkv"
    with av.open(str(video)) as given, av.open(str(late), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                shift = round(30 / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                made.mux(packet)
    burn_in(late, [(1.0, 2.0, "regen")], tmp_path / "made.mp4")

    with av.open(str(tmp_path / "made.mp4")) as made:
        times = [frame.time for frame in made.decode(video=0)]
    assert times[0] == pytest.approx(0, abs=1e-3)
    assert times[-1] == pytest.approx(15.96, abs=1e-2)


def test_of_two_subtitles_at_once_the_later_one_is_shown(video: Path, tmp_path: Path) -> None:
    rows = [(0.0, 5.0, "regen"), (2.0, 3.0, "sonne"), (4.0, 5.0, "wind")]
    frames = {}
    for name, chosen in (("all", rows), ("first", rows[:1]), ("second", rows[1:2])):
        burn_in(video, chosen, tmp_path / f"{name}.mp4")
        frames[name] = read_frames(tmp_path / f"{name}.mp4", [62]).astype(int)

    apart = {name: abs(frames["all"] - frames[name])[:, 40:].mean() for name in frames}
    assert 4 * apart["second"] < apart["first"]


def test_a_font_without_the_letters_is_refused(tmp_path: Path, video: Path) -> None:
    with pytest.raises(Exception, match=r"DejaVuSans\.ttf: found no '明' in the font"):
        burn_in(video, [(1.0, 2.0, "明天")], tmp_path / "made.mp4")
    with pytest.raises(Exception, match=r"none\.ttf: cannot be read as a font"):
        burn_in(video, [(1.0, 2.0, "a")], tmp_path / "made.mp4", font=tmp_path / "none.ttf")
    assert not (tmp_path / "made.mp4").exists()


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".eaf", ".tsv", ".json"])
@pytest.mark.parametrize("with_model", [False, True])
def test_subtitles_are_moved_to_the_signing(
    model: Path, video: Path, tmp_path: Path, suffix: str, with_model: bool
) -> None:
    late = tmp_path / "late.tsv"
    late.write_text("start\tend\ttext\n8.5\t11.5\tmorgen\n13.5\t16\theute regnet es\n")
    more = ["--model", model] if with_model else []
    result = run("align", video, late, "-o", tmp_path / f"made{suffix}", *more)

    assert result.exit_code == 0, result.stderr
    read = read_segments(tmp_path / f"made{suffix}")
    assert near([(one.start_seconds, one.end_seconds) for one in read], MOVING)
    assert [one.text for one in read] == ["morgen", "heute regnet es"]


def test_a_subtitle_without_signing_is_named(video: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.tsv"
    given.write_text("start\tend\ttext\n1\t2\tspoken\n6\t9\tmorgen\n11\t13.5\theute\n")
    result = run("align", video, given, "-o", tmp_path / "made.srt")

    assert result.exit_code == 0
    assert "no signing was found for 1 of 3 subtitles (first: 'spoken')" in result.stderr
    assert "are they of this video" not in result.stderr


def test_subtitles_of_another_video_are_doubted(tmp_path: Path) -> None:
    still = write_moving(tmp_path / "still.mp4", [], 8.0)
    given = tmp_path / "given.tsv"
    given.write_text("start\tend\ttext\n1\t2\ta\n6\t7\tb\n")
    result = run("align", still, given, "-o", tmp_path / "made.srt")

    assert "most of" in result.stderr
    assert "are they of this video?" in result.stderr


def test_align_refuses_what_it_cannot_write_or_use(video: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.tsv"
    given.write_text("start\tend\ttext\n1\t2\ta\n")
    assert_refused(run("align", video, given, "-o", tmp_path / "a.doc"), "a.doc", ".srt, .vtt")
    assert_refused(
        run("align", video, given, "-o", tmp_path / "a.srt", "--segmenter", "x"), "add --model"
    )
    assert_refused(run("align", tmp_path / "no.mp4", given, "-o", tmp_path / "a.srt"), "no.mp4")
    assert not (tmp_path / "a.srt").exists()
