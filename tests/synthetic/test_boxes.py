"""Boxes of hands and face against the pixels that are drawn of them."""

import json
from pathlib import Path

import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed_synth.boxes import region_boxes
from unglossed_synth.camera import Camera, Shape
from unglossed_synth.corpus import write_corpus
from unglossed_synth.drawing import hand_parts
from unglossed_synth.motion import animate
from unglossed_synth.portrait import head_shapes
from unglossed_synth.signer import draw_signer
from unglossed_synth.signing import SignToken

WIDTH, HEIGHT = 105, 130


def touched(shapes: list[Shape], frame: int) -> np.ndarray:
    """The pixels (height, width) that shapes change in an empty picture."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for one in shapes:
        one.draw(picture, frame)
    return picture.any(axis=2)


@pytest.mark.parametrize("name", ["Signer04", "Signer17"])
def test_boxes_hold_every_pixel_of_hands_and_face_and_little_else(name: str) -> None:
    signer = draw_signer(np.random.default_rng(4), name)
    tokens = [SignToken("RAIN"), SignToken("SUN")]
    poses = animate(tokens, signer, np.random.default_rng(0))
    camera = Camera(WIDTH, HEIGHT, signer.scene)
    drawn = {
        ("hands", hand): [
            piece for part in hand_parts(poses, signer, camera, hand) for piece in part
        ]
        for hand in (0, 1)
    }
    drawn["face", 0] = head_shapes(poses, signer, camera)

    boxes = region_boxes(poses, signer, WIDTH, HEIGHT)

    for frame in range(0, len(poses), 5):
        for (region, number), shapes in drawn.items():
            left, top, right, bottom = np.round(
                boxes[region][frame, number] * ([WIDTH, HEIGHT] * 2), 6
            )
            rows, columns = np.nonzero(touched(shapes, frame))
            assert left <= columns.min() <= left + 3
            assert top <= rows.min() <= top + 3
            assert right - 3 <= columns.max() + 1 <= right
            assert bottom - 3 <= rows.max() + 1 <= bottom


def test_the_corpus_is_the_same_with_boxes(tmp_path: Path) -> None:
    size = {"width": 16, "height": 20, "level": 1, "num_workers": 1, "progress": False}
    for name, boxes in (("without", False), ("with", True)):
        write_corpus(tmp_path / name, 4, 0, boxes=boxes, **size)

    def content(name: str) -> dict[str, bytes]:
        root = tmp_path / name
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }

    extended = content("with")
    rows = [json.loads(line) for line in extended.pop("regions.jsonl").splitlines()]
    assert extended == content("without")
    known = [json.loads(line) for line in extended["generated.jsonl"].splitlines()]
    assert [row["id"] for row in rows] == [row["id"] for row in known]
    assert [len(row["hands"]) for row in rows] == [row["num_frames"] for row in known]


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"layout": "must_c"}, "--media wav"), ({"layout": "broadcast"}, "--layout broadcast")],
)
def test_what_has_no_boxes_is_refused(settings: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--boxes: found {told}"):
        write_corpus(tmp_path / "corpus", 4, 0, boxes=True, **settings)
