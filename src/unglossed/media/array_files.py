"""Files of arrays: what is in them, and what they tell of it. How a model reads it is not here.

Kinds: `.npy`, `.npz`, `.safetensors`, `.pt`, HDF5, Parquet, and those of `pose_files`. Where a file
has several arrays `file.h5#key` names one. Rate, axes, channels, points and units are read where
the file's own metadata has them, under these names.
"""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unglossed.errors import InputError
from unglossed.files import import_pyarrow, whole_file
from unglossed.media.array_settings import UNITS, Told
from unglossed.media.pictures import PICTURE_SUFFIXES

KEYED_SUFFIXES = (".npz", ".safetensors", ".pt", ".pth", ".h5", ".hdf5", ".parquet")
"""Endings of files that can hold several arrays."""
ARRAY_SUFFIXES = frozenset((".npy", ".pose", *KEYED_SUFFIXES))
"""Endings of all files of arrays."""
NOTHING_TOLD = Told()
_VALUES = "values"  # the array in files that name what else they hold
_TOLD = ("rate", "axes", "channels", "points", "units", "width", "height")
_KEYED = re.compile(
    rf"(.*?(?:{'|'.join(map(re.escape, KEYED_SUFFIXES))}))#(.+)", re.IGNORECASE | re.DOTALL
)
_AXES = ("time", "points", "channels"), ("time", "dim")
_MOST_BYTES = 8_000_000_000
_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    RuntimeError,  # an archive with a password, or packed in a way that zipfile does not know
    MemoryError,  # a header that tells more than there is
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged file raises."""


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """An array (time, points, channels) or (time, dim) and what its file tells of it."""

    values: NDArray[Any]
    told: Told = NOTHING_TOLD


def split_key(media: Path) -> tuple[Path, str | None]:
    """A file, and the key of an array in it if one is named: `clips.h5#train/clip_1`."""
    found = _KEYED.fullmatch(str(media))
    return (Path(found[1]), found[2]) if found else (media, None)


def is_array_file(media: Path) -> bool:
    """Whether a name is that of an array in a file."""
    return split_key(media)[0].suffix.lower() in ARRAY_SUFFIXES


def is_json_folder(media: Path) -> bool:
    """Whether a folder holds JSON files, and no picture before the first of them."""
    try:
        with os.scandir(media) as entries:
            for entry in entries:
                name = entry.name.lower()
                if name.endswith(PICTURE_SUFFIXES):
                    return False
                if name.endswith(".json"):
                    return True
    except (OSError, ValueError):
        return False
    return False


def open_array(media: Path, *, whole: bool = True) -> ArrayFile:
    """Read a file of arrays, or a folder with a JSON file for each frame.

    Args:
        media: Where it lies, see `split_key`.
        whole: False: of a folder only the first frame is read, the values of others are NaN.

    Raises:
        InputError: It is not there, damaged, or not as expected; names file and key.
    """
    from unglossed.media.pose_files import read_json_folder

    if not is_array_file(media) and media.is_dir():
        return read_json_folder(media, whole=whole)
    path, key = split_key(media)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{media}: found no array, expected {', '.join(sorted(ARRAY_SUFFIXES))}")
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected an array")
    try:
        return _checked(media, reader(path, key))
    except InputError:
        raise
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise InputError(f"{media}: cannot be read as {path.suffix.lower()}: {reason}") from error


def write_array(path: Path, values: NDArray[Any], told: Told, **more: Any) -> None:
    """Write an array, and what there is to tell of it, as `.npz`, whole or not at all.

    Args:
        path: File to write; its folder is made.
        values: (time, points, channels), or (time, dim).
        told: What it tells of itself.
        more: Further arrays, by names of their own.

    Raises:
        OSError: It cannot be written; names the file.
    """
    facts = {name: getattr(told, name) for name in _TOLD if name != "axes"}
    facts["axes"] = _AXES[0] if values.ndim == 3 else _AXES[1]
    facts = {name: fact for name, fact in facts.items() if fact is not None}
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, values=values, **facts, **more)


def told_by(media: Path, values: Any, told: Mapping[str, Any]) -> ArrayFile:
    """An array with what its file tells of it under the names of `Told`, and `axes`.

    Lists may be JSON, or names separated by commas.

    Raises:
        InputError: A value of these names is none that it can have.
    """
    found: dict[str, Any] = {}
    for name in ("rate", "width", "height"):
        if told.get(name) is not None:
            found[name] = _positive(media, name, told[name])
    for name in ("channels", "points", "axes"):
        if told.get(name) is not None:
            found[name] = _names(media, name, told[name])
    units = told.get("units")
    if units is not None:
        found["units"] = _text(units)
        if found["units"] not in UNITS:
            expected = f"expected one of {', '.join(UNITS)}"
            raise InputError(f"{media}, units: found {found['units']!r}, {expected}")
    axes = found.pop("axes", None)
    if axes is not None and axes not in _AXES:
        expected = " or ".join(", ".join(one) for one in _AXES)
        raise InputError(
            f"{media}, axes: found {', '.join(axes)}, expected {expected}: change their order"
        )
    if axes is not None and len(axes) != np.ndim(values):
        raise InputError(
            f"{media}, axes: found {', '.join(axes)} of an array {np.shape(values)}, expected a"
            " name for each"
        )
    return ArrayFile(values, Told(**found))


def _positive(media: Path, name: str, value: Any) -> float:
    try:
        number = float(np.asarray(value).reshape(()).astype(np.float64))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < 1e6:
        raise InputError(f"{media}, {name}: found {_text(value)[:40]!r}, expected a number above 0")
    return number


def _text(value: Any) -> str:
    value = np.asarray(value).reshape(-1)[0] if np.size(value) else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _names(media: Path, name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, (bytes, str)) or np.ndim(value) == 0:
        text = _text(value)
        try:
            value = json.loads(text) if text.startswith("[") else text.split(",")
        except (ValueError, RecursionError):
            raise InputError(f"{media}, {name}: found {text[:60]!r}, expected names") from None
    return tuple(_text(one).strip() for one in value)


def _checked(media: Path, file: ArrayFile) -> ArrayFile:
    """Refuse what holds no numbers by time."""
    values = file.values
    if values.dtype.kind not in "fiu" or values.ndim not in (2, 3) or not values.size:
        raise InputError(
            f"{media}: found {values.dtype} {values.shape}, expected numbers (time, points,"
            " channels) or (time, dim)"
        )
    for axis, name in ((1, "points"), (2, "channels")):
        names = getattr(file.told, name)
        if names is None:
            continue
        if values.ndim != 3 or len(names) != values.shape[axis]:
            raise InputError(
                f"{media}, {name}: found {len(names)} names for an array {values.shape}, expected"
                f" one for each of its {name}: (time, points, channels)"
            )
        if len(set(names)) < len(names):
            raise InputError(f"{media}, {name}: found a name twice, expected each once")
    return file


def _read_npy(path: Path, key: str | None) -> ArrayFile:
    assert key is None  # see `split_key`
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(values, np.ndarray):  # told by its first bytes, not by its name
        values.close()
        raise InputError(f"{path}: found several arrays, expected one, or the ending .npz")
    return ArrayFile(values)


def _pick(media: Path, key: str | None, known: Iterable[str]) -> str:
    """The array to read: the named one, else `values`, else the only one."""
    names = list(known)
    if key is None:
        arrays = [name for name in names if name not in _TOLD]
        if _VALUES in arrays:
            return _VALUES
        if len(arrays) == 1:
            return arrays[0]
        shown = ", ".join(arrays[:5]) + (", …" if len(arrays) > 5 else "")
        raise InputError(
            f"{media}: found {len(arrays)} arrays ({shown}), expected the name of one, as in"
            f" {media.name}#{arrays[0] if arrays else 'key'}"
        )
    if key not in names:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise InputError(f"{media}: found no array {key!r}, expected one of {shown or 'none'}")
    return key


def _read_npz(path: Path, key: str | None) -> ArrayFile:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: found no .npz, or a truncated one")
    with np.load(path, allow_pickle=False) as arrays:
        name = _pick(path, key, arrays.files)
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(f"{name}.npy").file_size
        if size > _MOST_BYTES:
            raise InputError(f"{path}#{name}: found {size:,} bytes, expected at most {_MOST_BYTES}")
        told = {one: arrays[one] for one in _TOLD if one in arrays.files and one != name}
        return told_by(path, arrays[name], told)


def _read_safetensors(path: Path, key: str | None) -> ArrayFile:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            name = _pick(path, key, file.keys())
            try:
                values = file.get_tensor(name)
            except (TypeError, AttributeError) as error:  # such as bfloat16, which numpy has not
                raise InputError(
                    f"{path}#{name}: found a format without numpy's: {error}"
                ) from None
            return told_by(path, values, file.metadata() or {})
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read as .safetensors: {error}") from None


def _read_torch_file(path: Path, key: str | None) -> ArrayFile:
    import torch

    from unglossed.torch_files import read_torch

    content = read_torch(path)
    if isinstance(content, Mapping):
        named = {str(name): value for name, value in content.items()}
        tensors = [name for name, value in named.items() if isinstance(value, torch.Tensor)]
        name = _pick(path, key, tensors)
        told = {
            one: value.detach() if isinstance(value := named[one], torch.Tensor) else value
            for one in _TOLD
            if one in named and one != name
        }
        content = named[name]
    elif key is not None:
        raise InputError(f"{path}: found no array {key!r}, the file holds a single tensor")
    else:
        told = {}
    if not isinstance(content, torch.Tensor):
        raise InputError(f"{path}: found {type(content).__name__}, expected a tensor or a dict")
    if content.layout != torch.strided or content.is_complex() or content.is_quantized:
        raise InputError(f"{path}: found a tensor of {content.layout}, expected plain numbers")
    if content.dtype is torch.bfloat16:
        content = content.float()  # each bfloat16 is a float32
    return told_by(path, content.detach().numpy(), told)


def _read_hdf5(path: Path, key: str | None) -> ArrayFile:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"{path}: reading HDF5 needs h5py: pip install 'unglossed[hdf5]'"
        ) from error
    with h5py.File(path, "r") as file:
        if key is None:
            found: list[str] = []
            file.visititems(lambda name, one: _add_dataset(found, name, one, h5py.Dataset))
            key = _pick(path, None, found)
        one = file.get(key)
        if not isinstance(one, h5py.Dataset):
            shown = ", ".join(list(file)[:5])
            raise InputError(f"{path}: found no array {key!r}, expected one of {shown or 'none'}")
        if one.nbytes > _MOST_BYTES:
            raise InputError(f"{path}#{key}: found {one.nbytes:,} bytes, expected {_MOST_BYTES}")
        return told_by(path, one[()], {**file.attrs, **one.attrs})


def _add_dataset(found: list[str], name: str, one: Any, kind: type) -> None:
    if isinstance(one, kind):
        found.append(name)


def _read_parquet(path: Path, key: str | None) -> ArrayFile:
    """Rows of a clip: each a row of the array; with a key, those whose `clip` it is.

    Columns: `values`, a list of numbers, or a list of lists of them; `clip`, the name of the clip
    in a file of several. The schema's metadata tell of the array.
    """
    pyarrow = import_pyarrow(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
        if _VALUES not in schema.names:
            shown = ", ".join(schema.names[:8])
            raise InputError(f"{path}: found the columns {shown}, expected {_VALUES!r}")
        if key is None and "clip" in schema.names:
            raise InputError(
                f"{path}: found the clips of a column 'clip', expected the name of one, as in"
                f" {path.name}#NAME"
            )
        if key is not None and "clip" not in schema.names:
            raise InputError(f"{path}: found no column 'clip', in which to look for {key!r}")
        filters = None if key is None else [("clip", "=", key)]
        rows = pyarrow.parquet.read_table(path, columns=[_VALUES], filters=filters).column(_VALUES)
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0][:150]
        raise InputError(f"{path}: not readable as Parquet: {reason}") from None
    if not len(rows):
        raise InputError(f"{path}: found no row{'' if key is None else f' of the clip {key!r}'}")
    metadata = schema.metadata or {}
    told = {one: metadata[one.encode()] for one in _TOLD if one.encode() in metadata}
    return told_by(path, _of_lists(path, rows), told)


def _of_lists(path: Path, rows: Any) -> NDArray[Any]:
    """Rows of lists, or of lists of lists, of numbers as an array."""
    column, shape = rows.combine_chunks(), [len(rows)]
    while hasattr(column, "flatten") and str(column.type).startswith(("list", "large", "fixed")):
        inner = column.flatten()
        if column.null_count or len(inner) % max(len(column), 1):
            raise InputError(f"{path}, {_VALUES}: found rows of several lengths, expected one")
        each = len(inner) // max(len(column), 1)
        lengths = column.value_lengths() if hasattr(column, "value_lengths") else None
        if lengths is not None and set(lengths.unique().to_pylist()) != {each}:
            raise InputError(f"{path}, {_VALUES}: found rows of several lengths, expected one")
        shape.append(each)
        column = inner
    if column.null_count:
        raise InputError(f"{path}, {_VALUES}: found {column.null_count} nulls, expected NaN")
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False).reshape(shape)
    return values


def _read_pose(path: Path, key: str | None) -> ArrayFile:
    from unglossed.media.pose_files import read_pose

    assert key is None  # see `split_key`
    return read_pose(path)


Reader = Callable[[Path, str | None], ArrayFile]
_READERS: Mapping[str, Reader] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch_file,
    ".pth": _read_torch_file,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".parquet": _read_parquet,
    ".pose": _read_pose,
}
