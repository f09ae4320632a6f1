"""Corpora of arrays: columns of a table, files beside captions, and `?features=`; their checks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unglossed.corpora.check import check_corpus
from unglossed.corpora.check_media import Needs
from unglossed.corpora.faults import Severity
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.media.array_settings import ArraySettings
from unglossed.training.keys import clip_keys


def write(path: Path, length: int = 50, dim: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.random.default_rng(length).normal(size=(length, dim)).astype(np.float32))
    return path


def faults_of(spec: str, *, deep: bool = False, **settings: Any) -> list[str]:
    array = ArraySettings(**settings) if settings else None
    needs = Needs(signal="array", array=array) if settings else None
    return told_by(spec, needs, deep=deep)


def told_by(spec: str, needs: Needs | None, *, deep: bool = False) -> list[str]:
    faults = check_corpus(spec, deep=deep, needs=needs, num_workers=1).faults
    kinds = [kind for kind in faults if kind.severity is not Severity.NOTE]
    return [str(fault) for kind in kinds for fault in faults.examples(kind)]


def test_a_table_names_arrays_keys_and_rates(tmp_path: Path) -> None:
    one = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    np.savez(tmp_path / "clips.npz", a=one, b=one[:10])
    write(tmp_path / "c.npy")
    table = tmp_path / "t.csv"
    rows = ["id,media,text,split,frame_rate,start,end", "1,clips.npz#a,Es regnet.,train,10,,"]
    rows += ["2,clips.npz#b,Sonne.,dev,,,", "3,c.npy,Wind.,test,50,0.2,0.6"]
    table.write_text("\n".join(rows))

    corpus = read_corpus(f"table:{table}?language=de")

    first, second, third = (corpus.splits[split][0] for split in ("train", "dev", "test"))
    assert str(first.media) == f"{tmp_path}/clips.npz#a"
    assert (first.frame_rate, second.frame_rate, third.frame_rate) == (10.0, None, 50.0)
    assert not faults_of(f"table:{table}?language=de", deep=True, dim=6)
    keys = clip_keys([first, second])
    assert keys[0][1] != keys[1][1]
    with pytest.raises(InputError, match=r"no media for '1', expected .*gone\.npz#a"):
        table.write_text("\n".join(rows).replace("clips.npz#a", "gone.npz#a"))
        read_corpus(f"table:{table}?language=de")


def test_arrays_beside_captions_are_clips(tmp_path: Path) -> None:
    write(tmp_path / "talk.npy", 100)
    (tmp_path / "talk.de.srt").write_text(
        "1\n00:00:00,400 --> 00:00:02,000\nEs regnet.\n\n2\n00:00:02,000 --> 00:00:09,000\nSonne.\n"
    )
    corpus = read_corpus(f"folder:{tmp_path}")
    assert corpus.splits["train"][0].media == tmp_path / "talk.npy"
    (late,) = [one for one in faults_of(f"folder:{tmp_path}") if "talk_2" in one]
    assert "ends at 9.00 s, but talk.npy is only 4.00 s long" in late


def test_features_are_read_instead_of_media(
    write_corpus_folder: Callable[..., Path], tmp_path: Path
) -> None:
    base = write_corpus_folder()
    shutil.rmtree(base / "features")
    spec = f"phoenix14t:{base}?features={tmp_path / 'poses'}"
    with pytest.raises(InputError, match="poses: no such folder"):
        read_corpus(spec)
    write(tmp_path / "poses/train/01May_2010-1.npy")
    write(tmp_path / "poses/train/01May_2010-2.npy")
    write(tmp_path / "poses/02May_2010-1.npy")
    with pytest.raises(InputError, match=r"no media for '03May_2010-1', expected .*poses/03May"):
        read_corpus(spec)
    test = write(tmp_path / "poses/03May_2010-1.npy")

    corpus = read_corpus(f"{spec}&frame_rate=50")

    media = [one.media.name for rows in corpus.splits.values() for one in rows]
    assert media == [
        f"{n}.npy" for n in ("01May_2010-1", "01May_2010-2", "02May_2010-1", "03May_2010-1")
    ]
    assert corpus.splits["dev"][0].frame_rate == 50.0
    assert not faults_of(spec, deep=True, dim=6)
    shutil.copy(test, test.with_suffix(".pt"))
    with pytest.raises(InputError, match=r"found 03May_2010-1\.npy and 03May_2010-1\.pt"):
        read_corpus(spec)


def test_a_folder_of_frames_with_a_dot_has_the_array_of_its_whole_name(tmp_path: Path) -> None:
    for name in ("news.1", "news"):
        (tmp_path / "frames" / name).mkdir(parents=True)
        write(tmp_path / "arrays" / f"{name}.npy", 20)
    rows = ["id,media,text,split", "a,news.1,Regen.,train", "b,news,Sonne.,train"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    spec = f"table:{tmp_path}/t.csv?language=de&media={tmp_path}/frames"

    corpus = read_corpus(f"{spec}&features={tmp_path}/arrays")

    assert [row.media.name for row in corpus.splits["train"]] == ["news.1.npy", "news.npy"]
    with pytest.raises(InputError, match="features '', expected FOLDER"):
        read_corpus(f"{spec}&features=")


def test_times_count_in_the_array_of_a_whole_video_alone(tmp_path: Path) -> None:
    folder = tmp_path / "how2sign"
    folder.mkdir()
    header = "VIDEO_ID VIDEO_NAME SENTENCE_ID SENTENCE_NAME START_REALIGNED END_REALIGNED SENTENCE"
    rows = ["v v-1-rgb_front s v_0-1-rgb_front 0.4 1.2 It rains.".split(" ", 6)]
    rows += ["v v-1-rgb_front s v_1-1-rgb_front 1.2 1.8 The sun.".split(" ", 6)]
    lines = ["\t".join(header.split()), *("\t".join(row) for row in rows)]
    for split in ("train", "val"):
        text = "\n".join(lines).replace("v_", f"{split}_")
        (folder / f"how2sign_realigned_{split}.csv").write_text(text)
    write(tmp_path / "poses/v-1-rgb_front.npy")
    write(tmp_path / "poses/train_1-1-rgb_front.npy", 15)

    corpus = read_corpus(f"how2sign:{folder}?features={tmp_path / 'poses'}")

    whole, alone = corpus.splits["train"]
    assert (whole.media.name, whole.start_seconds, whole.end_seconds) == (
        *("v-1-rgb_front.npy", 0.4, 1.2),
    )
    assert (alone.media.name, alone.start_seconds) == ("train_1-1-rgb_front.npy", None)


def table_of(tmp_path: Path, **arrays: Any) -> str:
    rows = ["id,media,text,split,end,frame_rate"]
    for number, (name, (values, rest)) in enumerate(arrays.items()):
        np.savez(tmp_path / f"{name}.npz", **values)
        split = "dev" if number else "train"
        rows.append(f"{name},{name}.npz,Text {name}.,{split},{rest}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    return f"table:{tmp_path / 't.csv'}?language=de"


def test_what_a_recipe_cannot_read_is_told_before_training(tmp_path: Path) -> None:
    good = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    nan = np.where(good > 2, np.nan, good)
    spec = table_of(
        tmp_path,
        good=({"values": good}, ","),
        turned=({"values": good.T}, ","),
        late=({"values": good}, "3.0,"),
        other_rate=({"values": good, "rate": 50.0}, ",25"),
        nan=({"values": nan}, ","),
    )

    found = "\n".join(faults_of(spec, deep=True, dim=6))

    assert len(found.splitlines()) == 4
    assert "turned.npz: found an array (6, 50), expected (time, 6)" in found
    assert "ends at 3.00 s, but late.npz is only 2.00 s long" in found
    assert "found 50 rows a second in the file, but a frame rate of 25 in the corpus" in found
    assert "NaN or infinite numbers in" in found
    assert "the recipe cannot read all 5 media, such as" in "\n".join(faults_of(spec, dim=99))


def test_a_recipe_of_video_refuses_arrays(tmp_path: Path) -> None:
    good = np.ones((50, 6), np.float32)
    spec = table_of(tmp_path, one=({"values": good}, ","), two=({"values": good}, ","))
    found = [one for one in told_by(spec, Needs()) if "found array only" in one]
    assert len(found) == 1
    assert "expected video: the recipe has no `array`" in found[0]
