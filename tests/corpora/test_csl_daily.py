"""A miniature of the CSL-Daily layout with its quirks; sentences invented for the tests."""

import json
import pickle
import shutil

import cv2
import numpy as np
import pytest

from tiny import edit
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.media.frames import read_frames

RAIN = "S000000_P0000_T00", "今天 下午 小雨 带 伞", "今 天 下 午 有 小 雨 ， 出 门 带 伞 。"
RAIN_AGAIN = "S000000_P0004_T00", RAIN[1], RAIN[2]
COLD = "S000001_P0003_T01", "明天 北方 冷", "明 天 北 方 会 变 冷 吗 ？"
# As in the release: one clip is in no split, and one name of the splits has no label.
IN_NO_SPLIT = "S000007_P0003_T00", "你 好", "你 好 ！"
SPLITS = [
    (RAIN[0], "dev"),
    (RAIN_AGAIN[0], "test"),
    (COLD[0], "train"),
    ("S000005_P0004_T00", "train"),
]


def write_labels(base, rows=(RAIN, RAIN_AGAIN, COLD, IN_NO_SPLIT), splits=SPLITS):
    folder = base / "sentence_label"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["index|name|length|gloss|char|word|postag"]
    for index, (name, gloss, char) in enumerate(rows):
        word = char.replace(" ", "")
        lines.append(f"{index}|{name}|{3 + index}|{gloss}|{char}|{word}|n")
    (folder / "video_map.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = ["name|split", *(f"{name}|{split}" for name, split in splits)]
    (folder / "split_1.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_clips(base, folder="sentence/frames_512x512"):
    for name, _, _ in (RAIN, RAIN_AGAIN, COLD, IN_NO_SPLIT):
        (base / folder / name).mkdir(parents=True)
        for number in range(3):
            picture = np.full((16, 16, 3), 60 * number, np.uint8)
            cv2.imwrite(str(base / folder / name / f"{number:06d}.jpg"), picture)


def write_videos(base, folder="sentence-crop"):
    (base / folder).mkdir(parents=True)
    for name, _, _ in (RAIN, RAIN_AGAIN, COLD, IN_NO_SPLIT):
        (base / folder / f"{name}.mp4").touch()


@pytest.fixture
def base(tmp_path):
    base = tmp_path / "csl-daily"
    write_labels(base)
    write_clips(base)
    return base


def read(base):
    return read_corpus(f"csl_daily:{base}")


def ids(corpus):
    return {split: [sample.id for sample in rows] for split, rows in corpus.splits.items()}


def test_rows_become_samples(base):
    corpus = read(base)
    assert ids(corpus) == {"train": [COLD[0]], "dev": [RAIN[0]], "test": [RAIN_AGAIN[0]]}
    sample = corpus.split("train")[0]
    assert sample.media == base / "sentence/frames_512x512" / COLD[0]
    assert (sample.split, sample.language, sample.gloss) == ("train", "zh", "明天 北方 冷")
    assert (sample.start_seconds, sample.end_seconds) == (None, None)


def test_text_is_the_characters_without_spaces_and_full_width_marks_stay(base):
    corpus = read(base)
    assert corpus.split("train")[0].text == "明天北方会变冷吗？"
    assert corpus.split("dev")[0].text == "今天下午有小雨，出门带伞。"


def test_signer_comes_from_the_name(base):
    corpus = read(base)
    assert [rows[0].signer for rows in corpus.splits.values()] == ["P0003", "P0000", "P0004"]


def test_clip_in_no_split_is_left_out_and_said(base):
    corpus = read(base)
    assert all(IN_NO_SPLIT[0] not in names for names in ids(corpus).values())
    path = base / "sentence_label/video_map.txt"
    assert (
        f"row in no split, left out: 1 ({path}, line 5: {IN_NO_SPLIT[0]!r} is in no split of"
        " split_1.txt)"
    ) in corpus.notes


def test_name_in_the_splits_without_a_label_is_left_out_and_said(base):
    path = base / "sentence_label/split_1.txt"
    assert (
        f"left out by the corpus's rules: 1 ({path}, line 5: 'S000005_P0004_T00' has no line in"
        " video_map.txt)"
    ) in read(base).notes


def test_name_with_an_empty_split_is_in_no_split(base):
    edit(base / "sentence_label/split_1.txt", f"{RAIN[0]}|dev", f"{RAIN[0]}| ")
    faults = Faults()
    corpus = read_corpus(f"csl_daily:{base}", faults)
    assert ids(corpus) == {"train": [COLD[0]], "test": [RAIN_AGAIN[0]]}
    assert faults.count(FaultKind.NO_SPLIT) == 2
    assert faults.count(FaultKind.EMPTY_SPLIT) == 0


def test_name_of_another_form_has_no_signer(base):
    for path in ("video_map.txt", "split_1.txt"):
        edit(base / "sentence_label" / path, COLD[0], "cold")
    frames = base / "sentence/frames_512x512"
    (frames / COLD[0]).rename(frames / "cold")
    sample = read(base).split("train")[0]
    assert (sample.id, sample.signer, sample.media) == ("cold", None, frames / "cold")


def test_sentences_of_test_that_also_occur_in_dev_stay_in_both(base):
    corpus = read(base)
    assert corpus.split("dev")[0].text == corpus.split("test")[0].text


def test_frames_are_jpeg_numbered_from_0_with_six_digits(base):
    frames = read_frames(read(base).split("dev")[0].media)
    assert np.abs(frames[:, 8, 8, 0].astype(int) - [0, 60, 120]).max() <= 2


@pytest.mark.parametrize(
    "folder",
    [
        "sentences/frames_512x512",
        "sentence/frames_256x256",
        "sentence_frames-512x512/frames_512x512",
    ],
)
def test_frames_in_the_folders_of_other_copies(base, folder):
    (base / folder).parent.mkdir(exist_ok=True)
    (base / "sentence/frames_512x512").rename(base / folder)
    assert read(base).split("dev")[0].media == base / folder / RAIN[0]


@pytest.mark.parametrize("folder", ["sentence-crop", "sentence", "sentences"])
def test_videos_of_the_newer_release(base, folder):
    shutil.rmtree(base / "sentence")
    write_videos(base, folder)
    # Their numbers of frames are not those of the column `length`, which is therefore left aside.
    edit(base / "sentence_label/video_map.txt", f"{COLD[0]}|5|", f"{COLD[0]}|5000|")
    assert read(base).split("train")[0].media == base / folder / f"{COLD[0]}.mp4"


def test_official_frames_come_before_other_sizes_and_videos(base):
    write_clips(base, "sentence/frames_128x128")
    write_videos(base)
    assert read(base).split("dev")[0].media.parent.name == "frames_512x512"


def test_media_option_says_where_the_clips_lie(base, tmp_path):
    shutil.move(base / "sentence", tmp_path / "disk")
    for folder in (tmp_path / "disk", tmp_path / "disk/frames_512x512"):
        corpus = read_corpus(f"csl_daily:{base}?media={folder}")
        assert corpus.split("dev")[0].media == tmp_path / "disk/frames_512x512" / RAIN[0]


def test_pickle_gives_what_the_text_file_gives(base):
    expected = read(base).splits
    path = base / "sentence_label/video_map.txt"
    info = [
        {
            "name": name,
            "length": 3,
            "label_gloss": gloss.split(),
            "label_char": char.split(),
            "label_word": [char.replace(" ", "")],
            "label_postag": ["n"],
        }
        for name, gloss, char in (RAIN, RAIN_AGAIN, COLD, IN_NO_SPLIT)
    ]
    path.with_name("csl2020ct_v2.pkl").write_bytes(pickle.dumps({"info": info}))
    edit(path, "明 天 北", "后 天 南")
    assert read(base).split("train")[0].text == "后天南方会变冷吗？"  # the text file comes first
    path.unlink()
    corpus = read(base)
    assert corpus.splits == expected
    assert any("csl2020ct_v2.pkl, entry 4" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "found no list under 'info'"),
        ({"info": {"name": "a"}}, "found no list under 'info'"),
        ({"info": ["a"]}, "entry 1: expected a name, and lists of words"),
        ({"info": [{"name": "a", "label_gloss": [], "label_char": "ab"}]}, "entry 1: expected a n"),
    ],
)
def test_pickle_that_is_another(base, content, message):
    path = base / "sentence_label/csl2020ct_v2.pkl"
    path.write_bytes(pickle.dumps(content))
    path.with_name("video_map.txt").unlink()
    with pytest.raises(InputError, match=message) as error:
        read(base)
    assert str(error.value).startswith(str(path))


def test_every_level_of_the_release_is_accepted(base):
    expected = ids(read(base))
    for root in (base.parent, base / "sentence_label", base / "sentence"):
        assert ids(read(root)) == expected


def test_splits_of_other_names_are_kept(base):
    edit(base / "sentence_label/split_1.txt", f"{RAIN[0]}|dev", f"{RAIN[0]}|test_seen")
    assert list(read(base).splits) == ["train", "test", "test_seen"]


def test_generated_corpus_says_its_language_and_the_user_has_the_last_word(base):
    for folder in (base.parent, base):
        note = folder / "generated.json"
        note.write_text(json.dumps({"language": "en"}))
        assert read(base).language == "en"
        assert read_corpus(f"csl_daily:{base}?language=de").language == "de"
        note.unlink()


def test_missing_files_are_one_clear_line(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: found no sentence_label, expected .*video_map"):
        read(tmp_path / "empty")
    labels = base / "sentence_label"
    (labels / "video_map.txt").unlink()
    with pytest.raises(InputError) as error:
        read(base)
    assert str(error.value) == (
        f"{labels / 'video_map.txt'}: not found, and no csl2020ct_v2.pkl, expected one of them"
    )
    (labels / "split_1.txt").unlink()
    with pytest.raises(InputError, match=r"split_1.txt: cannot be read: No such file"):
        read(base)
    shutil.rmtree(base / "sentence")
    with pytest.raises(InputError, match=r"found no clips, expected .*sentence/frames_512x512"):
        read(base)


def test_header_of_another_file(base):
    path = edit(base / "sentence_label/video_map.txt", "|char|", "|text|")
    with pytest.raises(InputError, match=r"line 1: header 'index\|.*' has no char, expected index"):
        read(base)
    edit(path, "|text|", "|char|")
    edit(path.with_name("split_1.txt"), "name|split", "name,split")
    with pytest.raises(
        InputError, match=r"split_1.txt, line 1: header 'name,split' has no name, sp"
    ):
        read(base)


def test_all_faults_are_collected_in_one_reading(base):
    write_labels(
        base,
        [RAIN, RAIN_AGAIN, COLD, COLD, IN_NO_SPLIT, ("S000009_P0001_T00", "", "")],
        [*SPLITS, ("S000009_P0001_T00", "train"), (RAIN[0], "test")],
    )
    edit(base / "sentence_label/video_map.txt", "|n\n5|", "|n|n\n5|")
    shutil.rmtree(base / "sentence/frames_512x512" / RAIN[0])
    (base / "sentence/frames_512x512/S000010_P0001_T00").mkdir()
    faults = Faults()
    corpus = read_corpus(f"csl_daily:{base}", faults)
    assert {kind: faults.count(kind) for kind in faults} == {
        FaultKind.MALFORMED_ROW: 1,
        FaultKind.DUPLICATE_ID: 2,  # of a label, and of a name in the splits
        FaultKind.EMPTY_TEXT: 1,
        FaultKind.EMPTY_SPLIT: 1,
        FaultKind.MISSING_MEDIA: 1,
        FaultKind.MEDIA_WITHOUT_ROW: 2,  # that of the malformed row as well
        FaultKind.LEFT_OUT: 1,
    }
    assert ids(corpus) == {"train": [COLD[0]], "dev": [], "test": [RAIN_AGAIN[0]]}


def test_rows_without_a_clip_are_left_out_where_the_user_says_so(base):
    shutil.rmtree(base / "sentence/frames_512x512" / COLD[0])
    with pytest.raises(
        InputError, match=r"video_map.txt, line 4: no media for 'S000001_P0003_T01'"
    ):
        read(base)
    edit(base / "sentence_label/split_1.txt", f"{RAIN[0]}|dev", f"{RAIN[0]}|train")
    corpus = read_corpus(f"csl_daily:{base}?missing=skip")
    assert ids(corpus) == {"train": [RAIN[0]], "test": [RAIN_AGAIN[0]]}
    assert any("left out by the corpus's rules: 2" in note for note in corpus.notes)
