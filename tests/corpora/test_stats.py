"""The numbers of `corpus_stats` against ones counted by hand, and the files of `write_stats`."""

import json
import wave
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from unglossed.cli import app
from unglossed.corpora.stats import check_output, corpus_stats, write_stats
from unglossed.errors import InputError
from unglossed.plots import draw_histograms


def write_frames(folder: Path, num_frames: int) -> None:
    folder.mkdir(parents=True)
    for number in range(num_frames):
        assert cv2.imwrite(str(folder / f"{number:03d}.png"), np.zeros((8, 8, 3), np.uint8))


def write_all(stats, folder):
    """What `corpus stats --output` writes."""
    write_stats(stats, folder)
    draw_histograms(folder, stats.seconds, stats.num_words, stats.signers)


def write_table(folder: Path, rows: list[dict[str, str]], language: str = "de") -> str:
    for length in (25, 50):
        write_frames(folder / f"frames{length}", length)
    lines = [
        json.dumps({"id": f"clip{number}", "split": "train", "language": language} | row)
        for number, row in enumerate(rows)
    ]
    (folder / "own.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"table:{folder / 'own.jsonl'}"


ROWS = [
    {"media": "frames50", "signer": "Anna", "text": "der Hund bellt, der Hund!", "gloss": "HUND X"},
    {"media": "frames25", "signer": "Bela", "text": "die Katze schläft .", "gloss": "KATZE"},
    # Half a second, and a quarter: the folder ends at 1 second.
    {"media": "frames25", "signer": "Anna", "text": "Hund", "start": "0", "end": "0.5"},
    {"media": "frames25", "signer": "Anna", "text": "Hund", "start": "0.75", "end": "9"},
    {"media": "frames50", "signer": "Cem", "text": "die Katze schläft .", "split": "dev"},
    {"media": "frames50", "text": "Der Esel 3,5 bellt, bellt: ja", "split": "test"},
]


@pytest.fixture
def stats(tmp_path):
    return corpus_stats(write_table(tmp_path, ROWS))


def test_numbers_are_those_counted_by_hand(stats):
    train, dev, test = (stats.splits[name] for name in ("train", "dev", "test"))
    assert (train.num_samples, dev.num_samples, test.num_samples) == (4, 1, 1)
    assert train.hours == pytest.approx((2 + 1 + 0.5 + 0.25) / 3600)
    assert (train.num_signers, dev.num_signers, test.num_signers) == (2, 1, None)
    # der Hund bellt der Hund, die Katze schläft, Hund, Hund; a stop and a comma are no words.
    assert (train.num_running_words, train.num_words) == (10, 6)
    assert train.num_singletons == 4  # bellt, die, Katze, schläft
    assert (train.num_unknown_words, dev.num_unknown_words) == (None, 0)
    # Der Esel 3,5 bellt bellt ja: upper case is another word, and a number is one.
    assert (test.num_running_words, test.num_words, test.num_unknown_words) == (6, 5, 4)
    assert test.unknown_share == pytest.approx(4 / 6)
    assert (train.num_sentences, dev.num_sentences) == (3, 1)
    assert (dev.num_sentences_in_train, test.num_sentences_in_train) == (1, 0)
    assert (train.num_glosses, train.num_running_glosses, dev.num_glosses) == (3, 3, None)


def test_total_is_of_all_splits(stats):
    assert stats.total.num_samples == 6
    assert stats.total.num_words == 6 + 4
    assert stats.total.num_running_words == 10 + 3 + 6
    assert stats.total.num_sentences == 4
    assert stats.total.num_signers == 3
    assert stats.total.hours == pytest.approx(sum(part.hours for part in stats.splits.values()))


def test_lengths_are_those_that_training_reads(stats):
    spread = stats.splits["train"].seconds_per_clip
    assert (spread.minimum, spread.maximum) == (0.25, 2.0)
    assert spread.mean == pytest.approx(3.75 / 4)
    assert spread.median == pytest.approx(0.75)
    assert spread.low == pytest.approx(np.percentile([2, 1, 0.5, 0.25], 5))
    assert spread.high == pytest.approx(np.percentile([2, 1, 0.5, 0.25], 95))
    frames = stats.splits["train"].frames_per_clip
    assert (frames.minimum, frames.maximum) == (6, 50)
    words = stats.splits["train"].words_per_sentence
    assert (words.minimum, words.median, words.mean, words.maximum) == (1, 2, 2.5, 5)


@pytest.mark.parametrize(
    ("language", "train", "dev", "counts", "told"),
    [
        ("zh", "今天天气好。", "你好吗？OK", [5, 4, 4, 3], "each Chinese character is one"),
        ("ja", "今日は、晴れです。", "今日は雨", [7, 7, 4, 1], "(char: each character is one)"),
    ],
)
def test_languages_without_spaces_are_counted_in_characters(
    language, train, dev, counts, told, tmp_path
):
    rows = [
        {"media": "frames25", "text": train},
        {"media": "frames50", "text": dev, "split": "dev"},
    ]
    stats = corpus_stats(write_table(tmp_path, rows, language=language))
    of_train, of_dev = stats.splits["train"], stats.splits["dev"]
    found = [of_train.num_running_words, of_train.num_words]
    assert [*found, of_dev.num_running_words, of_dev.num_unknown_words] == counts
    assert told in str(stats)


def test_another_code_of_chinese_is_counted_as_chinese(tmp_path):
    spec = write_table(tmp_path, [{"media": "frames25", "text": "你好吗？OK"}], language="cmn")
    assert corpus_stats(spec).total.num_running_words == 4


def test_a_language_whose_words_are_not_known_is_refused(tmp_path):
    spec = write_table(tmp_path, [{"media": "frames25", "text": "moin"}], language="xx")
    with pytest.raises(InputError, match="language: found 'xx'"):
        corpus_stats(spec)


def test_words_without_punctuation_are_what_stands_between_spaces(tmp_path):
    # The vocabulary that papers give for PHOENIX14T is counted so.
    texts = ["am tag scheint im süden die sonne", "im osten minus fünf grad", "s' wird kälter"]
    stats = corpus_stats(
        write_table(tmp_path, [{"media": "frames25", "text": text} for text in texts])
    )
    words = " ".join(texts).split(" ")
    assert stats.total.num_running_words == len(words)
    assert stats.total.num_words == len(set(words))


def test_sound_has_seconds_but_no_frames(tmp_path):
    with wave.open(str(tmp_path / "talk.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(bytes(2 * 16000 * 3))
    row = {"media": "talk.wav", "text": "a", "start": "1", "signer": "Bela"}
    stats = corpus_stats(write_table(tmp_path, [row]))
    assert stats.total.seconds_per_clip.maximum == pytest.approx(2.0)
    assert stats.total.frames_per_clip is None
    assert "frames" not in str(stats).partition("\n")[2]
    assert "speakers" in str(stats)
    assert "signers" not in str(stats)


def test_table_says_each_number_and_what_a_word_is(stats):
    lines = str(stats).splitlines()
    cells = {line[:37].strip(): line[37:].split() for line in lines[1:14]}
    assert cells[""] == ["train", "dev", "test", "total"]
    assert cells["samples"] == ["4", "1", "1", "6"]
    assert cells["signers"] == ["2", "1", "-", "3"]
    assert cells["singletons"] == ["4", "-", "-", "-"]
    assert cells["out of vocabulary, words"] == ["-", "0", "4", "-"]
    assert cells["out of vocabulary, % of running words"] == ["-", "0.00", "66.67", "-"]
    assert "  train" in "\n".join(lines)
    assert "13a" in lines[-1]
    assert "letter or a digit" in lines[-1]


def test_one_split_needs_no_total(tmp_path):
    stats = corpus_stats(write_table(tmp_path, ROWS[:2]))
    assert "total" not in str(stats).partition("\n")[2]
    assert stats.to_dict()["total"]["num_samples"] == 2


def test_media_that_cannot_be_read_are_named(tmp_path):
    spec = write_table(tmp_path, [{"media": "frames25", "text": "a"}, {"media": "x", "text": "b"}])
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError, match=r"x: found no frame") as error:
        corpus_stats(spec)
    assert "\n" not in str(error.value)


def test_clip_past_the_end_is_named(tmp_path):
    row = {"media": "frames25", "text": "a", "start": "3", "end": "4"}
    with pytest.raises(InputError, match=r"train clip 'clip0': begins at 3.00 s, but .*frames25"):
        corpus_stats(write_table(tmp_path, [row]))


def test_files_are_written_and_others_stay(stats, tmp_path):
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    write_all(stats, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "clip_seconds.svg",
        "mine.txt",
        "samples_per_signer.svg",
        "stats.json",
        "words_per_sentence.svg",
    ]
    written = json.loads((folder / "stats.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(stats.to_dict()))
    assert written["splits"]["test"]["num_unknown_words"] == 4
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_all(stats, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_figures_are_svg_with_labelled_axes(stats, tmp_path):
    write_all(stats, tmp_path / "figures")

    def words_in(name):
        root = ElementTree.parse(tmp_path / "figures" / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        return {"".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")}

    assert {"length of a clip (seconds)", "train (4)", "dev (1)"} <= words_in("clip_seconds.svg")
    assert {"words in a sentence", "test (1)"} <= words_in("words_per_sentence.svg")
    assert {"samples", "signer", "Anna", "Bela", "Cem"} <= words_in("samples_per_signer.svg")


def test_without_signers_there_is_no_figure_of_them(tmp_path):
    stats = corpus_stats(write_table(tmp_path, [{"media": "frames25", "text": "ein Wort"}]))
    write_all(stats, tmp_path / "figures")
    assert not (tmp_path / "figures/samples_per_signer.svg").exists()
    assert "signers" not in str(stats).partition("\n")[2]


def test_many_signers_are_cut_to_those_who_sign_most(tmp_path):
    rows = [
        {"media": "frames50", "text": f"Satz {n}", "signer": f"$S{n:02d}", "end": f"{0.1 + n / 50}"}
        for n in range(40)
    ]
    rows += [row | {"start": "0.05"} for row in rows[35:]]
    stats = corpus_stats(write_table(tmp_path, rows))
    write_all(stats, tmp_path / "figures")
    figure = (tmp_path / "figures/samples_per_signer.svg").read_text(encoding="utf-8")
    assert "the 30 of 40 signers with the most samples" in figure
    assert "$S39" in figure
    assert "$S30" not in figure


def test_what_the_reader_left_out_is_told(tmp_path):
    rows = [{"media": "frames25", "text": "ein Wort"}, {"media": "lost", "text": "zwei"}]
    spec = f"{write_table(tmp_path, rows)}?missing=skip"
    (note,) = corpus_stats(spec).notes
    assert note.startswith("left out by the corpus's rules: 1 (")
    run = CliRunner().invoke(app, ["corpus", "stats", spec, "--json"])
    assert run.stderr == f"note: {note}\n"
    assert json.loads(run.stdout)["notes"] == [note]


@pytest.mark.parametrize("place", ["/proc/nobody/figures", "file", "file/figures"])
def test_folder_that_cannot_be_written_is_told_before_the_work(tmp_path, place):
    (tmp_path / "file").touch()
    output = tmp_path / place
    # The corpus is not there either, and would be missed first.
    run = CliRunner().invoke(app, ["corpus", "stats", "table:none.csv", "--output", str(output)])
    assert run.exit_code == 2
    assert run.stderr.startswith(f"error: {output}: ")
    assert run.stderr.endswith("expected a folder to write the figures to\n")
    assert run.stderr.count("\n") == 1


def test_looking_whether_a_folder_can_be_written_leaves_nothing(tmp_path):
    check_output(tmp_path / "a/b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    check_output(tmp_path / "a")
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


def test_languages_are_counted_apart_and_further_references_are_counted(tmp_path):
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a/1.png"), np.zeros((8, 8, 3), np.uint8))
    texts = {
        ("train", "de"): ["die Sonne", "die Sonne scheint"],
        ("train", "zh"): ["今天"],
        ("dev", "de"): ["die Sonne"],
    }
    rows = [
        {"id": f"{split}{code}", "media": "a", "split": split, "language": code, "text": text}
        for (split, code), text in texts.items()
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    stats = corpus_stats(f"table:{tmp_path / 'own.jsonl'}?language=*")
    assert list(stats.splits) == ["train de", "dev de", "train zh"]
    assert [part.num_running_words for part in stats.splits.values()] == [2, 2, 2]
    assert stats.splits["dev de"].num_unknown_words == 0
    assert (stats.splits["train de"].num_references, stats.total.num_references) == (1, 1)
    assert stats.splits["train zh"].num_singletons == 2
    assert "zh: zh: each Chinese character is one" in stats.words
    assert "further references" in str(stats)
