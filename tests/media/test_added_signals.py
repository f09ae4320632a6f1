"""A kind of signal from a package outside the repository, found by its entry point."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from unglossed.corpora.check import check_corpus
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.media.signal import (
    WholeFile,
    common_kind,
    kind_of_file,
    media_facts,
    signal_kinds,
    signal_of,
)

EXAMPLE = Path(__file__).parents[2] / "examples/signal"
ARRAYS = SimpleNamespace(signal="arrays", audio_rate=None)


def install(folder: Path, entries: dict[str, str]) -> None:
    """What an installer leaves behind: the module, and a folder that names its entry points."""
    shutil.copy(EXAMPLE / "unglossed_arrays.py", folder)
    info = folder / "unglossed_arrays-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unglossed-arrays\nVersion: 0.1.0")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(["[unglossed.signals]", *lines]))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    (tmp_path / "site").mkdir()
    install(tmp_path / "site", project["entry-points"]["unglossed.signals"])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
def rows(tmp_path: Path) -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(50, 6))
    np.save(tmp_path / "clip.npy", made)
    return made


def test_a_corpus_of_arrays_is_read_and_checked(package, tmp_path: Path, rows) -> None:
    table = tmp_path / "own.csv"
    lines = ["id,split,media,text,start,end"]
    lines += ["a,train,clip.npy,Es regnet.,0.4,1.2", "b,dev,clip.npy,Sonne.,,"]
    table.write_text("\n".join(lines))
    spec = f"table:{table}?language=de"
    corpus = read_corpus(spec)
    signal = signal_of(ARRAYS)
    read = signal.read(corpus.splits["train"][0])
    assert read.dtype == np.float32
    assert np.array_equal(read, rows[10:30].astype(np.float32))
    assert len(read) / signal.units_per_second == 0.8
    assert signal.seconds_of(corpus.splits["train"][0]) == pytest.approx(0.8)
    assert not list(check_corpus(spec, deep=True, num_workers=1).faults)


def test_a_clip_beyond_the_limit_is_cut_or_refused(package, tmp_path: Path, rows) -> None:
    clip = WholeFile(tmp_path / "clip.npy")
    signal = signal_of(ARRAYS)
    assert len(signal.read(clip, limit=25, cut=True)) == 25
    with pytest.raises(InputError, match=r"found 2\.0 seconds of arrays, expected at most 1\.0 "):
        signal.read(clip, limit=25)


def test_media_are_known_by_the_ending_of_their_names(package, tmp_path: Path, rows) -> None:
    facts = media_facts(tmp_path / "clip.npy", deep=True)
    assert (facts.kind, facts.duration_seconds) == ("arrays", 2.0)
    assert common_kind([facts, facts]) == "arrays"
    assert signal_kinds() == ["video", "audio", "array", "streams", "arrays"]
    assert [kind_of_file(name) for name in ("a.NPY", "a.mp4", "a.wav", "a.txt")] == [
        *("arrays", "video", "audio"),
        None,
    ]
    np.save(tmp_path / "wrong.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"wrong\.npy: found float64 \(3,\), expected numbers"):
        media_facts(tmp_path / "wrong.npy")


def test_a_kind_that_is_not_there_is_named_with_those_that_are() -> None:
    message = "signal: found 'arrays', expected one of video, audio, array, streams, or install"
    with pytest.raises(InputError, match=message):
        signal_of(ARRAYS)


def test_a_package_that_fails_is_one_line(tmp_path: Path, monkeypatch) -> None:
    install(tmp_path, {"arrays": "unglossed_nothing:Signal", "paths": "unglossed_arrays:Path"})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="unglossed_nothing:Signal cannot be loaded: ModuleNot"):
        signal_of(ARRAYS)
    with pytest.raises(InputError, match="unglossed_arrays:Path is no Signal of this kind"):
        signal_of(SimpleNamespace(signal="paths", audio_rate=None))


def test_the_example_stays_small() -> None:
    assert len((EXAMPLE / "unglossed_arrays.py").read_text().splitlines()) <= 80
    assert re.search(r"^arrays = ", (EXAMPLE / "pyproject.toml").read_text(), re.MULTILINE)
