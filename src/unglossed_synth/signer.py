"""Draws the people who sign: body, looks, surroundings, camera and manner of signing.

What they sign is `signing`'s business, how their joints move `motion`'s.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

_SKINS: tuple[Colour, ...] = (
    (250, 214, 190),
    (240, 196, 166),
    (226, 178, 146),
    (205, 154, 118),
    (172, 120, 86),
    (132, 88, 62),
)
_HAIRS: tuple[Colour, ...] = (
    (35, 26, 24),
    (66, 44, 32),
    (104, 70, 44),
    (150, 108, 62),
    (206, 168, 104),
    (150, 146, 142),
    (136, 62, 36),
)
HAIR_STYLES = ("short", "bob", "long", "bun", "receding")


@dataclass(frozen=True)
class Body:
    """Proportions, as factors of the average, and lengths in head heights."""

    shoulders: float
    head_width: float
    upper_arm: float
    forearm: float
    hand: float
    finger_width: float
    waist: float
    neck: float


@dataclass(frozen=True)
class Looks:
    """Colours (RGB, 0 to 255) and cut of skin, hair, face and clothes."""

    skin: Colour
    hair: Colour
    hair_style: str
    lips: Colour
    iris: Colour
    clothes: Colour
    collar: float
    long_sleeves: bool
    beard: bool
    glasses: bool


@dataclass(frozen=True)
class Scene:
    """Background, light and camera; lengths in head heights, angles in radians."""

    background: Colour
    gradient: tuple[float, float]
    texture: float
    gain: float
    tint: Colour
    light_side: float
    zoom: float
    shift: tuple[float, float]
    roll: float
    texture_seed: int


@dataclass(frozen=True)
class Manner:
    """How somebody signs.

    Attributes:
        left_handed: whether the dominant hand is the left one.
        tempo: speed; 1 is average.
        size: of movements and of the signing space; 1 is average.
        smoothness: standard deviation of the co-articulation, in frames.
        hold: frames added to the end of each stroke (may be below 0).
        reach: share of the way by which a sign is pulled towards its neighbours.
        rest: where the hands rest, (to their own side, down) in head heights.
        tremor: size of the slow random drift of the hands, in head heights.
        sway: how much the body goes along with the hands.
        expression: strength of face and head movement.
    """

    left_handed: bool
    tempo: float
    size: float
    smoothness: float
    hold: float
    reach: float
    rest: tuple[float, float]
    tremor: float
    sway: float
    expression: float


@dataclass(frozen=True)
class Signer:
    """A person in front of a camera."""

    name: str
    body: Body
    looks: Looks
    scene: Scene
    manner: Manner


def _luminance(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255.0 * red, 255.0 * green, 255.0 * blue


def _vary(rng: np.random.Generator, colour: Colour, share: float) -> Colour:
    factors = rng.uniform(1 - share, 1 + share, 3)
    red, green, blue = (float(np.clip(c * f, 8, 252)) for c, f in zip(colour, factors, strict=True))
    return red, green, blue


def _draw_clothes(rng: np.random.Generator, skin: Colour) -> Colour:
    """Signers wear plain clothes off which their hands stand out: dark ones mostly."""
    while True:
        colour = _hsv(rng.uniform(), rng.uniform(0.05, 0.75), 0.14 + 0.8 * rng.beta(1.4, 2.6))
        if abs(_luminance(colour) - _luminance(skin)) > 75:
            return _vary(rng, colour, 0.0)


def _draw_looks(rng: np.random.Generator) -> Looks:
    weights = np.array([0.2, 0.26, 0.22, 0.14, 0.1, 0.08])
    skin = _vary(rng, _SKINS[int(rng.choice(len(_SKINS), p=weights))], 0.04)
    lips = (0.86 * skin[0], 0.6 * skin[1], 0.58 * skin[2])
    style = HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))]
    return Looks(
        skin=skin,
        hair=_vary(rng, _HAIRS[int(rng.integers(len(_HAIRS)))], 0.12),
        hair_style=style,
        lips=lips,
        iris=_vary(rng, ((84, 62, 44), (74, 104, 128), (78, 100, 70))[int(rng.integers(3))], 0.1),
        clothes=_draw_clothes(rng, skin),
        collar=float(rng.uniform(0.1, 0.42)),
        long_sleeves=bool(rng.random() < 0.7),
        beard=bool(style in ("short", "receding") and rng.random() < 0.3),
        glasses=bool(rng.random() < 0.2),
    )


def _draw_scene(rng: np.random.Generator, skin: Colour) -> Scene:
    background = skin
    while abs(_luminance(background) - _luminance(skin)) < 25:
        background = _hsv(rng.uniform(), rng.uniform(0.0, 0.35), rng.uniform(0.3, 0.95))
    tint = rng.normal(1.0, 0.035, 3).clip(0.9, 1.1)
    return Scene(
        background=background,
        gradient=(float(rng.normal(0, 0.12)), float(rng.normal(0, 0.12))),
        texture=float(rng.uniform(0.0, 1.0)),
        gain=float(np.clip(rng.normal(1.0, 0.07), 0.82, 1.15)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        light_side=float(rng.uniform(-1, 1)),
        zoom=float(rng.uniform(0.94, 1.06)),
        shift=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.05))),
        roll=float(np.deg2rad(rng.normal(0, 1.2))),
        texture_seed=int(rng.integers(2**31)),
    )


def draw_signer(rng: np.random.Generator, name: str) -> Signer:
    """Draws a person; the same generator state and name give the same person."""
    body = Body(
        shoulders=float(rng.uniform(0.72, 0.88)),
        head_width=float(rng.uniform(0.68, 0.77)),
        upper_arm=float(rng.uniform(1.26, 1.4)),
        forearm=float(rng.uniform(1.1, 1.22)),
        hand=float(rng.uniform(0.82, 0.92)),
        finger_width=float(rng.uniform(0.92, 1.12)),
        waist=float(rng.uniform(0.68, 0.86)),
        neck=float(rng.uniform(0.2, 0.25)),
    )
    looks = _draw_looks(rng)
    scene = _draw_scene(rng, looks.skin)
    manner = Manner(
        left_handed=bool(rng.random() < 0.12),
        tempo=float(rng.uniform(0.88, 1.16)),
        size=float(rng.uniform(0.9, 1.1)),
        smoothness=float(rng.uniform(0.55, 1.0)),
        hold=float(rng.uniform(-0.5, 1.2)),
        reach=float(rng.uniform(0.02, 0.1)),
        rest=(float(rng.uniform(0.15, 0.75)), float(rng.uniform(1.8, 2.15))),
        tremor=float(rng.uniform(0.01, 0.035)),
        sway=float(rng.uniform(0.4, 1.3)),
        expression=float(rng.uniform(0.85, 1.2)),
    )
    return Signer(name, body, looks, scene, manner)
