import csv
import io
import json
import re
import sys
import unicodedata
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.reading import Reading, Rows
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.corpora.table import add_table
from unglossed.errors import InputError

COLUMNS = ["id", "media", "text", "split", "start", "end", "signer", "language", "gloss"]
ROWS = [
    [
        "a1",
        "videos/a.mp4",
        "Am Morgen Nebel, dann Sonne.",
        "train",
        "0",
        "2.5",
        "S1",
        "de",
        "NEBEL",
    ],
    [
        "a2",
        "videos/a.mp4",
        'Er sagt: "Es wird kalt."',
        "train",
        "2.5",
        "00:00:04.250",
        "",
        "de",
        "",
    ],
    ["b", "frames/b", "Regen\tim  Norden", "val", "", "", "S2", "de", "REGEN NORD"],
    ["c", "c.wav", "Wind", "test_seen", "", "", "S2", "de", ""],
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("videos/a.mp4", "c.wav"):
        (tmp_path / name).touch()
    (tmp_path / "frames/b").mkdir(parents=True)
    (tmp_path / "frames/b/1.png").touch()
    return tmp_path


def write(folder, name, rows=ROWS, columns=COLUMNS):
    path = folder / name
    if path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        fields = [list(field) for field in zip(*rows, strict=True)]
        parquet.write_table(pyarrow.table(dict(zip(columns, fields, strict=True))), path)
    else:
        text = io.StringIO()
        excel = "excel" if path.suffix == ".csv" else "excel-tab"
        csv.writer(text, excel).writerows([columns, *rows])
        path.write_bytes(text.getvalue().encode())
    return path


def read(path, options="", faults=None):
    return read_corpus(f"table:{path}{options}", faults)


def without(rows, *names, columns=COLUMNS):
    kept = [place for place, name in enumerate(columns) if name not in names]
    return [[row[place] for place in kept] for row in rows], [columns[place] for place in kept]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_rows_become_samples(folder, suffix):
    corpus = read(write(folder, f"own.{suffix}"))
    assert (corpus.name, corpus.language, corpus.notes) == ("table", "de", ())
    assert list(corpus.splits) == ["train", "dev", "test_seen"]
    first, second = corpus.split("train")
    assert first == Sample(
        "a1", folder / "videos/a.mp4", ROWS[0][2], "train", "de", "S1", "NEBEL", 0.0, 2.5
    )
    assert second == Sample(
        "a2", folder / "videos/a.mp4", ROWS[1][2], "train", "de", None, None, 2.5, 4.25
    )
    assert second.media is first.media
    assert corpus.split("dev") == (
        Sample("b", folder / "frames/b", ROWS[2][2], "dev", "de", "S2", "REGEN NORD"),
    )
    assert corpus.split("test_seen")[0].media == folder / "c.wav"


def test_only_four_columns_are_needed_and_others_are_left_aside(folder):
    rows, columns = without(ROWS, "start", "end", "signer", "language", "gloss")
    path = write(folder, "own.csv", [[*row, "x"] for row in rows[2:]], [*columns, "camera"])
    corpus = read(path, "?language=de")
    assert corpus.split("dev") == (Sample("b", folder / "frames/b", ROWS[2][2], "dev", "de"),)


def test_columns_may_have_any_order(folder):
    path = write(folder, "own.csv", [row[::-1] for row in ROWS], COLUMNS[::-1])
    assert read(path).splits == read(write(folder, "same.csv")).splits


def test_media_lie_below_another_folder_or_at_an_absolute_path(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    rows = [list(row) for row in ROWS]
    rows[3][1] = str(folder / "c.wav")
    path = write(elsewhere, "own.csv", rows)
    corpus = read(path, f"?media={folder}")
    assert corpus.split("train")[0].media == folder / "videos/a.mp4"
    assert corpus.split("test_seen")[0].media == folder / "c.wav"


def test_clip_that_is_written_in_two_ways_is_one(folder, monkeypatch):
    (folder / "link").symlink_to("videos")
    names = ["videos/a.mp4", "./videos//a.mp4", "link/a.mp4", f"{folder}/videos/a.mp4"]
    rows = [[f"a{place}", name, *ROWS[0][2:4]] for place, name in enumerate(names)]
    write(folder, "own.csv", rows, COLUMNS[:4])
    (folder / "videos/b.mp4").touch()
    monkeypatch.chdir(folder)
    faults = Faults()
    corpus = read("own.csv", "?language=de", faults)
    assert {sample.media for sample in corpus.split("train")} == {Path("videos/a.mp4")}
    assert [fault.where for fault in faults.examples(FaultKind.MEDIA_WITHOUT_ROW)] == [
        "videos/b.mp4"
    ]


def test_dangling_link_is_missing_media(folder):
    (folder / "videos/x.mp4").symlink_to("gone.mp4")
    (folder / "videos/y.mp4").symlink_to("y.mp4")
    rows = [[name, f"videos/{name}.mp4", *ROWS[0][2:]] for name in "xy"]
    path = write(folder, "own.csv", [*rows, *ROWS])
    with pytest.raises(InputError) as error:
        read(path)
    link = folder / "videos/x.mp4"
    assert str(error.value) == (
        f"{path}, line 2: no media for 'x': {link} is a dangling link, expected {link}"
    )
    corpus = read(path, "?missing=skip")
    assert [sample.id for sample in corpus.split("train")] == ["a1", "a2"]
    assert "left out by the corpus's rules: 2" in corpus.notes[0]


def test_folder_that_cannot_be_listed_is_told_for_its_rows_and_the_others_are_read(folder):
    (folder / "loop").symlink_to("loop")
    rows = [[name, f"{name}/x.mp4", *ROWS[0][2:]] for name in ("loop", "c.wav")]
    path = write(folder, "own.csv", [*rows, *ROWS])
    with pytest.raises(InputError, match=r"line 2: .*/loop: cannot be listed: Too many levels of"):
        read(path)
    faults = Faults()
    assert read(path, "", faults).splits == read(write(folder, "sound.csv")).splits
    assert [str(fault) for fault in faults.examples(FaultKind.UNREADABLE_MEDIA)] == [
        f"{path}, line 2: {folder / 'loop'}: cannot be listed: Too many levels of symbolic links",
        f"{path}, line 3: {folder / 'c.wav'}: cannot be listed: Not a directory",
    ]


def test_missing_media_name_the_place_that_was_looked_at(folder):
    path = write(folder, "own.csv", [["x", "videos/x.mp4", *ROWS[0][2:]], *ROWS])
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}, line 2: no media for 'x', expected {folder / 'videos/x.mp4'}"
    )
    corpus = read(path, "?missing=skip")
    assert [sample.id for sample in corpus.split("train")] == ["a1", "a2"]
    assert "left out by the corpus's rules: 1" in corpus.notes[0]


def test_row_with_an_empty_split_is_malformed(folder):
    path = write(folder, "own.csv", [*ROWS, ["d", "c.wav", "Eis", " ", *ROWS[3][4:]]])
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == f"{path}, line 6: the field split is empty (id 'd')"


def test_language_chooses_rows_where_there_are_several(folder):
    (folder / "e.wav").touch()
    english = ["e", "e.wav", "Wind", "train", "", "", "", "en", ""]
    path = write(folder, "own.csv", [*ROWS, english, [*english[:7], "", ""]])
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}, line 6: language 'en' beside 'de', expected a choice: ?language=de or "
        "?language=en in the spec, or ?language=* for all"
    )
    faults = Faults()
    corpus = read(path, "?language=en", faults)
    assert corpus.language == "en"
    assert [sample.id for sample in corpus.split("train")] == ["e"]
    assert faults.count(FaultKind.LEFT_OUT) == 4
    assert faults.count(FaultKind.DUPLICATE_ID) == 1  # the last row has the language asked for
    assert "language 'de', 'en' was chosen (id 'a1')" in corpus.notes[0]
    assert faults.count(FaultKind.MEDIA_WITHOUT_ROW) == 0


def test_table_that_names_no_language(folder):
    rows, columns = without(ROWS, "language")
    path = write(folder, "own.csv", rows, columns)
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}, line 2: no language, expected the column language or ?language=CODE in the spec"
    )
    assert {sample.language for sample in read(path, "?language=nl").split("train")} == {"nl"}


def test_other_faults_are_found_beside_mixed_languages(folder):
    rows = [*ROWS, ["e", "c.wav", "Fog", "train", "", "", "", "en", ""]]
    faults = Faults()
    read(write(folder, "own.csv", [*rows, ["f", "none.mp4", *ROWS[0][2:]]]), "", faults)
    assert {kind: faults.count(kind) for kind in faults} == {
        FaultKind.MISSING_MEDIA: 1,
        FaultKind.MIXED_LANGUAGES: 1,
    }


def test_language_has_to_be_a_code(folder):
    path = write(folder, "own.csv", [[*ROWS[0][:7], "German", ""]])
    with pytest.raises(InputError, match="line 2: the field language holds 'German', expected a c"):
        read(path)


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("start_seconds", "'start' in seconds"),
        ("Begin", "'start' in seconds"),
        ("end time", "'end' in seconds"),
        ("duration", "'end' in seconds"),
        ("speaker", "'signer'"),
        ("Lang", "'language'"),
        ("glosses", "'gloss'"),
        ("END", "'end' in seconds"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_column_that_looks_like_a_misspelt_one_is_refused(folder, column, meant, suffix):
    name = meant.split("'")[1]
    columns = [column if name == each else each for each in COLUMNS]
    path = write(folder, f"own.{suffix}", ROWS, columns)
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value).endswith(
        f": found the column {column!r}, which is not read; expected {meant}: rename or remove it"
    )


def test_duration_of_a_whole_clip_and_a_second_column_do_no_harm(folder):
    rows, columns = without(ROWS, "start", "end")
    path = write(
        folder, "own.csv", [[*row, "3.5", "x"] for row in rows], [*columns, "duration", "speaker"]
    )
    assert len(read(path).split("train")) == 2


def test_missing_columns_are_named_with_those_found(folder):
    rows, columns = without(ROWS, "text", "split")
    message = "no column text, split, found 'id', 'media', 'start', 'end', 'signer', 'language', "
    for suffix, where in {"csv": ", line 1", "tsv": ", line 1", "parquet": ""}.items():
        path = write(folder, f"own.{suffix}", rows, columns)
        with pytest.raises(InputError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}{where}: {message}")


def test_a_carriage_return_alone_is_called_so(folder):
    path = write(folder, "own.csv")
    path.write_bytes(path.read_bytes().replace(b"NEBEL\r\n", b"NEBEL\r"))
    with pytest.raises(InputError, match=r"line 2: found a carriage return alone, expected it wit"):
        read(path)


def test_semicolons_in_place_of_commas(folder):
    path = write(folder, "own.csv")
    path.write_text("id;media;text;split\na;c.wav;Wind;train\n")
    with pytest.raises(InputError, match=r"line 1: no column id, .* found 'id;media;text;split'"):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",2.5,S1", ",2;5,S1"), "line 2: the field end holds '2;5', exp"),
        (
            lambda text: text.replace(",0,2.5", ",soon,2.5"),
            "line 2: the field start holds 'soon', e",
        ),
        (lambda text: text.replace(",S1,", ","), "line 2: found 8 fields, expected 9"),
        (lambda text: text.replace("videos/a.mp4", "", 1), "line 2: the field media is empty"),
        (lambda text: text.replace("a2,", ",", 1), "line 3: the field id is empty"),
        (
            lambda text: text.replace("a2,", "a1,"),
            "line 3: id 'a1' was seen before .own.csv, line 2",
        ),
        (
            lambda text: text.replace('kalt."""', 'kalt."" x'),
            "line 3: wrong quotes: unexpected end",
        ),
        (lambda text: text.replace('"Am', '"Am" x'), "line 2: wrong quotes: ',' expected after"),
        (lambda text: text.replace("gloss", "text"), "line 1: found the column 'text' twice"),
        (lambda text: text.replace("id,", '"id,'), "line 1: header with wrong quotes"),
        (lambda text: "", "line 1: no column id, media, text, split, found none"),
        (lambda text: text.splitlines()[0], "found no row, expected at least one"),
    ],
)
def test_malformed_table_is_one_clear_line(folder, change, message):
    path = write(folder, "own.csv")
    path.write_bytes(change(path.read_text(encoding="utf-8")).encode())
    with pytest.raises(InputError, match=message) as error:
        read(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0,2.5,", ",2.5,2.5,", "line 2: end 2.5, expected more than the start 2.5 (id 'a1')"),
        (",0,2.5,", ",0,-1,", "line 2: end -1.0, expected more than the start 0.0 (id 'a1')"),
        (",0,2.5,", ",nan,2.5,", "line 2: start nan, expected seconds from 0 (id 'a1')"),
        ("Am Morgen Nebel, dann Sonne.", " ", "line 2: the field text is empty (id 'a1')"),
    ],
)
def test_row_that_gives_no_clip_costs_itself_and_is_told(folder, old, new, message):
    path = write(folder, "own.csv")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    corpus = read(path)
    assert [sample.id for sample in corpus.split("train")] == ["a2"]
    (note,) = corpus.notes
    assert note.startswith("row without a text or a length, left out: 1 (")
    assert message in note


def test_split_of_which_all_rows_give_no_clip_is_an_error_that_says_why(folder):
    path = write(folder, "own.csv")
    path.write_bytes(path.read_bytes().replace(b"Wind", b""))
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: found no row of the split 'test_seen' to use; row without a text or a"
        f" length, left out: 1 ({path}, line 5: the field text is empty (id 'c'))"
    )


def test_text_that_is_not_utf8_names_its_line(folder):
    path = write(folder, "own.csv")
    path.write_bytes(path.read_bytes().replace(b"Wind", b"W\xe4rme"))
    with pytest.raises(InputError, match=r"own.csv, line 5: not UTF-8 .byte 0xe4 at 9"):
        read(path)


def test_byte_order_mark_empty_lines_and_other_line_ends_change_nothing(folder):
    path = write(folder, "own.csv")
    plain = read(path).splits
    text = path.read_text(encoding="utf-8")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\n\n").encode() + b"\r\n\r\n")
    assert read(path).splits == plain


def test_line_break_within_quotes_is_kept_and_counted(folder):
    rows = [["a1", "c.wav", "erst\r\ndann\nso", *ROWS[0][3:]], ["a1", *ROWS[1][1:]]]
    path = write(folder, "own.csv", rows)
    with pytest.raises(InputError, match=r"line 5: id 'a1' was seen before .own.csv, line 2"):
        read(path)
    faults = Faults()
    assert read(path, "", faults).split("train")[0].text == "erst\r\ndann\nso"


JSON_LINES = {
    "no json": "not JSON .Expecting value",
    "[" * 100_000: "not JSON .maximum recursion",
    '["a"]': r"found '\[\"a\"\]', expected a JSON object",
    '{"id": "x", "media": "c.wav"}': "no field text, split, found id, media",
    '{"id": "x", "media": "c.wav", "text": [1], "split": "test"}': r"text: found \[1\], expected",
    '{"id": true, "media": "c.wav", "text": "a", "split": "test"}': "id: found true, expected text",
    '{"id": "x", "media": "c.wav", "text": null, "split": "train"}': "the field text is empty",
    '{"id": "x", "media": "c.wav", "text": "a", "split": "test", "start": true}': "true, expec"
    "ted a number",
    '{"id": "x", "media": "c.wav", "text": "\\ud83d", "split": "test"}': "half of a surrogate pair",
    '{"id": "x", "media": "c.wav", "text": "a", "text": "b", "split": "test"}': "'text' twice",
    '{"id": "x", "media": "c\\u0000", "text": "a", "split": "test"}': "no media for 'x'",
    '{"id": "x", "media": "c\\u0000/x", "text": "a", "split": "test"}': "no media for 'x'",
}


@pytest.mark.parametrize("line", JSON_LINES, ids=lambda line: line[:60])
def test_malformed_json_line_is_left_out_and_the_next_is_read(folder, line):
    path = write(folder, "own.jsonl")
    path.write_text(path.read_text().replace("\n", f"\n{line}\n", 1))
    told = f"own.jsonl, line 2: .*{JSON_LINES[line]}"
    if "text is empty" in told:
        assert re.search(told, read(path).notes[0])
    else:
        with pytest.raises(InputError, match=told):
            read(path)
    faults = Faults()
    assert read(path, "", faults).splits == read(write(folder, "sound.jsonl")).splits
    assert sum(faults.count(kind) for kind in faults) == 1


def test_numbers_become_text_where_text_is_expected(folder):
    row = {"id": 7, "media": "c.wav", "text": "Wind", "split": "test", "signer": 3.0, "start": 1}
    path = folder / "own.jsonl"
    path.write_text(json.dumps(row) + "\n\n")
    (sample,) = read(path, "?language=de").split("test")
    assert (sample.id, sample.signer, sample.start_seconds) == ("7", "3", 1.0)


def test_parquet_keeps_numbers_as_numbers(folder):
    table = pyarrow.table(
        {
            "id": [1, 2, 3],
            "media": pyarrow.array(["c.wav"] * 3).dictionary_encode(),
            "text": ["Wind", None, "Eis"],
            "split": ["test"] * 3,
            "start": pyarrow.array([0.1, 0.5, None], pyarrow.float64()),
            "signer": [[1], [2], None],
        }
    )
    path = folder / "own.parquet"
    parquet.write_table(table, path)
    with pytest.raises(InputError, match=r"own.parquet, row 1: the field signer: found \[1\], exp"):
        read(path, "?language=de")
    parquet.write_table(table.drop_columns("signer"), path)
    first, second = read(path, "?language=de").split("test")
    assert (first.id, first.start_seconds, second.start_seconds) == ("1", 0.1, None)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_nan_is_an_empty_field(folder, suffix):
    nan = float("nan")
    rows = {
        "id": ["a", "b"],
        "media": ["c.wav", "c.wav"],
        "text": ["Wind", "Eis"],
        "split": ["test", "test"],
        "start": [nan, 0.5],
        "end": [1.5, nan],
    }
    path = folder / f"own.{suffix}"

    def store(**fields):
        columns = rows | fields
        if suffix == "parquet":
            parquet.write_table(pyarrow.table(columns), path)
        else:
            lines = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            path.write_text("\n".join(map(json.dumps, lines)))

    store()
    found = read(path, "?language=de").split("test")
    assert [(row.start_seconds, row.end_seconds) for row in found] == [(None, 1.5), (0.5, None)]
    store(text=[nan, nan])
    faults = Faults()
    read(path, "?language=de", faults)
    assert faults.count(FaultKind.USELESS_ROW) == 2
    store(media=[nan, nan])
    with pytest.raises(InputError, match=r"1: the field media is empty"):
        read(path, "?language=de")


def test_file_that_is_no_parquet(folder):
    path = folder / "own.parquet"
    path.write_text("id,media,text,split\n")
    with pytest.raises(
        InputError, match=r"own.parquet, after row 0: not readable as Parquet: "
    ) as error:
        read(path)
    assert "\n" not in str(error.value)
    whole = write(folder, "whole.parquet").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not readable as Parquet"):
        read(path)


def test_parquet_without_its_library_says_what_to_install(folder, monkeypatch):
    path = write(folder, "own.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: reading Parquet needs pyarrow: pip install 'unglossed[parquet]'"
    )


def test_what_is_no_table(folder):
    with pytest.raises(InputError, match=r"found a folder, expected a file .* is folder:"):
        read(folder)
    (folder / "own.xlsx").touch()
    with pytest.raises(
        InputError, match=r"own.xlsx: unknown kind of table, expected .csv, .tsv, .j"
    ):
        read(folder / "own.xlsx")


def test_all_faults_are_collected_in_one_reading(folder):
    bad = [
        ["x1", "none.mp4", *ROWS[0][2:]],
        ["x2", "c.wav", "", *ROWS[0][3:]],
        ["x3", "c.wav", "Eis", "", *ROWS[0][4:]],
        ["x4", "c.wav", "Eis", "train", "two", *ROWS[0][5:]],
        ["x5", "c.wav", "Eis", "train", "2", "1", *ROWS[0][6:]],
        ["a1", "c.wav", "Eis", *ROWS[0][3:]],
        ["x7", "c.wav"],
    ]
    (folder / "videos/unused.mp4").touch()
    (folder / "videos/unused.txt").touch()
    (folder / "frames/unused").mkdir()
    (folder / "frames/unused/1.jpg").touch()
    (folder / "frames/notes").mkdir()
    faults = Faults()
    corpus = read(write(folder, "own.csv", [*bad[:4], *ROWS, *bad[4:]]), "", faults)
    assert {kind: faults.count(kind) for kind in faults} == {
        FaultKind.MISSING_MEDIA: 1,
        FaultKind.USELESS_ROW: 2,
        FaultKind.MALFORMED_ROW: 3,
        FaultKind.DUPLICATE_ID: 1,
        FaultKind.MEDIA_WITHOUT_ROW: 2,
    }
    assert [fault.where for fault in faults.examples(FaultKind.MEDIA_WITHOUT_ROW)] == [
        str(folder / "videos/unused.mp4"),
        str(folder / "frames/unused"),
    ]
    assert corpus.splits == read(write(folder, "sound.csv")).splits


def test_sound_table_has_no_fault(folder):
    faults = Faults()
    read(write(folder, "own.csv"), "", faults)
    assert list(faults) == []


def test_caller_finds_the_media_and_may_know_the_language(folder):
    reading = Reading(spec="", root=folder)
    rows = Rows(reading, "de")
    table, columns = without(ROWS, "language")
    add_table(rows, reading, write(folder, "own.jsonl", table, columns), lambda name: folder / name)
    corpus = rows.corpus("packed")
    assert {sample.media for sample in corpus.split("train")} == {folder / "videos/a.mp4"}
    assert corpus.split("dev")[0].language == "de"


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_odd_texts_survive_a_round_trip(tmp_path_factory, suffix, texts):
    folder = tmp_path_factory.mktemp("table")
    (folder / "c.wav").touch()
    rows = [[f"{n}", "c.wav", text, "train", text] for n, text in enumerate(texts)]
    columns = ["id", "media", "text", "split", "gloss"]
    corpus = read(write(folder, f"own.{suffix}", rows, columns), "?language=de")
    found = corpus.split("train")
    assert [sample.text for sample in found] == [unicodedata.normalize("NFC", t) for t in texts]
    assert [sample.gloss for sample in found] == texts


def test_a_split_in_other_letters_is_told(tmp_path):
    (tmp_path / "a.mp4").touch()
    path = tmp_path / "own.csv"
    path.write_text(
        "id,media,text,split,start,end\n1,a.mp4,Nebel,train,0,1\n2,a.mp4,Wind,Train,1,2\n",
        encoding="utf-8",
    )
    corpus = read_corpus(f"table:{path}?language=de")
    assert list(corpus.splits) == ["train", "Train"]
    assert len(corpus.notes) == 1
    assert "found the split 'Train', which is not 'train'" in corpus.notes[0]


def test_the_wrong_separator_is_told(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("id;media;text;split\n1;a.mp4;Nebel;train\n", encoding="utf-8")
    with pytest.raises(InputError, match="separated by ';': save the table with commas"):
        read_corpus(f"table:{path}?language=de")
