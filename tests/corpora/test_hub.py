"""Miniatures of a hub's data sets as folders; sentences invented for the tests."""

import json

import pytest

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError


def write(folder, *rows, name="metadata.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / name).write_text(lines, encoding="utf-8")
    for row in rows:
        path = folder / row["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def row(name, text="regen", **more):
    return {"file_name": name, "text": text, **more}


def read(root, options="?language=de", faults=None):
    return read_corpus(f"hub:{root}{options}", faults)


def ids(corpus):
    return {name: [row.id for row in rows] for name, rows in corpus.splits.items()}


def test_rows_of_a_folder_for_each_split_become_samples(tmp_path):
    more = {"signer": "Anna", "gloss": "REGEN", "start": 1.5, "end": "00:00:04.000"}
    write(tmp_path / "train", row("a.mp4", " regen\nim süden", **more))
    write(tmp_path / "validation", row("b.mp4"))
    corpus = read(tmp_path)
    assert corpus.split("train")[0] == Sample(
        "train/a",
        tmp_path / "train/a.mp4",
        "regen im süden",
        "train",
        "de",
        signer="Anna",
        gloss="REGEN",
        start_seconds=1.5,
        end_seconds=4.0,
    )
    assert ids(corpus) == {"train": ["train/a"], "dev": ["validation/b"]}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train/a.mp4", "test/b.mp4"], {"train": 1, "test": 1}),
        (["data/training/a.mp4", "data/eval/b.mp4"], {"train": 1, "test": 1}),
        (["my-train/a.mp4", "val_01/b.mp4"], {"train": 1, "dev": 1}),
        (["clips/train_1.mp4", "clips/dev-2.mp4"], {"train": 1, "dev": 1}),
        (["a.mp4", "b.mp4"], {"train": 2}),
        (["contest/a.mp4", "trainer/b.mp4"], {"train": 2}),
        (["Train/a.mp4", "TEST/b.mp4"], {"train": 1, "test": 1}),
    ],
)
def test_splits_are_told_by_folders_else_by_names(tmp_path, names, splits):
    write(tmp_path, *map(row, names))
    found = {name: len(rows) for name, rows in read(tmp_path).splits.items()}
    assert found == splits


def test_files_outside_the_folders_of_splits_are_left_out_and_counted(tmp_path):
    write(tmp_path, row("train/a.mp4"), row("more/b.mp4"))
    corpus = read(tmp_path)
    assert ids(corpus) == {"train": ["train/a"]}
    assert "row in no split, left out: 1 (" in corpus.notes[0]
    assert "'more/b.mp4' lies in no split's folder" in corpus.notes[0]


def test_three_kinds_of_metadata_give_the_same(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [row("a.mp4", 'wind, „sagt" er', id="7"), row("b.mp4", "schnee", id="8")]
    write(tmp_path, *rows)
    expected = read(tmp_path).splits
    (tmp_path / "metadata.jsonl").unlink()
    quoted = (
        f'{one["file_name"]},"{one["text"].replace(chr(34), 2 * chr(34))}",{one["id"]}'
        for one in rows
    )
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,text,id", *quoted]))
    assert read(tmp_path).splits == expected
    (tmp_path / "metadata.csv").unlink()
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "metadata.parquet")
    assert read(tmp_path).splits == expected


@pytest.mark.parametrize("column", ["text", "translation", "sentence", "caption"])
def test_the_text_stands_in_one_of_several_columns(tmp_path, column):
    write(tmp_path, {"file_name": "a.wav", column: "regen", "other": "wind"})
    assert read(tmp_path).split("train")[0].text == "regen"
    assert read(tmp_path, "?language=de&text=other").split("train")[0].text == "wind"
    with pytest.raises(InputError) as error:
        read(tmp_path, "?language=de&text=german")
    assert str(error.value) == (
        f"{tmp_path}/metadata.jsonl: found the columns 'file_name', {column!r}, 'other', expected"
        " 'german'"
    )


def test_a_file_may_be_called_by_its_kind_and_lie_elsewhere(tmp_path):
    folder = tmp_path / "set/train"
    folder.mkdir(parents=True)
    (folder / "metadata.jsonl").write_text('{"video_file_name": "a.mp4", "text": "regen"}\n')
    (tmp_path / "disk/train").mkdir(parents=True)
    (tmp_path / "disk/train/a.mp4").touch()
    corpus = read(tmp_path / "set", f"?language=de&media={tmp_path / 'disk'}")
    assert corpus.split("train")[0].media == tmp_path / "disk/train/a.mp4"


def test_segments_of_one_file_need_ids_of_their_own(tmp_path):
    segments = [row("a.mp4", start=0, end=1), row("a.mp4", start=1, end=2)]
    write(tmp_path, *segments)
    with pytest.raises(InputError, match=r"line 2: id 'a' was seen before"):
        read(tmp_path)
    write(tmp_path, *(one | {"id": number} for number, one in enumerate(segments)))
    assert ids(read(tmp_path)) == {"train": ["0", "1"]}


@pytest.mark.parametrize("name", ["../a.mp4", "/etc/a.mp4", "", "x\\a.mp4", 7, None])
def test_paths_that_leave_the_folder_are_refused(tmp_path, name):
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row(name)))
    with pytest.raises(InputError, match=r"metadata.jsonl, line 1: the field file_name: found"):
        read(tmp_path)


def test_media_that_are_gone_and_rows_without_a_text(tmp_path):
    write(tmp_path, row("a.mp4"), row("b.mp4"), row("c.mp4", None))
    (tmp_path / "b.mp4").unlink()
    with pytest.raises(InputError, match=r"line 2: no media for 'b', expected .*/b.mp4"):
        read(tmp_path)
    corpus = read(tmp_path, "?language=de&missing=skip")
    assert ids(corpus) == {"train": ["a"]}
    assert len(corpus.notes) == 2


def test_a_language_is_needed(tmp_path):
    write(tmp_path, row("a.mp4"))
    with pytest.raises(InputError, match=r"no language, expected \?language=CODE in the spec"):
        read(tmp_path, "")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.jsonl", "{", "line 1: not JSON"),
        ("metadata.jsonl", '{"text": "regen"}', "line 1: no column file_name, found 'text'"),
        ("metadata.jsonl", '{"file_name": "a.mp4", "text": [1]}', "the field text: found"),
        ("metadata.jsonl", '{"file_name": "a.mp4", "text": "x", "start": []}', "the field start"),
        ("metadata.csv", "file_name,text\na.mp4\n", "line 2: found 1 fields, expected 2"),
        ("metadata.csv", 'file_name,text\na.mp4,"x', "wrong quotes"),
        ("metadata.csv", "file_name,text,text\na.mp4,x,y", "line 1: found the column 'text' twice"),
        ("metadata.parquet", "no table", "not readable as Parquet"),
    ],
)
def test_malformed_metadata_is_one_clear_line(tmp_path, name, content, message):
    (tmp_path / "a.mp4").touch()
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name}")
    assert "\n" not in str(error.value)


def test_a_row_with_wrong_quotes_is_told_and_can_be_left_out(tmp_path):
    write(tmp_path, row("a.mp4"), row("b.mp4"))
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "metadata.csv").write_text('file_name,text\na.mp4,"x" y\nb.mp4,regen\n')
    with pytest.raises(InputError, match=r"metadata.csv, line 2: wrong quotes: ',' expected"):
        read(tmp_path)
    assert ids(read(tmp_path, "?language=de&faulty=skip")) == {"train": ["b"]}


def test_no_metadata_and_files_that_no_row_names(tmp_path):
    with pytest.raises(InputError, match=r"found no metadata.jsonl, expected it there or in train"):
        read(tmp_path)
    write(tmp_path, row("a.mp4"))
    (tmp_path / "b.mp4").touch()
    read(tmp_path, faults=(faults := Faults()))
    assert faults.count(FaultKind.MEDIA_WITHOUT_ROW) == 1
