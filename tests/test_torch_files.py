"""Files of torch.save from elsewhere are read as tensors and plain values, or refused."""

from __future__ import annotations

import argparse
import collections
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from unglossed import torch_files
from unglossed.errors import InputError
from unglossed.torch_files import read_torch

CONTENT = {
    "model": collections.OrderedDict(weight=torch.arange(6.0).reshape(2, 3)),
    "epoch": 3,
    "args": argparse.Namespace(lr=1e-3, opt=None, sizes=[1, 2], betas=(0.9, 0.98), big=2**70),
}
FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def save(content: object, path: Path, *, is_zip: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


@FORMATS
def test_tensors_and_plain_values_come_back(is_zip: bool, tmp_path: Path) -> None:
    read = read_torch(save(CONTENT, tmp_path / "a.pth", is_zip=is_zip))
    assert torch.equal(read["model"]["weight"], CONTENT["model"]["weight"])
    assert (read["epoch"], read["args"]) == (3, CONTENT["args"])


class Calls:
    """An object whose pickle calls something when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


@FORMATS
@pytest.mark.parametrize("function", [os.mkdir, Path, collections.OrderedDict])
def test_object_that_would_run_something_is_refused_and_nothing_runs(
    function: Any, is_zip: bool, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    arguments = ([(1, 2)],) if function is collections.OrderedDict else (str(marker),)
    content = {**CONTENT, "args": argparse.Namespace(a=Calls(function, *arguments))}
    path = save(content, tmp_path / "a.pth", is_zip=is_zip)
    with pytest.raises(InputError) as error:
        read_torch(path)
    told = str(error.value)
    assert told.startswith(f"{path}: ")
    assert "\n" not in told
    if function is os.mkdir:
        assert "asks for 'posix.mkdir'" in told or "asks for 'nt.mkdir'" in told
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        torch.nn.Linear(1, 1),
        {1, 2},
        collections.Counter("a"),
        torch.ones(2, 2).to_sparse(),
        {(1, 2): 3},
        {2**70: 1},
    ],
    ids=lambda content: type(content).__name__,
)
def test_other_values_are_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"asks for '|has a key that is no text or small number"):
        read_torch(save(content, tmp_path / "a.pth"))


def write_zip(path: Path, pickle: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickle)
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
    return path


def test_key_that_no_checkpoint_has_is_refused(tmp_path: Path) -> None:
    pickle = b"\x80\x02})" + b"\x85" * 200 + b"K\x01s."  # {((...),): 1}
    with pytest.raises(InputError, match="has more than 100 tuples inside each other"):
        read_torch(write_zip(tmp_path / "a.pth", pickle))


def test_packed_records_are_refused(tmp_path: Path) -> None:
    packed = write_zip(tmp_path / "a.pth", b"\x80\x02N" + b"00" * 10**5, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"unpack to more than its \d+ bytes|compressed"):
        read_torch(packed)


def test_endless_instructions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_files, "MAX_STEPS", 1000)
    with pytest.raises(InputError, match=r"more than 1,000 instructions"):
        read_torch(write_zip(tmp_path / "a.pth", b"\x80\x02" + b"N" * 1002))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no pickle", b"\x80\x02", b"\x80\x02N."])
def test_other_files_are_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_torch(path)
    assert str(error.value).startswith(f"{path}: found ")


@FORMATS
def test_damaged_files_are_read_or_refused(is_zip: bool, tmp_path: Path) -> None:
    whole = save(CONTENT, tmp_path / "a.pth", is_zip=is_zip).read_bytes()
    chance, told = random.Random(0), []
    path = tmp_path / "b.pth"
    for number in range(100):
        damaged = bytearray(whole)
        if number % 3:
            for _ in range(chance.randint(1, 5)):
                damaged[chance.randrange(min(len(damaged), 1500))] = chance.randrange(256)
        else:
            del damaged[chance.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            read_torch(path)
        except InputError as error:
            told.append(str(error))
    assert len(told) > 30
    assert not any("\n" in line for line in told)
