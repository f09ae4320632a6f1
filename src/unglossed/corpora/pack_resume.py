"""What an earlier call of `pack` has left in a folder: who may go on there, and from where.

A shard stays if its bytes are whole and the rows that it was made of are still the corpus's; all
others are packed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

from unglossed.checksums import file_checksum
from unglossed.corpora.pack_clip import key_of
from unglossed.corpora.packed import (
    MANIFEST,
    PLAN,
    ROWS,
    SHARDS,
    Manifest,
    Plan,
    Shard,
    file_size,
    read_document,
    write_document,
)
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.files import exclusive, write_text
from unglossed.media.packed import ShardIndex, index_path, read_index, scan_shard

_LOCK = ".lock"
# Fields of rows that came after the first packed corpora.
_NEWER = ("frame_rate", "references", "deinterlace")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep others from packing into a folder, which is made; a process that is killed lets go.

    Raises:
        InputError: Another process packs into it.
    """

    def refuse() -> None:
        raise InputError(
            f"{out}: another process is packing into this folder: wait until it has ended"
        ) from None

    def remove() -> None:
        with suppress(OSError):  # Windows does not remove a file that is open
            path.unlink()

    path = out / _LOCK
    with ExitStack() as stack:
        with suppress(OSError):  # who cannot write here will be told so, if there is need to
            stack.enter_context(exclusive(path, refuse))
            stack.callback(remove)  # before the lock is let go
        yield


def begin(plan: Plan, out: Path, *, all_splits: bool) -> bool:
    """Look at what there is in a folder, and note down the plan if it differs.

    Args:
        plan: What is to be packed.
        out: The folder.
        all_splits: The splits are those that the corpus has, not ones that the user named.

    Returns:
        Whether all is packed already.

    Raises:
        InputError: Something else is there: another corpus, or the same packed in another way.
    """
    if (out / MANIFEST).is_file():
        manifest = read_document(Manifest, out / MANIFEST)
        _compare(plan, manifest, out / MANIFEST, set())
        (out / PLAN).unlink(missing_ok=True)
        return (out / ROWS).is_file() and all(
            _looks_finished(out / SHARDS / shard.name, shard) for shard in manifest.shards
        )
    if (out / PLAN).is_file():
        before = read_document(Plan, out / PLAN)
        # Which rows have changed shows shard by shard.
        changeable = {"source_rows", "splits"} if all_splits else {"source_rows"}
        _compare(plan, before, out / PLAN, changeable)
        if plan != before:
            write_document(plan, out / PLAN)
        return False
    refuse_foreign(out)
    write_document(plan, out / PLAN)
    return False


def refuse_foreign(out: Path) -> None:
    """Refuse a folder with something in it that `pack` has not made.

    Raises:
        InputError: It is one, or it is a file.
    """
    if not out.exists() or (out / MANIFEST).is_file() or (out / PLAN).is_file():
        return
    # What `files` had begun to write when it was killed has a name with a dot, as the lock has.
    if not out.is_dir() or not all(path.name[0] == "." for path in out.iterdir()):
        raise InputError(f"{out}: exists already, expected a new or an empty folder")


def find_finished(
    out: Path, split: str, samples: Sequence[Sample], root: Path
) -> Iterator[tuple[Path, ShardIndex]]:
    """The shards of a split that are packed, up to the first that is not sound.

    An index that was lost or damaged after packing had ended is made anew.
    """
    packed: dict[str, Shard] = {}
    if (out / MANIFEST).is_file():
        manifest = read_document(Manifest, out / MANIFEST)
        packed = {shard.name: shard for shard in manifest.shards}
    keys = [key_of(sample.id) for sample in samples]
    first = 0
    for number in count():
        path = shard_path(out, split, number)
        index = None if first == len(keys) else _sound_index(path, packed.get(path.name))
        if index is None:
            return
        end = first + len(index.clips)
        # The row behind is the one before which the shard had to end.
        rows = fingerprint(samples[first : end + 1], root)
        if not index.rows and path.name in packed:  # the manifest vouches for the rows
            index = replace(index, rows=rows)
            write_text(index_path(path), index.to_json())
        if list(index.clips) != keys[first:end] or index.rows != rows:
            return
        first = end
        yield path, index


def shard_path(out: Path, split: str, number: int) -> Path:
    """Where a shard lies."""
    return out / SHARDS / f"{key_of(split)}-{number:06d}.tar"


def remove_others(out: Path, names: Collection[str]) -> None:
    """Remove shards that were packed of rows which the corpus no longer has."""
    for path in (out / SHARDS).glob("*.tar"):
        if path.name not in names:
            index_path(path).unlink(missing_ok=True)
            path.unlink()


def source_of(spec: str) -> str:
    """A spec whose paths are whole: however it is spelled, the same corpus has one."""
    kind, _, rest = spec.partition(":")
    path, _, query = rest.rpartition("?") if "?" in rest else (rest, "", "")
    options = dict(sorted(parse_qsl(query.replace("+", "%2B"))))
    if "media" in options:
        options["media"] = _whole(options["media"])
    told = urlencode(options, safe="/", quote_via=quote)
    return f"{kind}:{_whole(path)}" + (f"?{told}" if options else "")


def fingerprint(samples: Sequence[Sample], root: Path) -> str:
    """A checksum of all that rows say, but for the folder that the corpus lies in."""
    checksum = hashlib.sha256()
    for sample in samples:
        facts = {**asdict(sample), "media": os.path.relpath(sample.media, root)}
        facts = {name: facts[name] for name in facts if facts[name] or name not in _NEWER}
        checksum.update(json.dumps(facts).encode())
    return checksum.hexdigest()


def _compare(plan: Plan, before: Plan, path: Path, changeable: Collection[str]) -> None:
    before = before.model_copy(update={"source": source_of(before.source)})
    for name in Plan.model_fields:
        found, wanted = getattr(before, name), getattr(plan, name)
        if found != wanted and name not in changeable:
            what = f"{name} {found!r}, not {wanted!r}"
            if name == "source_rows":
                what = "other rows than the source has now"
            raise InputError(
                f"{path}: packing began with {what}: expected the same corpus and settings as"
                " then, or another folder"
            )


def _looks_finished(path: Path, shard: Shard) -> bool:
    """Whether a shard has its size and its index; the bytes are not read."""
    index = _index_of(path)
    return (
        index is not None
        and file_size(path) == shard.size
        and (index.size, index.sha256) == (shard.size, shard.sha256)
    )


def _index_of(path: Path) -> ShardIndex | None:
    """The index of a shard; None if it is lost or damaged."""
    try:
        return read_index(path)
    except InputError:
        return None


def _sound_index(path: Path, packed: Shard | None) -> ShardIndex | None:
    """The index of a shard whose bytes are whole; None if it has to be packed.

    Args:
        path: The shard.
        packed: What the manifest says of it; from it and the shard an index is made anew.
    """
    size, index = file_size(path), _index_of(path)
    expected = packed or index
    if expected is None or size != expected.size or file_checksum(path) != expected.sha256:
        return None
    if index is None or (index.size, index.sha256) != (expected.size, expected.sha256):
        return scan_shard(path)
    return index


def _whole(path: str) -> str:
    return str(Path(path).expanduser().resolve())
