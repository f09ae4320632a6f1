"""Label files that circulate: miniatures with their quirks; sentences invented for the tests."""

import gzip
import os
import pickle
import shutil
import tracemalloc

import pytest
import torch

from unglossed.corpora.faults import FaultKind, Faults, Severity
from unglossed.corpora.labels import NORMALISATION
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.evaluation.metrics import normalise

FOG = "train/01May_2010-1", "MORGEN NEBEL", "morgen früh nebel in den tälern ."
SUN = "train/02May_2010-1", "SONNE", "am nachmittag überall sonne"
WIND = "dev/03May_2010-1", "WIND", "dazu weht ein kräftiger wind"
RAIN = "test/04May_2010-1", "REGEN NORD", "im norden regnet es"
ROWS = {"train": [FOG, SUN], "dev": [WIND], "test": [RAIN]}


def gfslt_entry(name, gloss, text, **more):
    frames = [f"{name}/images{number:04d}.png" for number in (1, 2, 3)]
    return {"name": name, "gloss": gloss, "text": text, "length": 3, "imgs_path": frames} | more


def uni_sign_entry(name, gloss, text):
    path = f"{name.split('/')[1]}.mp4"
    return {"name": name, "gloss": gloss, "text": text, "video_path": path}


def camgoz_entry(name, gloss, text, **more):
    signer = "Signer03"
    return {"name": name, "signer": signer, "gloss": gloss, "text": text, "sign": None} | more


def write_pickle(path, value, protocol=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(pickle.dumps(value, protocol), 1))
    return path


@pytest.fixture
def labels(tmp_path):
    """Gives a function that writes GFSLT's files, with other fields where a change is given."""

    def write(change=lambda entry: entry, rows=ROWS, name="labels.{}"):
        for split, split_rows in rows.items():
            entries = {row[0]: change(gfslt_entry(*row)) for row in split_rows}
            write_pickle(tmp_path / "labels" / name.format(split), entries)
        return tmp_path / "labels"

    return write


@pytest.fixture
def camgoz(tmp_path):
    """Gives a function that writes Camgoz's files."""

    def write(change=lambda entry: entry, protocol=3, name="phoenix14t.pami0.{}"):
        for split, split_rows in ROWS.items():
            entries = [change(camgoz_entry(*row)) for row in split_rows]
            write_pickle(tmp_path / "camgoz" / name.format(split), entries, protocol)
        return tmp_path / "camgoz"

    return write


@pytest.fixture
def frames(tmp_path):
    """A folder of frame folders, as in the release of PHOENIX14T."""
    root = tmp_path / "fullFrame-210x260px"
    for rows in ROWS.values():
        for name, _, _ in rows:
            (root / name).mkdir(parents=True)
            for number in (1, 2, 3):
                (root / name / f"images{number:04d}.png").touch()
    (root / FOG[0] / "createDnnTrainingLabels-profile.py.lprof").touch()
    return root


def without(entry, *fields):
    return {field: value for field, value in entry.items() if field not in fields}


def read(kind, folder, media=None, faults=None, more=""):
    options = [f"media={media}"] if media else []
    options += [more] if more else []
    spec = f"{kind}:{folder}" + ("?" + "&".join(options) if options else "")
    return read_corpus(spec, faults)


def message_of(*arguments, **options):
    with pytest.raises(InputError) as error:
        read(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# GFSLT and Uni-Sign


def test_entries_become_samples(labels, frames):
    corpus = read("gfslt", labels(), frames)
    assert [(name, len(rows)) for name, rows in corpus.splits.items()] == [
        ("train", 2),
        ("dev", 1),
        ("test", 1),
    ]
    first = corpus.split("train")[0]
    assert first.id == "train/01May_2010-1"
    assert first.media == frames / "train/01May_2010-1"
    assert first.text == "morgen früh nebel in den tälern ."
    assert first.gloss == "MORGEN NEBEL"
    assert (first.split, first.language, first.signer) == ("train", "de", None)
    assert (first.start_seconds, first.end_seconds) == (None, None)
    assert (corpus.name, corpus.language, corpus.notes) == ("gfslt", "de", ())


def test_clips_lie_beside_the_labels_where_nothing_is_said(labels, frames):
    folder = labels()
    for split in ROWS:
        (frames / split).rename(folder / split)
    assert read("gfslt", folder).split("dev")[0].media == folder / WIND[0]


def test_prefix_in_the_names_of_the_files(labels, frames):
    folder = labels(name="labels-small.{}")
    (folder / "README.md").touch()
    assert list(read("gfslt", folder, frames).splits) == ["train", "dev", "test"]
    labels(name="labels.{}")
    assert "found labels-small.dev and labels.dev, expected one label file" in message_of(
        "gfslt", folder, frames
    )


def test_final_stop_stays_in_the_text_and_is_taken_off_for_scoring(labels, frames):
    corpus = read("gfslt", labels(), frames)
    assert corpus.normalisation == NORMALISATION
    texts = [sample.text for sample in corpus.split("train")]
    assert texts == [FOG[2], SUN[2]]
    assert normalise(texts, corpus.normalisation) == [FOG[2].removesuffix(" ."), SUN[2]]


@pytest.mark.parametrize(
    "place", ["{name}", "train/{name}", "{name}.mp4", "train/{name}.mp4", "train/{name}.webm"]
)
def test_entry_without_a_list_of_frames_is_found_by_its_name(tmp_path, place):
    # As for CSL-Daily: names without a folder, and no imgs_path.
    name, text = "S000001_P0003_T01", "明天北方会变冷吗？"
    entry = without(gfslt_entry(name, "明天 北方 冷", text), "imgs_path")
    write_pickle(tmp_path / "labels/labels.train", {name: entry})
    media = tmp_path / "media" / place.format(name=name)
    if media.suffix:
        media.parent.mkdir(parents=True)
        media.touch()
    else:
        media.mkdir(parents=True)
    sample = read("gfslt", tmp_path / "labels", tmp_path / "media").split("train")[0]
    assert (sample.id, sample.media, sample.text) == (name, media, text)


def test_chinese_texts_are_taken_for_chinese_unless_the_user_says_otherwise(labels, frames):
    folder = labels(lambda entry: entry | {"text": "今天有雨。"})
    corpus = read("gfslt", folder, frames)
    assert corpus.language == "zh"
    assert {sample.language for sample in corpus.split("train")} == {"zh"}
    assert read("gfslt", folder, frames, more="language=ja").language == "ja"
    # A single odd character does not make a German corpus Chinese.
    folder = labels(lambda entry: entry | {"text": entry["text"].replace("früh", "中")})
    assert read("gfslt", folder, frames).language == "de"


@pytest.mark.parametrize(
    ("gloss", "expected"), [(["MORGEN", "NEBEL"], "MORGEN NEBEL"), ("", None), ([], None)]
)
def test_uni_sign_files_have_a_video_and_a_list_of_glosses(tmp_path, gloss, expected):
    entry = uni_sign_entry(FOG[0], gloss, FOG[2])
    write_pickle(tmp_path / "labels/labels.train", {FOG[0]: entry})
    media = tmp_path / "videos"
    (media / "01May_2010-1").mkdir(parents=True)  # of the same name, but no video
    (media / "01May_2010-1.mp4").touch()
    sample = read("gfslt", tmp_path / "labels", media).split("train")[0]
    assert (sample.media, sample.gloss) == (media / "01May_2010-1.mp4", expected)
    (media / "01May_2010-1.mp4").rename(media / "01May_2010-1.avi")
    said = message_of("gfslt", tmp_path / "labels", media)
    assert f"no media for {FOG[0]!r}, expected {media / '01May_2010-1.mp4'}" in said


def test_list_of_a_part_of_the_frames_is_left_aside_and_that_is_told(labels, frames):
    def thin(entry):
        return entry | {"imgs_path": entry["imgs_path"][::2]} if "01May" in entry["name"] else entry

    faults = Faults()
    folder = labels(thin)
    corpus = read("gfslt", folder, frames, faults)
    assert [sample.media.name for sample in corpus.split("train")] == [
        "01May_2010-1",
        "02May_2010-1",
    ]
    (fault,) = faults.examples(FaultKind.PARTIAL_LIST)
    assert fault.kind.severity is Severity.WARNING
    assert str(fault) == (
        f"{folder / 'labels.train'}, entry 1: 'imgs_path' lists 2 of the 3 frames in"
        f" {frames / FOG[0]}: the list is ignored, all are used"
    )
    (note,) = read("gfslt", folder, frames).notes
    assert note.startswith("list of frames that is shorter than the folder: 1 (")


def test_listed_frames_that_are_not_there_are_an_error(labels, frames):
    (frames / FOG[0] / "images0002.png").unlink()
    folder = labels()
    assert message_of("gfslt", folder, frames) == (
        f"{folder / 'labels.train'}, entry 1: 1 of the 3 frames of 'imgs_path' are not in"
        f" {frames / FOG[0]}, as 'train/01May_2010-1/images0002.png' (key 'train/01May_2010-1')"
    )
    corpus = read("gfslt", folder, frames, more="missing=skip")
    assert [sample.id for sample in corpus.split("train")] == [SUN[0]]
    for path in (frames / FOG[0]).glob("*.png"):
        path.unlink()
    assert "3 of the 3 frames" in message_of("gfslt", folder, frames)


def test_copies_in_another_format_are_found(labels, frames):
    for path in (frames / FOG[0]).glob("*.png"):
        path.rename(path.with_suffix(".jpg"))
    for path in (frames / SUN[0]).iterdir():
        path.unlink()
    (frames / SUN[0]).rmdir()
    (frames / f"{SUN[0]}.mp4").touch()
    media = [sample.media for sample in read("gfslt", labels(), frames).split("train")]
    assert media == [frames / FOG[0], frames / f"{SUN[0]}.mp4"]


def test_frames_without_a_folder_lie_in_that_of_the_name(labels, frames):
    def bare(entry):
        return entry | {"imgs_path": [path.split("/")[-1] for path in entry["imgs_path"]]}

    corpus = read("gfslt", labels(bare), frames)
    assert corpus.split("test")[0].media == frames / RAIN[0]


LEAVING = [
    "../secret/images0001.png",
    "train/../../secret/images0001.png",
    "/etc/secret/images0001.png",
    "C:\\secret/images0001.png",
    "..\\secret/images0001.png",
    "\\\\host\\secret/images0001.png",
    "train\0/images0001.png",
]


@pytest.mark.parametrize("path", LEAVING)
def test_path_that_leaves_the_folder_of_the_clips_is_refused(labels, camgoz, frames, path):
    (frames.parent / "secret").mkdir()
    (frames.parent / "secret/images0001.png").touch()
    folder = path.rpartition("/")[0]
    for fields, named in (
        ({"imgs_path": [path]}, folder),
        ({"imgs_path": None, "video_path": path}, path),
        ({"imgs_path": None, "name": folder}, folder),
    ):
        said = message_of("gfslt", labels(lambda entry, new=fields: entry | new), frames)
        field = next(reversed(fields))
        assert f"labels.train, entry 1: the field {field!r}: found {named!r}, which leaves" in said
        assert f"the folder of the clips {frames}, expected a path below it" in said
    said = message_of("camgoz", camgoz(lambda entry: entry | {"name": folder}), frames)
    assert f"the field 'name': found {folder!r}, which leaves" in said


def test_name_too_long_for_any_file_is_missing(labels, frames):
    folder = labels(lambda entry: entry | {"imgs_path": None, "name": "a" * 5000 + "/b"})
    assert "no media for" in message_of("gfslt", folder, frames)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda entry: "heute", "found str, expected a dict with name and text"),
        (lambda entry: without(entry, "text"), "the field 'text' is missing, found name, gloss,"),
        (lambda entry: without(entry, "name"), "the field 'name' is missing"),
        (lambda entry: {}, "the field 'name' is missing, found none"),
        (lambda entry: entry | {"text": 5}, "the field 'text': found int, expected text"),
        (lambda entry: entry | {"text": None}, "the field 'text': found None"),
        (lambda entry: entry | {"name": ["a"]}, "the field 'name': found list, expected text"),
        (lambda entry: entry | {"gloss": 1.5}, "the field 'gloss': found float, expected text"),
        (lambda entry: entry | {"gloss": ["A", 1]}, "the field 'gloss': found other items"),
        (lambda entry: entry | {"imgs_path": "a.png"}, "'imgs_path': found str, expected a list"),
        (lambda entry: entry | {"imgs_path": []}, "'imgs_path': found an empty list, expected fr"),
        (lambda entry: entry | {"imgs_path": [b"a/1.png"]}, "'imgs_path': found other items than"),
        (lambda entry: entry | {"imgs_path": ["a/1.png", "b/2.png"]}, "found frames of 2 folders"),
        (lambda entry: entry | {"text": " "}, "the field text is empty"),
        (lambda entry: entry | {"name": ""}, "the field name is empty"),
        (lambda entry: entry | {"name": SUN[0]}, "no media for 'train/02May_2010-1', expected"),
    ],
)
def test_malformed_entry_is_one_line_and_the_others_are_read(labels, frames, change, said):
    def damage(entry):
        return change(entry) if entry["name"] == FOG[0] else entry

    for path in (frames / FOG[0]).iterdir():
        path.unlink()
    (frames / FOG[0]).rmdir()
    folder = labels(damage)
    message = message_of("gfslt", folder, frames)
    assert message.startswith(f"{folder / 'labels.train'}, entry 1: ")
    faults = Faults()
    corpus = read("gfslt", folder, frames, faults)
    assert [len(rows) for rows in corpus.splits.values()] == [1, 1, 1]
    assert sum(faults.count(kind) for kind in faults) == 1
    assert said in message


def test_name_used_twice(tmp_path, frames):
    entries = {"a": gfslt_entry(*FOG), "b": gfslt_entry(*FOG)}
    path = write_pickle(tmp_path / "labels/labels.train", entries)
    said = message_of("gfslt", path.parent, frames)
    assert f"entry 2: name {FOG[0]!r} was seen before (labels.train, entry 1)" in said


def test_clips_that_no_entry_names_are_reported(labels, frames):
    (frames / "dev/09May_2010-1").mkdir()
    (frames / "dev/10May_2010-1.mp4").touch()
    faults = Faults()
    read("gfslt", labels(), frames, faults)
    found = [fault.where for fault in faults.examples(FaultKind.MEDIA_WITHOUT_ROW)]
    assert found == [str(frames / "dev/09May_2010-1"), str(frames / "dev/10May_2010-1.mp4")]
    assert list(faults) == [FaultKind.MEDIA_WITHOUT_ROW]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("gfslt", [1, 2], "found a list, expected a dict of entries; the kind camgoz has one"),
        ("gfslt", "text", "found a str, expected a dict of entries"),
        ("camgoz", {"a": 1}, "found a dict, expected a list of entries; the kind gfslt has one"),
        ("camgoz", None, "found a NoneType, expected a list of entries"),
    ],
)
def test_file_of_another_structure(tmp_path, kind, value, said):
    path = write_pickle(tmp_path / "labels.train", value)
    assert message_of(kind, tmp_path).startswith(f"{path}: {said}")


@pytest.mark.parametrize("kind", ["gfslt", "camgoz"])
def test_folder_without_label_files(tmp_path, kind):
    assert f"{tmp_path}: found no label file of the kind {kind}, expected" in message_of(
        kind, tmp_path
    )
    path = tmp_path / "labels.train"
    path.touch()
    assert f"{path}: found a file, expected the folder that holds" in message_of(kind, path)
    assert f"{path}: no pickle, or damaged or truncated" in message_of(kind, tmp_path)


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_label_file_that_would_run_a_program(labels, camgoz, frames, tmp_path, protocol):
    marker = tmp_path / "ran"
    for kind, folder in (("gfslt", labels()), ("camgoz", camgoz())):
        path = next(folder.glob("*.train"))
        bad = Calls(os.system, f"touch {marker}")
        entry = gfslt_entry(*FOG) | {"sign": [torch.zeros(2), bad] if kind == "camgoz" else bad}
        write_pickle(path, {"a": entry} if kind == "gfslt" else [entry], protocol)
        said = message_of(kind, folder, frames)
        assert said.startswith(f"{path}: asks for '{os.system.__module__}.system', which is not")
        assert not marker.exists()


# Camgoz


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "features",
    [
        torch.randn(7, 1024),
        [torch.randn(1, 1024), torch.randn(3, 1024)],
        torch.randn(9, 1024)[2:5],
        torch.zeros(0, 1024),
        torch.randn(3, 1024, requires_grad=True),
    ],
    ids=["tensor", "list", "part", "empty", "trained"],
)
def test_tensors_are_passed_over(camgoz, frames, features, protocol):
    folder = camgoz(lambda entry: entry | {"sign": features}, protocol)
    corpus = read("camgoz", folder, frames)
    first = corpus.split("train")[0]
    assert (first.id, first.signer, first.gloss) == (FOG[0], "Signer03", FOG[1])
    assert (first.media, first.text) == (frames / FOG[0], FOG[2])
    assert [len(rows) for rows in corpus.splits.values()] == [2, 1, 1]
    assert (corpus.name, corpus.language, corpus.normalisation) == ("camgoz", "de", NORMALISATION)


def test_videos_in_place_of_frame_folders(camgoz, tmp_path):
    for rows in ROWS.values():
        for name, _, _ in rows:
            path = tmp_path / "videos" / f"{name}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    corpus = read("camgoz", camgoz(), tmp_path / "videos")
    assert corpus.split("dev")[0].media == tmp_path / "videos/dev/03May_2010-1.mp4"


def test_copies_without_features_have_an_ending_of_their_own(camgoz, frames):
    folder = camgoz(
        lambda entry: without(entry, "sign"), name="phoenix14t.pami0.{}.annotations_only.gzip"
    )
    assert [len(rows) for rows in read("camgoz", folder, frames).splits.values()] == [2, 1, 1]


def test_every_text_ends_in_a_stop_which_stays(camgoz, frames):
    corpus = read("camgoz", camgoz(lambda entry: entry | {"text": "heute sonne ."}), frames)
    texts = [sample.text for sample in corpus.split("train")]
    assert texts == ["heute sonne .", "heute sonne ."]
    assert normalise(texts, corpus.normalisation) == ["heute sonne", "heute sonne"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_features_take_no_memory(tmp_path, frames, protocol):
    entries = [
        camgoz_entry(*FOG, sign=torch.zeros(117, 1024)),
        *(
            camgoz_entry(f"train/{clip}", "G", "x", sign=torch.randn(300, 1024))
            for clip in range(20)
        ),
        camgoz_entry(*SUN, sign=torch.zeros(117, 1024)),
    ]
    path = write_pickle(tmp_path / "camgoz/a.train", entries, protocol)
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    try:
        corpus = read("camgoz", path.parent, frames, more="missing=skip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [sample.id for sample in corpus.split("train")] == [FOG[0], SUN[0]]
    assert peak < 15_000_000


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (torch.nn.Parameter(torch.zeros(2)), "torch._utils._rebuild_parameter"),
        (torch.float32, "torch.float32"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (torch.Size([1, 2]), "torch.Size"),
    ],
)
def test_nothing_else_of_torch_is_allowed(camgoz, frames, value, asked):
    said = message_of("camgoz", camgoz(lambda entry: entry | {"sign": value}), frames)
    assert f"asks for '{asked}', which is not allowed" in said


def test_tensors_are_refused_where_none_belong(labels, frames):
    folder = labels(lambda entry: entry | {"sign": torch.zeros(2)})
    assert "asks for 'torch._utils._rebuild_tensor_v2'" in message_of("gfslt", folder, frames)


def test_text_that_is_far_too_long_is_not_taken_for_features(camgoz, frames):
    said = message_of("camgoz", camgoz(lambda entry: entry | {"text": "x" * 5000}), frames)
    assert "the field 'text': found None (or a very long text), expected text" in said


def test_folder_of_clips_that_cannot_be_listed_is_told_for_its_entries(labels, frames):
    shutil.rmtree(frames / "dev")
    (frames / "dev").symlink_to("dev")
    told = f"{frames / 'dev'}: cannot be listed: Too many levels of symbolic links"
    assert told in message_of("gfslt", labels(), frames)
    faults = Faults()
    assert len(read("gfslt", labels(), frames, faults).split("train")) == 2
    assert told in str(faults.examples(FaultKind.UNREADABLE_MEDIA)[0])
