"""A miniature of the OpenASL layout with its quirks; sentences invented for the tests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny import edit
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.openasl import parse_seconds
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError

HEADER = "vid\tyid\tstart\tend\traw-text\ttokenized-text\tgloss\tsplit"
NEWS, TALK = "-newsOfDay1", "talk_about2"
# By row: video, start, end, sentence, split.
ROWS = [
    (NEWS, "00:00:01.500", "00:00:04.250", 'The mayor said, "Trees grow slowly."', "train"),
    (NEWS, "01:02:03.004", "01:02:05.000", "Snow is late this year.", "valid"),
    (TALK, "00:00:00.000", "00:00:02.000", "My cousin keeps bees.", "test"),
]


def name_clip(row):
    return f"{row[0]}-{row[1]}-{row[2]}"


VIDS = [name_clip(row) for row in ROWS]
BOXES = {VIDS[0]: [0.25, 0.0, 0.75, 1.0], VIDS[2]: [0, 0.125, 1, 0.5]}


def write_table(path, header=HEADER, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header]
    for row in rows:
        tokens = row[3].lower().replace(".", " .")
        lines.append(
            "\t".join([name_clip(row), row[0], row[1], row[2], row[3], tokens, "", row[4]])
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.mp4").touch()


@pytest.fixture
def table(tmp_path):
    """The release beside whole videos, with boxes."""
    table = write_table(tmp_path / "OpenASL/data/openasl-v1.0.tsv")
    table.with_name("bbox-v1.0.json").write_text(json.dumps(BOXES))
    touch(tmp_path / "OpenASL/raw-video", NEWS, TALK)
    return table


@pytest.fixture
def base(table):
    return table.parent.parent


def read(base):
    return read_corpus(f"openasl:{base}")


def samples(corpus):
    return [sample for rows in corpus.splits.values() for sample in rows]


def test_rows_become_samples(base):
    corpus = read(base)
    sample = corpus.split("train")[0]
    assert sample.id == "-newsOfDay1-00:00:01.500-00:00:04.250"
    assert sample.media == base / "raw-video" / f"{NEWS}.mp4"
    assert sample.text == 'The mayor said, "Trees grow slowly."'
    assert (sample.split, sample.language, sample.signer) == ("train", "en", None)
    assert corpus.notes == ()


def test_valid_is_dev(base):
    corpus = read(base)
    assert list(corpus.splits) == ["train", "dev", "test"]
    assert corpus.split("dev")[0].text == "Snow is late this year."


def test_clock_times_become_seconds(base):
    times = [(sample.start_seconds, sample.end_seconds) for sample in samples(read(base))]
    assert times == [(1.5, 4.25), (3723.004, 3725.0), (0.0, 2.0)]


def test_times_may_be_seconds(base, table):
    write_table(table, rows=[(NEWS, "1.5", "4.25", "Snow is late this year.", "train")])
    sample = read(base).split("train")[0]
    assert (sample.start_seconds, sample.end_seconds) == (1.5, 4.25)


@given(st.integers(0, 10**8))
def test_any_time_is_read_in_both_ways(milliseconds):
    minutes, rest = divmod(milliseconds, 60_000)
    clock = f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
    assert parse_seconds(clock) == pytest.approx(milliseconds / 1000, abs=1e-6)
    assert parse_seconds(f"{milliseconds / 1000}") == milliseconds / 1000


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "00:61:00", "00:00:61.0", "-00:00:01.0"])
def test_what_is_no_time(text):
    assert parse_seconds(text) is None


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("raw-text", "raw_text"),
        ("raw-text", "Raw Text"),
        ("raw-text", "text"),
        ("start", "start_time"),
        ("end", "End-Time"),
    ],
)
def test_columns_of_other_releases_are_matched_by_name(base, table, column, name):
    expected = read(base).splits
    edit(table, f"\t{column}\t", f"\t{name}\t")
    assert read(base).splits == expected


def test_columns_may_come_in_another_order(base, table):
    expected = read(base).splits
    lines = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    table.write_text("".join("\t".join(reversed(line)) + "\n" for line in lines), encoding="utf-8")
    assert read(base).splits == expected


def test_unknown_columns_are_listed_in_the_error(base, table):
    edit(edit(table, "\traw-text\t", "\tcaption\t"), "yid\t", "youtube\t")
    with pytest.raises(InputError) as error:
        read(base)
    assert str(error.value) == (
        f"{table}, line 1: found the columns 'vid, youtube, start, end, caption, tokenized-text,"
        " gloss, split', expected also yid, raw-text, separated by tabs"
    )


def test_boxes_belong_to_the_clips_of_whole_videos(base):
    boxes = [sample.box for sample in samples(read(base))]
    assert boxes == [(0.25, 0.0, 0.75, 1.0), None, (0.0, 0.125, 1.0, 0.5)]


def test_without_the_file_of_boxes_the_whole_picture_is_used(base, table):
    table.with_name("bbox-v1.0.json").unlink()
    assert [sample.box for sample in samples(read(base))] == [None, None, None]


@pytest.mark.parametrize(
    "box",
    [
        [0.25, 0.0, 1.25, 1.0],
        [-0.01, 0.0, 0.5, 1.0],
        [0.75, 0.0, 0.25, 1.0],
        [0.25, 0.5, 0.75, 0.5],
        [0.25, 0.0, 0.25, 1.0],
        [0.25, 0.0, 0.75],
        [0.25, 0.0, "0.75", 1.0],
        [0.25, 0.0, float("nan"), 1.0],
        {"x0": 0},
        None,
    ],
)
def test_box_that_is_none(base, table, box):
    boxes = table.with_name("bbox-v1.0.json")
    boxes.write_text(json.dumps({**BOXES, VIDS[0]: box}))
    with pytest.raises(InputError) as error:
        read(base)
    assert str(error.value).startswith(f"{boxes}, {VIDS[0]}: box ")
    assert str(error.value).endswith("expected [x0, y0, x1, y1] in 0..1 with x0 < x1, y0 < y1")


@pytest.mark.parametrize("text", ["{", "[1, 2]", "\x00", pytest.param("[" * 100_000, id="deep")])
def test_file_of_boxes_that_is_none(base, table, text):
    boxes = table.with_name("bbox-v1.0.json")
    boxes.write_text(text)
    with pytest.raises(InputError, match=r"no JSON object|not JSON") as error:
        read(base)
    assert str(error.value).startswith(str(boxes))


@pytest.mark.parametrize("mark", [":", "%", "_", "-"])
def test_clip_names_hold_colons_or_what_a_file_system_wants_in_their_place(base, table, mark):
    names = [vid.replace(":", mark) for vid in VIDS]
    touch(base / "video-clip", *names)
    rows = samples(read(base))
    assert [sample.id for sample in rows] == VIDS
    assert [sample.media for sample in rows] == [
        base / "video-clip" / f"{name}.mp4" for name in names
    ]
    assert {(sample.start_seconds, sample.end_seconds) for sample in rows} == {(None, None)}


def test_boxes_are_not_used_twice_on_clips_that_are_cut_to_them(base, table):
    touch(base / "video-clip", VIDS[0])
    corpus = read(base)
    assert [sample.box for sample in samples(corpus)] == [None, None, (0.0, 0.125, 1.0, 0.5)]
    assert corpus.notes == (
        f"left out by the corpus's rules: 1 ({table.with_name('bbox-v1.0.json')}: boxes of 1"
        " ready-made clips, which are cut to their boxes already)",
    )


@pytest.mark.parametrize("folder", ["raw-video", "videos", "clips", ".", "data"])
def test_videos_in_the_folders_of_other_copies(base, folder):
    for name in (NEWS, TALK):
        (base / "raw-video" / f"{name}.mp4").unlink()
    touch(base / folder, NEWS, TALK)
    assert read(base).split("test")[0].media == base / folder / f"{TALK}.mp4"


def test_media_option_says_where_the_videos_lie(base, tmp_path):
    touch(tmp_path / "disk", NEWS, TALK)
    corpus = read_corpus(f"openasl:{base}?media={tmp_path / 'disk'}")
    assert {sample.media.parent for sample in samples(corpus)} == {tmp_path / "disk"}


@pytest.mark.parametrize("root", [".", "..", "data", "data/openasl-v1.0.tsv"])
def test_every_level_of_the_release_is_accepted(base, root):
    assert read((base / root).resolve()).splits == read(base).splits


def test_tables_of_other_names(base, table):
    expected = read(base).splits
    table = table.rename(table.with_name("openasl-v2.0.tsv"))
    assert read(base).splits == expected
    write_table(table.with_name("openasl-small.tsv"), rows=ROWS[:1])
    with pytest.raises(InputError, match=r"found openasl-small.tsv, openasl-v2.0.tsv, expected"):
        read(base)
    assert list(read(table.with_name("openasl-small.tsv")).splits) == ["train"]


def test_videos_that_are_gone_are_left_out_where_the_user_says_so(base, table):
    (base / "raw-video" / f"{NEWS}.mp4").unlink()
    with pytest.raises(InputError) as error:
        read(base)
    assert str(error.value) == (
        f"{table}, line 2: no media for {VIDS[0]!r}, expected {base}/raw-video/{NEWS}.mp4, or the"
        f" clip {VIDS[0]}.mp4"
    )
    corpus = read_corpus(f"openasl:{base}?missing=skip")
    assert [sample.id for sample in samples(corpus)] == VIDS[2:]
    assert "left out by the corpus's rules: 2" in corpus.notes[0]


def test_row_in_no_split_is_left_out_and_said(base, table):
    edit(table, "\tvalid\n", "\t\n")
    corpus = read(base)
    assert list(corpus.splits) == ["train", "test"]
    assert corpus.notes == (
        f"row in no split, left out: 1 ({table}, line 3: {VIDS[1]!r} is in no split)",
    )


def test_generated_corpus_says_its_language_and_the_user_has_the_last_word(base):
    (base.parent / "generated.json").write_text(json.dumps({"language": "de"}))
    assert read(base).language == "de"
    assert read_corpus(f"openasl:{base}?language=zh").language == "zh"


def test_missing_table_is_one_clear_line(tmp_path):
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: found no openasl*.tsv, expected {tmp_path}/data/openasl-v1.0.tsv"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t00:00:01.500\t", "\tsoon\t", "line 2: start is 'soon', expected seconds or HH:MM"),
        ("\t00:00:04.250\t", "\t\t", "line 2: end is '', expected seconds or HH:MM:SS.mmm"),
        ("\t00:00:04.250\t", "\t00:00:01.5\t", "line 2: end 1.5, expected more than the start 1.5"),
        ("\tMy cousin keeps bees.\t", "\t\t", "line 4: the field raw-text is empty"),
        (VIDS[1], VIDS[0], "line 3: vid .* was seen before .data/openasl-v1.0.tsv, "),
        ("\t\tvalid", "\tvalid", "line 3: found 7 fields, expected 8"),
    ],
)
def test_malformed_table_is_one_clear_line(base, table, old, new, message):
    edit(table, old, new)
    with pytest.raises(InputError, match=message) as error:
        read(base)
    assert str(error.value).startswith(str(table))


def test_all_faults_are_collected_in_one_reading(base, table):
    more = [
        (TALK, "soon", "00:00:09.000", "This row has no start.", "train"),
        (TALK, "00:00:08.000", "00:00:07.000", "This row ends too early.", "train"),
        (TALK, "00:00:08.000", "00:00:09.000", "", "train"),
        (TALK, "00:00:10.000", "00:00:11.000", "This row has a strange box.", "train"),
        ("gone_video3", "00:00:10.000", "00:00:11.000", "This row has no video.", "train"),
        (TALK, "00:00:12.000", "00:00:13.000", "This row is sound.", "train"),
    ]
    write_table(table, rows=ROWS + more)
    boxes = {**BOXES, name_clip(more[3]): [0, 0, 2, 2]}
    table.with_name("bbox-v1.0.json").write_text(json.dumps(boxes))
    touch(base / "raw-video", "not_in_tabl")
    faults = Faults()
    corpus = read_corpus(f"openasl:{base}", faults)
    assert {kind: faults.count(kind) for kind in faults} == {
        FaultKind.MALFORMED_ROW: 2,
        FaultKind.EMPTY_TEXT: 1,
        FaultKind.BAD_TIMES: 1,
        FaultKind.MISSING_MEDIA: 1,
        FaultKind.MEDIA_WITHOUT_ROW: 1,
    }
    assert corpus.split("train")[-1].text == "This row is sound."


def test_dangling_link_is_missing_media(base):
    video = base / f"raw-video/{TALK}.mp4"
    video.unlink()
    video.symlink_to(video.name)
    with pytest.raises(InputError, match=f"no media for '{VIDS[2]}': {video} is a dangling link, "):
        read(base)
    assert len(samples(read(f"{base}?missing=skip"))) == 2
