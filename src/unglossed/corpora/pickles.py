"""Reads a pickle from elsewhere as plain data: nothing that it names is ever imported or run.

Only containers, text and numbers; pickles of objects are refused.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickletools import genops
from typing import Any, BinaryIO, cast

from unglossed.errors import InputError

# An interpreter over `pickletools.genops`, not `pickle.Unpickler` with another `find_class`: the
# unpickler's memo keeps every value to the end (3.4 GB of tensors in one Camgoz file), and it nests
# and hashes whatever comes before anybody can count. See docs/decisions/0007. A GFSLT file of 1.8
# million opcodes takes about 3 seconds here; a Camgoz file takes 20, mostly for gzip, and 20 MB.

MAX_MEMORY = 1 << 30
"""Bytes that all values may take together, as estimated."""
MAX_EXPANDED = 1 << 32
"""The same with a value counted again wherever it is used again, as when it is printed."""
MAX_VALUE = 1 << 25
"""Bytes of one text, number or byte string."""
MAX_DEPTH = 100
"""Containers inside each other."""
MAX_WAITING = 200_000
"""Values on the stack, not yet in a container."""
# A file may ask for work and space in proportion to its size, beyond what is free for every file.
# A GFSLT file unpacks to 20 times its size, and has 0.7 opcodes a byte.
_FREE_BYTES, _BYTES_PER_BYTE = 1 << 28, 100
_FREE_OPCODES, _OPCODES_PER_BYTE = 1_000_000, 2

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_PLAIN = "plain containers, text and numbers"


def read_pickle(
    path: Path,
    allowed: Mapping[str, Callable[..., object]] = {},
    longest: int | None = None,
) -> object:
    """Read a pickle, gzip or not, that may be made to do harm.

    Time and memory are bounded. What comes back are dictionaries, lists and tuples, at most
    `MAX_DEPTH` inside each other and none inside itself, of text, bytes, numbers, truth values and
    None. Keys of dictionaries are no tuples. So it can be compared and printed without danger.

    Args:
        path: The file.
        allowed: By "module.name" what to call instead of a function or class that the pickle
            names. It gets the pickle's arguments, and returns a new value or None.
        longest: Longer text and bytes are dropped and become None; None keeps all.

    Raises:
        InputError: The file cannot be read, is truncated or no pickle; it names something that is
            not allowed or asks for more than plain data; or it goes beyond a bound.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            packed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            stream = _Stream(cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file, size)
            machine = _Machine(stream, allowed, longest)
            return machine.run(_FREE_OPCODES + _OPCODES_PER_BYTE * size)
    except _RefusedError as error:
        raise InputError(f"{path}: {error}") from None
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: truncated or damaged gzip: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, IndexError) as error:
        # What `genops` raises where a pickle is malformed, or a stack that has run empty.
        raise InputError(
            f"{path}: no pickle, or damaged or truncated, at byte {stream.place()}:"
            f" {str(error)[:200]}"
        ) from None


class _RefusedError(Exception):
    """The pickle asks for what it does not get; the message is for the user."""


class _Stream:
    """What `genops` reads from; it refuses values and files of too many bytes before reading."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._num_read = 0
        self._buffer = b""
        self._place = 0

    def place(self) -> int:
        return self._num_read - len(self._buffer) + self._place

    def read(self, size: int) -> bytes:
        if self._place + size > len(self._buffer):
            self._fill(size)
        data = self._buffer[self._place : self._place + size]
        self._place += len(data)
        return data

    def readline(self) -> bytes:
        while (end := self._buffer.find(b"\n", self._place)) < 0:
            rest = len(self._buffer) - self._place
            self._fill(rest + 1)
            if len(self._buffer) == rest:
                raise ValueError("a line without an end")
        return self.read(end + 1 - self._place)

    def _fill(self, size: int) -> None:
        if size > MAX_VALUE:
            raise _RefusedError(f"declares a value of {size} bytes, more than {MAX_VALUE}")
        data = self._file.read(max(size, _CHUNK))
        self._num_read += len(data)
        limit = _FREE_BYTES + _BYTES_PER_BYTE * self._size
        if self._num_read > limit:
            raise _RefusedError(
                f"unpacks to more than {limit} bytes, too many for a file of {self._size}"
            )
        self._buffer = self._buffer[self._place :] + data
        self._place = 0


@dataclass(frozen=True, slots=True)
class _Name:
    """Something that the pickle names and that is allowed; it can only be called."""

    name: str
    function: Callable[..., object]


class _Machine:
    """Runs a pickle's opcodes on a stack of plain values."""

    def __init__(
        self,
        stream: _Stream,
        allowed: Mapping[str, Callable[..., object]],
        longest: int | None,
    ) -> None:
        self.stream = stream
        self.allowed = allowed
        self.longest = longest
        self.memory = 0
        self.stack: list[object] = []
        self.marked: list[list[object]] = []
        self.memo: dict[int, object] = {}
        # Of each container, by its id: how large it is when printed, and how deep. Once it lies in
        # another one it is closed: so both are final where they are used, and nothing is a cycle.
        self.expanded: dict[int, int] = {}
        self.depth: dict[int, int] = {}
        self.closed: set[int] = set()

    def run(self, max_opcodes: int) -> object:
        for number, (opcode, argument, _) in enumerate(genops(cast(Any, self.stream))):
            if number >= max_opcodes:
                raise _RefusedError(f"has more than {max_opcodes} opcodes, too many for its size")
            operation = _OPERATIONS.get(opcode.name)
            if operation is None:
                if opcode.name == "INST":
                    self.name(str(argument).replace(" ", "."))
                asked = "" if argument is None else repr(argument)[:200]
                raise _RefusedError(
                    f"asks for the operation {opcode.name}({asked}), which is not allowed, expected"
                    f" {_PLAIN}; nothing was run"
                )
            operation(self, argument)
            if len(self.stack) > MAX_WAITING:
                raise _RefusedError(f"has more than {MAX_WAITING} values waiting for a container")
        value = self.stack.pop()
        _check_is_value(value)
        return value

    def spend(self, size: int) -> None:
        self.memory += size
        if self.memory > MAX_MEMORY:
            raise _RefusedError(f"holds values of more than {MAX_MEMORY} bytes of memory")

    def push(self, value: object, size: int = 10) -> None:
        self.spend(size)
        self.stack.append(value)

    def take(self, count: int) -> list[object]:
        return [self.stack.pop() for _ in range(count)][::-1]

    def mark(self) -> None:
        if len(self.marked) >= MAX_DEPTH:
            raise _too_deep()
        self.marked.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[object]:
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def number(self, value: int | float) -> None:
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
            raise _RefusedError("has a number of more than 64 bits")
        self.push(value, 40)

    def text(self, value: str | bytes) -> None:
        if self.longest is not None and len(value) > self.longest:
            self.push(None)
            return
        if isinstance(value, str) and not value.isascii():
            value.encode()  # a lone surrogate, which pickles can hold, is no Unicode text
        self.push(value, sys.getsizeof(value))

    def old_text(self, value: str) -> None:
        """Text of Python 2, whose bytes `genops` shows as Latin-1."""
        dropped = self.longest is not None and len(value) > self.longest
        self.text(value if dropped else value.encode("latin-1").decode("utf-8"))

    def new(self, container: list[Any] | dict[Any, Any], items: Sequence[object] = ()) -> None:
        self.push(container, 400)
        self.track(container)
        if items:
            self.fill(items)

    def new_tuple(self, items: list[object]) -> None:
        value = tuple(items)
        self.push(value, 400)
        self.track(value)
        self.place(items, id(value))

    def track(self, container: object, size: int = 64) -> None:
        number = id(container)  # may be that of a container which is gone
        self.expanded[number] = size
        self.depth[number] = 1
        self.closed.discard(number)

    def fill(self, items: Sequence[object]) -> None:
        """Put items into the container on the stack's top."""
        container = self.stack[-1]
        if not isinstance(container, list | dict):
            raise ValueError(f"adds to a value of the type {type(container).__name__}")
        self.place(items, id(container))
        if id(container) in self.closed:
            raise _RefusedError("has a container that contains itself or changes after its use")
        if isinstance(container, list):
            container.extend(items)
        else:
            _check_keys(items[::2])
            container.update(zip(items[::2], items[1::2], strict=True))

    def place(self, items: Sequence[object], target: int) -> None:
        """Count items into a container of this id."""
        self.spend(50 * len(items))
        expanded, depth = self.expanded[target], self.depth[target]
        for item in items:
            if isinstance(item, str | bytes):
                expanded += 64 + len(item)
            elif isinstance(item, list | dict | tuple):
                number = id(item)
                self.closed.add(number)
                expanded += self.expanded[number]
                if self.depth[number] >= depth:
                    depth = self.depth[number] + 1
            else:
                _check_is_value(item)
                expanded += 32
        if depth > MAX_DEPTH:
            raise _too_deep()
        if expanded > MAX_EXPANDED:
            raise _RefusedError(f"repeats values until they make more than {MAX_EXPANDED} bytes")
        self.expanded[target], self.depth[target] = expanded, depth

    def put(self, index: int) -> None:
        self.spend(100)
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"takes the stored value {index}, which is not there")
        self.push(self.memo[index])

    def name(self, name: str) -> None:
        function = self.allowed.get(name) or _OLD_BYTES.get(name)
        if function is None:
            expected = ", ".join([_PLAIN, *sorted(self.allowed)])
            raise _RefusedError(
                f"asks for {name[:200]!r}, which is not allowed, expected {expected}; nothing was"
                " run"
            )
        self.push(_Name(name, function))

    def name_on_stack(self) -> None:
        module, name = self.take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("asks for a name that is no text")
        self.name(f"{module}.{name}")

    def call(self) -> None:
        named, arguments = self.take(2)
        if not isinstance(named, _Name) or not isinstance(arguments, tuple):
            raise ValueError("calls what is no name")
        try:
            value = named.function(*arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"calls {named.name} with other values: {error}") from None
        self.push(value, 400 + sys.getsizeof(value))
        if isinstance(value, list | dict | tuple):
            self.track(value, sys.getsizeof(value))


def _check_keys(keys: Sequence[object]) -> None:
    # Tuples and huge numbers can be made to collide, which makes a dictionary crawl.
    for key in keys:
        if not isinstance(key, str | bytes | int | float | None) or (
            isinstance(key, int) and not -(1 << 60) < key < 1 << 60
        ):
            raise _RefusedError(
                f"has a key of the type {type(key).__name__}, expected text or a small number"
            )


def _check_is_value(value: object) -> None:
    if isinstance(value, _Name):
        raise _RefusedError(f"has {value.name!r} as a value, expected {_PLAIN}")


def _too_deep() -> _RefusedError:
    return _RefusedError(f"has more than {MAX_DEPTH} containers inside each other")


def _old_bytes(text: str | None = "", encoding: str = "latin1") -> bytes | None:
    """What protocols before 3 write for bytes; None is text that was dropped as too long."""
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return None if text is None else text.encode("latin-1")


_OLD_BYTES: dict[str, Callable[..., object]] = {
    "_codecs.encode": _old_bytes,
    "__builtin__.bytes": _old_bytes,
}
# What is not here makes objects, or is needed only by a container that contains itself.
_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    name: operation
    for names, operation in (
        ("PROTO FRAME STOP", lambda machine, _: None),
        ("NONE", lambda machine, _: machine.push(None)),
        ("NEWTRUE", lambda machine, _: machine.push(True)),
        ("NEWFALSE", lambda machine, _: machine.push(False)),
        ("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT", _Machine.number),
        ("UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8", _Machine.text),
        ("SHORT_BINBYTES BINBYTES BINBYTES8", _Machine.text),
        ("STRING SHORT_BINSTRING BINSTRING", _Machine.old_text),
        ("EMPTY_LIST", lambda machine, _: machine.new([])),
        ("LIST", lambda machine, _: machine.new([], machine.to_mark())),
        ("EMPTY_DICT", lambda machine, _: machine.new({})),
        ("DICT", lambda machine, _: machine.new({}, machine.to_mark())),
        ("EMPTY_TUPLE", lambda machine, _: machine.new_tuple([])),
        ("TUPLE", lambda machine, _: machine.new_tuple(machine.to_mark())),
        ("TUPLE1", lambda machine, _: machine.new_tuple(machine.take(1))),
        ("TUPLE2", lambda machine, _: machine.new_tuple(machine.take(2))),
        ("TUPLE3", lambda machine, _: machine.new_tuple(machine.take(3))),
        ("MARK", lambda machine, _: machine.mark()),
        ("APPEND", lambda machine, _: machine.fill(machine.take(1))),
        ("SETITEM", lambda machine, _: machine.fill(machine.take(2))),
        ("APPENDS SETITEMS", lambda machine, _: machine.fill(machine.to_mark())),
        ("PUT BINPUT LONG_BINPUT", _Machine.put),
        ("MEMOIZE", lambda machine, _: machine.put(len(machine.memo))),
        ("GET BINGET LONG_BINGET", _Machine.get),
        ("GLOBAL", lambda machine, name: machine.name(name.replace(" ", "."))),
        ("STACK_GLOBAL", lambda machine, _: machine.name_on_stack()),
        ("REDUCE", lambda machine, _: machine.call()),
    )
    for name in names.split()
}
