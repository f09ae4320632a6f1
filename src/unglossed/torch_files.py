"""Reads files of `torch.save` from elsewhere: tensors and plain values, of which nothing runs.

A file is looked through before torch opens it. torch's own restricted reading, which follows, runs
nothing either, but takes what no checkpoint holds, of which some ends the process.
"""

from __future__ import annotations

import argparse
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from pickletools import genops
from typing import Any, BinaryIO, NamedTuple

import torch

from unglossed.errors import InputError

MAX_STEPS = 500_000
"""Instructions of a pickle: a model of 1,000 weights and its optimiser's state take 100,000."""
MAX_PICKLE = 1 << 26
"""Bytes of a pickle, which holds names and sizes; the numbers lie beside it."""
MAX_DEPTH = 100
"""Tuples inside each other."""
_ZIP = b"PK\x03\x04"
_PICKLE = "data.pkl"
_LEGACY_PICKLES = 5
"""Magic number, version, machine, content, names of the storages; the numbers follow."""
_ALLOWED = re.compile(
    r"argparse\.Namespace|collections\.OrderedDict|torch\.(\w+Storage|Size|device|"
    r"_utils\._rebuild_(tensor(_v2)?|parameter))"
)
"""Names that a pickle may ask for."""
_ANYTHING = re.compile(".*", re.DOTALL)


class _RefusedError(Exception):
    """Ends a reading; the message is for the user."""


class _Value(NamedTuple):
    """What is known of a value without making it."""

    depth: int = 0
    """Of tuples inside each other; 0: no tuple."""
    is_key: bool = True
    """Whether it is quickly compared: a small number, text."""
    name: str = ""
    """What it is by name, if it is a class or function."""
    is_empty: bool = False


_PLAIN = _Value()
_CONTAINER = _Value(is_key=False)


def read_torch(path: Path) -> Any:
    """Content of a file of `torch.save`, in either of its formats, on the CPU.

    What comes back is tensors, numbers, text, None, dictionaries, lists, tuples, and
    `argparse.Namespace` with such values as attributes.

    Raises:
        InputError: it cannot be read, is damaged, or holds anything else; names the file, and what
            it asks for.
    """
    try:
        with path.open("rb") as file:
            is_zip = _look_through_file(file, _ALLOWED)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TypedStorage is deprecated
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except _RefusedError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # of bytes that can be anything
        told = " ".join(str(error).split())[:100]
        raise InputError(
            f"{path}: found no whole checkpoint of torch ({told}), expected what torch.save wrote"
        ) from None


def check_pickle(path: Path) -> None:
    """Refuse a file of `torch.save` that could end the process when torch opens it.

    Which classes it may ask for is left to torch.

    Raises:
        Exception: it could, or is damaged.
    """
    with path.open("rb") as file:
        _look_through_file(file, _ANYTHING)


def _look_through_file(file: BinaryIO, allowed: re.Pattern[str]) -> bool:
    """Look through a file; gives whether it is a zip file."""
    is_zip = file.read(4) == _ZIP
    file.seek(0)
    (_look_through_zip if is_zip else _look_through_pickles)(file, allowed)
    return is_zip


def _look_through_zip(file: BinaryIO, allowed: re.Pattern[str]) -> None:
    """Refuse packed records, and what `_look_through` refuses of the pickle."""
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
    size = file.seek(0, 2)
    if sum(one.file_size for one in records) > size:
        raise _RefusedError(f"found records that unpack to more than its {size} bytes")
    for one in records:
        if one.compress_type != zipfile.ZIP_STORED:
            raise _RefusedError(f"found the record {one.filename!r} compressed, expected none")
    # By torch's own reader: two readers of a zip file can be made to find two contents.
    _look_through(torch._C.PyTorchFileReader(file.name).get_record(_PICKLE), allowed)


def _look_through_pickles(file: BinaryIO, allowed: re.Pattern[str]) -> None:
    """Look through the pickles in front of the numbers, one behind the other."""
    head, place = file.read(MAX_PICKLE + 1), 0
    for _ in range(_LEGACY_PICKLES):
        place += _look_through(head[place:], allowed)


def _look_through(pickle: bytes, allowed: re.Pattern[str]) -> int:
    """Follow a pickle's instructions without doing what they say; gives its length in bytes."""
    reader = _Reader(allowed)
    try:
        for steps, (operation, argument, place) in enumerate(_operations(pickle)):
            if steps > MAX_STEPS:
                raise _RefusedError(f"found a pickle of more than {MAX_STEPS:,} instructions")
            if operation == "STOP":
                return place + 1
            reader.follow(operation, argument)
    except (ValueError, IndexError, KeyError) as error:
        if len(pickle) > MAX_PICKLE:
            raise _RefusedError(f"found a pickle of more than {MAX_PICKLE:,} bytes") from None
        told = " ".join(str(error).split())[:100]
        raise _RefusedError(
            f"found no pickle, or a damaged one ({told}), expected what torch.save wrote"
        ) from None
    raise _RefusedError("found a pickle without an end, expected what torch.save wrote")


def _operations(pickle: bytes) -> Iterator[tuple[str, Any, int]]:
    for operation, argument, place in genops(pickle):
        assert place is not None
        yield operation.name, argument, place


class _Reader:
    """The stack of a pickle, with `_Value` for each value."""

    def __init__(self, allowed: re.Pattern[str]) -> None:
        self.allowed = allowed
        self.stack: list[_Value] = []
        self.marked: list[list[_Value]] = []
        self.memo: dict[int, _Value] = {}

    def follow(self, operation: str, argument: Any) -> None:
        """Do to the stack what an instruction would do.

        Raises:
            _RefusedError: it is none that torch writes, or would do harm.
        """
        if operation == "GLOBAL":
            name = argument.replace(" ", ".")
            if not self.allowed.fullmatch(name):
                raise _RefusedError(
                    f"asks for {name[:200]!r}, expected tensors, plain values and"
                    " argparse.Namespace; nothing was run"
                )
            self.stack.append(_Value(is_key=False, name=name))
        elif operation in _PUSHED:
            small = not isinstance(argument, int) or -(1 << 60) < argument < 1 << 60
            self.stack.append(_PLAIN if small else _CONTAINER)
        elif operation in _NUM_OF_TUPLE:
            self._tuple(self._take(_NUM_OF_TUPLE[operation]))
        elif operation in _FOLLOWED:
            _FOLLOWED[operation](self, argument)
        elif operation != "PROTO":
            raise _RefusedError(f"found the instruction {operation}, which torch does not write")

    def _take(self, count: int) -> list[_Value]:
        if len(self.stack) < count:
            raise ValueError("takes values that are not there")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _to_mark(self) -> list[_Value]:
        taken, self.stack = self.stack, self.marked.pop()
        return taken

    def _mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def _tuple(self, items: list[_Value]) -> None:
        depth = 1 + max((one.depth for one in items), default=0)
        if depth > MAX_DEPTH:
            raise _RefusedError(f"has more than {MAX_DEPTH} tuples inside each other")
        self.stack.append(_Value(depth, False, is_empty=not items))

    def _set(self, items: list[_Value]) -> None:
        # Tuples and huge numbers can be made to collide, which makes a dictionary crawl.
        if not all(key.is_key for key in items[::2]):
            raise _RefusedError("has a key that is no text or small number")
        if not self.stack:
            raise ValueError("sets values in nothing")

    def _call(self) -> None:
        named, arguments = self._take(2)
        if named.name == "collections.OrderedDict" and not arguments.is_empty:
            raise _RefusedError("makes a dictionary of values that cannot be looked through")
        self.stack.append(_CONTAINER)

    def _storage(self) -> None:
        self._take(1)
        self.stack.append(_CONTAINER)

    def _put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]


_PUSHED = frozenset(
    "NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING".split()
)
_NUM_OF_TUPLE = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_FOLLOWED: dict[str, Callable[[_Reader, Any], object]] = {
    "EMPTY_LIST": lambda reader, _: reader.stack.append(_CONTAINER),
    "EMPTY_DICT": lambda reader, _: reader.stack.append(_CONTAINER),
    "EMPTY_SET": lambda reader, _: reader.stack.append(_CONTAINER),
    "MARK": lambda reader, _: reader._mark(),
    "TUPLE": lambda reader, _: reader._tuple(reader._to_mark()),
    "APPEND": lambda reader, _: reader._take(1),
    "APPENDS": lambda reader, _: reader._to_mark(),
    "SETITEM": lambda reader, _: reader._set(reader._take(2)),
    "SETITEMS": lambda reader, _: reader._set(reader._to_mark()),
    "BUILD": lambda reader, _: reader._take(1),
    "REDUCE": lambda reader, _: reader._call(),
    "NEWOBJ": lambda reader, _: reader._call(),
    "BINPERSID": lambda reader, _: reader._storage(),
    "BINGET": lambda reader, index: reader.stack.append(reader.memo[index]),
    "LONG_BINGET": lambda reader, index: reader.stack.append(reader.memo[index]),
    "BINPUT": lambda reader, index: reader._put(index),
    "LONG_BINPUT": lambda reader, index: reader._put(index),
}
