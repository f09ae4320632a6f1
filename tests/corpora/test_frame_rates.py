"""Folders of frames that were taken at another rate than 25 a second."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from unglossed.corpora.check import check_corpus
from unglossed.corpora.faults import FaultKind
from unglossed.corpora.pack import fingerprint, pack_corpus
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.stats import corpus_stats
from unglossed.errors import InputError
from unglossed.media.frames import open_frames
from unglossed.training.keys import clip_keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Clips of 20 pictures, `slow` and `fast`, with rows that name a rate for one of them."""
    for name in ("slow", "fast"):
        (tmp_path / name).mkdir()
        for number in range(20):
            picture = np.full((16, 16, 3), 10 * number, np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{number:02d}.png"), picture)
    (tmp_path / "film.mp4").touch()
    write(tmp_path / "own.csv", "frame_rate", "50")
    return tmp_path


def write(path: Path, column: str, rate: object) -> Path:
    names = ["id", "media", "text", "split", "language", column]
    rows = [
        ["a", "fast", "schnell", "train", "de", rate],
        ["b", "slow", "langsam", "train", "de", ""],
        ["c", "film.mp4", "film", "train", "de", rate],
    ]
    rows = [[None if value == "" else value for value in row] for row in rows]
    if path.suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
        )
    elif path.suffix == ".parquet":
        parquet.write_table(
            pyarrow.table(dict(zip(names, zip(*rows, strict=True), strict=True))), path
        )
    else:
        lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
        path.write_text("\n".join([",".join(names), *lines]) + "\n")
    return path


def rates(spec: str) -> list[float | None]:
    return [sample.frame_rate for sample in read_corpus(spec).split("train")]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
@pytest.mark.parametrize("column", ["frame_rate", "fps", "Frame Rate"])
def test_a_row_says_the_rate_of_its_folder(folder: Path, name: str, column: str) -> None:
    path = write(folder / name, column, 12.5)
    assert rates(f"table:{path}") == [12.5, None, None]


def test_the_spec_says_it_for_all_that_do_not(folder: Path) -> None:
    assert rates(f"table:{folder / 'own.csv'}?frame_rate=12") == [50.0, 12.0, 12.0]
    (folder / "slow.txt").write_text("langsam")
    assert rates(f"folder:{folder}?language=de&frame_rate=12&missing=skip") == [12.0]


def test_a_rate_that_is_none_is_refused_with_its_place(folder: Path) -> None:
    for wrong in ("fast", "0", "-25", "nan", "inf", "100000"):
        path = write(folder / "wrong.csv", "frame_rate", wrong)
        expected = rf"wrong\.csv, line 2: the field frame_rate: found '{wrong}', expected pictures"
        with pytest.raises(InputError, match=expected):
            read_corpus(f"table:{path}")
        with pytest.raises(InputError, match=f"frame_rate: found '{wrong}', expected pictures"):
            read_corpus(f"table:{folder / 'own.csv'}?frame_rate={wrong}")


def test_pictures_of_a_known_corpus_keep_the_rate_of_that(folder: Path) -> None:
    with pytest.raises(InputError, match="'frame_rate', which is for table, folder, gfslt"):
        read_corpus(f"phoenix14t:{folder}?frame_rate=50")


def test_lengths_are_counted_at_the_rate(folder: Path) -> None:
    path = folder / "times.csv"
    path.write_text(
        "id,media,text,split,language,frame_rate,start,end\n"
        "a,fast,schnell,train,de,50,,\n"
        "b,slow,langsam,train,de,10,1.0,1.8\n"
        "c,slow,vorbei,train,de,40,0.1,0.8\n"
        "d,fast,danach,train,de,50,0.5,0.6\n"
    )
    report = check_corpus(f"table:{path}", num_workers=1)
    assert [
        fault.where.partition(", ")[2] for fault in report.faults.examples(FaultKind.PAST_END)
    ] == ["train clip 'c'"]
    assert [
        fault.where.partition(", ")[2] for fault in report.faults.examples(FaultKind.BAD_TIMES)
    ] == ["train clip 'd'"]
    path.write_text("\n".join(path.read_text().splitlines()[:3]) + "\n")
    assert corpus_stats(f"table:{path}", num_workers=1).seconds["train"] == pytest.approx(
        [0.4, 0.8]
    )


def test_packing_brings_folders_to_25_a_second(folder: Path, tmp_path: Path) -> None:
    path = folder / "two.csv"
    path.write_text(
        "id,media,text,split,language,frame_rate\na,fast,a,train,de,50\nb,slow,b,train,de,12.5\n"
    )
    pack_corpus(f"table:{path}", tmp_path / "packed", num_workers=1, progress=False)
    packed = read_corpus(f"packed:{tmp_path / 'packed'}").split("train")
    assert [open_frames(sample.media).num_frames for sample in packed] == [10, 40]
    assert [sample.frame_rate for sample in packed] == [None, None]


def test_another_rate_is_another_clip_for_stored_features_and_packing(folder: Path) -> None:
    sample = read_corpus(f"table:{folder / 'own.csv'}").split("train")[0]
    others = [replace(sample, frame_rate=rate) for rate in (None, 25.0, 50.0)]
    assert len({clip_keys([other])[0] for other in others}) == 3
    assert len({fingerprint([other], folder) for other in others}) == 3


def test_numbers_that_come_twice_are_told(folder: Path) -> None:
    for number in range(4):
        for eye in (0, 1):
            source = folder / "slow" / f"{number:02d}.png"
            (folder / "eyes").mkdir(exist_ok=True)
            (folder / "eyes" / f"{number:02d}_{eye}.png").write_bytes(source.read_bytes())
    (folder / "eyes.csv").write_text("id,media,text,split,language\na,eyes,a,train,de\n")
    report = check_corpus(f"table:{folder / 'eyes.csv'}", num_workers=1)
    (fault,) = report.faults.examples(FaultKind.REPEATED_NUMBER)
    assert fault.where == str(folder / "eyes")
    assert fault.text.startswith("2 pictures seem to have each number")
