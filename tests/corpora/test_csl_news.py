"""A miniature of CSL-News with its quirks; sentences invented for the tests."""

import csv
import json

import pytest

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError

NAMES = ("Common-Concerns_20201113_0-287_14330", "20200102_Dragon-TV__0-100_2")
TEXTS = ("今天，有小雨。", "明天是晴天！")


def entry(name, text):
    return {"video": f"{name}.mp4", "pose": f"{name}.pkl", "text": text}


ROWS = [entry(name, text) for name, text in zip(NAMES, TEXTS, strict=True)]


def write(root, rows=ROWS, name="CSL_News_Labels.json", videos="rgb_format"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(rows, ensure_ascii=False, indent=4), encoding="utf-8")
    (root / videos).mkdir(parents=True, exist_ok=True)
    for row in rows:
        (root / videos / row["video"]).touch()
    return root


def read(root, options="", faults=None):
    return read_corpus(f"csl_news:{root}{options}", faults)


def test_entries_become_samples(tmp_path):
    corpus = read(write(tmp_path))
    media = tmp_path / "rgb_format" / f"{NAMES[0]}.mp4"
    assert corpus.split("train") == (
        Sample(NAMES[0], media, TEXTS[0], "train", "zh"),
        Sample(NAMES[1], media.with_name(f"{NAMES[1]}.mp4"), TEXTS[1], "train", "zh"),
    )
    assert (list(corpus.splits), corpus.notes) == (["train"], ())


@pytest.mark.parametrize("folder", ["data/train", "label", "metadata"])
def test_labels_in_the_folders_of_the_hub_and_of_other_copies(tmp_path, folder):
    write(tmp_path)
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "CSL_News_Labels.json").rename(tmp_path / folder / "CSL_News_Labels.json")
    assert len(read(tmp_path).split("train")) == 2
    by_file = read_corpus(f"csl_news:{tmp_path / folder / 'CSL_News_Labels.json'}?media={tmp_path}")
    assert by_file.splits == read(tmp_path).splits


@pytest.mark.parametrize("folder", ["", "rgb", "videos", "rgb/archive_001", "archive_017"])
def test_archives_unpacked_into_one_folder_or_one_each(tmp_path, folder):
    write(tmp_path, videos=folder or ".")
    assert read(tmp_path).split("train")[0].media == tmp_path / folder / f"{NAMES[0]}.mp4"
    write(tmp_path / "labels_alone")
    for path in (tmp_path / "labels_alone/rgb_format").iterdir():
        path.unlink()
    other = read(tmp_path / "labels_alone", f"?media={tmp_path}")
    assert other.split("train")[0].media == tmp_path / folder / f"{NAMES[0]}.mp4"


def test_the_table_of_the_same_content_gives_the_same(tmp_path):
    expected = read(write(tmp_path)).splits
    (tmp_path / "CSL_News_Labels.json").unlink()
    path = tmp_path / "CSL_News_Labels.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["video", "pose", "text"])
        table.writeheader()
        table.writerows(ROWS)
    assert read(tmp_path).splits == expected


def test_further_files_of_labels_are_splits(tmp_path):
    write(tmp_path, ROWS[:1])
    write(tmp_path, ROWS[1:], "CSL_News_Labels.val.json")
    corpus = read(tmp_path)
    assert {name: [row.id for row in rows] for name, rows in corpus.splits.items()} == {
        "train": [NAMES[0]],
        "dev": [NAMES[1]],
    }
    write(tmp_path, ROWS, "CSL_News_Labels.val.json")
    with pytest.raises(InputError, match=r"val.json, entry 1: video .* was seen before"):
        read(tmp_path)


def test_rows_without_a_text_are_left_out_and_counted(tmp_path):
    write(tmp_path, [*ROWS, entry("c", ""), entry("d", None)])
    corpus = read(tmp_path)
    assert len(corpus.split("train")) == 2
    assert corpus.notes[0].startswith("row without a text or a length, left out: 2 (")


def test_clips_of_archives_that_are_not_there(tmp_path):
    write(tmp_path)
    (tmp_path / "rgb_format" / f"{NAMES[1]}.mp4").unlink()
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/CSL_News_Labels.json, entry 2: no media for {NAMES[1]!r}, expected"
        f" {tmp_path}/rgb_format/{NAMES[1]}.mp4"
    )
    corpus = read(tmp_path, "?missing=skip")
    assert [row.id for row in corpus.split("train")] == [NAMES[0]]
    assert corpus.notes[0].startswith("left out by the corpus's rules: 1 (")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "CSL_News_Labels.json: not JSON"),
        ('{"video": 1}', "found a dict, expected a list"),
        ("[1]", "entry 1: found '1', expected an object with video and text"),
        ('[{"text": "雨"}]', "entry 1: the field video is not there, expected text"),
        ('[{"video": "a.mp4", "text": 7}]', "entry 1: the field text holds 7, expected text"),
        ('[{"video": "", "text": "雨"}]', "entry 1: the field video is empty"),
        ('[{"video": "a.mp4", "text": "\\ud800"}]', "entry 1: .* half of a surrogate pair"),
        ('[{"video": "a", "video": "b", "text": "雨"}]', "found the field 'video' twice"),
    ],
)
def test_malformed_labels_are_one_clear_line(tmp_path, content, message):
    (tmp_path / "CSL_News_Labels.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path)
    assert str(error.value).startswith(str(tmp_path / "CSL_News_Labels.json"))


def test_a_table_without_the_columns(tmp_path):
    (tmp_path / "CSL_News_Labels.csv").write_text("name,text\na,b\n")
    with pytest.raises(InputError, match="line 1: no column video, found 'name', 'text'"):
        read(tmp_path)


def test_a_table_with_commas_that_nobody_quoted(tmp_path):
    path = tmp_path / "CSL_News_Labels.csv"
    path.write_text("video,text\na.mp4,今天, 小雨\n")
    told = r"line 2: found 3 fields, expected 2, with quotes around a field that holds ','"
    with pytest.raises(InputError, match=told):
        read(tmp_path)
    path.write_text("video,text\na.mp4\n")
    with pytest.raises(InputError, match=r"line 2: found 1 fields, expected 2$"):
        read(tmp_path)
    path.write_text('video,text\na.mp4,"今天\n')
    with pytest.raises(InputError, match=r"line 2: wrong quotes: unexpected end of data"):
        read(tmp_path)
    path.write_text("video,text,text\na.mp4,a,b\n")
    with pytest.raises(InputError, match="line 1: found the column text twice"):
        read(tmp_path)


def test_no_labels_at_all(tmp_path):
    with pytest.raises(InputError, match=r"found no CSL_News_Labels.json, expected it there or"):
        read(tmp_path)


def test_all_faults_are_collected_in_one_reading(tmp_path):
    write(tmp_path, [*ROWS, ROWS[0], entry("c", "")])
    (tmp_path / "rgb_format/extra.mp4").touch()
    read(tmp_path, faults=(faults := Faults()))
    assert {kind: faults.count(kind) for kind in faults} == {
        FaultKind.DUPLICATE_ID: 1,
        FaultKind.USELESS_ROW: 1,
        FaultKind.MEDIA_WITHOUT_ROW: 1,
    }
