"""Tables as people have them: one for each split, several languages, several texts, no texts."""

import json

import pyarrow
import pytest
from pyarrow import parquet

from unglossed.corpora.check import check_corpus
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).touch()
    return tmp_path


def write(path, rows):
    """Write a table; a row is a dict."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        lines = [mark.join(rows[0]), *(mark.join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines), encoding="utf-8")
    return path


def row(name, text="Wind", **more):
    return {"id": name, "media": f"{name}.wav", "text": text} | more


def ids(corpus):
    return {split: [sample.id for sample in rows] for split, rows in corpus.splits.items()}


def test_folder_of_tables_that_are_called_as_splits(folder):
    write(folder / "test.parquet", [row("c")])
    write(folder / "valid.jsonl", [row("b", split="dev")])
    write(folder / "train.tsv", [row("a")])
    write(folder / "notes.csv", [{"what": "this is no corpus"}])
    corpus = read_corpus(f"table:{folder}?language=de")
    assert ids(corpus) == {"train": ["a"], "dev": ["b"], "test": ["c"]}
    assert f"{folder / 'notes.csv'}: its name is none of train, dev, test" in corpus.notes[0]


def test_folder_with_two_tables_for_a_split(folder):
    for name in ("dev.csv", "val.tsv"):
        write(folder / name, [row("a")])
    with pytest.raises(
        InputError, match=r"found dev.csv and val.tsv for the split dev, expected o"
    ):
        read_corpus(f"table:{folder}?language=de")


def test_id_of_two_tables_and_a_row_of_another_split(folder):
    write(folder / "train.csv", [row("a", split="train"), row("b", split="test")])
    write(folder / "dev.csv", [row("a")])
    faults = Faults()
    assert ids(read_corpus(f"table:{folder}?language=de", faults)) == {"train": ["a"]}
    (wrong,) = faults.examples(FaultKind.MALFORMED_ROW)
    assert str(wrong).endswith("line 3: the field split holds 'test', expected 'train' (id 'b')")
    (twice,) = faults.examples(FaultKind.DUPLICATE_ID)
    assert "id 'a' was seen before (train.csv, line 2)" in twice.text


def test_split_of_all_rows_is_said_in_the_spec(folder):
    path = write(folder / "mine.csv", [row("a")])
    with pytest.raises(
        InputError, match=r"no column split, found .*; \?split=train says it for all"
    ):
        read_corpus(f"table:{path}?language=de")
    assert ids(read_corpus(f"table:{path}?language=de&split=val")) == {"dev": ["a"]}


def test_all_languages_of_a_table_are_read_where_asked_for(folder):
    rows = [row("a", "Wind", language="de"), row("b", "wind", language="en"), row("c", "Eis")]
    path = write(folder / "train.jsonl", [*rows[:2], row("c", "Eis", language="de")])
    corpus = read_corpus(f"table:{path}?split=train&language=*")
    assert [sample.language for sample in corpus.split("train")] == ["de", "en", "de"]
    assert (corpus.language, corpus.languages) == ("de", ("de", "en"))
    write(path, rows)
    faults = Faults()
    read_corpus(f"table:{path}?split=train&language=*", faults)
    (fault,) = faults.examples(FaultKind.MALFORMED_ROW)
    assert fault.text == "the field language is empty, expected a code as de, en, zh (id 'c')"
    with pytest.raises(InputError, match="language '\\*', which is for table, packed"):
        read_corpus(f"folder:{folder}?language=*")


def test_each_unknown_language_of_several_is_told(folder):
    path = write(folder / "a.jsonl", [row("a", language="ase"), row("b", language="en")])
    faults = check_corpus(f"table:{path}?split=train&language=*").faults
    assert faults.count(FaultKind.UNKNOWN_LANGUAGE) == 1


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_further_texts_in_columns_are_references(folder, suffix):
    more = {"text_10": "zehn", "text_2": "zwei"}
    path = write(folder / f"own.{suffix}", [row("a", **more), row("b", text_10="", text_2=" ")])
    samples = read_corpus(f"table:{path}?split=test&language=de").split("test")
    assert [sample.references for sample in samples] == [("zwei", "zehn"), ()]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_list_of_texts_holds_references(folder, suffix):
    texts = ["Wind", "gru\u0308n", " ", "Bo\u0308e"]
    path = write(folder / f"own.{suffix}", [row("a", texts), row("b", ["Eis"]), row("c", [])])
    corpus = read_corpus(f"table:{path}?split=test&language=de")
    assert [(one.text, one.references) for one in corpus.split("test")] == [
        ("Wind", ("grün", "Böe")),
        ("Eis", ()),
    ]
    assert "the field text is empty (id 'c')" in corpus.notes[0]


def test_rows_of_one_id_are_references_where_asked_for(folder):
    rows = [row("a"), row("b"), row("a", "Sturm"), row("b", "Eis") | {"media": "c.wav"}]
    path = write(folder / "own.csv", rows)
    with pytest.raises(InputError, match="line 4: id 'a' was seen before"):
        read_corpus(f"table:{path}?split=test&language=de")
    faults = Faults()
    corpus = read_corpus(f"table:{path}?split=test&language=de&references=rows", faults)
    assert [(one.text, one.references) for one in corpus.split("test")] == [
        ("Wind", ("Sturm",)),
        ("Wind", ()),
    ]
    (fault,) = faults.examples(FaultKind.DUPLICATE_ID)
    assert fault.text.startswith("id 'b' was seen before (own.csv, line 3) with other media, times")


@pytest.mark.parametrize("name", ["text2", "Text_2", "text 3", "text_1"])
def test_column_that_looks_like_a_further_text_is_refused(folder, name):
    path = write(folder / "own.csv", [row("a", **{name: "x"})])
    with pytest.raises(
        InputError, match=f"found the column '{name}', which is not read; expected 't"
    ):
        read_corpus(f"table:{path}?split=test&language=de")


def test_times_without_texts_are_read_to_be_translated(folder):
    rows = [{"id": "a", "media": "a.wav", "start": 1, "end": "00:00:02,500"}]
    path = write(folder / "own.tsv", rows)
    with pytest.raises(InputError, match=r"no column text, split, found"):
        read_corpus(f"table:{path}?language=de")
    with pytest.raises(InputError, match=r"no column text, .*; `unglossed translate` alone takes"):
        read_corpus(f"table:{path}?language=de&split=test")
    (sample,) = read_corpus(f"table:{path}?language=de", texts="optional").split("test")
    assert (sample.text, sample.start_seconds, sample.end_seconds) == ("", 1, 2.5)
    write(path, [row("a", ""), row("b", " ")])
    with pytest.raises(InputError, match="rows without a text are for `unglossed translate` alone"):
        read_corpus(f"table:{path}?language=de&split=test")


def test_cues_without_texts_are_read_to_be_translated(folder):
    srt = "1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:03,000 --> 00:00:03,000\n\n"
    (folder / "a.srt").write_text(srt)
    corpus = read_corpus(f"folder:{folder}?language=de", texts="optional")
    assert ids(corpus) == {"train": ["a_1"]}
    with pytest.raises(InputError, match=r"it has no text, .*for `unglossed translate` alone"):
        read_corpus(f"folder:{folder}?language=de")


def test_rows_that_cannot_be_used_are_left_out_where_asked_for(folder):
    lines = ["id,media,text,split", "a,a.wav,Wind,train", "b,b.wav", "a,a.wav,Eis,train"]
    path = folder / "own.csv"
    path.write_bytes("\n".join([*lines, "c,c.wav,W\u00e4rme,train"]).encode("latin-1"))
    corpus = read_corpus(f"table:{path}?language=de&faulty=skip")
    assert ids(corpus) == {"train": ["a"]}
    assert corpus.notes[0].startswith("left out by the corpus's rules: 3 (")
    with pytest.raises(InputError, match="faulty 'no', expected skip"):
        read_corpus(f"table:{path}?language=de&faulty=no")


def test_paths_of_windows_and_digits_with_underscores(folder):
    (folder / "clips").mkdir()
    (folder / "clips/d.wav").touch()
    path = write(
        folder / "own.jsonl", [row("d") | {"media": "clips\\d.wav"}, row("a", start="1_0")]
    )
    faults = Faults()
    corpus = read_corpus(f"table:{path}?language=de&split=train", faults)
    assert [one.media for one in corpus.split("train")] == [folder / "clips/d.wav"]
    (fault,) = faults.examples(FaultKind.MALFORMED_ROW)
    assert "the field start holds '1_0', expected seconds" in fault.text
