"""What is fuzzed, by name: valid small files, what may be changed of them, and what reads them.

A reader may raise what the command line turns into one line, and nothing else. Targets read inside
their folder, which is the working folder meanwhile.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tiny
from fuzz.mutations import PLAIN
from unglossed.cli import _describe
from unglossed.config import DecodingSettings, write_settings
from unglossed.corpora.captions import read_captions
from unglossed.corpora.faults import Faults
from unglossed.corpora.pack import pack_corpus
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.segments import read_segments
from unglossed.files import CHECKSUMS, bind_folder

Files = Mapping[str, str | bytes]
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Target:
    """Something that reads files of a user.

    Attributes:
        make: Writes the valid files into an empty folder.
        changed: Pattern of the names, relative to the folder, of files that are changed.
        read: Reads them, the folder being the working folder; it is given the changed file's name.
        operations: Mutations that make sense for the files.
    """

    make: Callable[[Path], None]
    changed: str
    read: Callable[[str], object]
    operations: tuple[str, ...] = PLAIN

    def names(self, folder: Path) -> list[str]:
        """The files that may be changed."""
        files = (path for path in folder.rglob("*") if path.is_file())
        found = (path.relative_to(folder).as_posix() for path in files)
        return sorted(name for name in found if re.fullmatch(self.changed, name))

    def fault(self, folder: Path, name: str, data: bytes) -> BaseException | None:
        """Read with other content of a file; what was raised that no user should see."""
        path = folder / name
        before, here = path.read_bytes(), Path.cwd()
        path.write_bytes(data)
        os.chdir(folder)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # notes
                self.read(name)
        except Exception as error:
            return None if _describe(error) is not None else error
        except BaseException as error:  # such as a panic of a library in Rust
            if isinstance(error, KeyboardInterrupt):
                raise
            return error
        finally:
            os.chdir(here)
            path.write_bytes(before)
        return None


def _write(files: Files) -> Callable[[Path], None]:
    """What writes files; a name with a slash at its end is a folder."""

    def make(folder: Path) -> None:
        for name, content in files.items():
            path = folder / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def _corpus(spec: str, files: Files, changed: str, *more: str) -> Target:
    """A corpus, read with and without a list of its faults."""

    def read(_: str) -> None:
        read_corpus(spec, Faults(), texts="optional")
        read_corpus(spec)

    return Target(_write(files), changed, read, (*PLAIN, *more))


def _read_spec(name: str) -> None:
    data = Path(name).read_bytes()
    read_corpus(data.decode(errors="surrogateescape"), Faults())


def _read_captions(name: str) -> None:
    path = Path(name)
    read_captions(path, report=lambda *_: None, note=lambda *_: None)
    read_captions(path, needs_text=False)


def _read_recipe(name: str) -> None:
    from unglossed.training.recipe import find_unused, load_recipe

    list(find_unused(load_recipe(name)))


def _read_overrides(name: str) -> None:
    from unglossed.training.recipe import load_recipe

    text = Path(name).read_bytes().decode(errors="surrogateescape")
    load_recipe("recipe.yaml", [line for line in text.split("\n") if line])


def _read_model(_: str) -> None:
    import unglossed
    from unglossed.cli.common import silence_loading

    silence_loading()
    unglossed.load("model")


def _make_model(folder: Path) -> None:
    model = tiny.tiny_translator(folder / "model")
    write_settings(DecodingSettings(beams=2, max_new_tokens=6), model / "decoding.yaml")


def _make_bound_model(folder: Path) -> None:
    _make_model(folder)
    bind_folder(folder / "model")


def _make_recipe(folder: Path) -> None:
    for name in ("demo.yaml", "lst_demo.yaml", "gfslt_vlp.yaml"):
        shutil.copy(ROOT / "recipes" / name, folder / name)
    shutil.copy(ROOT / "tests" / "end_to_end" / "tiny.yaml", folder / "recipe.yaml")


def _make_packed(folder: Path) -> None:
    spec = tiny.write_corpus(folder / "source", 2, 1, 2)
    pack_corpus(spec, folder / "packed", num_workers=0, progress=False)
    shutil.rmtree(folder / "source")


def _make_parquet(folder: Path) -> None:
    from pyarrow import Table, parquet

    _write(MEDIA)(folder)
    parquet.write_table(Table.from_pylist(ROWS), folder / "rows.parquet")


MEDIA = {"a.mp4": "", "b.mp4": "", "c/0001.png": "", "talk.mp4": "", "walk.mp4": ""}
ROWS = [
    {"id": "a", "media": "a.mp4", "text": "am Morgen Nebel", "split": "train", "start": 0.5,
     "end": 2.0, "signer": "s1", "gloss": "NEBEL", "language": "de", "text_2": "früh Nebel"},
    {"id": "b", "media": "b.mp4", "text": "„Wind“, sagt er", "split": "val", "start": 1.0,
     "end": 2.5, "signer": "s2", "gloss": "WIND", "language": "de", "text_2": ""},
    {"id": "c", "media": "c", "text": "Regen", "split": "test", "start": 0.0, "end": 1.0,
     "signer": "s1", "gloss": "REGEN", "language": "de", "text_2": "es regnet"},
]  # fmt: skip
SRT = (
    "1\n00:00:01,000 --> 00:00:02,500\nNebel\nam Morgen\n\n"
    "2\n00:00:03,000 --> 00:00:04,500\nWind.\n"
)
VTT = (
    "WEBVTT - talk\n\nSTYLE\n::cue { color: red }\n\nNOTE nothing\n\nfirst\n"
    "00:01.000 --> 00:02.000 align:start\n<v Ann>fog in the</v>\nmorning &amp; <i>wind</i>\n\n"
    "01:00:01.000 --> 01:00:02.000\n- rain\n"
)
SBV = "0:00:01.000,0:00:02.500\nfog in the\nmorning\n\n0:00:03.000,0:00:04.000\nwind\n"
ASS = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
    "Style: Default,Arial,20\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Dialogue: 0,0:00:01.00,0:00:02.50,Default,Ann,0,0,0,,{\\i1}fog{\\i0}\\Nin the morning\n"
    "Comment: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,none\n"
    "Dialogue: 0,0:00:05.00,0:00:06.00,Default,,0,0,0,,wind, they say\n"
)
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT FORMAT="3.0">
<HEADER TIME_UNITS="milliseconds">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///talk.mp4" RELATIVE_MEDIA_URL="./talk.mp4" TIME_ORIGIN="40"/>
</HEADER>
<TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="250"/><TIME_SLOT TIME_SLOT_ID="ts2"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="1750"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="2000"/>
</TIME_ORDER>
<TIER TIER_ID="Translation" LINGUISTIC_TYPE_REF="top" PARTICIPANT="Ann">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>Regen</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
<ANNOTATION_VALUE>und Wind</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER TIER_ID="gloss" LINGUISTIC_TYPE_REF="parts" PARENT_REF="Translation">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>REGEN</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1" PREVIOUS_ANNOTATION="a3">
<ANNOTATION_VALUE>VIEL</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
</TIER>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="top" TIME_ALIGNABLE="true"/>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="parts" CONSTRAINTS="Symbolic_Subdivision"/>
</ANNOTATION_DOCUMENT>
"""
DGS_EAF = EAF.replace('"Translation"', '"Deutsche_Übersetzung_A"').replace(
    'TIER_ID="gloss"', 'TIER_ID="Lexem_Gebärde_r_A"'
)
CAPTIONS = {
    **MEDIA,
    **{"a.srt": SRT, "b.vtt": VTT, "talk.eaf": EAF, "walk.ass": ASS, "e.sbv": SBV, "e.mp4": ""},
    **{"f.mp4": "", "f.txt": "\ufeff  Am Morgen\r\n Nebel. \n\n"},
}
SEGMENTS = json.dumps({"segments": [{"start": 0.5, "end": 2.0, "text": "Nebel"}]})
SPECS = (
    "table:rows.csv?language=de&missing=skip&faulty=skip",
    "table:rows.csv?split=train&references=rows",
    "folder:captions?language=de&tier=Translation&media=captions&deinterlace=yes",
    "youtube_asl:captions?deinterlace=yes",
    "table:rows.csv?media=none&language=de",
)
OVERRIDES = (
    "seed=3",
    "stages.0.epochs=2",
    "tokenizer={vocab_size: 300}",
    "video.augmentation.colour=0.2",
    "extra_texts=null",
)


def _csv(separator: str) -> str:
    names = list(ROWS[0])
    rows = [separator.join(f'"{row[name]}"' for name in names) for row in ROWS]
    return "\n".join([separator.join(names), *rows, ""])


def _phoenix() -> dict[str, str]:
    files = {}
    for split, text in (("train", 'am morgen „etwas" regen'), ("dev", "wind"), ("test", "sonne")):
        for number in (1, 2):
            name = f"{split}-{number}"
            files[f"pt/features/fullFrame-210x260px/{split}/{name}/images0001.png"] = ""
        rows = "".join(
            f"{split}-{number}|x/1/*.png|-1|-1|Signer01|MORGEN REGEN|{text} {number}\n"
            for number in (1, 2)
        )
        head = "name|video|start|end|speaker|orth|translation\n"
        files[f"pt/annotations/manual/PHOENIX-2014-T.{split}.corpus.csv"] = head + rows
    return files


def _csl_daily() -> dict[str, str]:
    names = [f"S00000{number}_P0000_T00" for number in range(3)]
    rows = "".join(
        f"{i}|{name}|3|今天 小雨|今 天 有 小 雨 。|今天 有 小雨 。|n\n"
        for i, name in enumerate(names)
    )
    splits = "".join(
        f"{name}|{split}\n" for name, split in zip(names, ("train", "dev", "test"), strict=True)
    )
    return {
        "csl/sentence_label/video_map.txt": f"index|name|length|gloss|char|word|postag\n{rows}",
        "csl/sentence_label/split_1.txt": f"name|split\n{splits}",
        **{f"csl/sentence/frames_512x512/{name}/000000.jpg": "" for name in names},
    }


def _how2sign() -> dict[str, str]:
    head = (
        "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE"
    )
    files = {}
    for split in ("train", "val", "test"):
        name = f"--kettle{split}-5-rgb_front"
        row = (
            f"--kettle{split}\t{name}\t--kettle{split}_0\t--kettle{split}_0-5-rgb_front\t0.5\t2.75"
        )
        folder = f"h2s/sentence_level/{split}/text/en/raw_text/re_aligned"
        files[f"{folder}/how2sign_realigned_{split}.csv"] = f'{head}\n{row}\t"Slowly," he says\n'
        files[f"h2s/video_level/{split}/rgb_front/raw_videos/{name}.mp4"] = ""
    return files


def _openasl() -> dict[str, str]:
    head = "vid\tyid\tstart\tend\traw-text\ttokenized-text\tgloss\tsplit"
    rows, boxes = [], {}
    for number, split in enumerate(("train", "valid", "test")):
        begin, end = f"00:00:0{number}.500", f"00:00:0{number + 2}.250"
        clip = f"-news-{begin}-{end}"
        rows.append(f'{clip}\t-news\t{begin}\t{end}\tThe "mayor" said {number}.\tmayor\t\t{split}')
        boxes[clip] = [0.25, 0.0, 0.75, 1.0]
    return {
        "asl/data/openasl-v1.0.tsv": "\n".join([head, *rows, ""]),
        "asl/data/bbox-v1.0.json": json.dumps(boxes),
        "asl/raw-video/-news.mp4": "",
    }


def _must_c() -> dict[str, str]:
    files = {}
    for talk, name in enumerate(("train", "dev", "tst-COMMON")):
        folder = f"must/en-de/data/{name}"
        segments = "".join(
            f"- {{duration: 1.500000, offset: {begin:f}, speaker_id: spk.7, wav: ted_{talk}.wav}}\n"
            for begin in (0.5, 4.0)
        )
        files |= {
            f"{folder}/txt/{name}.yaml": segments,
            f"{folder}/txt/{name}.de": "Guten Morgen.\nDanke.\n",
            f"{folder}/txt/{name}.en": "Well.\nThanks.\n",
            f"{folder}/wav/ted_{talk}.wav": "",
        }
    return files


def _pickled(kind: str) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {}
    for split in ("train", "dev", "test"):
        name = f"{split}/clip"
        entry = {"name": name, "gloss": "NEBEL", "text": "im Tal Nebel"}
        content: object
        if kind == "gfslt":
            frames = [f"{name}/images{number:04d}.png" for number in (1, 2)]
            content = {name: entry | {"length": 2, "imgs_path": frames}}
            files[f"frames/{name}/images0001.png"] = files[f"frames/{name}/images0002.png"] = ""
        else:
            content = [entry | {"signer": "Signer03", "sign": None}]
            files[f"frames/{name}/images0001.png"] = ""
        file = f"labels/labels.{split}" if kind == "gfslt" else f"labels/phoenix14t.pami0.{split}"
        files[file] = gzip.compress(pickle.dumps(content, 3), 1)
    return files


def _csl_news() -> dict[str, str]:
    files, rows = {}, {}
    for split in ("", ".dev", ".test"):
        name = f"Common-Concerns_20200101_0-287{split.replace('.', '_')}_14330"
        rows[split] = {"video": f"{name}.mp4", "pose": f"{name}.pkl", "text": "今天，有小雨。"}
        files[f"news/rgb_format/{name}.mp4"] = ""
    for split in ("", ".dev"):
        content = json.dumps([rows[split]], ensure_ascii=False)
        files[f"news/CSL_News_Labels{split}.json"] = content
    table = "video,pose,text\n" + ",".join(f'"{value}"' for value in rows[".test"].values())
    return {**files, "news/CSL_News_Labels.test.csv": f"{table}\n"}


TARGETS: dict[str, Target] = {
    "phoenix14t": _corpus("phoenix14t:pt", _phoenix(), r"pt/annotations/.*"),
    "csl_daily": _corpus("csl_daily:csl", _csl_daily(), r"csl/sentence_label/.*"),
    "how2sign": _corpus("how2sign:h2s", _how2sign(), r"h2s/sentence_level/.*"),
    "openasl": _corpus("openasl:asl", _openasl(), r"asl/data/.*", "json"),
    "must_c": _corpus("must_c:must/en-de", _must_c(), r"must/.*/txt/.*", "yaml"),
    "youtube_asl": _corpus("youtube_asl:.", {"a.en.vtt": VTT, "a.mp4": ""}, r"a\.en\.vtt"),
    "youtube_sl_25": _corpus(
        "youtube_sl_25:sl?language=en",
        {
            "sl/youtube-sl-25-metadata.csv": "a,ase\nb,gsg\ngone,???\nc,bfi\n",
            **{f"sl/{name}.mp4": "" for name in "abc"},
            **{f"sl/{name}.vtt": VTT for name in ("a.en", "a.de", "b.de", "c.bfi")},
        },
        r"sl/.*\.(csv|vtt)",
    ),
    "csl_news": _corpus("csl_news:news", _csl_news(), r"news/.*\.(json|csv)", "json"),
    "bobsl": _corpus(
        "bobsl:bobsl",
        {
            "bobsl/subset2episode.json": '{"train": ["51"], "val": ["52"], "challenge": ["9"]}',
            "bobsl/subtitles/manually-aligned/51.vtt": VTT,
            "bobsl/subtitles/audio-aligned/51.vtt": VTT,
            "bobsl/subtitles/audio-aligned/52.vtt": VTT,
            "bobsl/videos/51.mp4": "",
            "bobsl/videos/52.mp4": "",
        },
        *(r"bobsl/.*\.(json|vtt)", "json"),
    ),
    "wmt_slt": _corpus(
        "wmt_slt:slt",
        {
            "slt/srf/parallel/subtitles/srf.2020-03-13.srt": SRT,
            "slt/srf/parallel/videos/srf.2020-03-13.mp4": "",
            "slt/focusnews/subtitles/focusnews.043.srt": SRT,
            "slt/focusnews/videos/focusnews.043.mp4": "",
        },
        r".*\.srt",
    ),
    "dgs": _corpus(
        "dgs:dgs",
        {
            "dgs/split.json": '{"train": ["1413451"], "dev": ["1177918"], "test": []}',
            **{f"dgs/eaf/{id}.eaf": DGS_EAF for id in ("1413451", "1177918")},
            **{f"dgs/videos/{id}_1a1.mp4": "" for id in ("1413451", "1177918")},
        },
        *(r"dgs/.*\.(json|eaf)", "json"),
    ),
    "hub": _corpus(
        "hub:hub?language=de",
        {
            "hub/train/metadata.jsonl": '{"file_name": "a.mp4", "text": "Nebel", "start": 0.5}\n',
            "hub/test/metadata.csv": 'file_name,text\nb.mp4,"Wind, sagt er"\n',
            "hub/train/a.mp4": "",
            "hub/test/b.mp4": "",
        },
        *(r"hub/.*metadata.*", "json"),
    ),
    "folder": _corpus("folder:.?language=de", CAPTIONS, r".*\.(srt|vtt|eaf|ass|sbv|txt)"),
    "csv": _corpus("table:rows.csv", {**MEDIA, "rows.csv": _csv(",")}, r"rows\.csv"),
    "tsv": _corpus("table:rows.tsv", {**MEDIA, "rows.tsv": _csv("\t")}, r"rows\.tsv"),
    "jsonl": _corpus(
        "table:rows.jsonl",
        {**MEDIA, "rows.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS)},
        *(r"rows\.jsonl", "json"),
    ),
    "parquet": Target(
        *(_make_parquet, r"rows\.parquet", lambda _: read_corpus("table:rows.parquet", Faults())),
        ("flip", "cut", "delete", "repeat", "insert"),
    ),
    "packed": Target(
        *(_make_packed, r"packed/.*\.jsonl?", lambda _: read_corpus("packed:packed", Faults())),
        (*PLAIN, "json"),
    ),
    "gfslt": _corpus("gfslt:labels?media=frames", _pickled("gfslt"), r"labels/.*", "pickle"),
    "camgoz": _corpus("camgoz:labels?media=frames", _pickled("camgoz"), r"labels/.*", "pickle"),
    "specs": Target(
        _write(
            {
                **{f"spec{number}": spec for number, spec in enumerate(SPECS)},
                **{**MEDIA, "rows.csv": _csv(",")},
                **{f"captions/{name}": content for name, content in CAPTIONS.items()},
            }
        ),
        *(r"spec\d", _read_spec),
    ),
    "captions": Target(_write(CAPTIONS), r".*\.(srt|vtt|eaf|ass|sbv)", _read_captions),
    "segments": Target(
        _write({**CAPTIONS, "rows.csv": _csv(","), "found.json": SEGMENTS}),
        r"rows\.csv|found\.json|.*\.(srt|eaf)",
        lambda name: read_segments(Path(name)),
        (*PLAIN, "json"),
    ),
    "recipes": Target(_make_recipe, r".*\.yaml", _read_recipe, (*PLAIN, "yaml")),
    "overrides": Target(
        lambda folder: (_make_recipe(folder), _write({"set": "\n".join(OVERRIDES)})(folder))[1],
        *(r"set", _read_overrides),
    ),
    "models": Target(_make_model, r"model/.*\.(json|yaml)", _read_model, (*PLAIN, "json", "yaml")),
    "checksums": Target(
        _make_bound_model, f"model/{re.escape(CHECKSUMS)}", _read_model, (*PLAIN, "json")
    ),
}
