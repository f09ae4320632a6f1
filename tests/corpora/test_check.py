"""`check_corpus` over a table with one planted fault of each sort, and over sound corpora."""

import json
import re
import shutil
import string
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
from hypothesis import given
from hypothesis import strategies as st

import tiny
from unglossed.corpora.check import check_corpus, find_mojibake, find_odd_text, may_be_damaged
from unglossed.corpora.check_media import Needs, check_clips
from unglossed.corpora.check_times import Limits
from unglossed.corpora.faults import FaultKind, Faults, Severity
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError

HEADER = "id,media,text,split,start,end,signer,language"
SOUND = {
    "sound1": {"signer": "Anna", "text": "Heute fällt „viel“ Regen – größere Pfützen!"},
    "sound2": {"signer": "Anna", "text": "»Äpfel« kosten 3 €."},
    "sound3": {"signer": "Bela", "text": "Übermorgen ist Markt.", "media": "media/frames"},
    "sound4": {"signer": "Cem", "text": "Wir gehen nach Hause", "split": "dev"},
    "sound5": {"signer": "Dora", "text": "Das Rad & der Wagen", "split": "test"},
    # Past the end by less than half a frame: nothing is cut.
    "sound6": {"signer": "Dora", "text": "Ende", "split": "test", "start": "19.01", "end": "20.01"},
}
LIMITS = Limits(min_seconds=0.2, max_seconds=5, max_characters=80)


def write_video(path: Path, num_frames: int = 30) -> Path:
    """A small video of noise, its table of contents at the begin: what follows can be damaged."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(num_frames):
            picture = noise.integers(0, 255, (32, 48, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_frames(folder: Path, numbers: tuple[int, ...] = (1, 2, 3, 4, 5, 6)) -> Path:
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in numbers:
        picture = noise.integers(0, 255, (32, 48, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"images{number:04d}.png"), picture)
    return folder


def write_cut_off(path: Path) -> None:
    data = write_video(path).read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def write_garbled(path: Path) -> None:
    data = bytearray(write_video(path).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)


def write_flipped(folder: Path) -> None:
    picture = write_frames(folder) / "images0004.png"
    data = bytearray(picture.read_bytes())
    data[len(data) // 2] ^= 0xFF
    picture.write_bytes(data)


def write_two_sizes(folder: Path) -> None:
    write_frames(folder)
    assert cv2.imwrite(str(folder / "images0007.png"), np.zeros((8, 8, 3), np.uint8))


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 16000)).astype(np.float32)
        sound = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
        sound.sample_rate = 16000
        for packet in (*stream.encode(sound), *stream.encode(None)):
            container.mux(packet)


def write_dark(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(20):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def write_still(folder: Path) -> None:
    write_frames(folder)
    for number in range(2, 7):
        shutil.copy(folder / "images0001.png", folder / f"images{number:04d}.png")


def write_stray(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("no picture")


@dataclass(frozen=True)
class Planted:
    """One fault: how it is made and what the report must say.

    `where` is "line" (of the table), "clip" (the sample), "media" (its path), "timed" or
    "inside" (both of them), or what it says.
    """

    kind: FaultKind
    where: str
    text: str
    row: dict[str, str] | bytes | None = field(default_factory=dict)
    write: Callable[[Path], object] | None = None
    suffix: str = ""


PLANTED = {
    # What the reader finds.
    "too_few_fields": Planted(
        FaultKind.MALFORMED_ROW, "line", "found 2 fields, expected 8", b"too_few_fields,a.mp4"
    ),
    "not_utf8": Planted(
        FaultKind.NOT_UTF8, "line", "0xf6", b"not_utf8,media/frames,Sturm,train,0,0.2,Bj\xf6rn,de"
    ),
    "id_twice": Planted(FaultKind.DUPLICATE_ID, "line", "'sound1' was seen", {"id": "sound1"}),
    "no_id": Planted(FaultKind.MALFORMED_ROW, "line", "id is empty", {"id": ""}),
    "no_text": Planted(FaultKind.USELESS_ROW, "line", "text is empty", {"text": "  "}),
    "no_media": Planted(FaultKind.MALFORMED_ROW, "line", "media is empty", {"media": ""}),
    "no_split": Planted(FaultKind.MALFORMED_ROW, "line", "split is empty", {"split": ""}),
    "no_number": Planted(FaultKind.MALFORMED_ROW, "line", "start.*'soon'", {"start": "soon"}),
    "backward": Planted(
        FaultKind.USELESS_ROW, "line", "end 2.0, .* start 3.0", {"start": "3", "end": "2"}
    ),
    "before_begin": Planted(FaultKind.USELESS_ROW, "line", "-1", {"start": "-1", "end": "2"}),
    "missing": Planted(FaultKind.MISSING_MEDIA, "line", r"gone\.mp4", {"media": "media/gone.mp4"}),
    "leftover": Planted(FaultKind.MEDIA_WITHOUT_ROW, "media", "no row", None, write_video, ".mp4"),
    # What a look at the media finds.
    "zero_bytes": Planted(
        FaultKind.UNREADABLE_MEDIA, "media", "empty", write=Path.touch, suffix=".mp4"
    ),
    "no_video": Planted(
        FaultKind.UNREADABLE_MEDIA,
        "media",
        "invalid data",
        write=lambda path: path.write_text("<html>404</html>"),
        suffix=".mp4",
    ),
    "cut_off": Planted(
        FaultKind.UNREADABLE_MEDIA,
        "media",
        r"the file is truncated: found \d+ of its \d+ bytes",
        write=write_cut_off,
        suffix=".mp4",
    ),
    "sound_alone": Planted(
        FaultKind.UNREADABLE_MEDIA, "media", "found audio only", write=write_sound, suffix=".mp4"
    ),
    "no_pictures": Planted(FaultKind.UNREADABLE_MEDIA, "media", "no frame", write=write_stray),
    "gaps": Planted(
        FaultKind.FRAME_GAP,
        "media",
        "3 of the numbers are missing: 2 to 3, 6",
        write=lambda folder: write_frames(folder, (1, 4, 5, 7, 8, 9)),
    ),
    # What decoding finds.
    "garbled": Planted(
        FaultKind.DAMAGED_MEDIA,
        "media",
        r"damaged at frame \d+",
        write=write_garbled,
        suffix=".mp4",
    ),
    "flipped": Planted(
        FaultKind.DAMAGED_MEDIA, "media", r"images0004\.png: .*PNG", write=write_flipped
    ),
    "two_sizes": Planted(
        FaultKind.DAMAGED_MEDIA, "media", "different sizes .48x32, 8x8", write=write_two_sizes
    ),
    # What is in the clips.
    "dark": Planted(
        FaultKind.NO_CONTENT, "inside", "video is black", write=write_dark, suffix=".mp4"
    ),
    "still": Planted(FaultKind.NO_CONTENT, "inside", "video stands still", write=write_still),
    # What the clips' times and lengths say.
    "starts_past_end": Planted(
        FaultKind.BAD_TIMES,
        "timed",
        r"begins at 40\.00 s, but talk\.mp4 is only 20\.00 s long",
        {"start": "40", "end": "41"},
    ),
    "ends_past_end": Planted(
        FaultKind.PAST_END,
        "timed",
        r"ends at 20\.50 s, but talk\.mp4 is only 20\.00 s long",
        {"start": "19", "end": "20.5"},
    ),
    "short": Planted(
        FaultKind.TOO_SHORT, "timed", r"0\.10 s long.*least 0\.20", {"start": "0", "end": "0.1"}
    ),
    "long": Planted(
        FaultKind.TOO_LONG, "timed", r"6\.00 s long.*most 5\.00", {"start": "0", "end": "6"}
    ),
    "wordy": Planted(
        FaultKind.TOO_LONG, "clip", "found 91 characters, .* most 80", {"text": "bla" * 30 + "!"}
    ),
    "again": Planted(
        FaultKind.SAME_CLIP, "timed", "those of train clip 'sound1'", {"start": "0", "end": "1"}
    ),
    # What the texts hold.
    "utf8_as_latin1": Planted(
        FaultKind.MOJIBAKE,
        "clip",
        "'morgen fÃ¤llt regen', which was perhaps 'morgen fällt regen'",
        {"text": "morgen fÃ¤llt regen"},
    ),
    "lost_character": Planted(
        FaultKind.MOJIBAKE,
        "clip",
        "'sie m\ufffdssen warten': .*lost",
        {"text": "sie m\ufffdssen warten"},
    ),
    "perhaps_damaged": Planted(
        FaultKind.ODD_TEXT, "clip", "perhaps a wrong encoding at", {"text": "für 5 ¦Ä Geld"}
    ),
    "control": Planted(
        FaultKind.ODD_TEXT, "clip", r"control character U\+0007", {"text": "bim\x07"}
    ),
    "tab": Planted(
        FaultKind.ODD_TEXT, "clip", r"tab U\+0009 at 'eins\\tzwei'", {"text": "eins\tzwei"}
    ),
    "zero_width": Planted(
        FaultKind.ODD_TEXT, "clip", r"zero-width space U\+200B", {"text": "null\u200bbreit"}
    ),
    "soft_hyphen": Planted(
        FaultKind.ODD_TEXT, "clip", r"soft hyphen U\+00AD", {"text": "Regen\u00adschirm"}
    ),
    "byte_order_mark": Planted(
        FaultKind.ODD_TEXT, "clip", r"byte order mark U\+FEFF", {"text": "\ufeffAnfang"}
    ),
    "control_token": Planted(
        FaultKind.ODD_TEXT,
        "clip",
        "control token '</s>', which training takes for plain letters",
        {"text": "Ende </s> hier"},
    ),
    "chat_token": Planted(
        FaultKind.ODD_TEXT, "clip", r"control token '<\|im_end\|>'", {"text": "Ende <|im_end|>"}
    ),
    "entity": Planted(
        FaultKind.ODD_TEXT, "clip", "HTML entity '&amp;' for '&'", {"text": "Licht &amp; Schatten"}
    ),
    "numbered_entity": Planted(
        FaultKind.ODD_TEXT, "clip", "HTML entity '&#39;' for \"'\"", {"text": "wie geht&#39;s"}
    ),
    "two_spaces": Planted(
        FaultKind.ODD_TEXT, "clip", "2 spaces in a row at 'da  oben'", {"text": "da  oben"}
    ),
    "space_before": Planted(FaultKind.ODD_TEXT, "clip", "space at the start", {"text": " vorn"}),
    "space_after": Planted(FaultKind.ODD_TEXT, "clip", "space at the end", {"text": "hinten "}),
    # What splits have in common.
    "known_sentence": Planted(
        FaultKind.SHARED_SENTENCE,
        "dev and train",
        "1 of 2 distinct dev sentences also occur in train, such as 'Übermorgen ist Markt.'",
        {"split": "dev", "signer": "Cem", "text": "Übermorgen ist Markt."},
    ),
    "known_signer": Planted(
        FaultKind.SHARED_SIGNER,
        "test and train",
        "1 of 2 test signers or speakers are also in train: Bela",
        {"split": "test", "signer": "Bela"},
    ),
}


def write_table(folder: Path, planted: dict[str, Planted]) -> dict[str, str]:
    """Write `own.csv`, its sound rows first, and all media; give the place of each fault."""
    (folder / "media").mkdir()
    write_video(folder / "media/talk.mp4", num_frames=500)
    write_frames(folder / "media/frames")
    lines = [HEADER.encode()]
    places = {}

    def add(label: str, row: dict[str, str]) -> None:
        whole = {
            "id": label,
            "media": "media/talk.mp4",
            "text": f"ein Satz für {label}",
            "split": "train",
            "signer": "Anna",
            "language": "de",
        } | row
        if whole["media"] == "media/talk.mp4" and "start" not in row:
            begin = (len(lines) - 1) / 4  # each clip at a time of its own
            whole |= {"start": f"{begin}", "end": f"{begin + 1}"}
        lines.append(",".join(whole.get(name, "") for name in HEADER.split(",")).encode())

    for label, row in SOUND.items():
        add(label, row)
    for label, fault in planted.items():
        medium = folder / "media" / (label + fault.suffix)
        if fault.write is not None:
            fault.write(medium)
        if isinstance(fault.row, bytes):
            lines.append(fault.row)
        elif fault.row is not None:
            add(label, ({"media": f"media/{medium.name}"} if fault.write else {}) | fault.row)
        split = fault.row.get("split", "train") if isinstance(fault.row, dict) else ""
        places[label] = {
            "line": f"{folder / 'own.csv'}, line {len(lines)}",
            "clip": f"{split} clip {label!r}",
            "media": str(medium),
            "inside": f"{medium}, {split} clip {label!r}",
            "timed": f"{folder / 'media/talk.mp4'}, {split} clip {label!r}",
        }.get(fault.where, fault.where)
    (folder / "own.csv").write_bytes(b"\n".join(lines) + b"\n")
    return places


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """One run over the table with all faults: its report, and where each fault lies."""
    folder = tmp_path_factory.mktemp("damaged")
    places = write_table(folder, PLANTED)
    report = check_corpus(
        f"table:{folder / 'own.csv'}", deep=True, limits=LIMITS, num_workers=2, max_examples=50
    )
    return report, places


@pytest.mark.parametrize("label", PLANTED)
def test_planted_fault_is_found(damaged, label):
    report, places = damaged
    planted = PLANTED[label]
    found = {fault.where: fault.text for fault in report.faults.examples(planted.kind)}
    assert places[label] in found, list(found)
    assert re.search(planted.text, found[places[label]])
    assert f"    {places[label]}: " in str(report)


def test_nothing_but_the_planted_faults_is_found(damaged):
    report, places = damaged
    found = sorted(
        (kind.name, fault.where) for kind in report.faults for fault in report.faults.examples(kind)
    )
    planted = sorted((fault.kind.name, places[label]) for label, fault in PLANTED.items())
    assert found == planted
    assert sum(report.faults.total(severity) for severity in Severity) == len(PLANTED)
    assert report.has_errors


def test_nothing_is_found_in_the_sound_table(tmp_path):
    write_table(tmp_path, {})
    report = check_corpus(f"table:{tmp_path / 'own.csv'}", deep=True, limits=LIMITS)
    assert list(report.faults) == []
    assert not report.has_errors
    assert str(report).splitlines() == [
        f"table:{tmp_path / 'own.csv'}: 6 samples (train 3, dev 1, test 2) in 2 media",
        "",
        "Nothing wrong was found (every file was decoded).",
    ]


def test_without_deep_only_headers_are_read(tmp_path):
    write_table(tmp_path, {label: PLANTED[label] for label in ("garbled", "flipped", "gaps")})
    report = check_corpus(f"table:{tmp_path / 'own.csv'}")
    assert list(report.faults) == [FaultKind.FRAME_GAP]
    assert "--deep" in str(report).splitlines()[-1]


def test_report_counts_what_it_does_not_show(tmp_path):
    rows = {f"space{number}": PLANTED["space_after"] for number in range(7)}
    write_table(tmp_path, rows | {"entity": PLANTED["entity"], "gone": PLANTED["missing"]})
    report = check_corpus(f"table:{tmp_path / 'own.csv'}", max_examples=2)
    lines = str(report).splitlines()
    begin = lines.index("  odd characters in the text: 8")
    assert [line.partition(":")[0].strip() for line in lines[begin + 1 : begin + 4]] == [
        "train clip 'space0'",
        "train clip 'space1'",
        "and 6 more",
    ]
    assert lines.index("errors") < lines.index("warnings")
    assert lines[-1].startswith("1 error, 8 warnings, 0 notes: not fit to train on")


def test_report_as_values(damaged):
    report, places = damaged
    values = json.loads(json.dumps(report.to_dict()))
    assert values["errors"] + values["warnings"] + values["notes"] == len(PLANTED)
    assert values["samples"] == {"train": 36, "dev": 2, "test": 3}
    assert (values["media"], values["deep"]) == (13, True)
    gap = next(fault for fault in values["faults"] if fault["kind"] == "frame_gap")
    assert gap == {
        "kind": "frame_gap",
        "title": "gap in the frame numbers",
        "severity": "warning",
        "count": 1,
        "examples": [
            {
                "where": places["gaps"],
                "text": "3 of the numbers are missing: 2 to 3, 6",
            }
        ],
    }


def test_a_medium_of_many_rows_is_looked_at_once(tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "media/talk.mp4").touch()
    rows = [f"a{n},media/talk.mp4,Satz {n},train,{n},{n + 1},Anna,de" for n in range(300)]
    (tmp_path / "own.csv").write_text("\n".join([HEADER, *rows]))
    report = check_corpus(f"table:{tmp_path / 'own.csv'}")
    assert report.num_media == 1
    assert [(kind, report.faults.count(kind)) for kind in report.faults] == [
        (FaultKind.UNREADABLE_MEDIA, 1),
        (FaultKind.MISSING_SPLIT, 1),
    ]


def test_processes_find_what_one_finds(tmp_path):
    (tmp_path / "media").mkdir()
    rows = []
    for number in range(600):
        folder = write_frames(tmp_path / f"media/{number}", (1, 2) if number % 7 else (1, 3))
        rows.append(f"a{number},{folder},Satz {number},train,,,Anna,de")
    (tmp_path / "own.csv").write_text("\n".join([HEADER, *rows]))
    one, two = (
        check_corpus(f"table:{tmp_path / 'own.csv'}", num_workers=number) for number in (1, 2)
    )
    assert one.faults.count(FaultKind.FRAME_GAP) == 86
    assert one.to_dict() == two.to_dict()


def test_limits_themselves_are_within_the_limits(tmp_path):
    write_table(tmp_path, {})
    report = check_corpus(f"table:{tmp_path / 'own.csv'}", limits=Limits(max_seconds=1))
    assert list(report.faults) == []  # clips of exactly a second
    report = check_corpus(f"table:{tmp_path / 'own.csv'}", limits=Limits(max_seconds=0.96))
    assert report.faults.count(FaultKind.TOO_LONG) == 5  # the sixth is a folder of six pictures


def test_structure_that_cannot_be_read_is_in_the_report(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("id,media\na,b\n")
    report = check_corpus(f"table:{path}")
    assert report.has_errors
    assert [(kind, report.faults.count(kind)) for kind in report.faults] == [
        (FaultKind.UNREADABLE, 1)
    ]
    fault = report.faults.examples(FaultKind.UNREADABLE)[0]
    assert fault.where.startswith(str(path))
    assert "text" in fault.text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("table", "no kind"),
        ("tabel:own.csv", "unknown kind 'tabel'"),
        ("table:gone.csv", "gone.csv: no such file"),
        ("table:own.csv?lang=de", "unknown option 'lang'"),
    ],
)
def test_a_wrong_spec_is_no_fault_of_the_corpus(spec, message):
    with pytest.raises(InputError, match=message):
        check_corpus(spec)


def test_quirks_of_phoenix14t_are_no_errors(write_corpus_folder):
    base = write_corpus_folder()
    report = check_corpus(f"phoenix14t:{base}", deep=True)
    assert not report.has_errors
    assert [(kind, report.faults.count(kind)) for kind in report.faults] == [
        (FaultKind.FRAME_GAP, 4),
        (FaultKind.SHARED_SIGNER, 1),
    ]
    assert str(report).endswith(
        "0 errors, 4 warnings, 1 note: fit to train on (every file was decoded)."
    )


def test_damage_in_the_layout_of_phoenix14t(write_corpus_folder):
    base = write_corpus_folder(
        {
            "train": [
                ("a", "Signer01", "REGEN", "im sÃ¼den regen"),
                ("b", "Signer02", "SONNE", "viel sonne"),
            ],
            "dev": [("c", "Signer03", "SONNE", "viel sonne")],
        }
    )
    frames = base / "features/fullFrame-210x260px"
    (frames / "dev/c/images0002.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (frames / "dev/d").mkdir()
    report = check_corpus(f"phoenix14t:{base}", deep=True)
    places = {kind: report.faults.examples(kind)[0].where for kind in report.faults}
    assert places == {
        FaultKind.DAMAGED_MEDIA: str(frames / "dev/c"),
        FaultKind.MOJIBAKE: "train clip 'a'",
        FaultKind.MEDIA_WITHOUT_ROW: str(frames / "dev/d"),
        FaultKind.FRAME_GAP: str(frames / "train/a"),
        FaultKind.SHARED_SENTENCE: "dev and train",
    }


def test_two_signers_in_one_picture_are_two_clips(tmp_path):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/talk.mp4", num_frames=100)
    times = "talk\t00:00:00.000\t00:00:02.000\ttrain"
    rows = [f"{name}\t{times}\tsentence of {name}" for name in ("left", "right", "copy")]
    (tmp_path / "openasl-v1.0.tsv").write_text(
        "\n".join(["vid\tyid\tstart\tend\tsplit\traw-text", *rows]) + "\n"
    )
    left, right = [0, 0, 0.5, 1], [0.5, 0, 1, 1]
    (tmp_path / "bbox-v1.0.json").write_text(
        json.dumps({"left": left, "right": right, "copy": right})
    )
    faults = check_corpus(f"openasl:{tmp_path}").faults
    assert [fault.where for fault in faults.examples(FaultKind.SAME_CLIP)] == [
        f"{tmp_path / 'videos/talk.mp4'}, train clip 'copy'"
    ]
    assert set(faults) == {FaultKind.SAME_CLIP, FaultKind.MISSING_SPLIT}


def test_no_fault_breaks_out_of_its_line(tmp_path):
    (tmp_path / "media").mkdir()
    write_frames(tmp_path / "media/frames")
    line = json.dumps(
        {
            "id": "a\nerrors\x1b[2J",
            "media": "media/frames",
            "text": "Satz ",
            "split": "train",
            "language": "de",
        }
    )
    (tmp_path / "own.jsonl").write_text(line + "\n")
    text = str(check_corpus(f"table:{tmp_path / 'own.jsonl'}"))
    assert "\x1b" not in text
    assert "errors" not in text.splitlines()
    assert "white space at the end" in text


SUSPECT = "".join(
    mark
    for mark in map(chr, range(0x20, 0xFFFF))
    if re.match("[" + "".join(MOJIBAKE_CATEGORIES.values()) + "]", mark)
)


@given(st.text(st.sampled_from(SUSPECT + "ÂÃÎÐØÙ°µ" * 9 + "azAZ .,?!" * 9), max_size=6))
def test_the_quick_look_misses_nothing_that_ftfy_finds(text):
    assert may_be_damaged(text) or not is_bad(text)


@given(st.text(st.sampled_from(string.printable + "äß„“\u00a0\u200b"), min_size=1))
def test_odd_text_is_control_characters_entities_and_needless_spaces(text):
    odd = text != text.strip() or "  " in text or re.search("[\t\n\r\x0b\x0c\u200b]", text)
    if "&" not in text:
        assert (find_odd_text(text) is not None) == bool(odd)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("größere Pfützen", "latin-1"),
        ("l’été à la mer", "cp1252"),
        ("明天下雨", "latin-1"),
        ("morgen “vielleicht”", "cp1252"),
    ],
)
def test_mojibake_of_many_languages_is_found_and_undone(text, encoding):
    damaged = text.encode().decode(encoding, errors="replace")
    assert may_be_damaged(damaged)
    assert not may_be_damaged(text) or find_mojibake(text) is None
    found = find_mojibake(damaged)
    assert found is not None
    assert found[1]


@pytest.mark.parametrize(
    "text",
    [
        "»Äpfel« und »Öl«: „Übung“ – ‚Ärger‘",
        "l’été, où ça coûte 20 € ; « déjà » …",
        "¿Qué año? ¡Mañana!",
        "jutro wszędzie będzie świecić słońce",
        "завтра на севере дожди",
        "明天下午我们一起去图书馆,好吗?",
        "−5 °C bis ½ Grad, ±2 ‰",
    ],
)
def test_sound_text_of_many_languages_is_left_alone(text):
    assert not may_be_damaged(text) or find_mojibake(text) is None
    assert find_odd_text(text) is None


def test_times_are_compared_with_what_the_recipe_reads(tmp_path):
    tiny.write_film(tmp_path / "late.mp4", 2, 4)
    tiny.write_film(tmp_path / "early.mp4", 4, 2)
    samples = [
        Sample(name, tmp_path / f"{name}.mp4", "so", "train", "de", start_seconds=2.5)
        for name in ("late", "early")
    ]
    for signal, wrong in (("audio", "early"), ("video", "late")):
        faults = Faults()
        check_clips("", samples, faults, needs=Needs(signal=signal))
        (fault,) = faults.examples(FaultKind.BAD_TIMES)
        assert f"train clip '{wrong}'" in fault.where


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (
            ["it's here", "don't wait, she's late", "we\u2019re there"],
            "apostrophes in 2 forms: ' in 2, \u2019 in 1 texts",
        ),
        (['he said "yes"', "“no”", "„nein“"], "quotation marks in 2 forms: curled in 2, straight"),
        (["'quoted' and 5' tall", "so\u2019 is"], None),
        (["„ja“", "»nein«", '„so"'], None),
    ],
)
def test_signs_in_two_forms_are_counted(tmp_path, texts, found):
    (tmp_path / "frames").mkdir()
    write_frames(tmp_path / "frames/a")
    rows = [
        {"id": f"{n}", "media": "frames/a", "text": text, "split": "train", "language": "en"}
        for n, text in enumerate(texts)
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    faults = check_corpus(f"table:{path}").faults
    told = [fault.text for fault in faults.examples(FaultKind.TWO_FORMS)]
    assert told == [] if found is None else told[0].startswith(f"found {found}")


def test_text_that_a_program_wrote_for_no_value_is_odd(tmp_path):
    write_frames(tmp_path / "a")
    rows = (
        "id,media,text,split,language\n1,a,nan,train,de\n2,a,Nantes,train,de\n3,a,#NAME?,train,de"
    )
    (tmp_path / "own.csv").write_text(rows)
    report = check_corpus(f"table:{tmp_path / 'own.csv'}")
    found = [fault.text for fault in report.faults.examples(FaultKind.ODD_TEXT)]
    reason = "is what programs write where there is no value"
    assert found == [f"'nan' {reason}", f"'#NAME?' {reason}"]


def test_languages_and_references_are_counted(tmp_path):
    write_frames(tmp_path / "a")
    rows = [
        {"id": "1", "media": "a", "text": ["Es regnet.", "Regen."], "language": "de"},
        {"id": "2", "media": "a", "text": "It rains.", "language": "en"},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    report = check_corpus(f"table:{path}?split=train&language=*")
    assert "languages: de 1, en 1\nfurther references: 1\n" in str(report)
    assert report.to_dict()["languages"] == {"de": 1, "en": 1}
    assert report.to_dict()["references"] == 1


def write_parts(path: Path, parts: list[tuple[float, float]]) -> None:
    """Half a second for each part: how loud left and right are, of the same noise."""
    noise = np.random.default_rng(0).uniform(-9000, 9000, 8000)
    sound = np.concatenate([np.outer(noise, part) for part in parts]).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(sound.tobytes())


def test_deep_reads_each_segment_as_training_does(tmp_path):
    write_parts(tmp_path / "talk.wav", [(1, 1), (0, 0), (1, 0.5)])
    write_parts(tmp_path / "wired.wav", [(1, -1), (0.5, -0.5)])
    write_parts(tmp_path / "nothing.wav", [(0, 0)])
    (tmp_path / "own.csv").write_text(
        "id,media,text,split,start,end,language\n"
        "a,talk.wav,eins,train,0,0.5,de\n"
        "b,talk.wav,zwei,train,0.5,1,de\n"
        "c,talk.wav,drei,train,1,1.5,de\n"
        "d,wired.wav,vier,train,,,de\n"
        "e,nothing.wav,nichts,dev,,,de\n"
    )
    spec = f"table:{tmp_path / 'own.csv'}"
    report = check_corpus(spec, deep=True, num_workers=1)
    empty = [(fault.where, fault.text) for fault in report.faults.examples(FaultKind.NO_CONTENT)]
    assert empty == [
        (f"{tmp_path / 'talk.wav'}, train clip 'b'", "the audio is silent: is it the right clip?"),
        (f"{tmp_path / 'nothing.wav'}, dev clip 'e'", "the audio is silent: is it the right clip?"),
    ]
    (fault,) = report.faults.examples(FaultKind.OPPOSITE_CHANNELS)
    assert fault.where == str(tmp_path / "wired.wav")
    assert "turned over" in fault.text
    assert not report.has_errors
    assert not check_corpus(spec, num_workers=1).faults.count(FaultKind.NO_CONTENT)


def test_deep_reads_the_sound_of_videos_where_the_recipe_does(tmp_path):
    write_video(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        pictures = container.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 48, 32, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for number in range(25):
            picture = np.full((32, 48, 3), 10 * number, np.uint8)
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        piece.sample_rate = 16000
        container.mux([*sound.encode(piece), *sound.encode(), *pictures.encode()])
    (tmp_path / "own.csv").write_text("id,media,text,split,language\nb,b.mp4,eins,train,de\n")
    spec = f"table:{tmp_path / 'own.csv'}"
    found = check_corpus(spec, deep=True, needs=Needs(signal="audio"), num_workers=1).faults
    assert [fault.text for fault in found.examples(FaultKind.NO_CONTENT)] == [
        "the audio is silent: is it the right clip?"
    ]
    found = check_corpus(spec, deep=True, num_workers=1).faults
    assert [fault.text for fault in found.examples(FaultKind.NO_CONTENT)] == [
        "the video is blank, one colour all over: is it the right clip?"
    ]


def test_a_clip_of_one_picture_is_told(tmp_path):
    write_frames(tmp_path / "a", (1,))
    (tmp_path / "own.csv").write_text("id,media,text,split,language\na,a,eins,train,de\n")
    (fault,) = check_corpus(f"table:{tmp_path / 'own.csv'}", deep=True).faults.examples(
        FaultKind.NO_CONTENT
    )
    assert fault.text.startswith("there is only one frame")
