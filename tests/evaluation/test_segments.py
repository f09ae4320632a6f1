import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from unglossed.cli import app
from unglossed.corpora.segments import Segment
from unglossed.errors import InputError
from unglossed.evaluation.segments import OVERLAPS, Offsets, score, score_segments

TRUE = [Segment(1.0, 3.0, "a"), Segment(4.0, 6.0, "b"), Segment(8.0, 10.0, "c")]


def of(found, true=TRUE, **options):
    return score([(found, true)], **options)


def write(path, segments):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{one.start_seconds},{one.end_seconds},{one.text}\n" for one in segments]
    path.write_text("start,end,text\n" + "".join(rows))
    return path


def test_what_is_right_scores_all():
    scores = of(TRUE)
    assert dict(scores.f1) == dict.fromkeys(OVERLAPS, 1.0)
    assert (scores.frame_accuracy, scores.signing_share) == (1.0, 0.6)
    assert scores.start_offsets == scores.end_offsets == Offsets(0.0, 0.0, 0.0, 0.0)
    assert (scores.num_hypotheses, scores.num_references, scores.num_files) == (3, 3, 1)


def test_scores_by_hand():
    # Overlaps: 1.5 of 2.5 = 0.6; 0.5 of 3.5 = 0.14 with the second; nothing with the third.
    found = [Segment(1.5, 3.5), Segment(5.5, 7.5), Segment(11.0, 12.0)]
    scores = of(found)
    assert dict(scores.f1) == {0.10: 4 / 6, 0.25: 2 / 6, 0.50: 2 / 6}
    assert dict(scores.num_hits) == {0.10: 2, 0.25: 1, 0.50: 1}
    assert scores.start_offsets == Offsets(0.5, 0.5, 0.5, 0.5)
    assert scores.end_offsets == Offsets(0.5, 0.5, 0.5, 0.5)
    # Of 12 seconds wrong: 0.5 + 0.5, 1.5 + 1.5, 2, 1. The frames 37.5 and so on round to even.
    assert scores.frame_accuracy == pytest.approx(5 / 12, abs=0.01)
    assert scores.signing_share == pytest.approx(6 / 12)


def test_offsets_tell_early_from_late_and_do_not_cancel_without_signs():
    found = [Segment(0.5, 3.2), Segment(4.1, 6.2), Segment(8.4, 10.2)]
    scores = of(found)
    assert scores.start_offsets.mean == pytest.approx(0.0)
    assert scores.start_offsets.median == pytest.approx(0.1)
    assert scores.start_offsets.mean_absolute == pytest.approx(1 / 3)
    assert scores.start_offsets.median_absolute == pytest.approx(0.4)
    assert scores.end_offsets.mean == pytest.approx(0.2)


def test_a_true_segment_is_hit_once():
    halves = [Segment(1.0, 2.0), Segment(2.0, 3.0), *TRUE[1:]]
    assert of(halves).f1[0.50] == pytest.approx(2 * 3 / 7)
    assert of(halves).num_hits[0.10] == 3


def test_marking_everything_hits_one_and_its_frame_accuracy_is_the_share_of_signing():
    scores = of([Segment(0.0, 10.0)])
    assert scores.f1[0.10] == pytest.approx(2 / 4)
    assert scores.f1[0.25] == 0.0
    assert scores.frame_accuracy == scores.signing_share == 0.6


def test_nothing_found_scores_nothing_and_nothing_there_is_not_scored():
    scores = of([])
    assert dict(scores.f1) == dict.fromkeys(OVERLAPS, 0.0)
    assert scores.frame_accuracy == 0.4
    assert scores.start_offsets is None
    assert of([Segment(1.0, 2.0)], []).f1[0.10] == 0.0
    empty = of([], [])
    assert dict(empty.f1) == dict.fromkeys(OVERLAPS)
    assert (empty.frame_accuracy, empty.signing_share) == (None, None)
    assert "n/a" in str(empty)
    assert json.loads(json.dumps(empty.to_dict()))["f1"] == {
        "0.10": None,
        "0.25": None,
        "0.50": None,
    }


def test_recordings_are_counted_together():
    pooled = score([(TRUE, TRUE), ([], TRUE[:1]), ([Segment(0.0, 1.0)], [])])
    assert pooled.f1[0.50] == pytest.approx(2 * 3 / (4 + 4))
    assert pooled.num_files == 3
    assert pooled.frame_accuracy == pytest.approx((250 + 25) / (250 + 75 + 25))


def test_with_the_same_text_only_ones_own_subtitle_counts():
    moved = [Segment(4.0, 6.0, "a"), Segment(4.5, 6.0, "b"), Segment(8.0, 10.0, "x")]
    assert of(moved).num_hits[0.50] == 2
    scores = of(moved, same_text=True)
    assert scores.num_hits == {0.10: 1, 0.25: 1, 0.50: 1}
    # Right: the four seconds of rest, and where b lies over a, as what comes last is shown.
    assert scores.frame_accuracy == pytest.approx((4 + 1.5) / 10, abs=0.01)


spans = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 80)).map(
        lambda span: Segment(span[0] / 10, (span[0] + span[1]) / 10)
    ),
    max_size=9,
)


def hits_by_frames(found, true, overlap):
    """F1's hits as action segmentation counts them (Lea et al., 2017), here in tenths."""
    hits = set()
    for one in found:
        shares = []
        for other in sorted(true, key=lambda one: (one.start_seconds, one.end_seconds)):
            frames, others = (
                set(range(round(10 * own.start_seconds), round(10 * own.end_seconds)))
                for own in (one, other)
            )
            shares.append(len(frames & others) / len(frames | others))
        if shares and max(shares) >= overlap:
            hits.add(shares.index(max(shares)))
    return len(hits)


@given(spans, spans)
def test_hits_are_those_of_action_segmentation(found, true):
    scores = of(found, true)
    for overlap in OVERLAPS:
        assert scores.num_hits[overlap] == hits_by_frames(found, true, overlap)


@given(spans, spans)
def test_bounds_order_and_time_do_not_matter(found, true):
    scores = of(found, true)
    values = [value for value in (*scores.f1.values(), scores.frame_accuracy) if value is not None]
    assert all(0 <= value <= 1 for value in values)
    assert scores.num_hits[0.10] >= scores.num_hits[0.25] >= scores.num_hits[0.50]
    assert dict(of(found[::-1], true[::-1]).num_hits) == dict(scores.num_hits)
    late = [Segment(one.start_seconds + 64, one.end_seconds + 64) for one in found]
    later = [Segment(one.start_seconds + 64, one.end_seconds + 64) for one in true]
    assert dict(of(late, later).num_hits) == dict(scores.num_hits)


def test_hours_of_segments_are_scored_in_little_time_and_memory():
    true = [Segment(3.0 * n, 3.0 * n + 2) for n in range(4_000)]
    found = [Segment(3.0 * n + 0.5, 3.0 * n + 2) for n in range(4_000)]
    scores = of(found, true)
    assert scores.f1[0.50] == 1.0
    assert scores.start_offsets.mean == pytest.approx(0.5)


def test_files_and_folders_of_several_kinds(tmp_path):
    write(tmp_path / "true/one.csv", TRUE)
    write(tmp_path / "true/two.csv", TRUE)
    (tmp_path / "true/two.mp4").write_bytes(b"")
    write(tmp_path / "found/one.csv", TRUE)
    (tmp_path / "found/two.vtt").write_text("WEBVTT\n\n00:01.500 --> 00:03.000\na\n")
    alone = score_segments(tmp_path / "found/two.vtt", tmp_path / "true/two.csv")
    assert alone.f1[0.50] == pytest.approx(2 / 4)
    both = score_segments(tmp_path / "found", tmp_path / "true")
    assert both.f1[0.50] == pytest.approx(2 * 4 / 10)
    assert both.num_files == 2


def refusal(*paths, **options):
    with pytest.raises(InputError) as error:
        score_segments(*paths, **options)
    return str(error.value)


def test_what_does_not_go_together_is_one_clear_line(tmp_path):
    one = write(tmp_path / "true/one.csv", TRUE)
    write(tmp_path / "true/two.csv", TRUE)
    found = write(tmp_path / "found/one.csv", TRUE)
    folders = found.parent, one.parent
    assert refusal(found, one.parent) == f"{found}: expected a folder, as {one.parent} is one"
    assert refusal(found.parent, one) == f"{one}: expected a folder, as {found.parent} is one"
    assert refusal(*folders) == (
        f"{found.parent}: found no segments of the name 'two', expected a file for"
        f" {tmp_path / 'true/two.csv'} (1 of 2 have none)"
    )
    write(found.parent / "two.csv", TRUE)
    assert refusal(*folders, tier="x") == (
        "--tier: found 'x' and no ELAN file, expected one (.eaf)"
    )
    write(found.parent / "two.tsv", [])
    assert "found two.csv beside it, expected one file of a name" in refusal(*folders)
    (tmp_path / "none").mkdir()
    assert "found no file of segments, expected some" in refusal(*[tmp_path / "none"] * 2)


def test_command_prints_scores_as_text_and_json(tmp_path):
    true = write(tmp_path / "true.csv", TRUE)
    found = write(tmp_path / "found.csv", [Segment(1.5, 3.0), Segment(4.0, 6.5)])
    runner = CliRunner()
    text = runner.invoke(app, ["score-segments", str(found), str(true)])
    assert text.exit_code == 0
    assert text.stdout == (
        "F1@.10 0.800, F1@.25 0.800, F1@.50 0.800\n"
        "frame accuracy 0.700 (all marked as signing: 0.600)\n"
        "starts +0.25 s (median +0.25), 0.25 s off (median 0.25)\n"
        "ends   +0.25 s (median +0.25), 0.25 s off (median 0.25)\n"
        "2 found, 3 true; offsets of 2 with an overlap of 0.5\n"
    )
    content = json.loads(
        runner.invoke(app, ["score-segments", str(found), str(true), "--json"]).stdout
    )
    assert content["f1"] == {"0.10": 0.8, "0.25": 0.8, "0.50": 0.8}
    assert math.isclose(content["end_offsets"]["mean"], 0.25)
    assert (content["num_hypotheses"], content["num_references"]) == (2, 3)
    assert content["num_hits"]["0.50"] == 2


def test_command_refuses_wrong_files_in_one_line(tmp_path):
    true = write(tmp_path / "true.csv", TRUE)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("start,end\n3,1\n")
    result = CliRunner().invoke(app, ["score-segments", str(wrong), str(true)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {wrong}, line 2: found 3 to 1 seconds, expected")
    assert result.stderr.count("\n") == 1
