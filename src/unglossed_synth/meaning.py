"""What one sentence of the generated corpus means: a weather forecast as flat slots.

The drawing of meanings is in `grammar`, the words in `saying`, the signs in `signing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

DAYS = (
    "today",
    "tomorrow",
    "day_after_tomorrow",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "weekend",
)
DAYPARTS = ("morning", "noon", "afternoon", "evening", "night")
COMPASS = (
    "north",
    "northeast",
    "east",
    "southeast",
    "south",
    "southwest",
    "west",
    "northwest",
    "center",
)
REGIONS = ("coast", "mountains", "north_sea", "baltic_sea", "rhine", "danube", "bavaria")
PLACES = (*COMPASS, *REGIONS, "everywhere")
PHENOMENA = (
    "rain",
    "snow",
    "sun",
    "clouds",
    "fog",
    "wind",
    "storm",
    "thunderstorm",
    "frost",
    "hail",
    "showers",
    "drizzle",
    "ice",
    "clear",
)
INTENSITIES = ("light", "heavy")
CERTAINTIES = ("possible", "likely")
CHANGES = ("rising", "falling", "spreading", "easing")
TEMPERATURE_CHANGES = frozenset({"rising", "falling"})
COMPARISONS = ("warmer", "colder", "wetter", "drier", "windier")
COMPARED_TO = ("yesterday", "today", *COMPASS, *REGIONS)
LOWEST_TEMPERATURE = -25
HIGHEST_TEMPERATURE = 39

ALLOWED: dict[str, tuple[str, ...]] = {
    "day": DAYS,
    "daypart": DAYPARTS,
    "place": PLACES,
    "phenomenon": PHENOMENA,
    "intensity": INTENSITIES,
    "certainty": CERTAINTIES,
    "change": CHANGES,
    "later": DAYPARTS,
    "phenomenon_later": PHENOMENA,
    "comparison": COMPARISONS,
    "compared_to": COMPARED_TO,
}


@dataclass(frozen=True)
class Meaning:
    """One forecast sentence as slots; a slot that is None (or False) is not said.

    `intensity`, `negated` and `certainty` belong to `phenomenon`; `change` belongs to the
    temperature when it is rising or falling and to `phenomenon` when it is spreading or easing.
    `later` is the part of the day from which `phenomenon_later` holds. Temperatures are in
    degrees Celsius; `temperature_high` makes a range of `temperature`.
    """

    day: str | None = None
    daypart: str | None = None
    place: str | None = None
    phenomenon: str | None = None
    intensity: str | None = None
    negated: bool = False
    certainty: str | None = None
    temperature: int | None = None
    temperature_high: int | None = None
    change: str | None = None
    later: str | None = None
    phenomenon_later: str | None = None
    comparison: str | None = None
    compared_to: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            value = getattr(self, name)
            assert value is None or value in allowed, f"{name}: {value!r} is none of {allowed}"
        for degrees in (self.temperature, self.temperature_high):
            assert degrees is None or LOWEST_TEMPERATURE <= degrees <= HIGHEST_TEMPERATURE, degrees
        if self.temperature_high is not None:
            assert self.temperature is not None, self
            assert self.temperature < self.temperature_high, self
        assert self.phenomenon is not None or not (self.intensity or self.negated), self
        assert self.phenomenon is not None or self.certainty is None, self
        assert (self.later is None) == (self.phenomenon_later is None), self
        assert (self.comparison is None) == (self.compared_to is None), self
        if self.change in TEMPERATURE_CHANGES:
            assert self.temperature is not None, self
        elif self.change is not None:
            assert self.phenomenon is not None, self

    def slots(self) -> dict[str, str]:
        """The filled slots as text, in the order of the fields; `negated` reads "yes"."""
        filled: dict[str, str] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is True:
                filled[field.name] = "yes"
            elif value is not None and value is not False:
                filled[field.name] = str(value)
        return filled

    def to_dict(self) -> dict[str, Any]:
        """All filled slots as JSON values, for `generated.jsonl`."""
        return {k: v for k, v in asdict(self).items() if v is not None and v is not False}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Meaning:
        """The inverse of `to_dict`.

        Raises:
            TypeError: a key is not a slot.
        """
        return cls(**values)
