import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import cv2
import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from unglossed.cli import app
from unglossed.corpora.check import check_corpus
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.pack import encode_clip, key_of, pack_corpus
from unglossed.corpora.packed import read_manifest, verify_shards
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.corpora.stats import corpus_stats
from unglossed.errors import InputError
from unglossed.media.frames import read_frames
from unglossed.media.signal import kept_indices

ODD_IDS = [
    "-1A2b--x_0.5",
    "--/..",
    "a/b c:d.e",
    "W1-00:00:01.500-00:00:02.000",
    "每日/天气.1",
    "%2Fa",
    "long " * 60,
]


def pack(spec, out, **options):
    return pack_corpus(spec, out, num_workers=1, progress=False, **options)


def all_samples(corpus):
    return [sample for split in corpus.splits.values() for sample in split]


def content(folder):
    """Every file below a folder with its bytes."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def edit_json(path, **changes):
    facts = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**facts, **changes}), encoding="utf-8")


def draw(folder, num_frames, seed, size=(32, 24)):
    """A frame folder of smooth pictures, each of another brightness."""
    folder.mkdir(parents=True)
    coarse = np.random.default_rng(seed).integers(0, 120, (4, 4, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    for number in range(num_frames):
        assert cv2.imwrite(str(folder / f"{number:04d}.png"), picture + np.uint8(2 * number))


@pytest.fixture
def spec(write_corpus_folder):
    return f"phoenix14t:{write_corpus_folder()}"


@pytest.fixture
def odd_corpus(tmp_path):
    """A table with ids that no file name could be, and several shards' worth of clips."""
    rows = []
    for number, id in enumerate([*ODD_IDS, *map(str, range(9))]):
        draw(tmp_path / f"clips/{number}", 3 + number % 4, number)
        row = {"id": id, "media": f"clips/{number}", "text": f"  satz »{number}« \u2028 ende "}
        row |= {"split": ["train", "dev"][number % 3 == 2], "language": "de"}
        rows.append(row | ({"signer": " S 1 ", "gloss": "REGEN  WIND"} if number % 2 else {}))
    table = tmp_path / "own.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    table.write_text("".join(lines), encoding="utf-8")
    return f"table:{table}"


def test_packed_corpus_reads_as_its_source(spec, tmp_path):
    source = read_corpus(spec)
    packing = pack(spec, tmp_path / "out")
    corpus = read_corpus(f"packed:{tmp_path / 'out'}")
    assert list(corpus.splits) == list(source.splits) == ["train", "dev", "test"]
    assert (corpus.name, corpus.language) == ("packed", "de")
    for found, wanted in zip(all_samples(corpus), all_samples(source), strict=True):
        for name in ("id", "text", "split", "language", "signer", "gloss"):
            assert getattr(found, name) == getattr(wanted, name)
        frames = read_frames(found.media)
        assert np.abs(frames.astype(int) - read_frames(wanted.media)).mean() < 1
        assert np.array_equal(kept_indices(found, 0.5), kept_indices(wanted, 0.5))
    assert (packing.num_new_clips, packing.manifest.num_clips) == (4, 4)
    assert packing.manifest.num_frames == 12
    assert str(packing).startswith(f"{tmp_path / 'out'}: 4 clips in 3 shards, ")


def test_rows_carry_over_bit_for_bit_whatever_the_ids(odd_corpus, tmp_path):
    source = all_samples(read_corpus(odd_corpus))
    pack(odd_corpus, tmp_path / "out", max_shard_bytes=1)
    found = all_samples(read_corpus(f"packed:{tmp_path / 'out'}"))
    assert len({sample.media for sample in found}) == len(source) == 16
    for sample, wanted in zip(found, source, strict=True):
        assert (sample.id, sample.text) == (wanted.id, wanted.text)
        assert (sample.signer, sample.gloss) == (wanted.signer, wanted.gloss)
        assert len(read_frames(sample.media)) == len(read_frames(wanted.media))
    assert source[0].text.startswith("  satz »0« \u2028")
    assert {sample.signer for sample in source} == {None, " S 1 "}


def test_webdataset_streams_the_shards(odd_corpus, tmp_path):
    pack(odd_corpus, tmp_path / "out")
    samples = {sample.id: sample for sample in all_samples(read_corpus(odd_corpus))}
    packed = {sample.id: sample for sample in all_samples(read_corpus(f"packed:{tmp_path}/out"))}
    urls = [str(path) for path in sorted((tmp_path / "out/shards").glob("*.tar"))]
    streamed = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert len(urls) == 2
    assert len(streamed) == len(samples)
    for item in streamed:
        row = json.loads(item["json"])
        sample = samples[row["id"]]
        assert row["text"] == sample.text
        assert (row["split"], row["language"]) == (sample.split, "de")
        assert (row.get("signer"), row.get("gloss")) == (sample.signer, sample.gloss)
        names = sorted(name for name in item if name.endswith(".jpg"))
        data = [np.frombuffer(item[name], np.uint8) for name in names]
        frames = [cv2.imdecode(one, cv2.IMREAD_COLOR_RGB) for one in data]
        assert np.array_equal(read_frames(packed[row["id"]].media), frames)
        assert (row["width"], row["height"]) == (32, 24)


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), unique=True))
def test_each_id_has_its_own_key(ids):
    keys = [key_of(id) for id in ids]
    assert len(set(keys)) == len(ids)
    for id, key in zip(ids, keys, strict=True):
        assert re.fullmatch(r"[A-Za-z0-9_%~][A-Za-z0-9_%~-]{0,79}", key)
        assert "~" in key or urllib.parse.unquote(key) == id


def test_long_ids_that_begin_alike_have_their_own_keys():
    assert key_of("a" * 80) == "a" * 80
    assert len({key_of("a" * number) for number in range(70, 200)}) == 130


def test_pictures_are_reduced_and_never_enlarged(tmp_path):
    draw(tmp_path / "large", 2, 0, size=(90, 60))
    sample = Sample("a", tmp_path / "large", "text", "train", "de")
    clip = encode_clip(sample, short_side=30, quality=100)
    assert (clip.width, clip.height) == (45, 30)
    data = np.frombuffer(clip.pictures[1], np.uint8)
    found = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB).astype(float)
    # Halving both sides by areas is the mean of four pixels.
    blocks = read_frames(sample.media)[1].reshape(30, 2, 45, 2, 3).mean(axis=(1, 3))
    assert np.abs(found - blocks).mean() < 1.5
    same = encode_clip(sample, short_side=61, quality=90)
    assert (same.width, same.height) == (90, 60)


def test_quality_changes_the_bytes(tmp_path):
    draw(tmp_path / "clip", 1, 0)
    sample = Sample("a", tmp_path / "clip", "text", "train", "de")
    low, high = (len(encode_clip(sample, 256, quality).pictures[0]) for quality in (30, 95))
    assert low < high


def test_times_and_box_are_cut_out(tmp_path):
    draw(tmp_path / "clip", 40, 0)
    box = (0.25, 0.5, 1.0, 1.0)
    sample = Sample("a", tmp_path / "clip", "x", "train", "de", None, None, 0.2, 1.4, box)
    clip = encode_clip(sample, 256, 100)
    assert (clip.width, clip.height) == (24, 12)
    data = [np.frombuffer(picture, np.uint8) for picture in clip.pictures]
    found = np.stack([cv2.imdecode(one, cv2.IMREAD_COLOR_RGB) for one in data])
    wanted = read_frames(sample.media)[5:35, 12:, 8:]
    # Thirty frames, read in more than one part.
    assert found.shape == wanted.shape
    difference = found.astype(int) - wanted
    assert np.abs(difference).mean() < 2
    # The next frame is brighter by two.
    assert np.abs(difference.mean(axis=(1, 2, 3))).max() < 0.5


def test_frames_of_different_sizes(tmp_path):
    draw(tmp_path / "clip", 20, 0)
    picture = np.zeros((30, 20, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "clip/0018.png"), picture)
    sample = Sample("a b", tmp_path / "clip", "text", "train", "de")
    with pytest.raises(InputError, match=r"clip: found frames of different sizes .* .clip 'a b'."):
        encode_clip(sample, 256, 90)
    for number in range(16, 20):  # none of the two parts is at fault
        assert cv2.imwrite(str(tmp_path / f"clip/{number:04d}.png"), picture)
    with pytest.raises(InputError, match=r"sizes \(32x24, 20x30\), expected one size \(clip 'a b'"):
        encode_clip(sample, 256, 90)


def test_shards_end_before_they_grow_too_large(odd_corpus, tmp_path):
    manifest = pack(odd_corpus, tmp_path / "out", max_shard_bytes=30_000).manifest
    assert len(manifest.shards) == 4
    for shard in manifest.shards:
        assert shard.size < 34_000  # rows come on top
        assert (tmp_path / "out/shards" / shard.name).stat().st_size == shard.size
    assert sum(shard.num_clips for shard in manifest.shards) == manifest.num_clips == 16


def test_some_splits_only(spec, tmp_path):
    pack(spec, tmp_path / "out", splits=["test", "dev"])
    assert list(read_corpus(f"packed:{tmp_path / 'out'}").splits) == ["dev", "test"]
    with pytest.raises(InputError, match="no split 'val', expected train, dev, test"):
        pack(spec, tmp_path / "other", splits=["val"])
    assert not (tmp_path / "other").exists()


def test_number_of_workers_does_not_show(odd_corpus, tmp_path):
    pack(odd_corpus, tmp_path / "one", max_shard_bytes=30_000)
    pack_corpus(odd_corpus, tmp_path / "two", max_shard_bytes=30_000, num_workers=2, progress=False)
    assert content(tmp_path / "two") == content(tmp_path / "one")


PACK = """
import sys
from pathlib import Path
from unglossed.corpora.pack import pack_corpus
if __name__ == "__main__":
    workers = int(sys.argv[3])
    pack_corpus(
        sys.argv[1], Path(sys.argv[2]), max_shard_bytes=30_000, num_workers=workers, progress=False
    )
"""


@pytest.mark.parametrize("num_workers", [1, 2])
def test_killed_packing_goes_on_where_it_stopped(odd_corpus, tmp_path, num_workers):
    out, script = tmp_path / "out", tmp_path / "run.py"
    script.write_text(PACK)
    # Reading this picture takes for ever.
    picture = tmp_path / "clips/5/0001.png"
    data = picture.read_bytes()
    picture.unlink()
    os.mkfifo(picture)
    command = [sys.executable, str(script), odd_corpus, str(out), str(num_workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    while not (out / "shards/.dev-000000.tar.partial").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    # The end of the output comes when the last of its processes has gone, workers included.
    process.communicate(timeout=60)
    assert process.returncode == -9
    assert not (out / "manifest.json").exists()
    picture.unlink()
    picture.write_bytes(data)

    with pytest.raises(InputError, match=r"packing was interrupted, expected manifest.json: run"):
        read_corpus(f"packed:{out}")
    assert pack(odd_corpus, out, max_shard_bytes=30_000).num_new_clips == 5  # those of dev
    pack(odd_corpus, tmp_path / "whole", max_shard_bytes=30_000)
    assert content(out) == content(tmp_path / "whole")


def test_clip_that_cannot_be_read_stops_packing_and_leaves_whole_shards(odd_corpus, tmp_path):
    clips = tmp_path / "clips"
    shutil.copytree(clips / "7", tmp_path / "sound")
    damaged = clips / "7/0001.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    out = tmp_path / "out"
    with pytest.raises(InputError) as error:
        pack(odd_corpus, out, max_shard_bytes=1)
    assert str(error.value).startswith(f"{damaged}: truncated or damaged PNG")
    assert str(error.value).endswith("(clip '0')")
    names = {path.name for path in out.rglob("*") if path.is_file()}
    assert not any(name.startswith(".") for name in names)
    tars = {name for name in names if name.endswith(".tar")}
    assert len(tars) == 4  # the fifth is open until it is known what follows
    assert {name.replace(".tar", ".index.json") for name in tars} < names

    # What is damaged meanwhile is made anew, and what is sound is kept.
    shard = out / "shards/train-000003.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    first = (out / "shards/train-000000.tar").stat().st_mtime_ns
    shutil.rmtree(clips / "7")
    shutil.move(tmp_path / "sound", clips / "7")
    assert pack(odd_corpus, out, max_shard_bytes=1).num_new_clips == 13
    assert (out / "shards/train-000000.tar").stat().st_mtime_ns == first
    pack(odd_corpus, tmp_path / "whole", max_shard_bytes=1)
    assert content(out) == content(tmp_path / "whole")


def test_finished_packing_does_nothing(spec, tmp_path):
    out = tmp_path / "out"
    pack(spec, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    packing = pack(spec, out)
    assert packing.num_new_clips == 0
    told = "packed before (sizes compared, contents not: `unglossed corpus check --deep` does that)"
    assert str(packing).endswith(told)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("name", ["shards/dev-000000.tar", "rows.jsonl"])
def test_file_that_was_lost_is_made_anew(spec, tmp_path, name):
    out = tmp_path / "out"
    pack(spec, out)
    before = content(out)
    (out / name).unlink()
    pack(spec, out)
    assert content(out) == before


@pytest.mark.parametrize("finished", [True, False])
def test_other_arguments_need_another_folder(spec, tmp_path, finished):
    out = tmp_path / "out"
    pack(spec, out)
    if not finished:
        facts = json.loads((out / "manifest.json").read_text())
        (out / "manifest.json").unlink()
        (out / "unfinished.json").write_text(json.dumps(facts))
    before = content(out)
    for options, found in (
        ({"quality": 80}, "quality 90, not 80"),
        ({"short_side": 128}, "short_side 256, not 128"),
        ({"splits": ["dev"]}, "splits ('train', 'dev', 'test'), not ('dev',)"),
    ):
        with pytest.raises(InputError, match=re.escape(f"packing began with {found}: expected")):
            pack(spec, out, **options)
    with pytest.raises(InputError, match=r"packing began with source '.*', not '.*language=en'"):
        pack(f"{spec}?language=en", out)
    if finished:
        annotations = next(Path(spec.partition(":")[2]).rglob("*dev.corpus.csv"))
        annotations.write_text(annotations.read_text("utf-8").replace("klar", "trocken"), "utf-8")
        with pytest.raises(InputError, match=r"packing began with other rows than the source has"):
            pack(spec, out)
    assert content(out) == before


@pytest.mark.parametrize("finished", [True, False])
def test_another_spelling_is_no_other_corpus(odd_corpus, tmp_path, monkeypatch, finished):
    out = tmp_path / "out"
    (tmp_path / "media").symlink_to(tmp_path)
    spec = f"{odd_corpus}?media={tmp_path / 'media'}/&language=de"
    pack(spec, out)
    if not finished:
        facts = json.loads((out / "manifest.json").read_text())
        (out / "manifest.json").unlink()
        (out / "unfinished.json").write_text(json.dumps(facts))
    monkeypatch.chdir(tmp_path / "clips")
    assert pack("table:../own.jsonl?language=de&media=../media", out).num_new_clips == 0
    with pytest.raises(InputError, match="packing began with source "):
        pack("table:../own.jsonl?language=de", out)


def stop_and_edit(out, tmp_path, edit):
    """Let packing stop at the last row but one of train, then edit the table's rows."""
    table = tmp_path / "own.jsonl"
    picture = tmp_path / "clips/10/0001.png"
    picture.write_bytes(picture.read_bytes()[:100])
    with pytest.raises(InputError, match=r"0001.png: truncated or damaged PNG"):
        pack(f"table:{table}", out, max_shard_bytes=1)
    rows = [json.loads(line) for line in table.read_text("utf-8").split("\n") if line]
    edit(rows)
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def drop(rows):
    del rows[10]


def correct(rows):
    rows[10] |= {"media": "clips/9", "text": "ein anderer satz"}


def correct_split(rows):
    rows[10] |= {"media": "clips/9", "split": "test"}


def append(rows):
    rows[10]["media"] = "clips/9"
    rows.append(rows[0] | {"id": "one more", "media": "clips/9"})


@pytest.mark.parametrize("edit", [drop, correct, correct_split, append])
def test_corrected_table_goes_on_from_what_was_packed(odd_corpus, tmp_path, edit):
    out = tmp_path / "out"
    stop_and_edit(out, tmp_path, edit)
    shards = {path: path.stat().st_mtime_ns for path in (out / "shards").glob("*.tar")}
    assert len(shards) == 6

    packing = pack(odd_corpus, out, max_shard_bytes=1)

    kept = [path for path in shards if path.stat().st_mtime_ns == shards[path]]
    assert len(kept) == 6
    assert packing.num_new_clips == packing.manifest.num_clips - len(kept)
    pack(odd_corpus, tmp_path / "whole", max_shard_bytes=1)
    assert content(out) == content(tmp_path / "whole")


def test_rows_that_changed_are_packed_anew(odd_corpus, tmp_path):
    def edit(rows):
        del rows[10:]
        rows[4]["text"] = "ein anderer satz"

    out = tmp_path / "out"
    stop_and_edit(out, tmp_path, edit)
    first = (out / "shards/train-000000.tar").stat().st_mtime_ns
    pack(odd_corpus, out, max_shard_bytes=1)
    assert (out / "shards/train-000000.tar").stat().st_mtime_ns == first
    pack(odd_corpus, tmp_path / "whole", max_shard_bytes=1)
    assert content(out) == content(tmp_path / "whole")


def test_media_that_changed_are_packed_anew(odd_corpus, tmp_path):
    def edit(rows):
        draw(tmp_path / "better/0", 2, 7)  # of the same name
        rows[0]["media"] = "better/0"
        del rows[10]

    out = tmp_path / "out"
    stop_and_edit(out, tmp_path, edit)
    pack(odd_corpus, out, max_shard_bytes=1)
    sample = read_corpus(f"packed:{out}").split("train")[0]
    assert len(read_frames(sample.media)) == 2


@pytest.mark.parametrize("text", [None, "", '{"version": 1, "size": 3', "other"])
def test_index_that_was_damaged_is_made_anew_from_its_shard(odd_corpus, tmp_path, text):
    out = tmp_path / "out"
    pack(odd_corpus, out, max_shard_bytes=30_000)
    before = content(out)
    shards = {path: path.stat().st_mtime_ns for path in (out / "shards").glob("*.tar")}
    index = out / "shards/train-000001.index.json"
    if text is None:
        index.unlink()
    elif text == "other":
        shutil.copy(out / "shards/train-000000.index.json", index)
    else:
        index.write_text(text)
    with pytest.raises(InputError, match=r"train-000001.*the same `unglossed corpus pack` again"):
        read_corpus(f"packed:{out}")
    assert pack(odd_corpus, out, max_shard_bytes=30_000).num_new_clips == 0
    assert content(out) == before
    assert {path: path.stat().st_mtime_ns for path in shards} == shards


def test_two_cannot_pack_into_one_folder(spec, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError) as error:
            pack(spec, out)
    assert str(error.value) == (
        f"{out}: another process is packing into this folder: wait until it has ended"
    )
    # One that was killed has left the file, but not the lock.
    assert pack(spec, out).num_new_clips == 4
    assert not (out / ".lock").exists()


def test_what_the_sources_reader_left_out_is_told_by_the_packing(spec, tmp_path):
    shutil.rmtree(next(tmp_path.rglob("01May_2010-2")))
    packing = pack(f"{spec}?missing=skip", tmp_path / "out")
    (note,) = packing.manifest.notes
    assert note.startswith("left out by the corpus's rules: 1 (")
    corpus = read_corpus(f"packed:{tmp_path / 'out'}?language=en")
    assert corpus.notes == (note,)
    assert corpus_stats(f"packed:{tmp_path / 'out'}").notes == (note,)
    run = CliRunner().invoke(
        app, ["corpus", "pack", f"{spec}?missing=skip", str(tmp_path / "out"), "--workers", "1"]
    )
    assert run.exit_code == 0
    assert run.stderr.startswith(f"note: {note}\n{tmp_path / 'out'}: 3 clips")


def test_folder_with_something_else_in_it_is_left_alone(spec, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out: exists already, expected a new or an empty folder"):
        pack(spec, tmp_path / "out")
    with pytest.raises(InputError, match=r"notes.txt: exists already"):
        pack(spec, tmp_path / "out/notes.txt")
    with pytest.raises(InputError, match=r"deeper: packing stopped: Not a directory"):
        pack(spec, tmp_path / "out/notes.txt/deeper")
    assert content(tmp_path / "out") == {"notes.txt": b"mine"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0}, "--quality: found 0, expected 1 to 100"),
        ({"short_side": 8}, "--short-side: found 8, expected 16 to"),
        ({"max_shard_bytes": 0}, "--shard-size: found 0, expected 1 to"),
    ],
)
def test_arguments_out_of_range(spec, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        pack(spec, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_sound_is_not_packed(tmp_path):
    (tmp_path / "a.wav").touch()
    table = tmp_path / "own.csv"
    table.write_text("id,media,text,split,language\na,a.wav,guten morgen,train,de\n")
    with pytest.raises(InputError, match=r"own.csv: found audio \(.*a.wav\), expected frames or v"):
        pack(f"table:{table}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def packed(spec, tmp_path):
    pack(spec, tmp_path / "packed")
    return tmp_path / "packed"


def test_language_and_normalisation_are_the_sources(packed):
    edit_json(packed / "manifest.json", normalisation="nfc_no_final_stop.v1")
    corpus = read_corpus(f"packed:{packed}")
    assert corpus.normalisation == "nfc_no_final_stop.v1"
    corpus = read_corpus(f"packed:{packed}?language=en")
    assert corpus.language == "en"
    assert {sample.language for sample in all_samples(corpus)} == {"en"}


def test_shards_may_lie_elsewhere(packed, tmp_path):
    (tmp_path / "fast").mkdir()
    (packed / "shards").rename(tmp_path / "fast/shards")
    sample = read_corpus(f"packed:{packed}?media={tmp_path / 'fast'}").split("dev")[0]
    assert sample.media.parent == tmp_path / "fast/shards/dev-000000.tar"
    assert len(read_frames(sample.media)) == 3


def test_missing_shard(packed):
    shard = packed / "shards/train-000000.tar"
    shard.unlink()
    with pytest.raises(InputError) as error:
        read_corpus(f"packed:{packed}")
    assert str(error.value) == (
        f"{packed / 'rows.jsonl'}, line 1: no media for '01May_2010-1', expected"
        f" {shard}/01May_2010-1"
    )
    corpus = read_corpus(f"packed:{packed}?missing=skip", Faults())
    assert [sample.split for sample in all_samples(corpus)] == ["dev", "test"]
    assert "left out by the corpus's rules: 2" in corpus.notes[0]


def test_shard_of_another_size(packed):
    shard = packed / "shards/dev-000000.tar"
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-512])
    message = f"{shard}: found {size - 512} bytes, expected {size} as manifest.json says"
    with pytest.raises(InputError, match=re.escape(message)):
        read_corpus(f"packed:{packed}")
    faults = Faults()
    assert len(all_samples(read_corpus(f"packed:{packed}", faults))) == 4
    assert [faults.count(kind) for kind in faults] == [1]


def test_rows_that_do_not_fit(packed):
    rows = packed / "rows.jsonl"
    lines = rows.read_text("utf-8").splitlines(keepends=True)
    rows.write_text("".join(lines[:3]), "utf-8")
    with pytest.raises(InputError, match=r"rows.jsonl: found 3 rows, expected 4 as manifest.json"):
        read_corpus(f"packed:{packed}")
    faults = Faults()
    read_corpus(f"packed:{packed}", faults)
    assert faults.count(FaultKind.MEDIA_WITHOUT_ROW) == 1
    rows.write_text("".join(lines).replace("tar/02May", "tar/05May"), "utf-8")
    with pytest.raises(InputError, match=r"line 3: no media for '02May_2010-1', expected .*05May"):
        read_corpus(f"packed:{packed}")


def test_rows_that_are_not_as_they_were_packed(packed):
    rows = packed / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"Signer", b"Singer"))
    with pytest.raises(InputError, match=r"rows.jsonl: found SHA-256 .*, expected .* as manifest"):
        read_corpus(f"packed:{packed}")
    faults = Faults()
    assert len(all_samples(read_corpus(f"packed:{packed}", faults))) == 4
    assert faults.count(FaultKind.DAMAGED_MEDIA) == 1


def test_index_of_another_packing(packed):
    edit_json(packed / "shards/dev-000000.index.json", sha256="0" * 64)
    with pytest.raises(InputError, match=r"dev-000000.tar: its index and manifest.json differ in"):
        read_corpus(f"packed:{packed}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "Invalid JSON"),
        (lambda text: text.replace('"num_clips": 4', '"num_clips": "many"'), "num_clips: Input"),
        (lambda text: text.replace('"version": 1', '"version": 7'), "version: Input should be 1"),
        (lambda text: text.replace('"language"', '"tongue"'), "language: Field required"),
    ],
)
def test_malformed_manifest(packed, change, message):
    path = packed / "manifest.json"
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(InputError, match=message) as error:
        read_corpus(f"packed:{packed}")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_folder_that_was_not_packed(tmp_path):
    with pytest.raises(InputError, match=r"found no manifest.json, expected a folder that `ung"):
        read_corpus(f"packed:{tmp_path}")


def test_checksums_find_one_changed_byte(packed):
    assert not list(verify_shards(packed))
    shard = packed / "shards/test-000000.tar"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1  # where no picture is
    shard.write_bytes(data)
    (packed / "shards/dev-000000.tar").unlink()
    faults = list(verify_shards(packed))
    assert [(fault.kind, Path(fault.where).name) for fault in faults] == [
        (FaultKind.UNREADABLE_MEDIA, "dev-000000.tar"),
        (FaultKind.DAMAGED_MEDIA, "test-000000.tar"),
    ]
    assert read_manifest(packed).shards[2].sha256[:16] in faults[1].text


def test_shards_that_lie_elsewhere_are_checked_there(packed, tmp_path):
    (tmp_path / "other").mkdir()
    (packed / "shards").rename(tmp_path / "other" / "shards")
    spec = f"packed:{packed}?media={tmp_path / 'other'}"
    assert not check_corpus(spec, deep=True, num_workers=1).has_errors


def test_check_finds_damage_in_a_shard(packed):
    spec = f"packed:{packed}"
    assert not check_corpus(spec, deep=True, num_workers=1).has_errors
    shard = packed / "shards/train-000000.tar"
    data = bytearray(shard.read_bytes())
    data[data.index(b"\xff\xd8") + 30] ^= 1  # in the first picture
    shard.write_bytes(data)
    assert not check_corpus(spec, num_workers=1).has_errors
    report = check_corpus(spec, deep=True, num_workers=1)
    assert report.has_errors
    clip, file = report.faults.examples(FaultKind.DAMAGED_MEDIA)
    assert "01May_2010-1" in clip.where
    assert "the shard is damaged at frame 0" in clip.text
    assert file.where == str(shard)
    assert "SHA-256" in file.text


def test_packed_corpus_can_be_packed_again(packed, tmp_path):
    pack(f"packed:{packed}", tmp_path / "smaller", short_side=16)
    sample = read_corpus(f"packed:{tmp_path / 'smaller'}").split("train")[0]
    assert read_frames(sample.media).shape == (3, 20, 16, 3)


def test_deep_check_compares_the_checksums_of_all_files(packed):
    assert not check_corpus(f"packed:{packed}", deep=True, num_workers=1).has_errors
    rows = packed / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"Signer", b"Singer"))

    report = check_corpus(f"packed:{packed}", deep=True, num_workers=1)

    (fault,) = report.faults.examples(FaultKind.DAMAGED_MEDIA)
    assert fault.where == str(rows)
    assert "SHA-256" in fault.text


def test_languages_and_references_carry_over(tmp_path):
    draw(tmp_path / "a", 3, 1)
    rows = [
        {"id": "1", "media": "a", "text": ["Regen.", "Es regnet."], "language": "de"},
        {"id": "2", "media": "a", "text": "It rains.", "language": "en"},
        {"id": "3", "media": "a", "text": "Wind.", "language": "de"},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    source = f"table:{path}?split=train&language=*"
    pack(source, tmp_path / "out")
    packed = f"packed:{tmp_path / 'out'}"

    def told(spec):
        found = all_samples(read_corpus(spec))
        return [(sample.text, sample.references, sample.language) for sample in found]

    assert told(f"{packed}?language=*") == told(source)
    assert told(source)[0] == ("Regen.", ("Es regnet.",), "de")
    assert told(f"{packed}?language=en") == [("It rains.", (), "en")]
    with pytest.raises(
        InputError, match=r"found texts in de, en, expected a choice: \?language=de or"
    ):
        read_corpus(packed)
