"""What is taken away from clips: what is covered, what stays, and that scores tell it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tiny import tiny_translator, write_corpus
from unglossed.cli import app
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Corpus, Sample
from unglossed.errors import InputError
from unglossed.evaluation.corruption import CORRUPTIONS, Corruption
from unglossed.evaluation.evaluate import evaluate
from unglossed.evaluation.regions import BESIDE, REGIONS, RegionSource, parse_regions
from unglossed.evaluation.skin import estimate_regions
from unglossed.media.array_signal import ArraySignal
from unglossed.media.signal import AudioSignal, Signal, VideoSignal
from unglossed.ranks import here
from unglossed_synth import corpus as synth
from unglossed_synth.boxes import region_boxes
from unglossed_synth.grammar import draw_meaning
from unglossed_synth.planning import TRAIN_SIGNERS, Clip, plan_clips
from unglossed_synth.recording import sign_corpus_clip

FRAMES = np.random.default_rng(0).integers(0, 256, (9, 20, 10, 3), np.uint8)
SIGNAL = VideoSignal(0.5)
FILL = [124, 116, 104]
MOVED = ("shuffle", "freeze")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", num_dev=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_translator(tmp_path_factory.mktemp("model") / "model")


def corpus_in(folder: Path) -> tuple[Corpus, Sample]:
    sample = Sample("clip-1", folder / "clip-1", "regen", "test", "de")
    return Corpus(f"folder:{folder}", folder, "folder", "de", {"test": (sample,)}), sample


def corrupted(
    name: str,
    folder: Path,
    content: np.ndarray = FRAMES,
    signal: Signal = SIGNAL,
    regions: str | Path | None = None,
    **changes: object,
) -> np.ndarray:
    corpus, sample = corpus_in(folder)
    changed = replace(sample, **changes)
    found = Corruption(name, signal, corpus, [changed], regions).change(changed, content)
    assert found.shape == content.shape
    assert found.dtype == content.dtype
    return found


def test_time_is_shuffled_or_stands_still_and_pictures_stay_whole(tmp_path: Path) -> None:
    shuffled, frozen = corrupted("shuffle", tmp_path), corrupted("freeze", tmp_path)

    assert sorted(one.tobytes() for one in shuffled) == sorted(one.tobytes() for one in FRAMES)
    assert (shuffled != FRAMES).any()
    assert (frozen == FRAMES[4]).all()


def test_noise_and_blank_leave_nothing(tmp_path: Path) -> None:
    noise = corrupted("noise", tmp_path)

    assert abs(np.corrcoef(noise.ravel(), FRAMES.ravel())[0, 1]) < 0.1
    assert (corrupted("blank", tmp_path) == FILL).all()


@pytest.mark.parametrize("name", ["shuffle", "noise"])
def test_a_clip_is_always_corrupted_alike_and_others_otherwise(name: str, tmp_path: Path) -> None:
    first = corrupted(name, tmp_path)

    assert (corrupted(name, tmp_path) == first).all()
    assert (corrupted(name, tmp_path, id="clip-2") != first).any()


def test_audio_is_shuffled_in_pieces_and_noise_is_as_loud(tmp_path: Path) -> None:
    audio = np.sin(np.arange(5000) / 7).astype(np.float32) / 4
    signal = AudioSignal(1000)

    shuffled = corrupted("shuffle", tmp_path, audio, signal)
    noise = corrupted("noise", tmp_path, audio, signal)

    pieces = {piece.tobytes() for piece in audio.reshape(50, 100)}
    assert {piece.tobytes() for piece in shuffled.reshape(50, 100)} == pieces
    assert (shuffled != audio).any()
    assert noise.std() == pytest.approx(audio.std(), rel=0.1)
    assert abs(np.corrcoef(noise, audio)[0, 1]) < 0.1
    assert not corrupted("blank", tmp_path, audio, signal).any()


POINTS = np.random.default_rng(1).normal(50, 9, (12, 5, 3)).astype(np.float32)
POINTS[2:4, 1, :2] = np.nan
POINTS[..., 2] = np.arange(12, dtype=np.float32)[:, None] / 25


@pytest.mark.parametrize("name", ["shuffle", "noise", "blank", "freeze"])
def test_of_poses_the_times_stay(name: str, tmp_path: Path) -> None:
    found = corrupted(name, tmp_path, POINTS, ArraySignal())

    assert (found[..., 2] == POINTS[..., 2]).all()
    assert not np.array_equal(found, POINTS, equal_nan=True)


def test_poses_are_shuffled_still_gone_or_drawn_anew_where_they_are_there(tmp_path: Path) -> None:
    shuffled, frozen = (corrupted(name, tmp_path, POINTS, ArraySignal()) for name in MOVED)
    noise = corrupted("noise", tmp_path, POINTS, ArraySignal())[..., :2]

    rows = [one[:, :2].tobytes() for one in POINTS]
    assert sorted(one[:, :2].tobytes() for one in shuffled) == sorted(rows)
    assert {one[:, :2].tobytes() for one in frozen} == {rows[6]}
    assert np.isnan(corrupted("blank", tmp_path, POINTS, ArraySignal())[..., :2]).all()
    there = ~np.isnan(POINTS[..., :2])
    assert (np.isnan(noise) == ~there).all()
    assert noise[there].mean() == pytest.approx(50, abs=3)
    assert noise[there].std() == pytest.approx(9, rel=0.2)
    assert abs(np.corrcoef(noise[there], POINTS[..., :2][there])[0, 1]) < 0.3


def test_noise_has_the_mean_and_the_spread_of_each_feature_and_blank_ones_are_zero(
    tmp_path: Path,
) -> None:
    scales = np.array([0.1, 1, 10], np.float32)
    rows = np.random.default_rng(2).normal(5, 1, (500, 3)).astype(np.float32) * scales

    noise = corrupted("noise", tmp_path, rows, ArraySignal())

    assert noise.mean(0) == pytest.approx(rows.mean(0), rel=0.1)
    assert noise.std(0) == pytest.approx(rows.std(0), rel=0.2)
    assert not corrupted("blank", tmp_path, rows, ArraySignal()).any()


class TouchSignal(AudioSignal):
    """A kind of signal of another package."""

    kind = "touch"


@pytest.mark.parametrize(
    ("name", "signal", "regions", "told"),
    [
        ("feet", SIGNAL, None, f"expected one of {', '.join(CORRUPTIONS)}"),
        ("hands", AudioSignal(), None, "reads audio, expected shuffle, noise, blank"),
        ("freeze", AudioSignal(), None, "reads audio, expected shuffle, noise, blank"),
        ("noise", TouchSignal(), None, "expected a model that reads video, audio or arrays"),
        ("hands", ArraySignal(), None, "reads array, expected shuffle, noise, blank, freeze"),
        ("noise", SIGNAL, "estimate", "regions: found them with 'noise'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    name: str, signal: Signal, regions: str | None, told: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        corrupted(name, tmp_path, signal=signal, regions=regions)


def row(name: str = "clip-1", **regions: object) -> str:
    return json.dumps({"id": name, "hands": [], "face": [], **regions}) + "\n"


def test_boxes_of_the_corpus_are_covered_and_nothing_else(tmp_path: Path) -> None:
    # Of 25 boxes a second every second belongs to a frame, as half the frames are kept.
    hands = [
        [[0.0, 0.5, 0.2, 0.75], [0.8, 0.0, 1.0, 0.1]] if at % 2 == 0 else [] for at in range(9)
    ]
    rows = row("other") + row(hands=hands, face=[[[0.4, 0.2, 0.6, 0.4]]] * 20)
    (tmp_path / "regions.jsonl").write_text(rows)
    expected = FRAMES.copy()
    expected[:5, 10:15, :2] = FILL  # 9 boxes reach to the fifth frame
    expected[:5, :2, 8:] = FILL

    assert (corrupted("hands", tmp_path) == expected).all()
    expected[:, 4:8, 4:6] = FILL
    assert (corrupted("both", tmp_path) == expected).all()


def test_boxes_are_of_the_whole_picture_where_a_part_of_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "regions.jsonl").write_text(row(face=[[[0.5, 0.5, 0.6, 1.0]]] * 20))

    found = corrupted("face", tmp_path, box=(0.5, 0.0, 1.0, 1.0))

    expected = FRAMES.copy()
    expected[:, 10:, :2] = FILL
    assert (found == expected).all()


def test_landmarks_beside_the_media_are_timed_from_its_begin(tmp_path: Path) -> None:
    points = [[0.25, 0.4], [0.45, 0.6]]  # widened by 0.15 * 0.2 on each side
    frames = [*([[]] * 25), [points], *([[]] * 15)]
    (tmp_path / f"clip-1{BESIDE}").write_text(row(hands=frames))

    found = corrupted("hands", tmp_path, start_seconds=0.92)

    changed = np.argwhere((found != FRAMES).any(axis=3))
    assert set(changed[:, 0]) == {1}  # 0.92 + 1 / 12.5 seconds
    rows, columns = changed[:, 1], changed[:, 2]
    assert (rows.min(), rows.max()) == (7, 12)
    assert (columns.min(), columns.max()) == (2, 4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "expected a JSON object with regions"),
        ("[" * 100_000, "expected a JSON object with regions"),
        ('{"hands": []}', "found no 'face'"),
        ('{"hands": 3, "face": []}', "found no 'hands'"),
        ('{"hands": [3], "face": []}', "'hands', frame 1: found 3"),
        ('{"hands": [[], [[0, 0, 1]]], "face": []}', "'hands', frame 2"),
        ('{"hands": [[[0, 0, 1, NaN]]], "face": []}', "'hands', frame 1"),
        ('{"hands": [[[0, 0, 1, 1%s]]], "face": []}' % ("0" * 400), "'hands', frame 1"),
        ('{"hands": [], "face": [], "frame_rate": 0}', "'frame_rate' is 0"),
        (
            '{"id": "a", "hands": [[], [[0, 0, 1, 1], [90, 60, 120, 80]]], "face": []}',
            r"line 1, clip 'a': 'hands', frame 2, box 2: found \[90, 60, 120, 80\], expected sha",
        ),
        ('{"hands": [[[0.6, 0, 0.4, 1]]], "face": []}', "frame 1, box 1: .* expected left < right"),
        ('{"hands": [[[0, 0.5, 1, 0.5]]], "face": []}', "box 1: .* and top < bottom"),
        ('{"hands": [[[[90, 60], [9, 6]]]], "face": []}', "frame 1, landmarks 1: found .* shares"),
        ('{"hands": [[[[0.1, 0.1]]]], "face": []}', "landmarks 1: .* not all in one place"),
    ],
)
def test_damaged_regions_are_named(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        parse_regions(text.encode(), "regions.jsonl, line 1")
    assert "\n" not in str(caught.value)


def test_damaged_regions_beside_the_media_are_no_unreadable_clip(tmp_path: Path) -> None:
    (tmp_path / f"clip-1{BESIDE}").write_text("{}")
    corpus, sample = corpus_in(tmp_path)

    with pytest.raises(InputError, match=f"clip-1{BESIDE}: found no 'hands'"):
        Corruption("face", SIGNAL, corpus, [sample])


def test_a_clip_without_a_row_is_named_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(row("other"))

    with pytest.raises(InputError, match=r"found no regions of 'clip-1' \(1 of 1 clips"):
        corrupted("hands", tmp_path, regions=tmp_path / "mine.jsonl")
    (tmp_path / "mine.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"mine.jsonl, line 1: found no id"):
        corrupted("hands", tmp_path, regions=tmp_path / "mine.jsonl")


def test_a_clip_with_two_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "regions.jsonl").write_text(2 * row(hands=[[]] * 20))

    with pytest.raises(InputError, match=r"regions.jsonl, line 2: found the clip 'clip-1' again"):
        corrupted("hands", tmp_path)


def test_a_region_of_few_frames_is_refused_and_others_do_not_matter(tmp_path: Path) -> None:
    boxes = [[[0.0, 0.0, 0.5, 1.0]]]
    (tmp_path / "regions.jsonl").write_text(row(hands=7 * boxes, face=8 * boxes))

    # As half the frames are kept, the boxes of 7 reach to the fourth of 9.
    with pytest.raises(InputError, match=r"clip 'clip-1': found 'hands' of 7 frames .* of the 9"):
        corrupted("hands", tmp_path)
    (tmp_path / "regions.jsonl").write_text(row(hands=9 * boxes))
    assert (corrupted("hands", tmp_path)[0, :, :5] == FILL).all()


def test_a_region_of_few_frames_ends_an_evaluation(spec: str, model: Path, tmp_path: Path) -> None:
    rows = [row(one.id, hands=[[]]) for one in read_corpus(spec).split("test")]
    (tmp_path / "regions.jsonl").write_text("".join(rows))
    how = {"corrupt": "hands", "regions": tmp_path / "regions.jsonl"}

    with pytest.raises(InputError, match=r"regions.jsonl, clip .* 'hands' of 1 frames") as caught:
        evaluate(model, spec, "test", tmp_path / "out", beams=1, max_new_tokens=6, **how)

    assert "cannot be read" not in str(caught.value)


def test_boxes_that_the_generator_writes_are_those_of_the_clips_as_read(tmp_path: Path) -> None:
    # Sentences of recordings in which the signer has a part of the picture.
    size = {"width": 40, "height": 50, "level": 1, "num_workers": 1, "progress": False}
    synth.write_corpus(tmp_path, 4, 0, layout="openasl", boxes=True, **size)
    corpus = read_corpus(f"openasl:{tmp_path}")
    sample = corpus.split("test")[0]
    content = VideoSignal(0.25).read(sample)

    kind, found, late = RegionSource.of(corpus, [sample], None).find(sample, content, 6.25)

    assert (kind, late) == ("boxes", 0)
    (known,) = (
        one
        for line in (tmp_path / "generated.jsonl").read_text().splitlines()
        if (one := json.loads(line))["id"] == sample.id
    )
    meaning = synth.read_meanings(tmp_path)[sample.id]
    clip_id = plan_id(tmp_path, sample)
    take = sign_corpus_clip(Clip(clip_id, "test", known["signer"], meaning, {}), 0)
    height, width = content.shape[1:3]
    expected = region_boxes(take.poses, take.signer, width, height)
    for name in REGIONS:
        assert len(found[name]) == len(content)
        for number, areas in enumerate(found[name]):
            assert areas == pytest.approx(expected[name][4 * number], abs=0.04)


def plan_id(folder: Path, sample: Sample) -> str:
    """The name that a clip had when it was planned."""
    facts = json.loads((folder / "generated.json").read_text())
    clips = plan_clips(facts["num_sentences"], facts["seed"], facts["level"])
    (found,) = (clip.id for clip in clips if sample.text in clip.text.values())
    return found


def test_the_estimate_covers_most_of_the_hands() -> None:
    rng = np.random.default_rng(3)
    covered, area = [], []
    for name in TRAIN_SIGNERS[1:4]:
        take = sign_corpus_clip(Clip(name, "train", name, draw_meaning(rng, 1), {}), 5)
        frames = np.stack(list(take.frames(84, 104)))[::4]
        exact = region_boxes(take.poses, take.signer, 84, 104)["hands"][::4]

        guessed = estimate_regions(frames)["hands"]

        for truth, guess in zip(exact, guessed, strict=True):
            hands, mask = (painted(areas) for areas in (truth, guess))
            covered.append((hands & mask).sum() / hands.sum())
            area.append(mask.mean())
    assert np.mean(covered) > 0.75
    assert np.mean(area) < 0.3


def painted(areas: np.ndarray) -> np.ndarray:
    mask = np.zeros((104, 84), bool)
    for left, top, right, bottom in areas * [84, 104, 84, 104]:
        mask[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    return mask


def test_evaluate_writes_apart_what_was_done_to_the_clips(
    spec: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(model.rglob("*"))
    settings = {"beams": 1, "max_new_tokens": 6}
    evaluate(model, spec, "test", tmp_path / "out", **settings)
    whole = (tmp_path / "out" / "metrics.json").read_bytes()

    evaluate(model, spec, "test", tmp_path / "out", corrupt="hands", **settings)
    evaluate(model, spec, "test", tmp_path / "out", corrupt="noise", **settings)

    assert (tmp_path / "out" / "metrics.json").read_bytes() == whole
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("corrupt-hands", "corrupt-noise", "metrics.json", "predictions.jsonl"),
    ]
    hands, noise = (
        json.loads((tmp_path / "out" / f"corrupt-{name}" / "metrics.json").read_text())[
            "corruption"
        ]
        for name in ("hands", "noise")
    )
    assert noise == {"name": "noise", "seed": 0}
    assert hands["regions"] == {"skin-and-motion estimate": 2}
    assert 0 <= hands["covered"] <= 1
    err = capsys.readouterr().err
    assert "by skin-and-motion estimate for 2 clips" in err
    assert sorted(model.rglob("*")) == before  # nothing is stored


def test_the_model_sees_the_corrupted_clip(spec: str, model: Path, tmp_path: Path) -> None:
    samples = read_corpus(spec).split("test")

    def score_of(**how: str | Path) -> float:
        evaluate(model, spec, "test", tmp_path / "out", beams=1, max_new_tokens=6, **how)
        folder = tmp_path / "out" / (f"corrupt-{how['corrupt']}" if how else "")
        rows = (folder / "predictions.jsonl").read_text("utf-8").splitlines()
        return float(json.loads(rows[0])["score"])

    whole, blank = score_of(), score_of(corrupt="blank")
    assert blank != whole
    regions = tmp_path / "regions.jsonl"
    regions.write_text("".join(row(one.id, face=[[[0, 0, 1, 1]]] * 99) for one in samples))
    # A face as large as the picture.
    assert score_of(corrupt="face", regions=regions) == blank


def test_the_command_refuses_in_one_line(spec: str, model: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(model), "--corpus", spec, "--output", str(tmp_path / "out")]

    result = CliRunner().invoke(app, [*words, "--corrupt", "noise", "--regions", "estimate"])
    alone = CliRunner().invoke(app, [*words, "--regions", "estimate"])
    missing = CliRunner().invoke(app, [*words, "--corrupt", "face", "--regions", "none.jsonl"])

    for one, told in (
        (result, "regions: found them"),
        (alone, "--regions needs --corrupt"),
        (missing, "none.jsonl"),
    ):
        assert one.exit_code == 2
        assert len(one.stderr.splitlines()) == 1
        assert told in one.stderr
    assert not (tmp_path / "out").exists()


def test_the_record_counts_the_clips_of_this_process(tmp_path: Path) -> None:
    frames = [[[0.0, 0.0, 0.5, 1.0]]] * 15  # the ninth frame is at 16
    (tmp_path / "regions.jsonl").write_text(row(face=frames, hands=[[]] * 20))
    corpus, sample = corpus_in(tmp_path)
    corruption = Corruption("face", SIGNAL, corpus, [sample])
    corruption.change(sample, FRAMES)

    assert corruption.record(here()) == {
        "name": "face",
        "seed": 0,
        "regions": {"boxes": 1},
        "frames_without_regions": 1,
        "covered": round(0.5 * 8 / 9, 4),
    }
