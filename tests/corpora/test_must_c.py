"""A miniature of the MuST-C layout with its quirks; sentences invented for the tests."""

import re
import shutil
import wave

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.must_c import read_segments
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.media.audio import read_audio

# By split: talk, offset, duration, sentence.
ROWS = {
    "train": [
        (7, 0.5, 1.25, 'Er sagte: "Bäume wachsen langsam."'),
        (7, 2.0, 0.05, "Ja."),
        (7, 2.5, 30.5, "Dieser Satz hört nicht auf."),
        (12, 0.0, 0.1, "So."),
        (7, 4.0, 30.0, "Meine Tante hält Bienen."),
    ],
    "dev": [(3, 1.0, 2.0, "Der Schnee kommt dieses Jahr spät.")],
    "tst-COMMON": [(1, 0.25, 0.5, "Danke.")],
    "tst-HE": [(2, 0.0, 1.0, "Guten Morgen.")],
}


def format_segment(talk, offset, duration):
    return (
        f"- {{duration: {duration:f}, offset: {offset:f}, rW: 9, uW: 0, speaker_id: spk.{talk},"
        f" wav: ted_{talk}.wav}}\n"
    )


def write_wav(path):
    """One second at 16 kHz, the value rising from one sample to the next."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.arange(16000, dtype="<i2").tobytes())


def write_pair(base, rows=ROWS):
    language = base.name.partition("-")[2]
    for name, segments in rows.items():
        folder = base / "data" / name
        (folder / "txt").mkdir(parents=True)
        lines = "".join(format_segment(*row[:3]) for row in segments)
        (folder / f"txt/{name}.yaml").write_text(lines)
        texts = "".join(f"{row[3]}\n" for row in segments)
        (folder / f"txt/{name}.{language}").write_text(texts, encoding="utf-8")
        (folder / f"txt/{name}.en").write_text("Well.\n" * len(segments))
        for row in segments:
            write_wav(folder / f"wav/ted_{row[0]}.wav")
    return base


@pytest.fixture
def base(tmp_path):
    return write_pair(tmp_path / "MUST-C/en-de")


def labels(base, split="train", suffix="yaml"):
    return base / "data" / split / "txt" / f"{split}.{suffix}"


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def read(base):
    return read_corpus(f"must_c:{base}")


def test_rows_become_samples(base):
    corpus = read(base)
    sample = corpus.split("train")[0]
    assert sample.media == base / "data/train/wav/ted_7.wav"
    assert (sample.start_seconds, sample.end_seconds) == (0.5, 1.75)
    assert (sample.signer, sample.gloss, sample.split) == ("spk.7", None, "train")


def test_text_is_that_of_the_target_language(base):
    corpus = read(base)
    assert corpus.language == "de"
    assert corpus.split("train")[0].text == 'Er sagte: "Bäume wachsen langsam."'
    assert {row.language for rows in corpus.splits.values() for row in rows} == {"de"}
    assert read_corpus(f"must_c:{base}?language=fr").language == "fr"


def test_what_is_said_is_the_transcript_where_the_release_has_it(base):
    labels(base, suffix="en").write_text("One.\n\nThree.\nFour.\nFive.\n", encoding="utf-8")
    labels(base, "dev", suffix="en").unlink()

    corpus = read(base)

    assert [sample.transcript for sample in corpus.split("train")] == ["One.", "Four.", "Five."]
    assert [sample.transcript for sample in corpus.split("dev")] == [None]


def test_transcripts_that_are_not_as_many_as_the_segments_are_said_and_not_used(base):
    labels(base, suffix="en").write_text("One.\n", encoding="utf-8")

    corpus = read(base)

    assert len(corpus.split("train")) == 3
    assert [sample.transcript for sample in corpus.split("train")] == [None] * 3
    told = "train.en: found 1 lines, expected 5 as train.yaml has segments; not used"
    assert any(told in note for note in corpus.notes)


def test_tst_common_is_test_and_other_splits_keep_their_names(base):
    corpus = read(base)
    assert list(corpus.splits) == ["train", "dev", "test", "tst-HE"]
    assert corpus.split("test")[0].text == "Danke."


def test_id_is_the_talk_and_the_place_in_it_whatever_is_left_out(base):
    # The talk 7 has four segments, of which two are left out, and another talk is between them.
    assert [row.id for row in read(base).split("train")] == ["ted_7_0", "ted_12_0", "ted_7_3"]


def test_segments_of_0_1_to_30_seconds_are_kept_and_others_counted(base):
    corpus = read(base)
    kept = [row.end_seconds - row.start_seconds for row in corpus.split("train")]
    assert kept == [1.25, 0.1, 30.0]
    assert corpus.notes == (
        f"left out by the corpus's rules: 2 ({labels(base)}, entry 2: 'ted_7_1' lasts 0.05 seconds,"
        " expected 0.1 to 30, ...)",
    )


def test_segment_is_cut_from_the_talk_by_offset_and_duration(base):
    sample = read(base).split("test")[0]
    sound = read_audio(sample.media, 16000, sample.start_seconds, sample.end_seconds)
    assert np.rint(sound * 32768).astype(int).tolist() == list(range(4000, 12000))


def test_sentences_are_lines_even_with_rare_line_ends_in_them(base):
    edit(labels(base, suffix="de"), "Bäume wachsen", "Bäume\u2028wachsen")
    assert read(base).split("train")[0].text == 'Er sagte: "Bäume\u2028wachsen langsam."'


@pytest.mark.parametrize("root", [".", "..", "data"])
def test_every_level_of_the_release_is_accepted(base, root):
    assert read((base / root).resolve()).splits == read(base).splits


def test_two_pairs_in_one_folder_have_to_be_told_apart(base):
    write_pair(base.parent / "en-fr", {"train": [(9, 0.0, 1.0, "Bonjour.")]})
    with pytest.raises(InputError) as error:
        read(base.parent)
    assert str(error.value) == (
        f"{base.parent}: found en-de, en-fr, expected one pair: name it, as {base}"
    )
    assert read(base.parent / "en-fr").language == "fr"


def test_media_option_says_where_the_sound_lies(base, tmp_path):
    expected = [row.id for row in read(base).split("train")]
    (tmp_path / "disk").mkdir()
    for name in ROWS:
        shutil.move(base / "data" / name / "wav", tmp_path / "disk" / name)
    corpus = read_corpus(f"must_c:{base}?media={tmp_path / 'disk'}")
    assert [row.id for row in corpus.split("train")] == expected
    assert corpus.split("test")[0].media == tmp_path / "disk/tst-COMMON/ted_1.wav"


def test_number_of_lines_that_is_not_that_of_the_segments(base):
    path = edit(labels(base, suffix="de"), "Ja.\n", "")
    with pytest.raises(InputError) as error:
        read(base)
    assert str(error.value) == f"{path}: found 4 lines, expected 5 as train.yaml has segments"


def test_missing_files_are_one_clear_line(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: found no language pair, expected .*/en-de"):
        read(tmp_path / "empty")
    (tmp_path / "xx-yy").mkdir()
    with pytest.raises(InputError, match=r"xx-yy/data: found no split, expected .*/train.yaml"):
        read(tmp_path / "xx-yy")
    wav = base / "data/dev/wav/ted_3.wav"
    wav.unlink()
    with pytest.raises(InputError) as error:
        read(base)
    assert str(error.value) == (
        f"{labels(base, 'dev')}, entry 1: no media for 'ted_3_0', expected {wav}"
    )
    for suffix in ("de", "yaml"):
        labels(base, "dev", suffix).unlink()
        with pytest.raises(InputError, match=f"dev.{suffix}: cannot be read: No such file"):
            read(base)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("offset: 2.500000", "offset: soon", "entry 3: offset is 'soon', expected seconds"),
        ("duration: 1.250000, ", "", "entry 1: duration is not there, expected seconds"),
        ("duration: 1.25", "duration: -1.25", "entry 1: end -0.75, expected more than the start"),
        ("offset: 0.5", "offset: -0.5", "entry 1: start -0.5, expected seconds from 0"),
        (", wav: ted_7.wav", "", "entry 1: found no wav, expected an audio file"),
        ("wav: ted_7.wav", "wav: [ted_7.wav]", "entry 1: found no wav, expected an audio file"),
        ("- {duration: 1.25", "- word\n- {duration: 1.25", "found 5 lines, expected 6"),
        ("- {duration: 1.25", "- [duration: 1.25", "not YAML in UTF-8: while parsing"),
        ("- {duration: 1.25", "- {duration: \x01", "not YAML in UTF-8"),
        pytest.param("- {duration: 1.25", "[" * 100_000, "found lists in lists", id="deep"),
        ("- {duration: 1.25", "- {duration: *name", "not YAML in UTF-8: found undefined alias"),
    ],
)
def test_malformed_segments_are_one_clear_line(base, old, new, message):
    edit(labels(base), old, new)
    with pytest.raises(InputError, match=message) as error:
        read(base)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"duration: 1.0", b"\xff\xfe"])
def test_file_that_is_no_list_of_segments(base, content):
    labels(base).write_bytes(content)
    with pytest.raises(InputError, match=r"train.yaml: (found no YAML list|found UTF-16)"):
        read(base)


def test_empty_sentence_is_named_by_its_line(base):
    edit(labels(base, suffix="de"), "So.\n", " \n")
    with pytest.raises(InputError, match=r"entry 4: the field line 4 of train.de is empty"):
        read(base)


def test_all_faults_are_collected_in_one_reading(base):
    edit(labels(base), "offset: 0.5", "offset: soon")
    edit(labels(base, suffix="de"), "So.\n", "\n")
    edit(labels(base, "tst-HE"), "duration: 1.0", "duration: -1.0")
    (base / "data/dev/wav/ted_3.wav").unlink()
    write_wav(base / "data/tst-COMMON/wav/ted_99.wav")
    faults = Faults()
    corpus = read_corpus(f"must_c:{base}", faults)
    assert {kind: faults.count(kind) for kind in faults} == {
        FaultKind.MALFORMED_ROW: 1,
        FaultKind.EMPTY_TEXT: 1,
        FaultKind.EMPTY_SPLIT: 2,
        FaultKind.BAD_TIMES: 1,
        FaultKind.MISSING_MEDIA: 1,
        FaultKind.MEDIA_WITHOUT_ROW: 1,
        FaultKind.LEFT_OUT: 2,
    }
    # The malformed segment still counts as the first of its talk.
    assert [row.id for row in corpus.split("train")] == ["ted_7_3"]


PLAIN = st.from_regex(re.compile(r"[a-z0-9_][a-zA-Z0-9_.+-]*"), fullmatch=True)
NAMES = st.from_regex(re.compile(r"[a-zA-Z_]\w*", re.ASCII), fullmatch=True)


@given(st.lists(st.dictionaries(NAMES, PLAIN, min_size=1, max_size=4), min_size=1, max_size=4))
def test_lines_of_a_release_mean_what_yaml_says(tmp_path_factory, segments):
    path = tmp_path_factory.mktemp("segments") / "train.yaml"
    lines = [", ".join(f"{key}: {value}" for key, value in row.items()) for row in segments]
    text = "".join(f"- {{{line}}}\n" for line in lines)
    path.write_text(text)
    assert read_segments(path) == yaml.load(text, Loader=yaml.BaseLoader) == segments


def test_yaml_in_another_style_is_read_as_well(base):
    expected = read(base).splits
    segments = yaml.safe_load(labels(base).read_text())
    for flow in (True, False):
        labels(base).write_text("---\n# segments\n" + yaml.dump(segments, default_flow_style=flow))
        assert read(base).splits == expected
