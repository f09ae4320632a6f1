"""Names of the points of a pose: their order in files, their groups, neighbours and sides.

The groups are those of CoSign (Jiao et al., ICCV 2023, section 3.2): body, both hands, mouth and
face. Points in no group are not read. A recipe names a skeleton of here or writes one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, pairwise
from typing import Annotated

from pydantic import Field, model_validator

from unglossed.config import AS_LIST, Settings

Names = Annotated[tuple[str, ...], AS_LIST]
Pairs = Annotated[tuple[Annotated[tuple[str, str], AS_LIST], ...], AS_LIST]
HANDS = ("left_hand", "right_hand")
"""Groups that augmentation may drop."""


class Skeleton(Settings):
    """Points of a pose. Sides are the signer's own."""

    points: Annotated[tuple[str, ...], AS_LIST, Field(min_length=1, max_length=10_000)]
    """Names in the order of files that do not tell any."""
    groups: Annotated[dict[str, Names], Field(min_length=1, max_length=20)]
    """Points that the encoder reads, by group; `left_hand` and `right_hand` can be dropped in
    training. The group `body` is centred between the shoulders, any other at its first point."""
    edges: Pairs = ()
    """Pairs of neighbours within a group."""
    mirrored: Pairs = ()
    """Pairs of the same point on both sides; any other is its own."""
    shoulders: Annotated[tuple[str, str], AS_LIST]
    """Their distance is the unit of length, their middle the centre of the body."""

    @model_validator(mode="after")
    def _names_known(self) -> Skeleton:
        if twice := _first_repeated(self.points):
            raise ValueError(f"points: found {twice!r} twice, expected each once")
        if twice := _first_repeated(self.used):
            raise ValueError(f"groups: found {twice!r} twice, expected each point in one group")
        if twice := _first_repeated(chain.from_iterable(self.mirrored)):
            raise ValueError(f"mirrored: found {twice!r} twice, expected each once")
        if empty := next((name for name, points in self.groups.items() if not points), None):
            raise ValueError(f"groups.{empty}: found no point, expected at least one")
        if unknown := sorted(set(self.used) - set(self.points)):
            raise ValueError(f"groups: found {unknown[0]!r}, which is none of the points")
        for key in ("edges", "mirrored"):
            names = set(chain.from_iterable(getattr(self, key)))
            if unknown := sorted(names - set(self.used)):
                raise ValueError(f"{key}: found {unknown[0]!r}, which is in no group")
        if unknown := sorted(set(self.shoulders) - set(self.used)):
            raise ValueError(f"shoulders: found {unknown[0]!r}, which is in no group")
        group_of = {point: name for name, points in self.groups.items() for point in points}
        for one, other in self.edges:
            if group_of[one] != group_of[other]:
                raise ValueError(f"edges: found {one!r} and {other!r} of different groups")
        return self

    @cached_property
    def used(self) -> tuple[str, ...]:
        """The points of all groups, one group after the other: what is read of a file."""
        return tuple(chain.from_iterable(self.groups.values()))

    @cached_property
    def group_indices(self) -> dict[str, list[int]]:
        """Places of each group's points among `used`."""
        places = iter(range(len(self.used)))
        return {name: [next(places) for _ in points] for name, points in self.groups.items()}

    @cached_property
    def mirror_order(self) -> list[int]:
        """For each of `used` the place of the same point on the other side."""
        places = {name: place for place, name in enumerate(self.used)}
        other = dict(self.mirrored) | {right: left for left, right in self.mirrored}
        return [places[other.get(name, name)] for name in self.used]

    @cached_property
    def shoulder_indices(self) -> tuple[int, int]:
        """Places of the shoulders among `used`."""
        one, other = (self.used.index(name) for name in self.shoulders)
        return one, other


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _chains(*rows: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Neighbours in rows of points."""
    for row in rows:
        yield from pairwise(row)


def _numbered(part: str, numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"{part}.{number}" for number in numbers)


def _hand_edges(points: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Of a wrist and five fingers of four joints each, base to tip."""
    for finger in range(5):
        yield from pairwise((points[0], *points[1 + 4 * finger : 5 + 4 * finger]))


# The 68 points of iBUG, in which OpenPose and COCO-WholeBody have the face, and two pupils.
_MOUTH = (48, 50, 52, 54, 56, 58, 60, 62, 64, 66)
_FACE = (30, 17, 19, 21, 22, 24, 26, 36, 39, 42, 45, 37, 44, 41, 46, 4, 8, 12)
_FACE_PAIRS = (
    *((17, 26), (19, 24), (21, 22), (36, 45), (39, 42), (37, 44), (41, 46), (4, 12)),
    *((48, 54), (50, 52), (58, 56), (60, 64)),
)
_FACE_ROWS = (
    *((17, 19, 21), (22, 24, 26), (36, 37, 39, 41, 36), (42, 44, 45, 46, 42), (4, 8, 12)),
    *((39, 30, 42), (48, 50, 52, 54, 56, 58, 48), (60, 62, 64, 66, 60)),
)
# Of MediaPipe's face mesh: lips, and nose, brows, eyes and outline.
_MESH_MOUTH = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 13, 308, 14)
_MESH_FACE = (
    *(1, 70, 105, 107, 336, 334, 300, 33, 159, 133, 145, 362, 386, 263, 374),
    *(234, 172, 152, 397, 454),
)
_MESH_PAIRS = (
    *((61, 291), (40, 270), (37, 267), (91, 321), (84, 314), (78, 308)),
    *((70, 300), (105, 334), (107, 336), (33, 263), (159, 386), (133, 362), (145, 374)),
    *((234, 454), (172, 397)),
)
_MESH_ROWS = (
    *((61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 61), (78, 13, 308, 14, 78)),
    *((70, 105, 107), (336, 334, 300), (33, 159, 133, 145, 33), (362, 386, 263, 374, 362)),
    *((133, 1, 362), (234, 172, 152, 397, 454)),
)


def _build(
    points: Iterable[str],
    body: tuple[str, ...],
    body_rows: Iterable[tuple[str, ...]],
    hands: tuple[tuple[str, ...], tuple[str, ...]],
    face: str,
    numbers: tuple[tuple[int, ...], tuple[int, ...]],
    face_pairs: Iterable[tuple[int, int]],
    face_rows: Iterable[tuple[int, ...]],
    body_pairs: tuple[tuple[str, str], ...],
) -> Skeleton:
    left, right = hands
    mouth, rest = (_numbered(face, group) for group in numbers)
    shoulders = next(pair for pair in body_pairs if "shoulder" in pair[0])
    return Skeleton(
        points=tuple(points),
        groups={
            "body": body,
            "left_hand": left,
            "right_hand": right,
            "mouth": mouth,
            "face": rest,
        },
        edges=(
            *_chains(*body_rows),
            *_hand_edges(left),
            *_hand_edges(right),
            *_chains(*(_numbered(face, row) for row in face_rows)),
        ),
        mirrored=(
            *body_pairs,
            *zip(left, right, strict=True),
            *((f"{face}.{one}", f"{face}.{other}") for one, other in face_pairs),
        ),
        shoulders=shoulders,
    )


def _openpose() -> Skeleton:
    """BODY_25, 70 points of the face and 21 of each hand, named as pose-format does."""
    body = (
        "nose neck rshoulder relbow rwrist lshoulder lelbow lwrist midhip rhip rknee rankle lhip"
        " lknee lankle reye leye rear lear lbigtoe lsmalltoe lheel rbigtoe rsmalltoe rheel"
    ).split()
    fingers = (
        "base t_stt t_bcmc t_mcp t_ip i_cmc i_mcp i_pip i_dip m_cmc m_mcp m_pip m_dip r_cmc r_mcp"
        " r_pip r_dip p_cmc p_mcp p_pip p_dip"
    ).split()
    part, face = "pose_keypoints_2d", "face_keypoints_2d"
    hands = tuple(
        tuple(f"hand_{side}_keypoints_2d.{name}" for name in fingers) for side in ("left", "right")
    )
    upper = tuple(f"{part}.{name}" for name in body[:8])
    nose, neck, *arms = upper
    return _build(
        (*(f"{part}.{name}" for name in body), *_numbered(face, range(70)), *chain(*hands)),
        upper,
        ((nose, neck), (neck, *arms[:3]), (neck, *arms[3:])),
        (hands[0], hands[1]),
        face,
        (_MOUTH, _FACE),
        _FACE_PAIRS,
        _FACE_ROWS,
        tuple(zip(arms[3:], arms[:3], strict=True)),
    )


_MEDIAPIPE_BODY = (
    "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear"
    " right_ear mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow"
    " left_wrist right_wrist left_pinky right_pinky left_index right_index left_thumb right_thumb"
    " left_hip right_hip left_knee right_knee left_ankle right_ankle left_heel right_heel"
    " left_foot_index right_foot_index"
).split()
MEDIAPIPE_HAND = (
    "wrist thumb_cmc thumb_mcp thumb_ip thumb_tip index_finger_mcp index_finger_pip"
    " index_finger_dip index_finger_tip middle_finger_mcp middle_finger_pip middle_finger_dip"
    " middle_finger_tip ring_finger_mcp ring_finger_pip ring_finger_dip ring_finger_tip pinky_mcp"
    " pinky_pip pinky_dip pinky_tip"
).split()
"""Names of the points of a hand, as MediaPipe has them."""


def _mediapipe() -> Skeleton:
    """Holistic: 33 points of the body, 468 of the face, 21 of each hand, in this order."""
    part, face = "pose_landmarks", "face_landmarks"
    hands = tuple(
        tuple(f"{side}_hand_landmarks.{name}" for name in MEDIAPIPE_HAND)
        for side in ("left", "right")
    )
    names = ("shoulder", "elbow", "wrist")
    left, right = (tuple(f"{part}.{side}_{name}" for name in names) for side in ("left", "right"))
    nose = f"{part}.nose"
    return _build(
        (
            *(f"{part}.{one}" for one in _MEDIAPIPE_BODY),
            *_numbered(face, range(468)),
            *chain(*hands),
        ),
        (nose, *left, *right),
        ((nose, left[0]), (nose, right[0]), (left[0], right[0]), left, right),
        (hands[0], hands[1]),
        face,
        (_MESH_MOUTH, _MESH_FACE),
        _MESH_PAIRS,
        _MESH_ROWS,
        tuple(zip(left, right, strict=True)),
    )


def _coco_wholebody() -> Skeleton:
    """COCO-WholeBody (arXiv 2007.11858), as RTMPose and DWPose give it: 133 points."""
    body = (
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow"
        " right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle"
        " right_ankle left_big_toe left_small_toe left_heel right_big_toe right_small_toe"
        " right_heel"
    ).split()
    hands = tuple(_numbered(f"{side}_hand", range(21)) for side in ("left", "right"))
    names = ("shoulder", "elbow", "wrist")
    left, right = (tuple(f"body.{side}_{name}" for name in names) for side in ("left", "right"))
    return _build(
        (*(f"body.{name}" for name in body), *_numbered("face", range(68)), *chain(*hands)),
        ("body.nose", *left, *right),
        (("body.nose", left[0]), ("body.nose", right[0]), (left[0], right[0]), left, right),
        (hands[0], hands[1]),
        "face",
        (_MOUTH, _FACE),
        _FACE_PAIRS,
        _FACE_ROWS,
        tuple(zip(left, right, strict=True)),
    )


def _generated() -> Skeleton:
    """Of the generated corpus, as `unglossed synth --landmarks` writes it."""
    hands = tuple(_numbered(f"{side}_hand", range(21)) for side in ("left", "right"))
    names = ("shoulder", "elbow", "wrist")
    left, right = (tuple(f"body.{side}_{name}" for name in names) for side in ("left", "right"))
    nose, mouth, face = "body.nose", _numbered("mouth", range(12)), _numbered("face", range(15))
    rows = ((0, 1, 2), (7, 8, 9), (3, 5, 4, 6, 3), (10, 12, 11, 13, 10))
    sides = ((mouth[one], mouth[other]) for one, other in ((0, 4), (1, 3), (7, 5), (8, 10)))
    return Skeleton(
        points=(nose, *left, *right, *chain(*hands), *mouth, *face),
        groups={
            "body": (nose, *left, *right),
            "left_hand": hands[0],
            "right_hand": hands[1],
            "mouth": mouth,
            "face": face,
        },
        edges=(
            *_chains((nose, left[0], right[0], nose), left, right),
            *_hand_edges(hands[0]),
            *_hand_edges(hands[1]),
            *_chains((*mouth[:8], mouth[0]), (*mouth[8:], mouth[8])),
            *_chains(*(_numbered("face", row) for row in rows), (face[6], face[14], face[13])),
        ),
        mirrored=(
            *zip(left, right, strict=True),
            *zip(hands[0], hands[1], strict=True),
            *sides,
            *zip(face[:7], face[7:14], strict=True),
        ),
        shoulders=(left[0], right[0]),
    )


SKELETONS = {
    "openpose": _openpose(),
    "mediapipe": _mediapipe(),
    "coco_wholebody": _coco_wholebody(),
    "generated": _generated(),
}
"""Skeletons that a recipe can name."""
