"""Names that differ in their Unicode form alone, as files have that went through a Mac."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from unglossed.corpora.check import check_corpus
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.files import Names, composed, find_path

SHORT = "übung größe"
LONG = unicodedata.normalize("NFD", SHORT)


def write_table(path: Path, media: str) -> str:
    path.write_text(f"id,media,text,split,language\na,{media},Morgen,träin,de\n", encoding="utf-8")
    return f"table:{path}"


@pytest.mark.parametrize(("there", "written"), [(LONG, SHORT), (SHORT, LONG)])
def test_a_table_finds_its_clips_in_either_form(tmp_path: Path, there: str, written: str) -> None:
    (tmp_path / there).mkdir()
    (tmp_path / there / f"{there}.mp4").touch()
    spec = write_table(tmp_path / "own.csv", f"{written}/{written}.mp4")
    faults = Faults()
    (sample,) = read_corpus(spec, faults).split(unicodedata.normalize("NFD", "träin"))
    assert sample.media == tmp_path / there / f"{there}.mp4"
    assert sample.media.exists()
    assert not list(faults)


@pytest.mark.parametrize(("there", "written"), [(LONG, SHORT), (SHORT, LONG)])
def test_captions_find_their_clips_in_either_form(tmp_path: Path, there: str, written: str) -> None:
    (tmp_path / f"{there}.mp4").touch()
    (tmp_path / f"{written}.txt").write_text("Morgen")
    faults = Faults()
    (sample,) = read_corpus(f"folder:{tmp_path}?language=de", faults).split("train")
    assert (sample.id, sample.media) == (written, tmp_path / f"{there}.mp4")
    assert not list(faults)
    folder = tmp_path / "apart" / there
    folder.mkdir(parents=True)
    (folder / "a.mp4").touch()
    (tmp_path / "texts" / written).mkdir(parents=True)
    (tmp_path / "texts" / written / "a.txt").write_text("Morgen")
    spec = f"folder:{tmp_path / 'texts'}?language=de&media={tmp_path / 'apart'}"
    assert read_corpus(spec).split(written)[0].media == folder / "a.mp4"


def test_other_layouts_find_their_clips_in_either_form(tmp_path: Path) -> None:
    (tmp_path / "how2sign_realigned_train.csv").write_text(
        "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE\n"
        f"v\t{SHORT}\ts\t{SHORT}_0\t1.0\t2.0\tgood morning\n"
    )
    (tmp_path / "raw_videos").mkdir()
    (tmp_path / "raw_videos" / f"{LONG}.mp4").touch()
    faults = Faults()
    (sample,) = read_corpus(f"how2sign:{tmp_path}", faults).split("train")
    assert sample.media.exists()
    assert sample.start_seconds == 1.0
    assert not list(faults)


def test_the_exact_form_comes_first_and_two_others_are_no_choice(tmp_path: Path) -> None:
    names = Names({SHORT: 1, LONG: 2, "plain": 3})
    assert (names.find(SHORT), names.find(LONG), names.find("plain")) == (1, 2, 3)
    assert names.find("übrig") is None
    mixed = [LONG.replace("u\u0308", "ü"), LONG.replace("o\u0308", "ö")]
    with pytest.raises(InputError, match="which differ in Unicode form alone, expected one"):
        Names(dict.fromkeys(mixed, 1)).find(SHORT)
    for name in (SHORT, LONG):
        (tmp_path / name).touch()
        assert find_path(tmp_path / name).name == name
    assert find_path(tmp_path / "fehlt ä" / "b").name == "b"


def test_the_path_of_a_spec_may_have_either_form(tmp_path: Path) -> None:
    (tmp_path / LONG).mkdir()
    (tmp_path / LONG / "a.mp4").touch()
    write_table(tmp_path / LONG / "own.csv", "a.mp4")
    assert len(read_corpus(f"table:{tmp_path / SHORT / 'own.csv'}").split("träin")) == 1


def test_capitals_count_but_a_near_miss_is_named(tmp_path: Path) -> None:
    (tmp_path / "Talk.MP4").touch()
    spec = write_table(tmp_path / "own.csv", "talk.mp4")
    with pytest.raises(InputError, match=r"no media for 'a': found Talk\.MP4, whose capitals"):
        read_corpus(spec)
    faults = Faults()
    read_corpus(f"{spec}?missing=skip", faults)
    assert faults.count(FaultKind.LEFT_OUT) == 1


def test_a_deep_check_finds_nothing_wrong_with_either_form(tmp_path: Path) -> None:
    (tmp_path / LONG).mkdir()
    for number in range(6):
        picture = np.random.default_rng(number).integers(0, 255, (32, 48, 3), np.uint8)
        picture[:, 8 * number : 8 * number + 8] = 255
        data = cv2.imencode(".png", picture)[1].tobytes()
        (tmp_path / LONG / f"{number}.png").write_bytes(data)
    report = check_corpus(write_table(tmp_path / "own.csv", SHORT), deep=True, num_workers=1)
    assert list(report.faults) == [FaultKind.MISSING_SPLIT]
    assert composed(LONG) == SHORT
