import pytest

from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError


def vtt(*cues):
    """A WebVTT file of cues: begin and end in thousandths of a second, text."""
    lines = ["WEBVTT", "Kind: captions", "Language: en"]
    for start, end, text in cues:
        stamps = (
            f"00:{ms // 60000:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}" for ms in (start, end)
        )
        lines += ["", " --> ".join(stamps), text]
    return "\n".join(lines) + "\n"


def write(folder, name, *cues):
    folder.mkdir(exist_ok=True)
    (folder / f"{name.partition('.')[0]}.mp4").touch()
    (folder / f"{name}.vtt").write_text(vtt(*cues), encoding="utf-8")


def read(root, options="", faults=None):
    return read_corpus(f"youtube_asl:{root}{options}", faults)


def test_cues_of_videos_become_samples_also_where_an_id_begins_with_a_hyphen(tmp_path):
    write(tmp_path, "-Ab_3xyz_0Q.en", (1000, 3500, "we talk\nabout rain"), (4000, 5000, "and wind"))
    media = tmp_path / "-Ab_3xyz_0Q.mp4"
    corpus = read(tmp_path)
    assert (corpus.name, corpus.language, corpus.notes) == ("youtube_asl", "en", ())
    times = {"start_seconds": 1.0, "end_seconds": 3.5}
    assert corpus.split("train")[0] == Sample(
        "-Ab_3xyz_0Q_1", media, "we talk about rain", "train", "en", **times
    )
    assert [sample.id for sample in corpus.split("train")] == ["-Ab_3xyz_0Q_1", "-Ab_3xyz_0Q_2"]


def test_cues_too_short_too_long_or_empty_are_left_out_and_counted(tmp_path):
    write(
        tmp_path,
        "a.en",
        (1000, 1200, "shortest"),
        (2000, 2199, "too short"),
        (0, 60000, "longest"),
        (0, 60001, "too long"),
        (1000, 2000, "x" * 300),
        (1000, 2000, "x" * 301),
        (1000, 2000, "&nbsp;"),
        (2000, 1000, "backwards"),
    )
    faults = Faults()
    corpus = read(tmp_path, faults=faults)
    assert [sample.id for sample in corpus.split("train")] == ["a_1", "a_3", "a_5"]
    assert list(faults) == [FaultKind.LEFT_OUT]
    assert [str(fault).partition("cue ")[2] for fault in faults.examples(FaultKind.LEFT_OUT)] == [
        "2: it lasts 0.199 seconds, used are 0.2 to 60",
        "4: it lasts 60.001 seconds, used are 0.2 to 60",
        "6: it has 301 characters, used are up to 300",
        "7: it has no text",
        "8: it lasts -1 seconds, used are 0.2 to 60",
    ]
    assert corpus.notes[0].startswith("left out by the corpus's rules: 5 (")


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["a"], "a"),
        (["a.en-US"], "a.en-US"),
        (["a", "a.en-US", "a.en"], "a.en"),
        (["a", "a.en-US"], "a.en-US"),
        (["a", "a.de"], "a"),
    ],
)
def test_english_captions_are_taken_by_their_names(tmp_path, names, taken):
    for name in names:
        write(tmp_path, name, (1000, 2000, name))
    assert [sample.text for sample in read(tmp_path).split("train")] == [taken]


def test_two_english_captions_of_one_video(tmp_path):
    for name in ("a.en-GB", "a.en-US"):
        write(tmp_path, name, (1000, 2000, "x"))
    with pytest.raises(InputError, match=r"a.en-GB.vtt: found a.en-US.vtt for the same clip"):
        read(tmp_path)


def test_videos_of_any_kind_in_subfolders_that_are_splits(tmp_path):
    write(tmp_path / "train", "a.en", (1000, 2000, "rain"))
    write(tmp_path / "val", "b.en", (1000, 2000, "wind"))
    (tmp_path / "val/b.mp4").rename(tmp_path / "val/b.webm")
    corpus = read(tmp_path)
    assert {name: len(samples) for name, samples in corpus.splits.items()} == {"train": 1, "dev": 1}
    assert corpus.split("dev")[0].media.name == "b.webm"


def test_missing_videos_are_an_error_or_left_out_as_the_user_says(tmp_path):
    write(tmp_path, "a.en", (1000, 2000, "rain"))
    write(tmp_path, "gone.en", (1000, 2000, "wind"))
    (tmp_path / "gone.mp4").unlink()
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'gone.en.vtt'}: no media for 'gone', expected {tmp_path / 'gone'}.mp4"
    )
    corpus = read(tmp_path, "?missing=skip")
    assert [sample.id for sample in corpus.split("train")] == ["a_1"]
    assert "no media for 'gone'" in corpus.notes[0]


def test_video_without_captions_is_reported(tmp_path):
    write(tmp_path, "a.en", (1000, 2000, "rain"))
    (tmp_path / "b.mp4").touch()
    (tmp_path / "b.txt").write_text("not a caption file of this layout")
    faults = Faults()
    read(tmp_path, faults=faults)
    (fault,) = faults.examples(FaultKind.MEDIA_WITHOUT_ROW)
    assert fault.where == str(tmp_path / "b.mp4")
