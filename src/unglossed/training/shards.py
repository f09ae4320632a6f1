"""The files of a store: shards of features, and lists of clips that have none.

A shard appears whole, its name holds the checksum of its content, and its metadata the settings it
is of. Several machines can write at the same time: each has a `Share` of the work and a list of its
own. Which features are wanted is the matter of `features.py`.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from unglossed.errors import InputError, note
from unglossed.training.data import Unreadable
from unglossed.training.storage import Storage

_SHARD = re.compile(r"\d{5,}-[0-9a-f]{8}\.safetensors")
_LIST = re.compile(r"quarantine(-\d+-of-\d+)?\.jsonl")
_SHARE = re.compile(r"(\d{1,9})/(\d{1,9})")
_OF = "settings"  # in a shard's metadata: the name of its folder
_HEADER_BYTES = 2**16  # most headers are shorter
Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """A part of the work: every `count`-th clip of the corpus, beginning with number `index`.

    Which clips these are depends on the order of the corpus alone, not on what is done already.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """The share that `i/n` names, i from 1 to n.

        Raises:
            InputError: it names none.
        """
        found = _SHARE.fullmatch(text)
        share = cls(int(found[1]) - 1, int(found[2])) if found else None
        if share is None or not 0 <= share.index < share.count:
            raise InputError(f"--shard: found {text!r}, expected i/n with i from 1 to n, as 2/8")
        return share

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its part of some items."""
        return items[self.index :: self.count]

    def has(self, place: int) -> bool:
        """Whether the item at a place, counted from 0, is in it."""
        return place % self.count == self.index

    @property
    def name(self) -> str:
        """Names what belongs to it, as `2-of-8`; empty: it is the whole."""
        return f"{self.index + 1}-of-{self.count}" if self.count > 1 else ""


WHOLE = Share()


class Shards:
    """The shards in a folder, and where in them the `wanted` features are."""

    def __init__(self, storage: Storage, settings: str, wanted: Collection[str]) -> None:
        self.storage = storage
        self.settings = settings
        self.wanted = frozenset(wanted)
        self.names: set[str] = set()  # of all features there
        self._seen: set[str] = set()
        self._unchecked: set[str] = set()  # files that have wanted features, not yet opened
        self._where: dict[str, Any] = {}

    def look(self, *, check: bool) -> None:
        """Find the features of new shards; damaged shards are deleted with a note.

        Args:
            check: Compare checksums, too, of shards that have wanted features, and open them. Else
                only headers and sizes are looked at: a shard that is cut is noticed, a wrong bit is
                not.

        Raises:
            InputError: a shard cannot be read.
        """
        found = self.storage.files()
        for name in sorted(name for name in found if _SHARD.fullmatch(name)):
            if name not in self._seen:
                with suppress(FileNotFoundError):  # somebody else found it damaged
                    self._read_header(name, found[name])
        if check:
            for name, path in self.storage.copies(sorted(self._unchecked)):
                if _is_whole(name, path) or _is_whole(
                    name, path := self.storage.copy(name, anew=True)
                ):
                    shard: Any = safe_open(path, framework="pt")
                    self._where.update(dict.fromkeys(self.wanted & set(shard.keys()), shard))
                else:
                    self._delete(name, "is damaged")
            self._unchecked.clear()
            self.names = self.names - self.wanted | self._where.keys()

    def _read_header(self, name: str, size: int) -> None:
        head = self.storage.read(name, 0, _HEADER_BYTES)
        length = int.from_bytes(head[:8], "little")
        if len(head) < 8 + length <= size:
            head += self.storage.read(name, len(head), 8 + length)
        try:
            header = json.loads(head[8 : 8 + length])
            settings = header.pop("__metadata__", {}).get(_OF, self.settings)  # older ones have no
            end = max(int(one["data_offsets"][1]) for one in header.values())
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            end, settings, header = -1, self.settings, {}
        if 8 + length + end != size:
            self._delete(name, "is damaged")
        elif settings != self.settings:
            self._delete(name, "is of other settings, moved here")
        else:
            self._seen.add(name)
            self.names |= header.keys()
            if not self.wanted.isdisjoint(header):
                self._unchecked.add(name)

    def _delete(self, name: str, fault: str) -> None:
        self.storage.remove(name)
        self._seen.discard(name)
        note(f"{self.storage / name}: {fault}; its features are computed anew")

    def find(self, name: str) -> tuple[Any, str] | None:
        """The open shard that has a feature, and its name; None: none that was checked."""
        return (self._where[name], name) if name in self._where else None

    def write(self, features: dict[str, Tensor]) -> None:
        """Write a further shard, whole or not at all."""
        data = save(features, metadata={_OF: self.settings})
        name = f"{len(self._seen):05}-{zlib.crc32(data):08x}.safetensors"
        self.storage.write(name, data)
        self._seen.add(name)
        self._unchecked.add(name)
        self.names |= features.keys()


def _is_whole(name: str, path: Path | None) -> bool:
    """Whether what a file holds is what its name says."""
    try:
        data = path.read_bytes() if path else b""
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return name.endswith(f"-{zlib.crc32(data):08x}.safetensors")


class Quarantine:
    """Clips that cannot be read or encoded, by key, with the reason; a list for each share.

    A clip is in it until its media change, which gives it another key, or until it was tried again
    and its features are in the store.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.clips: dict[str, Unreadable] = {}
        self.new: dict[str, Unreadable] = {}
        self._gone: set[str] = set()

    def look(self) -> None:
        """Read all lists; a line that cannot be read does not count."""
        for file in sorted(filter(_LIST.fullmatch, self.storage.files())):
            self.clips |= self._rows(file)
        self.clips |= self.new

    def _rows(self, file: str) -> dict[str, Unreadable]:
        found = {}
        try:
            text = self.storage.read(file).decode(errors="replace")
        except FileNotFoundError:
            return {}
        for line in text.splitlines():
            try:
                row = json.loads(line)
                values = [row[name] for name in ("key", "id", "split", "reason")]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if all(isinstance(value, str) for value in values):
                found[values[0]] = Unreadable(*values[1:])
        return found

    def add(self, key: str, clip: Unreadable) -> None:
        """Put a clip in it; `write` writes it down."""
        self.clips[key] = self.new[key] = clip

    def drop(self, keys: Iterable[str]) -> None:
        """Take clips out of it that have features now."""
        for key in keys:
            if self.clips.pop(key, None):
                self._gone.add(key)
            self.new.pop(key, None)

    def forget_new(self) -> None:
        """Take out what was put in: the fault may lie in the machine, not in the clips."""
        self.drop(set(self.new))

    def write(self, share: Share) -> None:
        """Write a share's list, whole or not at all, if it changed."""
        if not self.new and not self._gone:
            return
        file = f"quarantine-{share.name}.jsonl" if share.name else "quarantine.jsonl"
        before = self._rows(file)
        rows = {key: one for key, one in before.items() if key not in self._gone} | self.new
        if rows != before:
            lines = [
                json.dumps({**asdict(clip), "key": key}, ensure_ascii=False) + "\n"
                for key, clip in rows.items()
            ]
            self.storage.write(file, "".join(lines).encode())
