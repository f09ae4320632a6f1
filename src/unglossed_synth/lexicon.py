# ruff: noqa: E501
"""The signs of the invented weather sign language: what hands and face do in each.

Not a real sign language, and not the order of signs (`signing`) or their motion in time (`motion`).
"""

from dataclasses import dataclass
from typing import Literal

Hands = Literal["one", "mirror", "alternate", "base"]

# Places of the palm in head heights from the base of the neck: to the hand's own side, down, towards the viewer.
LOCATIONS: dict[str, tuple[float, float, float]] = {
    "forehead": (0.1, -0.92, 0.55),
    "temple": (0.55, -0.85, 0.42),
    "eye": (0.3, -0.62, 0.55),
    "cheek": (0.5, -0.45, 0.45),
    "mouth": (0.1, -0.22, 0.58),
    "chin": (0.12, 0.05, 0.55),
    "throat": (0.3, 0.2, 0.5),
    "shoulder": (0.8, 0.15, 0.4),
    "far_shoulder": (-0.62, 0.25, 0.5),
    "chest": (0.2, 0.6, 0.55),
    "heart": (-0.35, 0.6, 0.55),
    "belly": (0.15, 1.3, 0.55),
    "front": (0.42, 0.8, 0.8),
    "front_wide": (0.75, 0.75, 0.7),
    "side": (1.12, 0.6, 0.55),
    "head_side": (1.02, -0.2, 0.5),
    "high": (0.95, -0.85, 0.5),
    "high_in": (0.42, -0.88, 0.55),
    "far_high": (-0.75, -0.75, 0.55),
    "far_side": (-0.85, 0.65, 0.6),
    "far_low": (-0.6, 1.45, 0.6),
    "low": (0.6, 1.5, 0.6),
    "low_wide": (1.05, 1.35, 0.5),
    "low_in": (0.25, 1.65, 0.6),
    "centre": (0.0, 0.65, 0.75),
    "hips": (0.85, 1.75, 0.3),
}


@dataclass(frozen=True)
class Sign:
    """One sign: its phonology, in the terms of sign linguistics.

    Orientations are "<where the fingers point>/<where the palm looks>" in the words up, down, in, out (to the hand's own
    side), fore (to the viewer) and back, joined by "-" for what lies between.

    Attributes:
        handshape: key of `handshapes.HANDSHAPES`.
        location: key of `LOCATIONS`, where the sign starts.
        orientation: of the hand at the start.
        movement: keys of `movements.MOVEMENTS`, joined by "+".
        two_handed: whether the other hand rests, mirrors, mirrors in turns, or is the ground of the sign.
        to_handshape: handshape at the end, when it changes.
        to_location: location at the end, when it changes.
        to_orientation: orientation at the end, when it changes.
        base: handshape, location and orientation of the other hand where it is the ground.
        mouth: key of `signing.MOUTHS`.
        brows: how far the brows are raised (to 1) or drawn together (to -1).
    """

    handshape: str
    location: str
    orientation: str
    movement: str
    two_handed: Hands = "one"
    to_handshape: str | None = None
    to_location: str | None = None
    to_orientation: str | None = None
    base: tuple[str, str, str] | None = None
    mouth: str = "rest"
    brows: float = 0.0


_TIMES = {
    "TODAY": Sign("flat", "front", "fore/up", "bounce", "mirror", mouth="open"),
    "NOW": Sign("y", "chest", "fore-down/down", "path", "mirror", to_location="low", mouth="wide"),
    "TOMORROW": Sign("thumb", "cheek", "up/in", "arc", to_location="head_side", mouth="round"),
    "DAY-AFTER-TOMORROW": Sign("gun", "cheek", "up-in/back", "hops", to_location="side", to_orientation="out/fore", mouth="round"),
    "YESTERDAY": Sign("flat", "head_side", "up/in", "path", to_location="shoulder", to_orientation="back-up/back", mouth="wide"),
    "MONDAY": Sign("o", "chin", "up-in/back", "circle", mouth="pressed"),
    "TUESDAY": Sign("v", "low", "down/back", "bounce", mouth="wide"),
    "WEDNESDAY": Sign("flat", "far_side", "in/down", "path", to_location="side", mouth="open"),
    "THURSDAY": Sign("horns", "temple", "up/fore", "twist", mouth="round"),
    "FRIDAY": Sign("flat", "mouth", "up/back", "path", to_location="front", to_orientation="fore/up", mouth="open"),
    "SATURDAY": Sign("open", "belly", "in/back", "shake", mouth="open"),
    "SUNDAY": Sign("flat", "centre", "up/in", "path", "mirror", to_location="front_wide", mouth="round"),
    "WEEKEND": Sign("y", "side", "up/fore", "twist", "mirror", mouth="pressed"),
    "MORNING": Sign("o", "low_wide", "up/fore", "path", to_handshape="open", to_location="head_side", mouth="open", brows=0.4),
    "NOON": Sign("index", "high_in", "up/in", "nod", mouth="wide"),
    "AFTERNOON": Sign("flat", "high", "up-in/fore", "path", to_location="side", to_orientation="out-fore/down", mouth="open"),
    "EVENING": Sign("open", "high", "up/fore", "path", "mirror", to_handshape="o", to_location="chest", to_orientation="in/down", mouth="round"),
    "NIGHT": Sign("flat", "head_side", "up-in/back", "path", "mirror", to_location="heart", to_orientation="in-down/back", mouth="pressed", brows=-0.3),
    "THEN": Sign("gun", "heart", "up/back", "arc", to_location="side", to_orientation="out/down", mouth="wide"),
    "AFTERWARDS": Sign("flat", "chest", "in/fore", "arc", base=("flat", "chest", "in/back"), two_handed="base", to_location="front_wide", to_orientation="in-fore/fore", mouth="open"),
}  # fmt: skip

_PLACES = {
    "POINT": Sign("index", "front", "fore/down", "jab", mouth="rest"),
    "REGION": Sign("claw", "front", "down/back", "stir", mouth="round"),
    "COAST": Sign("flat", "far_side", "in/down", "path+ripple", base=("flat", "low_in", "in/down"), two_handed="base", to_location="low_wide", mouth="round"),
    "MOUNTAINS": Sign("flat", "low", "up-in/down", "path", "mirror", to_location="high_in", mouth="open"),
    "NORTH-SEA": Sign("four", "front_wide", "fore-up/down", "circle", "alternate", mouth="round"),
    "BALTIC-SEA": Sign("bent", "shoulder", "in/down", "bounce", "mirror", mouth="open"),
    "RHINE": Sign("two", "high_in", "fore-down/in", "path+ripple", to_location="low_in", mouth="wide"),
    "DANUBE": Sign("w", "far_side", "fore-in/down", "path+ripple", to_location="side", mouth="open"),
    "BAVARIA": Sign("little", "far_shoulder", "in/back", "path", to_location="belly", mouth="wide"),
    "EVERYWHERE": Sign("flat", "centre", "fore/down", "path", "mirror", to_location="side", to_orientation="fore-out/down", mouth="wide", brows=0.3),
    "WHOLE-LAND": Sign("open", "high_in", "up/fore", "path", "mirror", to_handshape="c", to_location="low_wide", mouth="open"),
}  # fmt: skip

_PHENOMENA = {
    "RAIN": Sign("claw", "head_side", "fore-down/down", "path+ripple", "mirror", to_location="front_wide", mouth="wide"),
    "SNOW": Sign("open", "high", "fore/down", "path+wiggle", "mirror", to_location="side", mouth="round"),
    "SUN": Sign("o", "high", "in-down/down", "path", to_handshape="open", to_location="head_side", to_orientation="in-down/back-down", mouth="open", brows=0.5),
    "CLOUDS": Sign("claw", "high_in", "up-in/fore", "circle", "mirror", mouth="round"),
    "FOG": Sign("four", "throat", "up-in/back", "shake", "alternate", mouth="pressed", brows=-0.3),
    "WIND": Sign("flat", "head_side", "up/in", "sweep", "mirror", mouth="puffed"),
    "STORM": Sign("open", "far_high", "up-in/fore", "path+circle", to_location="low_wide", mouth="puffed", brows=-0.5),
    "THUNDERSTORM": Sign("index", "high", "in-down/down", "zigzag", to_location="low", to_orientation="down/back", mouth="open", brows=-0.4),
    "FROST": Sign("fist", "shoulder", "up/in", "tremble", "mirror", mouth="wide", brows=-0.4),
    "HAIL": Sign("o", "eye", "down/back", "hops", "alternate", to_location="low", mouth="pressed"),
    "SHOWERS": Sign("bent", "head_side", "in/down", "hops", "base", base=("flat", "forehead", "in/down"), to_handshape="open", to_location="low_wide", to_orientation="down/back", mouth="wide"),
    "DRIZZLE": Sign("pinch", "temple", "down-fore/down", "path+ripple", to_location="chest", mouth="round"),
    "ICE": Sign("hooks", "front", "fore/down", "path", "mirror", to_location="side", mouth="wide"),
    "CLEAR": Sign("flat", "forehead", "in/down", "path", to_location="high", to_orientation="up-out/fore", mouth="wide", brows=0.6),
}  # fmt: skip

_NUMBERS = {
    "ZERO": Sign("o", "throat", "up/fore", "circle"),
    "ONE": Sign("index", "head_side", "up/fore", "press"),
    "TWO": Sign("v", "shoulder", "up-out/fore", "bounce"),
    "THREE": Sign("three", "side", "up/back", "press"),
    "FOUR": Sign("four", "front", "in-up/back", "shake"),
    "FIVE": Sign("open", "low_wide", "out-up/fore", "press"),
    "SIX": Sign("index", "head_side", "up/fore", "press", "base", base=("open", "shoulder", "up/fore")),
    "SEVEN": Sign("v", "shoulder", "up-out/fore", "bounce", "base", base=("open", "shoulder", "up/fore")),
    "EIGHT": Sign("three", "side", "up/back", "press", "base", base=("open", "shoulder", "up/fore")),
    "NINE": Sign("four", "front", "in-up/back", "shake", "base", base=("open", "shoulder", "up/fore")),
    "TENS-1": Sign("index", "chest", "in/back", "shake"),
    "TENS-2": Sign("v", "throat", "in/back", "shake"),
    "TENS-3": Sign("w", "far_shoulder", "in-up/back", "shake"),
    "TEN": Sign("fist", "front_wide", "up/fore", "pulse", "mirror", to_handshape="open"),
    "ELEVEN": Sign("hook", "throat", "up/in", "twist"),
    "TWELVE": Sign("hooks", "eye", "up/in", "twist"),
    "MINUS": Sign("index", "far_side", "in/down", "path", to_location="front_wide", mouth="pressed", brows=-0.4),
    "DEGREE": Sign("ring", "far_shoulder", "up/fore", "tap"),
    "TEMPERATURE": Sign("index", "belly", "in/down", "bounce", "base", base=("flat", "low_in", "up/in"), mouth="open"),
    "UNTIL": Sign("flat", "far_side", "up/in", "arc", "base", base=("flat", "front", "up/in"), to_location="heart", mouth="wide"),
    "BETWEEN": Sign("flat", "low", "fore/in", "shake", "base", base=("c", "low", "in-fore/up"), mouth="open"),
}  # fmt: skip

_QUALITIES = {
    "MAYBE": Sign("flat", "front_wide", "fore/up", "bounce", "alternate", mouth="pressed", brows=0.7),
    "LIKELY": Sign("y", "heart", "in/back", "nod", mouth="pressed", brows=-0.3),
    "NOT": Sign("flat", "centre", "in-fore/down", "path", "mirror", to_location="low_wide", mouth="pressed", brows=-0.6),
    "RISE": Sign("flat", "low_wide", "in/up", "path", to_location="head_side", mouth="open", brows=0.4),
    "FALL": Sign("flat", "head_side", "in/down", "path", to_location="low_wide", mouth="round"),
    "SPREAD": Sign("o", "centre", "fore/down", "path", "mirror", to_handshape="open", to_location="side", mouth="open"),
    "EASE": Sign("c", "front_wide", "fore/in", "path", "mirror", to_handshape="o", to_location="low", mouth="round"),
    "BECOME": Sign("flat", "front", "in-fore/up", "path", "base", base=("flat", "chest", "in-fore/down"), to_orientation="in-fore/down", mouth="open"),
    "WARM": Sign("c", "chin", "in/back", "path", to_handshape="open", to_location="chest", to_orientation="in/up", mouth="open"),
    "HOT": Sign("claw", "mouth", "in/back", "path", to_location="head_side", to_orientation="up/fore", mouth="open", brows=-0.3),
    "COLD": Sign("fist", "chest", "up/in", "shake", "mirror", mouth="wide", brows=-0.3),
    "COOL": Sign("flat", "shoulder", "in-up/back", "nod", "mirror", mouth="round"),
    "WET": Sign("o", "mouth", "up/back", "pulse+path", "mirror", to_handshape="open", to_location="low", mouth="wide"),
    "DRY": Sign("hook", "cheek", "in/down", "path", to_location="chin", mouth="wide"),
    "MORE": Sign("bent", "far_low", "in/back", "hops", "base", base=("bent", "low_in", "in/back"), to_location="heart", mouth="open"),
    "COMPARE": Sign("bent", "shoulder", "up-fore/fore", "bounce", "alternate", mouth="wide"),
    "WEATHER": Sign("v", "high", "up/fore", "path", "mirror", to_location="front_wide", to_orientation="fore/down", mouth="open"),
}  # fmt: skip

SIGNS: dict[str, Sign] = {**_TIMES, **_PLACES, **_PHENOMENA, **_NUMBERS, **_QUALITIES}
