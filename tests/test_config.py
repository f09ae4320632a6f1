"""Settings from YAML: overrides, and one exact line for each mistake."""

import pickle
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from unglossed.config import AS_LIST, WHOLE, Settings, merge, read_settings, write_settings
from unglossed.errors import InputError, InputErrors


class Inner(Settings):
    name: str
    size: int = 3


class Outer(Settings):
    title: str
    rate: float = 0.5
    inner: Inner | None = None
    parts: Annotated[tuple[Inner, ...], AS_LIST] = ()
    free: dict[str, object] | None = None


FILE = """\
title: größe
parts:
  - {name: first, size: 1}
  - {name: second}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def fault(path: Path, *overrides: str) -> str:
    """The message of a file that is refused; always one line that begins with the file's path."""
    with pytest.raises(InputError) as caught:
        read_settings(Outer, path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_is_read_with_its_defaults(path: Path) -> None:
    assert read_settings(Outer, path) == Outer(
        title="größe", parts=(Inner(name="first", size=1), Inner(name="second", size=3))
    )


def test_settings_cannot_be_changed_afterwards(path: Path) -> None:
    settings = read_settings(Outer, path)

    with pytest.raises(ValueError, match="frozen"):
        settings.title = "other"


def test_written_settings_read_back_the_same(path: Path, tmp_path: Path) -> None:
    settings = read_settings(Outer, path, ["rate=1e-5", "free={a: [1, 2.5, x]}", "inner.name=n"])
    copy = tmp_path / "copy.yaml"
    write_settings(settings, copy)

    assert settings.rate == 1e-5
    assert read_settings(Outer, copy) == settings
    assert "größe" in copy.read_text(encoding="utf-8")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["copy.yaml", "settings.yaml"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("title=other", {"title": "other"}),
        ("rate=0.25", {"rate": 0.25}),
        ("inner={name: n, size: 7}", {"inner": Inner(name="n", size=7)}),
        ("inner.name=n", {"inner": Inner(name="n")}),
        ("free.deep.key=[1, 2]", {"free": {"deep": {"key": [1, 2]}}}),
        ("title='a=b'", {"title": "a=b"}),
    ],
)
def test_an_override_sets_a_value(path: Path, override: str, expected: dict[str, object]) -> None:
    settings = read_settings(Outer, path, [override])

    assert settings == read_settings(Outer, path).model_copy(update=expected)


@pytest.mark.parametrize("name", ["1", "second"])
def test_an_override_names_a_list_item_by_number_or_name(path: Path, name: str) -> None:
    settings = read_settings(Outer, path, [f"parts.{name}.size=9"])

    assert [part.size for part in settings.parts] == [1, 9]


def test_of_two_overrides_the_later_one_wins(path: Path) -> None:
    assert read_settings(Outer, path, ["rate=1", "rate=2"]).rate == 2


@pytest.mark.parametrize(
    ("override", "pieces"),
    [
        ("title", ["title", "key=value"]),
        ("title=[", ["title=[", "YAML"]),
        ("parts.third.size=1", ["third", "first", "second"]),
        ("parts.2.size=1", ["'2'", "first", "second"]),
        ("title.deep=1", ["title.deep=1", "title"]),
        ("title.deep.deeper=1", ["title.deep.deeper=1", "deep"]),
        ("parts.0=3", ["parts", "0"]),
    ],
)
def test_an_override_that_fits_nowhere_is_named(
    path: Path, override: str, pieces: list[str]
) -> None:
    message = fault(path, override)

    assert all(piece in message for piece in pieces)


@pytest.mark.parametrize(
    ("override", "pieces"),
    [
        ("titel=x", ["titel", "no such key, did you mean title?"]),
        ("size=1", ["size", "no such key, did you mean inner.size?"]),
        ("inner={size: 1}", ["inner.name", "missing"]),
        ("inner={name: n, sise: 1}", ["inner.sise", "no such key"]),
        ("parts.1.sise=1", ["parts.second.sise", "no such key, did you mean size?"]),
        ("parts.1.size=many", ["parts.second.size", "'many'", "integer"]),
        ("parts.0.size=1.5", ["parts.first.size", "1.5", "integer"]),
        ("rate=[1]", ["rate", "[1]", "number"]),
        ("title=3", ["title", "3", "string"]),
        ("title=", ["title", "None", "string"]),
    ],
)
def test_a_wrong_value_is_named_with_file_and_field(
    path: Path, override: str, pieces: list[str]
) -> None:
    message = fault(path, override)

    assert message.startswith(f"{path}: {pieces[0]}: ")
    assert all(piece in message for piece in pieces)


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        (b"titel: x\n", ["title", "is missing"]),
        (b"title: [\n", ["not YAML"]),
        (b"- title\n", ["list"]),
        (b"", ["NoneType"]),
        (b"title: \xff\n", ["cannot be read"]),
        (b"title: x\ntitle2: y\n", ["title2", "no such key"]),
        (b"title: x\nrate: fast\n", ["rate", "'fast'"]),
    ],
)
def test_a_broken_file_is_named(path: Path, content: bytes, pieces: list[str]) -> None:
    path.write_bytes(content)

    message = fault(path)

    assert message.startswith(f"{path}: ")
    assert all(piece in message for piece in pieces)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.yaml").startswith(f"{tmp_path / 'none.yaml'}: ")


NAMED = [{"name": "a", "size": 1, "deep": {"x": 1}}, {"name": "b"}]


@pytest.mark.parametrize(
    ("base", "changes", "expected"),
    [
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": NAMED}, {"a": []}, {"a": []}),
        (
            {"a": NAMED},
            {"a": [{"name": "a", "deep": {"y": 2}}]},
            {"a": [{"name": "a", "size": 1, "deep": {"x": 1, "y": 2}}, {"name": "b"}]},
        ),
    ],
)
def test_contents_are_merged_key_by_key(
    base: dict[str, object], changes: dict[str, object], expected: dict[str, object]
) -> None:
    assert merge(base, changes) == expected
    assert NAMED[0] == {"name": "a", "size": 1, "deep": {"x": 1}}  # the base stays as it was


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("c", "cab"),
        ("ac", "acb"),
        ("bc", "abc"),
        ("cb", "cab"),
        ("cad", "cadb"),
        ("cd", "cdab"),
        ("bca", "abc"),
    ],
)
def test_a_new_named_item_comes_in_after_the_one_before_it(names: str, expected: str) -> None:
    merged = merge([{"name": "a"}, {"name": "b"}], [{"name": name} for name in names])

    assert "".join(item["name"] for item in merged) == expected


class Typed(Settings):
    count: Annotated[int, Field(gt=0, le=1000), WHOLE] = 1
    rate: Annotated[float, Field(ge=0)] = 1.0
    switch: bool = False
    word: str = ""
    words: Annotated[tuple[str, ...], AS_LIST] = ()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("count=yes", "count: found True (YAML reads yes, no, on and off as true and false): "),
        ("count=off", "count: found False (YAML"),
        ("count='3'", "count: found '3' (a text): "),
        ("count=1.5", "count: found 1.5: "),
        ("count=.nan", "count: found nan: "),
        (
            "count=1e21",
            "count: found 1000000000000000000000, expected at most 1,000: more is taken",
        ),
        ("count=1001", "count: found 1001, expected at most 1,000: "),
        ("count=-1", "count: found -1: "),
        ("rate=yes", "rate: found True (YAML"),
        ("rate='0.5'", "rate: found '0.5' (a text): "),
        ("rate=.inf", "rate: found inf: Input should be a finite number"),
        ("rate=.nan", "rate: found nan: Input should be a finite number"),
        ("rate=1e999", "rate: found inf: "),
        ("switch=1", "switch: found 1: "),
        ("switch='yes'", "switch: found 'yes': "),
        ("word=3", "word: found 3: "),
        ("words=[a, 3]", "words.1: found 3: "),
        ("words=a", "words: found 'a': "),
        ("count={a: 1, a: 2}", "override 'count={a: 1, a: 2}': the key 'a' stands twice"),
    ],
)
def test_a_value_is_of_its_fields_type(override: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "typed.yaml"
    path.write_text("word: x\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_settings(Typed, path, [override])
    assert str(caught.value).removeprefix(f"{path}: ").startswith(told)
    assert len(str(caught.value)) < 300


def test_whole_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    path = tmp_path / "typed.yaml"
    path.write_text("count: 1e2\nrate: 2\nwords: [a, b]\n", encoding="utf-8")
    settings = read_settings(Typed, path)
    assert (settings.count, settings.rate, settings.words) == (100, 2.0, ("a", "b"))
    assert type(settings.count) is int


def test_several_mistakes_are_told_together(tmp_path: Path) -> None:
    path = tmp_path / "typed.yaml"
    path.write_text("count: 0\nrate: -1\nword: 3\nwords: [1, 2]\n", encoding="utf-8")
    with pytest.raises(InputErrors) as caught:
        read_settings(Typed, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 5 mistakes: count: found 0: ")
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        *("count", "rate", "word", "words.0", "words.1")
    ]
    assert "\n" not in message
    with pytest.raises(InputError, match=r"^2 mistakes: override 'count': .*; override 'rate': "):
        read_settings(Typed, path, ["count", "rate"])
    again = pickle.loads(pickle.dumps(caught.value))  # as out of a worker process
    assert str(again) == message
