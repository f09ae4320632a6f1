"""Clips within Parquet files, as data sets of a hub have them; sentences invented for the tests."""

import io
import json
import wave

import numpy as np
import pytest

from moving import write_moving
from unglossed.corpora.check import check_corpus
from unglossed.corpora.faults import FaultKind, Faults
from unglossed.corpora.pack import pack_corpus
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.stats import corpus_stats
from unglossed.errors import InputError
from unglossed.media.audio import read_audio
from unglossed.media.frames import open_frames

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

FILE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
RATE = 16000


def tone(hertz, seconds=0.5):
    """A WAV file: a sine."""
    samples = np.sin(np.arange(int(seconds * RATE)) * hertz * 2 * np.pi / RATE) * 8000
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def told(**kinds):
    """Metadata of a schema as the package datasets writes it."""
    features = {name: {"_type": kind} for name, kind in kinds.items()}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def write(path, columns, types, metadata=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pyarrow.schema(list(types.items()), metadata=metadata)
    parquet.write_table(pyarrow.table(columns, schema), path, **options)
    return path


def write_fleurs(path, tones=(200, 300), ids=(7, 7), **options):
    """Columns of FLEURS: one id for all readings of a sentence."""
    names = [f"{number}.wav" for number in range(len(tones))]
    columns = {
        "id": list(ids),
        "path": names,
        "audio": [
            {"bytes": tone(hertz), "path": name} for hertz, name in zip(tones, names, strict=True)
        ],
        "transcription": [f"satz {number}" for number in range(len(tones))],
        "gender": [0] * len(tones),
    }
    types = dict(zip(columns, (pyarrow.int32(), pyarrow.string(), FILE), strict=False))
    types |= {"transcription": pyarrow.string(), "gender": pyarrow.int64()}
    return write(path, columns, types, told(audio="Audio", gender="ClassLabel"), **options)


def read(root, options="?language=de&text=transcription", faults=None, **more):
    return read_corpus(f"hub:{root}{options}", faults, **more)


def test_audio_within_rows_is_read_as_it_was_written(tmp_path):
    write_fleurs(tmp_path / "de_de/train-00000-of-00001.parquet")
    write_fleurs(tmp_path / "de_de/validation-00000-of-00001.parquet", (400,), (8,))
    corpus = read(tmp_path)
    assert {name: [row.text for row in rows] for name, rows in corpus.splits.items()} == {
        "train": ["satz 0", "satz 1"],
        "dev": ["satz 0"],
    }
    row = corpus.split("train")[1]
    # Two readings share the id 7.
    assert row.id == "de_de/train-00000-of-00001/000002"
    assert row.media == (tmp_path / ".unglossed/de_de/train-00000-of-00001" / "000002.wav")
    assert row.media.read_bytes() == tone(300)
    assert len(read_audio(row.media, RATE)) == RATE // 2


def test_columns_of_covost_give_the_translation_the_transcript_and_the_id(tmp_path):
    columns = {
        "client_id": ["a", "b"],
        "audio": [{"bytes": tone(200), "path": None}, {"bytes": tone(300), "path": None}],
        "sentence": ["es regnet", "es schneit"],
        "translation": ["it rains", "it snows"],
        "id": ["common_voice_de_1", "common_voice_de_2"],
    }
    text = pyarrow.string()
    types = {name: FILE if name == "audio" else text for name in columns}
    write(tmp_path / "data/test-00000-of-00001.parquet", columns, types, told(audio="Audio"))
    row = read(tmp_path, "?language=en&transcript=sentence").split("test")[1]
    assert (row.id, row.text, row.transcript) == ("common_voice_de_2", "it snows", "es schneit")
    assert row.media.name == "000002.mka"  # no name tells what it is
    assert len(read_audio(row.media, RATE)) == RATE // 2
    with pytest.raises(InputError, match=r"found the columns 'client_id', .*, expected 'spoken'"):
        read(tmp_path, "?language=en&transcript=spoken")


@pytest.fixture
def videos(tmp_path):
    """Two videos within a file, with a column of pictures beside."""
    clips = []
    for number in range(2):
        path = write_moving(tmp_path / f"{number}.mp4", [(0.0, 0.3)], 0.48 + 0.04 * number)
        clips.append({"bytes": path.read_bytes(), "path": "../../../up.MP4"})
        path.unlink()
    columns = {
        "video": clips,
        "poster": [{"bytes": b"x", "path": "a.jpg"}] * 2,
        "text": ["regen", "schnee"],
    }
    types = {"video": FILE, "poster": FILE, "text": pyarrow.string()}
    root = tmp_path / "set"
    write(root / "train.parquet", columns, types, told(video="Video", poster="Image"))
    return root, clips


def test_video_within_rows_is_checked_and_packed_and_names_lead_nowhere(videos, tmp_path):
    root, clips = videos
    before = {path for path in tmp_path.rglob("*") if path != root}
    spec = f"hub:{root}?language=de"
    rows = read_corpus(spec).split("train")
    assert [row.media.read_bytes() for row in rows] == [clip["bytes"] for clip in clips]
    assert [row.media.name for row in rows] == ["000001.mp4", "000002.mp4"]
    assert open_frames(rows[0].media).num_frames == 12
    new = set(tmp_path.rglob("*")) - before - {root}
    assert all((root / ".unglossed") in (path, *path.parents) for path in new)
    report = check_corpus(spec, deep=True, num_workers=1)
    assert (report.num_media, report.faults.count(FaultKind.UNREADABLE_MEDIA)) == (2, 0)
    assert corpus_stats(spec).splits["train"].num_samples == 2
    assert pack_corpus(spec, tmp_path / "packed", progress=False).manifest.num_frames == 25


def test_clips_are_unpacked_once_and_again_where_the_file_changed(tmp_path, capsys):
    path = write_fleurs(tmp_path / "train.parquet")
    first = read(tmp_path).split("train")
    assert "note: unpacking the clips of" in capsys.readouterr().err
    times = [row.media.stat().st_ctime_ns for row in first]
    assert read(tmp_path).split("train") == first
    assert [row.media.stat().st_ctime_ns for row in first] == times
    assert not capsys.readouterr().err
    assert first[0].media.stat().st_mtime_ns == path.stat().st_mtime_ns
    write_fleurs(path, (500,), (9,))
    (row,) = read(tmp_path).split("train")
    assert row.media.read_bytes() == tone(500)
    assert not first[1].media.exists()


def test_what_was_half_unpacked_is_unpacked_anew(tmp_path):
    write_fleurs(tmp_path / "train.parquet")
    folder = tmp_path / ".unglossed/train"
    folder.mkdir(parents=True)
    (folder / "000001.wav").write_bytes(b"RIFF")
    (tmp_path / ".unglossed/.train.partial").mkdir()
    assert read(tmp_path).split("train")[0].media.read_bytes() == tone(200)
    assert [path.name for path in (tmp_path / ".unglossed").iterdir() if path.is_dir()] == ["train"]


def test_nothing_is_unpacked_that_is_not_wanted(tmp_path):
    write_fleurs(tmp_path / "train.parquet")
    write_fleurs(tmp_path / "test.parquet", (400,), (8,))
    assert len(read(tmp_path, "?language=de&text=transcription&media=none").split("train")) == 2
    assert not (tmp_path / ".unglossed").exists()
    assert len(read(tmp_path, only="test").split("test")) == 1
    assert not (tmp_path / ".unglossed/train").exists()


def test_a_link_does_not_lead_out_of_the_folder(tmp_path):
    write_fleurs(tmp_path / "set/train.parquet")
    (tmp_path / "elsewhere/train").mkdir(parents=True)
    (tmp_path / "elsewhere/train/keep").touch()
    (tmp_path / "set/.unglossed").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"set/.unglossed: found a link, expected a folder"):
        read(tmp_path / "set")
    (tmp_path / "more").mkdir()
    more = read(tmp_path / "set", f"?language=de&text=transcription&media={tmp_path / 'more'}")
    assert more.split("train")[0].media.is_relative_to(tmp_path / "more/.unglossed")
    assert [path.name for path in (tmp_path / "elsewhere").rglob("*")] == ["train", "keep"]


def test_no_more_than_a_group_of_rows_is_in_memory(tmp_path):
    clip = np.random.default_rng(0).bytes(1 << 20)
    columns = {
        "audio": [{"bytes": clip, "path": "a.wav"}] * 64,
        "text": [f"satz {number}" for number in range(64)],
    }
    path = write(
        tmp_path / "train.parquet",
        columns,
        {"audio": FILE, "text": pyarrow.string()},
        use_dictionary=False,
        row_group_size=4,
    )
    assert parquet.ParquetFile(path).num_row_groups == 16
    before = pyarrow.default_memory_pool()
    pool = pyarrow.proxy_memory_pool(before)
    pyarrow.set_memory_pool(pool)
    try:
        assert len(read(tmp_path, "?language=de").split("train")) == 64
    finally:
        pyarrow.set_memory_pool(before)
    assert 0 < pool.max_memory() < 16 << 20


def test_rows_without_bytes_are_missing(tmp_path):
    audio = [{"bytes": None, "path": "a.wav"}, None, {"bytes": tone(200), "path": "b.wav"}]
    columns = {"audio": audio, "text": ["regen", "wind", "schnee"]}
    write(tmp_path / "train.parquet", columns, {"audio": FILE, "text": pyarrow.string()})
    with pytest.raises(InputError, match=r"row 1: no media for 'train/000001', expected .*wav"):
        read(tmp_path, "?language=de")
    corpus = read(tmp_path, "?language=de&missing=skip")
    assert [row.text for row in corpus.split("train")] == ["schnee"]
    read(tmp_path, "?language=de", faults=(faults := Faults()))
    assert faults.count(FaultKind.MISSING_MEDIA) == 2
    assert faults.count(FaultKind.MEDIA_WITHOUT_ROW) == 0


def test_of_several_columns_of_clips_one_is_chosen(tmp_path):
    columns = {
        "left": [{"bytes": tone(200), "path": "a.wav"}],
        "right": [{"bytes": tone(300), "path": "a.wav"}],
        "text": ["regen"],
    }
    types = {"left": FILE, "right": FILE, "text": pyarrow.string()}
    path = write(tmp_path / "train.parquet", columns, types)
    with pytest.raises(InputError) as error:
        read(tmp_path, "?language=de")
    assert str(error.value) == (
        f"{path}: found clips in 'left', 'right', expected a choice: ?clips=COLUMN"
    )
    for name, hertz in (("left", 200), ("right", 300)):
        (row,) = read(tmp_path, f"?language=de&clips={name}").split("train")
        assert row.media.read_bytes() == tone(hertz)
    with pytest.raises(InputError, match=r"expected some in the column 'text'"):
        read(tmp_path, "?language=de&clips=text")


def test_parquet_files_without_clips_are_no_data(tmp_path):
    write(tmp_path / "train.parquet", {"text": ["regen"]}, {"text": pyarrow.string()})
    with pytest.raises(InputError, match=r"found no metadata.jsonl, .* Parquet files that hold"):
        read(tmp_path)
    (tmp_path / "broken.parquet").write_text("no table")
    with pytest.raises(InputError, match=r"broken.parquet: not readable as Parquet: "):
        read(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.wav", "text": "regen"}')
    (tmp_path / "a.wav").write_bytes(tone(200))
    assert len(read(tmp_path, "?language=de").split("train")) == 1
    with pytest.raises(InputError, match="found no Parquet file with clips"):
        read(tmp_path, "?language=de&clips=audio")


def test_columns_that_only_look_like_clips_and_columns_of_one_name(tmp_path):
    clip = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.int64())])
    columns = {"audio": [{"bytes": b"RIFF", "path": 1}], "text": ["regen"]}
    write(tmp_path / "train.parquet", columns, {"audio": clip, "text": pyarrow.string()})
    with pytest.raises(InputError, match=r"found no metadata.jsonl, "):
        read(tmp_path)
    audio = pyarrow.array([{"bytes": b"RIFF", "path": "a.wav"}], FILE)
    table = pyarrow.Table.from_arrays([audio, *2 * [pyarrow.array(["regen"])]], ["audio", "a", "a"])
    parquet.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"train.parquet: found the column 'a' twice"):
        read(tmp_path)


def test_a_place_that_cannot_be_written_to_is_one_clear_line(tmp_path):
    write_fleurs(tmp_path / "train.parquet")
    (tmp_path / ".unglossed").touch()
    with pytest.raises(InputError, match=r"cannot be unpacked there: .*; \?media=FOLDER names"):
        read(tmp_path)


def test_damage_in_the_clips_is_told_and_leaves_nothing(tmp_path):
    path = write_fleurs(tmp_path / "train.parquet", compression="snappy", use_dictionary=False)
    content = bytearray(path.read_bytes())
    place = parquet.ParquetFile(path).metadata.row_group(0).column(2).data_page_offset
    content[place : place + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train.parquet: not readable as Parquet: ") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / ".unglossed/train").exists()
