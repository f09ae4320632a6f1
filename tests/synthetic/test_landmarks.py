"""Points of the generated signers: within what is drawn, on the right side, read as a signal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unglossed.corpora.check import check_corpus
from unglossed.corpora.check_media import Needs
from unglossed.corpora.faults import Severity
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.media.array_settings import ArraySettings
from unglossed.media.array_signal import ArraySignal
from unglossed.media.skeletons import SKELETONS
from unglossed_synth.boxes import region_boxes
from unglossed_synth.corpus import write_corpus
from unglossed_synth.landmarks import landmark_points
from unglossed_synth.motion import animate
from unglossed_synth.signer import draw_signer
from unglossed_synth.signing import SignToken

WIDTH, HEIGHT = 210, 260
SKELETON = SKELETONS["generated"]
SMALL = {"width": 16, "height": 20, "level": 1, "num_workers": 1, "progress": False}


def place(name: str) -> int:
    return SKELETON.points.index(name)


@pytest.mark.parametrize("name", ["Signer04", "Signer17", "Signer09"])
def test_points_lie_within_what_is_drawn_of_them(name: str) -> None:
    signer = draw_signer(np.random.default_rng(4), name)
    poses = animate([SignToken("RAIN"), SignToken("SUN")], signer, np.random.default_rng(0))

    points = landmark_points(poses, signer, WIDTH, HEIGHT)

    assert points.shape == (len(poses), len(SKELETON.points), 2)
    boxes = region_boxes(poses, signer, WIDTH, HEIGHT)
    size = np.array([WIDTH, HEIGHT] * 2)
    sides = ("left", "right") if signer.manner.left_handed else ("right", "left")
    groups = {
        **{(f"{side}_hand",): boxes["hands"][:, hand] for hand, side in enumerate(sides)},
        ("mouth", "face"): boxes["face"][:, 0],
    }
    for group, box in groups.items():
        names = [one for part in group for one in SKELETON.groups[part]]
        inside = points[:, [place(one) for one in names]].clip(0, (WIDTH, HEIGHT))
        left, top, right, bottom = np.moveaxis(box * size, -1, 0)[..., None]
        assert (inside[..., 0] >= left).all()
        assert (inside[..., 0] <= right).all()
        assert (inside[..., 1] >= top).all()
        assert (inside[..., 1] <= bottom).all()
    left, right = (points[:, place(f"body.{side}_shoulder"), 0] for side in ("left", "right"))
    assert (left > right).all()  # the viewer's right is the signer's left
    corners = points[:, place("mouth.0"), 0], points[:, place("mouth.4"), 0]
    assert np.median(corners[0] - corners[1]) > 0
    assert np.median(points[:, place("face.0"), 0] - points[:, place("face.7"), 0]) > 0
    chin, nose = points[:, place("face.14"), 1], points[:, place("body.nose"), 1]
    assert (chin > nose).all()


def test_a_generated_corpus_is_read_by_its_landmarks(tmp_path: Path) -> None:
    for name, landmarks in (("without", False), ("with", True)):
        write_corpus(tmp_path / name, 4, 0, landmarks=landmarks, **SMALL)
    out = tmp_path / "with"
    files = {
        name: {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file() and path.suffix != ".npz"
        }
        for name in ("without", "with")
    }
    assert files["without"] == files["with"]

    spec = f"phoenix14t:{out}?features={out / 'landmarks'}"
    settings = ArraySettings(skeleton="generated")
    needs = Needs(signal="array", array=settings)
    report = check_corpus(spec, deep=True, needs=needs, num_workers=1)

    assert report.faults.total(Severity.ERROR) == 0
    frames = read_corpus(f"phoenix14t:{out}")
    samples = read_corpus(spec)
    for split, rows in samples.splits.items():
        for sample, drawn in zip(rows, frames.splits[split], strict=True):
            read = ArraySignal(settings).read(sample)
            assert len(read) == len(list(drawn.media.glob("*.png")))
            assert read.shape[1:] == (len(SKELETON.used), 3)
            assert not np.isnan(read).any()


def test_times_of_a_layout_with_whole_videos_are_those_of_the_clip(tmp_path: Path) -> None:
    write_corpus(tmp_path / "c", 4, 0, layout="how2sign", landmarks=True, **SMALL)
    corpus = read_corpus(f"how2sign:{tmp_path / 'c'}?features={tmp_path / 'c' / 'landmarks'}")
    for rows in corpus.splits.values():
        assert all(one.start_seconds is None and one.media.suffix == ".npz" for one in rows)


@pytest.mark.parametrize("layout", ["must_c", "broadcast"])
def test_what_has_no_landmarks_is_refused(layout: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--landmarks: found --"):
        write_corpus(tmp_path / "corpus", 4, 0, layout=layout, landmarks=True)
