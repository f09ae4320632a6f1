"""YAML that is read in another way than it looks, or costs more than it seems to, is refused."""

from __future__ import annotations

import pytest

from unglossed.config import MOST_LEVELS, YamlError, parse_yaml

BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join(8 * [f'*{before}'])}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' stands twice, in the lines 1 and 3, expected it once"),
        ("x: {a: 1, a: 1}", "the key 'a' stands twice, in line 1, expected it once"),
        ("- {b: 1}\n- a: 1\n  'a': 2\n", "the key 'a' stands twice, in the lines 2 and 3"),
        ("[" * 3000 + "]" * 3000, f"line 1: nested deeper than {MOST_LEVELS} levels"),
        ("\n".join(" " * n + f"k{n}:" for n in range(3000)), "nested deeper than"),
        ("{a: " * 3000 + "1" + "}" * 3000, "nested deeper than"),
        (BOMB, "found more than 100,000 keys and values, with aliases written out"),
        ("a: &a [1, *a]", "line 1: an alias stands within what it stands for"),
        ("a: &a {b: {c: *a}}", "an alias stands within what it stands for"),
        ("a: 017", "line 1: found 017, which YAML reads in base 8: write the number in base 10"),
        ("a: 1:30", "line 1: found 1:30, which YAML reads in base 60"),
        ("a: " + "9" * 6000, "is not YAML: "),
        ("a: 2024-99-99", "is not YAML: "),
        ("a: [", "is not YAML: "),
        ("a: !!python/object:os.system x", "is not YAML: "),
        ("\x00", "is not YAML: "),
    ],
)
def test_what_is_refused_is_told_in_a_line(text: str, told: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse_yaml(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2E+4", -2e4),
        ("1.5e3", 1500.0),
        ("1.0e-3", 1e-3),
        ("0.5", 0.5),
        ("0", 0),
        ("1_000", 1000),
        ("'007'", "007"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("", None),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, d: 2}\nc: {<<: *x, b: 3}", {"a": {"b": 1, "d": 2}, "c": {"b": 3, "d": 2}}),
    ],
)
def test_plain_content_is_read(text: str, value: object) -> None:
    assert parse_yaml(text) == value
    assert type(parse_yaml(text)) is type(value)
