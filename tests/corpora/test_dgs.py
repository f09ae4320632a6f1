"""A miniature of the Public DGS Corpus with its quirks; sentences invented for the tests."""

import json
import unicodedata

import pytest
from pympi import Elan

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError

ID, OTHER = "1413451-11105600-11163240", "1177918"
GERMAN, ENGLISH = "Deutsche_Übersetzung", "Translation_into_English"
RIGHT, LEFT = "Lexem_Gebärde_r", "Lexem_Gebärde_l"
TIERS = {
    f"{GERMAN}_A": [(1000, 3000, "Ich backe Brot."), (4000, 6000, "Es riecht gut.")],
    f"{ENGLISH}_A": [(1000, 3000, "I bake bread."), (4000, 6000, "It smells nice.")],
    f"{RIGHT}_A": [(1100, 1400, "ICH1"), (2000, 2900, "BROT2"), (5900, 6100, "GUT1")],
    f"{LEFT}_A": [(1500, 1900, "BACKEN1A")],
    f"{GERMAN}_B": [(7000, 8000, "Gib mir ein Stück!")],
    f"{ENGLISH}_B": [(7000, 8000, "Give me a piece!")],
    f"{RIGHT}_B": [(7100, 7500, "GEBEN 3")],
}


def write(folder, id=ID, tiers=TIERS, origin=None):
    folder.mkdir(parents=True, exist_ok=True)
    document = Elan.Eaf()
    video = f"{id}_1a1.mp4"
    document.add_linked_file(f"./{video}", f"./{video}", "video/mp4", time_origin=origin)
    for name, annotations in tiers.items():
        document.add_tier(name)
        for annotation in annotations:
            document.add_annotation(name, *annotation)
    document.to_file(str(folder / f"{id}.eaf"))


@pytest.fixture
def base(tmp_path):
    write(tmp_path / "eaf")
    write(tmp_path / "eaf", OTHER)
    (tmp_path / "videos").mkdir()
    for id in (ID, OTHER):
        for view in ("_1a1", "_1b1", "_1c"):
            (tmp_path / "videos" / f"{id}{view}.mp4").touch()
    return tmp_path


def read(base, options="", faults=None):
    return read_corpus(f"dgs:{base}{options}", faults)


def test_sentences_of_both_people_become_samples_of_their_own_videos(base):
    corpus = read(base)
    rows = [row for row in corpus.split("train") if row.id.startswith(f"{ID}_")]
    assert [row.id for row in rows] == [f"{ID}_A_1", f"{ID}_A_2", f"{ID}_B_1"]
    assert rows[0] == Sample(
        f"{ID}_A_1",
        base / "videos" / f"{ID}_1a1.mp4",
        "Ich backe Brot.",
        "train",
        "de",
        gloss="ICH1 BACKEN1A BROT2",
        start_seconds=1.0,
        end_seconds=3.0,
    )
    assert rows[2].media == base / "videos" / f"{ID}_1b1.mp4"
    assert (list(corpus.splits), corpus.notes) == (["train"], ())


def test_glosses_are_the_signs_of_both_hands_that_lie_within_a_sentence(base):
    rows = {row.id: row.gloss for row in read(base).split("train")}
    assert rows[f"{ID}_A_1"] == "ICH1 BACKEN1A BROT2"
    assert rows[f"{ID}_A_2"] is None  # its sign ends after it
    assert rows[f"{ID}_B_1"] == "GEBEN_3"


def test_the_english_translations_are_chosen_by_their_language(base):
    corpus = read(base, "?language=en")
    assert corpus.language == "en"
    assert corpus.split("train")[0].text == "I bake bread."
    with pytest.raises(InputError, match="language 'fr', expected one of the translations, de or"):
        read(base, "?language=fr")


def test_tiers_of_older_releases_and_in_another_unicode_form(base):
    tiers = {
        unicodedata.normalize("NFD", f"{GERMAN}_A"): [(0, 900, "Hallo.")],
        "Englische_Übersetzung_A": [(0, 900, "Hello.")],
    }
    write(base / "eaf", "77", tiers)
    (base / "videos/77_1a1.mp4").touch()
    for language, text in (("de", "Hallo."), ("en", "Hello.")):
        rows = read(base, f"?language={language}").split("train")
        assert [row.text for row in rows if row.id == "77_A_1"] == [text]


def test_a_conversation_with_one_person_translated_and_one_with_none(base):
    write(base / "eaf", OTHER, {f"{GERMAN}_B": TIERS[f"{GERMAN}_B"]})
    write(base / "eaf", "77", {f"{RIGHT}_A": [(0, 100, "ICH1")]})
    corpus = read(base)
    assert [row.id for row in corpus.split("train") if ID not in row.id] == [f"{OTHER}_B_1"]
    assert corpus.notes == (
        f"left out by the corpus's rules: 1 ({base}/eaf/77.eaf: found no translation, expected a"
        " tier Deutsche_Übersetzung_A)",
    )


def test_times_count_from_the_origin_of_the_video(base):
    write(base / "eaf", origin=40)
    rows = {row.id: row.start_seconds for row in read(base).split("train")}
    assert rows[f"{ID}_A_1"] == 1.04


def test_a_list_of_conversations_makes_the_splits(base):
    listed = {"train": [ID], "validation": [OTHER], "test": ["99"]}
    (base / "split.3.0.0-uzh-document.json").write_text(json.dumps(listed))
    write(base / "eaf", "77")
    faults = Faults()
    read(base, faults=faults)
    assert faults.count(FaultKind.NOT_HERE) == faults.count(FaultKind.NO_SPLIT) == 1
    with pytest.raises(InputError, match=r"found no row of the split 'test' to use"):
        read(base)
    listed.pop("test")
    (base / "split.3.0.0-uzh-document.json").write_text(json.dumps(listed))
    corpus = read(base)
    assert {name: len(rows) for name, rows in corpus.splits.items()} == {"train": 3, "dev": 3}
    assert "'77' is in no split" in corpus.notes[0]
    (base / "split2.json").write_text("{}")
    with pytest.raises(InputError, match="expected one list of splits"):
        read(base)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected {"),
        ('{"train": {"1": ["a"]}}', "'train' is no list of conversations; a list of sentences is"),
        ('{"": ["1"]}', "found the split '', expected a name"),
        ('{"train": ["1"], "dev": ["1"]}', "found '1' in 'train' and in 'dev'"),
    ],
)
def test_malformed_lists_of_splits_are_one_clear_line(base, content, message):
    (base / "split.json").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read(base)
    assert str(error.value).startswith(f"{base}/split.json: ")


def test_files_of_a_conversation_in_a_folder_of_its_own(base):
    expected = read(base)
    for id in (ID, OTHER):
        (base / "videos" / id).mkdir()
        (base / "eaf" / id).mkdir()
        (base / "eaf" / f"{id}.eaf").rename(base / "eaf" / id / f"{id}.eaf")
        for view in ("_1a1", "_1b1", "_1c"):
            name = f"{id}{view}.mp4"
            (base / "videos" / name).rename(base / "videos" / id / name)
    corpus = read(base)
    assert [row.text for row in corpus.split("train")] == [
        row.text for row in expected.split("train")
    ]
    assert corpus.split("train")[0].media.parent.parent == base / "videos"


def test_videos_that_are_gone_or_elsewhere(base, tmp_path_factory):
    (base / "videos" / f"{ID}_1b1.mp4").unlink()
    with pytest.raises(InputError) as error:
        read(base)
    assert str(error.value) == (
        f"{base}/eaf/{ID}.eaf, tier 'Deutsche_Übersetzung_B', annotation 1: no media for"
        f" '{ID}_B_1', expected {base}/videos/{ID}_1b1.mp4"
    )
    assert len(read(base, "?missing=skip").split("train")) == 5
    disk = tmp_path_factory.mktemp("disk")
    (base / "videos").rename(disk / "mp4")
    assert len(read(base, f"?media={disk / 'mp4'}&missing=skip").split("train")) == 5


def test_a_damaged_file_is_one_clear_line(base):
    (base / "eaf" / f"{OTHER}.eaf").write_text("<ANNOTATION_DOCUMENT>")
    with pytest.raises(InputError, match=rf"{OTHER}.eaf, line 1: not XML"):
        read(base)
    assert len(read(base, "?faulty=skip").split("train")) == 3


def test_sentences_without_text_are_left_out_and_counted(base):
    tiers = TIERS | {f"{GERMAN}_A": [(1000, 3000, " "), (4000, 6000, "Es riecht gut.")]}
    write(base / "eaf", OTHER, tiers)
    assert read(base).notes[0].startswith("row without a text or a length, left out: 1 (")


def test_no_files_at_all(tmp_path):
    with pytest.raises(InputError, match=r"found no .eaf files, expected them there or in"):
        read(tmp_path)


@pytest.mark.parametrize("place", ["ilex", "eaf", f"ilex/{ID}"])
def test_exports_of_ilex_alone_are_told_from_elan_files(tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    path = tmp_path / place / f"{ID}.ilex"
    path.write_text("<transcript/>")
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert str(error.value) == (
        f"{path}: found an export of iLex, which is not read, expected the ELAN file of the same"
        f" transcript, {ID}.eaf, in {tmp_path}/eaf"
    )


def test_exports_of_ilex_beside_elan_files_change_nothing_and_without_one_are_counted(base):
    expected = read(base).splits
    (base / "ilex").mkdir()
    for id in (ID, OTHER, "77"):
        (base / "ilex" / f"{id}.ilex").write_text("<transcript/>")
    corpus = read(base)
    assert corpus.splits == expected
    assert corpus.notes == (
        f"listed by the release, not in this copy: 1 ({base}/ilex/77.ilex: an export of iLex is not"
        " read, expected the ELAN file 77.eaf as well)",
    )
