import json
import shutil
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.phoenix14t import (
    AnnotationRow,
    annotation_path,
    format_annotations,
    read_annotations,
)
from unglossed.corpora.reading import Reading
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.media.frames import read_frames


def read(base):
    return read_corpus(f"phoenix14t:{base}")


def edit(base, split, change):
    path = annotation_path(base, split)
    path.write_bytes(change(path.read_bytes()))
    return path


def test_rows_become_samples(write_corpus_folder):
    base = write_corpus_folder()
    corpus = read(base)
    assert list(corpus.splits) == ["train", "dev", "test"]
    assert [len(rows) for rows in corpus.splits.values()] == [2, 1, 1]
    first = corpus.split("train")[0]
    assert first.id == "01May_2010-1"
    assert first.text == 'morgen fällt im norden „etwas" regen'
    assert (first.split, first.signer, first.language) == ("train", "Signer01", "de")
    assert first.gloss == "MORGEN NORD REGEN"
    assert (first.start_seconds, first.end_seconds) == (None, None)
    # Two quirks at once: `video` names a folder "1" which is not there, and one frame is a gap.
    assert read_frames(first.media)[:, 0, 0, 0].tolist() == [40, 80, 160]


def test_every_level_of_the_release_is_accepted(write_corpus_folder):
    base = write_corpus_folder()
    splits = [read(root).splits for root in (base, base.parent, base.parent.parent)]
    assert splits[0] == splits[1] == splits[2]


def test_split_of_its_own_name_is_found_and_files_without_frames_are_left(write_corpus_folder):
    base = write_corpus_folder()
    train = annotation_path(base, "train")
    shutil.copy(train, annotation_path(base, "train-complex-annotation"))
    extra = annotation_path(base, "test_seen")
    extra.write_text(train.read_text().replace("01May", "05May"))
    frames = base / "features/fullFrame-210x260px"
    for number in (1, 2):
        (frames / "test_seen" / f"05May_2010-{number}").mkdir(parents=True)
    assert list(read(base).splits) == ["train", "dev", "test", "test_seen"]


def test_missing_split_lists_those_there_are(write_corpus_folder):
    base = write_corpus_folder()
    annotation_path(base, "dev").unlink()
    corpus = read(base)
    with pytest.raises(InputError, match="no split 'dev', expected train, test"):
        corpus.split("dev")


def test_frames_at_another_size(write_corpus_folder):
    base = write_corpus_folder()
    frames = base / "features/fullFrame-210x260px"
    frames.rename(frames.with_name("fullFrame-256x256px"))
    assert read(base).split("dev")[0].media.parent.parent.name == "fullFrame-256x256px"


def test_frames_lie_where_the_user_says(write_corpus_folder, tmp_path):
    base = write_corpus_folder()
    (base / "features/fullFrame-210x260px").rename(tmp_path / "elsewhere")
    corpus = read_corpus(f"phoenix14t:{base}?media={tmp_path / 'elsewhere'}")
    assert corpus.split("dev")[0].media == tmp_path / "elsewhere/dev/02May_2010-1"


def test_videos_in_place_of_frame_folders(write_corpus_folder):
    base = write_corpus_folder()
    for split in ("train", "dev", "test"):
        folder = base / "features/fullFrame-210x260px" / split
        (base / "videos" / split).mkdir(parents=True)
        for clip in folder.iterdir():
            (base / "videos" / split / f"{clip.name}.mp4").touch()
    shutil.rmtree(base / "features")
    assert read(base).split("dev")[0].media == base / "videos/dev/02May_2010-1.mp4"


def test_text_is_composed_but_otherwise_raw(write_corpus_folder):
    text = unicodedata.normalize("NFD", " für morgen:  'schön' ")
    base = write_corpus_folder({"train": [("a", "Signer01", "G", text)]})
    assert read(base).split("train")[0].text == " für morgen:  'schön' "


def test_byte_order_mark_and_windows_lines(write_corpus_folder):
    base = write_corpus_folder()
    before = read(base).splits
    edit(base, "dev", lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    assert read(base).splits == before


def test_generated_corpus_says_its_language_and_the_user_has_the_last_word(write_corpus_folder):
    base = write_corpus_folder()
    (base.parent / "generated.json").write_text(json.dumps({"language": "zh"}))
    assert read(base).language == "zh"
    corpus = read_corpus(f"phoenix14t:{base.parent}?language=en")
    assert corpus.language == "en"
    assert {sample.language for sample in corpus.split("train")} == {"en"}


def test_row_with_six_fields(write_corpus_folder):
    base = write_corpus_folder()
    path = edit(base, "train", lambda data: data.replace(b"|Signer02", b""))
    with pytest.raises(InputError) as error:
        read(base)
    assert str(error.value) == (
        f"{path}, line 3: found 6 fields, expected 7 "
        "(name|video|start|end|speaker|orth|translation)"
    )


def test_frame_folder_missing_for_a_row(write_corpus_folder):
    base = write_corpus_folder()
    folder = base / "features/fullFrame-210x260px/train/01May_2010-2"
    shutil.rmtree(folder)
    with pytest.raises(InputError) as error:
        read(base)
    path = annotation_path(base, "train")
    assert str(error.value) == (f"{path}, line 3: no media for '01May_2010-2', expected {folder}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.replace(b"orth", b"gloss"), r"line 1: header 'name\|.*gloss.*expected"),
        (lambda data: data[data.index(b"\n") + 1 :], "line 1: header '01May"),
        (lambda data: b"", "line 1: header ''"),
        (lambda data: data.splitlines(keepends=True)[0], "found no row of the split 'train'"),
        (lambda data: data.replace("überall viel sonne".encode(), b"  "), "line 3: .*translation"),
        (lambda data: data.replace(b"\n01May_2010-2|", b"\n|"), "line 3: the field name is empty"),
        (lambda data: data.replace(b"01May_2010-2|", b"01May_2010-1|"), "line 3: name .* line 2"),
        (lambda data: data.replace("ä".encode(), "ä".encode("latin-1")), "not UTF-8 .byte 0xe4"),
        (lambda data: data.replace(b"\n01May_2010-2", b"\n\n01May_2010-2"), "line 3: found 1 fie"),
    ],
)
def test_malformed_annotation_is_one_clear_line(write_corpus_folder, change, message):
    base = write_corpus_folder()
    path = edit(base, "train", change)
    with pytest.raises(InputError, match=message) as error:
        read(base)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_same_name_in_two_splits(write_corpus_folder):
    row = ("a", "Signer01", "G", "heute wolken")
    base = write_corpus_folder({"train": [row], "dev": [row]})
    with pytest.raises(InputError, match=r"name 'a' was seen before .annotations/manual/PHO"):
        read(base)


def test_rows_without_frames_are_left_out_and_counted_where_the_user_says_so(write_corpus_folder):
    base = write_corpus_folder()
    shutil.rmtree(base / "features/fullFrame-210x260px/train/01May_2010-2")
    corpus = read_corpus(f"phoenix14t:{base}?missing=skip")
    assert [sample.id for sample in corpus.split("train")] == ["01May_2010-1"]
    assert len(corpus.notes) == 1
    assert "left out by the corpus's rules: 1" in corpus.notes[0]
    assert "no media for '01May_2010-2'" in corpus.notes[0]


def test_all_faults_are_collected_in_one_reading(write_corpus_folder):
    base = write_corpus_folder()
    edit(base, "train", lambda data: data.replace(b"|Signer02", b""))
    edit(base, "dev", lambda data: data.replace("ä".encode(), b"\xe4"))
    shutil.rmtree(base / "features/fullFrame-210x260px/test/03May_2010-1")
    (base / "features/fullFrame-210x260px/test/09May_2010-1").mkdir()
    faults = Faults()
    corpus = read_corpus(f"phoenix14t:{base}", faults)
    assert {kind: faults.count(kind) for kind in faults} == {
        FaultKind.MALFORMED_ROW: 1,
        FaultKind.NOT_UTF8: 1,
        FaultKind.MISSING_MEDIA: 1,
        FaultKind.MEDIA_WITHOUT_ROW: 2,  # that of the malformed row as well
        FaultKind.EMPTY_SPLIT: 1,
    }
    assert [len(corpus.split(name)) for name in ("train", "dev")] == [1, 1]


def test_split_without_any_frames(write_corpus_folder):
    base = write_corpus_folder()
    shutil.rmtree(base / "features/fullFrame-210x260px/dev")
    with pytest.raises(InputError, match=r"dev.corpus.csv, line 2: no media for '02May_2010-1'"):
        read(base)
    skipped = read_corpus(f"phoenix14t:{base}?missing=skip")
    assert list(skipped.splits) == ["train", "test"]
    assert "found no row of the split 'dev'" not in skipped.notes[0]
    assert "left out by the corpus's rules: 2" in skipped.notes[0]  # the row, then the split


def test_only_the_split_that_is_used_needs_its_frames(write_corpus_folder):
    base = write_corpus_folder()
    shutil.rmtree(base / "features/fullFrame-210x260px/dev")
    corpus = read_corpus(f"phoenix14t:{base}", only="test")
    assert len(corpus.split("test")) == 1
    assert "dev" not in corpus.splits
    assert "no media for '02May_2010-1'" in corpus.notes[0]
    with pytest.raises(InputError, match=r"dev.corpus.csv, line 2: no media"):
        read_corpus(f"phoenix14t:{base}", only="dev")


def test_folder_that_is_no_corpus(tmp_path):
    with pytest.raises(InputError, match=r"found no annotations.manual, expected .*PHOENIX-2014-T"):
        read(tmp_path)
    (tmp_path / "annotations/manual").mkdir(parents=True)
    with pytest.raises(InputError, match=r"found no annotation file, expected PHOENIX-2014-T."):
        read(tmp_path)


FIELD = st.text(st.characters(exclude_characters="|\r\n", exclude_categories=("Cs",)), max_size=12)
FILLED = FIELD.filter(lambda text: text.strip())


@given(
    st.lists(
        st.builds(
            AnnotationRow,
            name=FILLED,
            video=FIELD,
            start=FIELD,
            end=FIELD,
            speaker=FIELD,
            orth=FIELD,
            translation=FILLED.map(lambda text: unicodedata.normalize("NFC", text)),
        ),
        max_size=4,
    )
)
def test_annotations_survive_a_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "PHOENIX-2014-T.train.corpus.csv"
    path.write_bytes(format_annotations(rows).encode())
    reading = Reading(spec="", root=path)
    assert list(read_annotations(reading, path)) == list(enumerate(rows, start=2))


def test_dangling_links_are_missing_media(write_corpus_folder):
    base = write_corpus_folder()
    clip = base / "features/fullFrame-210x260px/train/01May_2010-1"
    shutil.rmtree(clip)
    clip.symlink_to(base / "gone")
    with pytest.raises(
        InputError, match=rf"no media for '01May_2010-1': {clip} is a dangling link"
    ):
        read(base)
    corpus = read_corpus(f"phoenix14t:{base}?missing=skip")
    assert len(corpus.split("train")) == 1
