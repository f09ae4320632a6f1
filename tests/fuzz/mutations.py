"""What can go wrong with a file: bytes, lines, columns, numbers, and the values of a JSON tree.

A mutation is a name and two numbers, which say where and what with; the same three on the same
bytes give the same, so that hypothesis can shrink what it finds.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import pickle
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hypothesis import strategies as st

Mutation = tuple[str, int, int]
Operation = Callable[[bytes, int, int], bytes]

DEPTH = 5_000
"""Of nesting: more than a parser that calls itself has room for."""
PIECES = (
    *(b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x80", b"\r", b"\n\n"),
    *(b"\t", b",", b"|", b";", b":", b"=", b"'", b'"', b'""', b"\\", b"&", b"%", b"#", b"\x1b[31m"),
    *(
        b"null",
        b"true",
        b"NaN",
        b"-inf",
        b"[]",
        b"{}",
        b"*a",
        b"&a [*a]",
        b"!!python/name:x",
        b"---",
    ),
    *(
        b"-1",
        b"0",
        b"1e999",
        b"-0.0",
        b"9" * 400,
        b"9" * 5_000,
        b"1_0",
        b"0x1f",
        b"1e-400",
        b"00:00:99,999",
    ),
    *(b"-->", b"&#x110000;", b"&#0;", b"<!ENTITY a 'b'>", b"<v x>", b"{\\b1}", b"[Events]"),
    *("é".encode(), "e\u0301".encode(), "\u202e".encode(), "天".encode(), "\u2028".encode()),
    *(b"[" * DEPTH, b'{"a":' * DEPTH, b"<a>" * DEPTH, b"a" * 70_000, b"\n" * 2_000),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**64), 10**30, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), "", " ", "0", "a", "\x00", "\ud800", "a" * 70_000),
    *([], {}, [[]], [None], {"": None}, {"a": {}}, ["a", "a"], [1, "a", None]),
)
_WORD = re.compile(rb"[\w.+-]+")
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_SEPARATORS = (b"\t", b"|", b",", b":", b";", b" ")


def mutations(names: tuple[str, ...]) -> st.SearchStrategy[list[Mutation]]:
    """One to four mutations out of some."""
    number = st.integers(0, 2**32 - 1)
    return st.lists(st.tuples(st.sampled_from(names), number, number), min_size=1, max_size=4)


def mutate(data: bytes, changes: list[Mutation]) -> bytes:
    """Apply mutations one after the other."""
    for name, where, what in changes:
        data = OPERATIONS[name](data, where, what)
    return data


def _flip(data: bytes, where: int, what: int) -> bytes:
    if not data:
        return data
    place = where % len(data)
    return data[:place] + bytes([data[place] ^ 1 << what % 8]) + data[place + 1 :]


def _cut(data: bytes, where: int, what: int) -> bytes:
    place = where % (len(data) + 1)
    return data[place:] if what % 4 == 0 else data[:place]


def _delete(data: bytes, where: int, what: int) -> bytes:
    place = where % (len(data) + 1)
    return data[:place] + data[place + 1 + what % 40 :]


def _repeat(data: bytes, where: int, what: int) -> bytes:
    place = where % (len(data) + 1)
    span = data[place : place + 1 + what % 60]
    return data[:place] + span * (2 + what % 3) + data[place:]


def _insert(data: bytes, where: int, what: int) -> bytes:
    place = where % (len(data) + 1)
    return data[:place] + PIECES[what % len(PIECES)] + data[place:]


def _replace(pattern: re.Pattern[bytes]) -> Operation:
    def replace(data: bytes, where: int, what: int) -> bytes:
        found = list(pattern.finditer(data))
        if not found:
            return data
        begin, end = found[where % len(found)].span()
        return data[:begin] + PIECES[what % len(PIECES)] + data[end:]

    return replace


def _copy_word(data: bytes, where: int, what: int) -> bytes:
    """One word becomes another of the file, such as a key of it or an id."""
    found = list(_WORD.finditer(data))
    if not found:
        return data
    begin, end = found[where % len(found)].span()
    return data[:begin] + found[what % len(found)][0] + data[end:]


def _line(data: bytes, where: int, what: int) -> bytes:
    lines = data.split(b"\n")
    one, other = where % len(lines), what // 4 % len(lines)
    match what % 4:
        case 0:
            del lines[one]
        case 1:
            lines.insert(other, lines[one])
        case 2:
            lines[one], lines[other] = lines[other], lines[one]
        case _:
            lines[one] += lines[other]
    return b"\n".join(lines)


def _column(data: bytes, where: int, what: int) -> bytes:
    lines = data.split(b"\n")
    chosen = range(len(lines)) if what % 3 == 0 else [where % len(lines)]
    for number in chosen:
        separator = max(_SEPARATORS, key=lines[number].count)
        fields = lines[number].split(separator)
        one, other = what // 3 % len(fields), what // 97 % len(fields)
        match where % 3:
            case 0:
                fields[one], fields[other] = fields[other], fields[one]
            case 1:
                del fields[one]
            case _:
                fields.insert(other, fields[one])
        lines[number] = separator.join(fields)
    return b"\n".join(lines)


def _encode(data: bytes, where: int, what: int) -> bytes:
    match where % 5:
        case 0:
            return data.replace(b"\n", b"\r\n")
        case 1:
            return data.replace(b"\n", b"\r")
        case 2:
            return data.decode(errors="replace").encode("utf-16")
        case 3:
            return data.decode(errors="replace").encode("latin-1", errors="replace")
        case _:
            return gzip.compress(data, 1)


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(tree, dict | list) and len(path) < 20:
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from _paths(tree[key], (*path, key))


def change_tree(tree: Any, where: int, what: int) -> Any:
    """A tree of dicts and lists with another value, without one, or with one twice, somewhere."""
    tree = copy.deepcopy(tree)
    paths = list(_paths(tree))
    *above, last = paths[where % len(paths)] or (None,)
    if last is None:
        return VALUES[what % len(VALUES)]
    holder = tree
    for key in above:
        holder = holder[key]
    value = VALUES[what // 5 % len(VALUES)]
    match what % 5:
        case 0:
            del holder[last]
        case 1 if isinstance(holder, list):
            holder.append(holder[last])
        case 1:
            holder[f"{last}_"] = holder.pop(last)
        case 2 if isinstance(holder[last], str | int | float):
            holder[last] = [holder[last]]
        case _:
            holder[last] = value
    return tree


def _json(data: bytes, where: int, what: int) -> bytes:
    """A change of the values in JSON, or of one line of several."""
    try:
        return json.dumps(change_tree(json.loads(data), where, what)).encode()
    except (ValueError, RecursionError):
        lines = data.split(b"\n")
    number = what % len(lines)
    try:
        lines[number] = json.dumps(change_tree(json.loads(lines[number]), where, what)).encode()
    except (ValueError, RecursionError):
        return data
    return b"\n".join(lines)


def _yaml(data: bytes, where: int, what: int) -> bytes:
    try:
        tree = yaml.safe_load(data)
    except (ValueError, yaml.YAMLError, RecursionError, TypeError):
        return data
    changed = yaml.safe_dump(change_tree(tree, where, what), allow_unicode=True)
    return changed.encode(errors="surrogatepass")


def _pickle(data: bytes, where: int, what: int) -> bytes:
    """A change of what a compressed pickle holds; of one that was changed before, of its bytes."""
    try:
        inner = gzip.decompress(data)
    except (OSError, EOFError, ValueError, zlib.error):
        return data
    if what % 2 == 0:
        names = [name for name in OPERATIONS if name != "pickle"]
        changed = OPERATIONS[names[where % len(names)]](inner, where // 64, what // 2)
        return gzip.compress(changed, 1)
    try:
        tree = _PlainValues(io.BytesIO(inner)).load()
    except Exception:  # of many kinds, as the bytes have it
        return data
    return gzip.compress(pickle.dumps(change_tree(tree, where, what // 2), what // 2 % 6), 1)


class _PlainValues(pickle.Unpickler):
    """Reads values alone: a name of a class or function, which a damaged byte can make, is none."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(name)


OPERATIONS: dict[str, Operation] = {
    "flip": _flip,
    "cut": _cut,
    "delete": _delete,
    "repeat": _repeat,
    "insert": _insert,
    "word": _replace(_WORD),
    "number": _replace(_NUMBER),
    "copy": _copy_word,
    "line": _line,
    "column": _column,
    "encode": _encode,
    "json": _json,
    "yaml": _yaml,
    "pickle": _pickle,
}
PLAIN = tuple(name for name in OPERATIONS if name not in ("json", "yaml", "pickle"))
