"""Chinese words of the forecasts, each with its weight among the ways to say the same.

No spaces, Chinese numerals. The word order is in `chinese`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from unglossed_synth.phrasebook import Lexicon, Options, enter

_WEEKDAYS = {
    "monday": "一",
    "tuesday": "二",
    "wednesday": "三",
    "thursday": "四",
    "friday": "五",
    "saturday": "六",
    "sunday": "日",
}
DAYS: dict[str, Options] = {
    "today": {"今天": 1},
    "tomorrow": {"明天": 1},
    "day_after_tomorrow": {"后天": 1},
    **{day: {f"周{sign}": 8, f"星期{sign}": 2} for day, sign in _WEEKDAYS.items()},
    "weekend": {"周末": 1},
}
DAYPARTS: dict[str, Options] = {
    "morning": {"早上": 7, "上午": 3},
    "noon": {"中午": 1},
    "afternoon": {"下午": 8, "午后": 2},
    "evening": {"傍晚": 8, "晚上": 2},
    "night": {"夜间": 8, "夜里": 2},
}
# The night that leads to a weekday ends on it: its small hours.
_BEFORE_DAWN = "凌晨"
_LATER_MARKS: Options = {"随后": 8, "稍后": 2}


def _compass(name: str) -> Options:
    return {f"{name}部": 8, f"{name}部地区": 2}


PLACES: dict[str, Options] = {
    "north": {**_compass("北"), "北方": 1},
    "northeast": _compass("东北"),
    "east": {**_compass("东"), "东边": 1},
    "southeast": _compass("东南"),
    "south": {**_compass("南"), "南方": 1},
    "southwest": _compass("西南"),
    "west": {**_compass("西"), "西边": 1},
    "northwest": _compass("西北"),
    "center": _compass("中"),
    "coast": {"沿海": 5, "沿海地区": 5},
    "mountains": {"山区": 8, "山地": 2},
    "north_sea": {"北海": 4, "北海沿岸": 6},
    "baltic_sea": {"波罗的海": 4, "波罗的海沿岸": 6},
    "rhine": {"莱茵河": 4, "莱茵河沿岸": 6},
    "danube": {"多瑙河": 4, "多瑙河沿岸": 6},
    "bavaria": {"巴伐利亚": 1},
    "everywhere": {"各地": 7, "全国各地": 3},
}


@dataclass(frozen=True)
class Wording:
    """All that Chinese has to say of one phenomenon.

    `predicates` and `changing` (the noun before a verb of change) are by intensity, "" for none.
    """

    predicates: dict[str, Options]
    changing: dict[str, str] = field(default_factory=dict)
    negative: Options = field(default_factory=dict)
    nouns: tuple[str, ...] = ()


def _no(noun: str) -> Options:
    return {f"没有{noun}": 7, f"无{noun}": 3}


WORDINGS: dict[str, Wording] = {
    "rain": Wording(
        {
            "": {"有雨": 7, "下雨": 3},
            "light": {"有小雨": 8, "下小雨": 2},
            "heavy": {"有大雨": 8, "下大雨": 2},
        },
        {"": "降雨", "light": "小雨", "heavy": "大雨"},
        {"没有雨": 5, "不下雨": 3, "无雨": 2},
        ("雨", "降雨"),
    ),
    "snow": Wording(
        {
            "": {"有雪": 4, "下雪": 6},
            "light": {"有小雪": 7, "下小雪": 3},
            "heavy": {"有大雪": 7, "下大雪": 3},
        },
        {"": "降雪", "light": "小雪", "heavy": "大雪"},
        {"没有雪": 5, "不下雪": 3, "无雪": 2},
        ("雪", "降雪"),
    ),
    "sun": Wording(
        {
            "": {"有阳光": 7, "出太阳": 3},
            "light": {"有少许阳光": 8, "有少量阳光": 2},
            "heavy": {"阳光充足": 7, "阳光灿烂": 3},
        },
        negative={"没有阳光": 8, "不出太阳": 2},
        nouns=("阳光", "太阳"),
    ),
    "clouds": Wording(
        {
            "": {"多云": 8, "有云": 2},
            "light": {"少云": 7, "有薄云": 3},
            "heavy": {"浓云密布": 6, "有浓云": 4},
        },
        {"": "云层", "light": "薄云", "heavy": "浓云"},
        _no("云"),
        ("多云", "云", "云层"),
    ),
    "fog": Wording(
        {
            "": {"有雾": 8, "起雾": 2},
            "light": {"有薄雾": 8, "有轻雾": 2},
            "heavy": {"有大雾": 5, "有浓雾": 5},
        },
        {"": "雾", "light": "薄雾", "heavy": "浓雾"},
        _no("雾"),
        ("雾",),
    ),
    "wind": Wording(
        {
            "": {"有风": 7, "刮风": 3},
            "light": {"有微风": 8, "有小风": 2},
            "heavy": {"有大风": 7, "刮大风": 3},
        },
        {"": "风", "light": "微风", "heavy": "大风"},
        _no("风"),
        ("风",),
    ),
    "storm": Wording(
        {"": {"有风暴": 1}, "heavy": {"有强风暴": 8, "有猛烈风暴": 2}},
        {"": "风暴", "heavy": "强风暴"},
        _no("风暴"),
        ("风暴",),
    ),
    "thunderstorm": Wording(
        {
            "": {"有雷雨": 8, "有雷阵雨": 2},
            "light": {"有弱雷雨": 7, "有零星雷雨": 3},
            "heavy": {"有强雷雨": 8, "有强雷阵雨": 2},
        },
        {"": "雷雨", "light": "弱雷雨", "heavy": "强雷雨"},
        _no("雷雨"),
        ("雷雨", "雷阵雨"),
    ),
    "frost": Wording(
        {
            "": {"有霜冻": 8, "结霜": 2},
            "light": {"有轻微霜冻": 8, "有轻霜": 2},
            "heavy": {"有严重霜冻": 8, "有强霜冻": 2},
        },
        negative=_no("霜冻"),
        nouns=("霜冻", "霜"),
    ),
    "hail": Wording(
        {"": {"有冰雹": 8, "下冰雹": 2}, "heavy": {"有强冰雹": 7, "下大冰雹": 3}},
        nouns=("冰雹",),
    ),
    "showers": Wording(
        {
            "": {"有阵雨": 1},
            "light": {"有小阵雨": 7, "有零星阵雨": 3},
            "heavy": {"有强阵雨": 8, "有大阵雨": 2},
        },
        {"": "阵雨", "light": "小阵雨", "heavy": "强阵雨"},
        _no("阵雨"),
        ("阵雨",),
    ),
    "drizzle": Wording({"": {"有毛毛雨": 7, "下毛毛雨": 3}}, {"": "毛毛雨"}, nouns=("毛毛雨",)),
    "ice": Wording(
        {
            "": {"道路结冰": 7, "路面结冰": 3},
            "light": {"道路轻微结冰": 7, "路面轻微结冰": 3},
            "heavy": {"道路严重结冰": 7, "路面严重结冰": 3},
        },
        nouns=("结冰",),
    ),
    "clear": Wording(
        {"": {"天气晴朗": 6, "晴朗": 2, "天空晴朗": 2}},
        nouns=("晴朗", "晴"),
    ),
}
# Signs of degree, alone so that they are found in any compound: 大雨, 强阵雨, 阳光充足.
INTENSITY: dict[str, tuple[str, ...]] = {
    "light": ("小", "少许", "少量", "少", "薄", "轻微", "轻", "微", "弱", "零星"),
    "heavy": ("大", "强", "浓", "密布", "严重", "猛烈", "充足", "灿烂"),
}
VERBS = "有下出起刮结"
CERTAINTY: dict[str, Options] = {
    "possible": {"可能": 8, "也许": 2},
    "likely": {"很可能": 7, "多半": 3},
}
CHANGES: dict[str, Options] = {
    "spreading": {"范围扩大": 7, "逐渐扩展": 3},
    "easing": {"减弱": 7, "逐渐减弱": 3},
}
TEMPERATURE_VERBS: dict[str, Options] = {
    "rising": {"升至": 7, "上升到": 3},
    "falling": {"降至": 7, "下降到": 3},
}
COMPARISON: dict[str, Options] = {
    "warmer": {"暖和": 8, "温暖": 2},
    "colder": {"冷": 8, "凉": 2},
    "wetter": {"潮湿": 8, "湿润": 2},
    "drier": {"干燥": 1},
    "windier": {"风大": 1},
}
YESTERDAY = "昨天"
_DIGITS = "零一二三四五六七八九十"


def number(degrees: int) -> str:
    """A temperature in Chinese numerals, without 度: 21 is 二十一, -5 零下五."""
    if degrees < 0:
        return f"零下{number(-degrees)}"
    if degrees <= 10:
        return _DIGITS[degrees]
    tens, ones = divmod(degrees, 10)
    return (_DIGITS[tens] if tens > 1 else "") + "十" + (_DIGITS[ones] if ones else "")


def time_phrases(day: str, daypart: str) -> Options:
    """One phrase for a day and its part; the night of a weekday is the one that leads to it."""
    parts = {_BEFORE_DAWN: 1.0} if day in _WEEKDAYS and daypart == "night" else DAYPARTS[daypart]
    return {f"{d}{p}": v * w for d, v in DAYS[day].items() for p, w in parts.items()}


def later_phrases(daypart: str) -> Options:
    """A part of the day at which the weather turns."""
    parts = DAYPARTS[daypart]
    return {f"{m}{p}": v * w for m, v in _LATER_MARKS.items() for p, w in parts.items()}


def lexicon() -> Lexicon:
    """Every word and phrase above with the slots that it fills, for parsing."""
    words: Lexicon = {}
    for slot, table in (("day", DAYS), ("place", PLACES), ("daypart", DAYPARTS)):
        for value, options in table.items():
            enter(words, options, ((slot, value),))
    enter(words, (_BEFORE_DAWN,), (("daypart", "night"),))
    enter(words, _LATER_MARKS, (("mark", "later"),))
    for phenomenon, wording in WORDINGS.items():
        enter(words, wording.nouns, (("phenomenon", phenomenon),))
    for intensity, signs in INTENSITY.items():
        enter(words, signs, (("intensity", intensity),))
    enter(words, ("没有", "没", "不", "无"), (("negated", "yes"),))
    for slot, table in (
        ("certainty", CERTAINTY),
        ("change", CHANGES),
        ("change", TEMPERATURE_VERBS),
        ("comparison", COMPARISON),
    ):
        for value, options in table.items():
            enter(words, options, ((slot, value),))
    enter(words, ("扩大", "扩展"), (("change", "spreading"),))
    enter(words, ("风更大",), (("comparison", "windier"),))
    enter(words, ("比", "与"), (("mark", "compared"),))
    enter(words, ("相比",), ())
    enter(words, (YESTERDAY,), (("day", "yesterday"),))
    for degrees in range(-25, 40):
        enter(words, (number(degrees),), (("number", str(degrees)),))
    return words
