import hashlib
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from unglossed.errors import InputError
from unglossed.files import write_text
from unglossed.media.frames import is_packed, open_frames, read_frames
from unglossed.media.packed import (
    PackedClip,
    ShardWriter,
    index_path,
    picture_size,
    read_index,
    scan_shard,
)
from unglossed.media.probe import MediaFacts, examine, probe
from unglossed.media.signal import WholeFile, kept_indices


def as_jpeg(frame):
    done, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def pack(path, clips):
    """Write a shard of clips, by key, and its index."""
    with ShardWriter(path) as writer:
        for key, frames in clips.items():
            height, width = frames.shape[1:3]
            jpegs = [as_jpeg(frame) for frame in frames]
            writer.add(PackedClip(key, {"id": f"id of {key}"}, width, height, jpegs))
        write_text(index_path(path), writer.finish().to_json())
    return path


@pytest.fixture
def shard(tmp_path, pictures):
    clips = {"short": pictures[:1], "first": pictures, "narrow": pictures[::-1, :, :20]}
    return pack(tmp_path / "train-000000.tar", clips)


def flip(path, place):
    """Change one byte; the file's time stamp may stay the same."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)


def find_members(shard):
    with tarfile.open(shard) as tar:
        return {member.name: member for member in tar}


def test_frames_are_those_of_the_tar_members(shard, pictures):
    with tarfile.open(shard) as tar:
        data = [tar.extractfile(f"first.{number:06d}.jpg").read() for number in range(9)]
    expected = np.stack(
        [
            cv2.cvtColor(cv2.imdecode(np.frombuffer(one, np.uint8), 1), cv2.COLOR_BGR2RGB)
            for one in data
        ]
    )
    frames = read_frames(shard / "first")
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, expected)
    assert np.abs(frames.astype(int) - pictures).mean() < 2


@pytest.mark.parametrize(
    "indices", [[5], [8, 0, 3], [2, 2, 7, 2], list(range(9)), np.arange(0, 9, 4)]
)
def test_any_frames_in_any_order(shard, indices):
    clip = shard / "first"
    assert np.array_equal(read_frames(clip, indices), read_frames(clip)[np.asarray(indices)])


def test_clips_of_a_shard_have_their_own_length_and_size(shard):
    assert [open_frames(shard / key).num_frames for key in ("short", "first", "narrow")] == [
        1,
        9,
        9,
    ]
    assert picture_size(shard / "first") == (48, 32)
    assert picture_size(shard / "narrow") == (20, 32)
    assert read_frames(shard / "narrow").shape == (9, 32, 20, 3)
    assert read_frames(shard / "narrow")[0].mean() > read_frames(shard / "narrow")[8].mean()


def test_time_is_that_of_a_frame_folder(shard, tmp_path, pictures, write_folder):
    clip, folder = shard / "first", write_folder(tmp_path / "folder", pictures)
    assert open_frames(clip).num_frames == 9
    assert np.array_equal(open_frames(clip).times, open_frames(folder).times)
    for times in ((None, None), (0.08, None), (0.04, 0.2), (None, 9.0)):
        wanted = open_frames(folder).indices_at(25.0, *times)
        assert np.array_equal(open_frames(clip).indices_at(25.0, *times), wanted)
    rng = [np.random.default_rng(3) for _ in range(2)]
    kept = kept_indices(WholeFile(clip), 0.25, rng[0])
    assert np.array_equal(kept, kept_indices(WholeFile(folder), 0.25, rng[1]))


def test_row_stands_before_the_pictures(shard):
    members = find_members(shard)
    assert list(members)[2:4] == ["first.json", "first.000000.jpg"]
    with tarfile.open(shard) as tar:
        row = json.load(tar.extractfile("first.json"))
    assert row["id"] == "id of first"
    assert row["sizes"] == [members[f"first.{number:06d}.jpg"].size for number in range(9)]


def test_same_clips_give_the_same_bytes(shard, tmp_path, pictures):
    (tmp_path / "again").mkdir()
    clips = {"short": pictures[:1], "first": pictures, "narrow": pictures[::-1, :, :20]}
    again = pack(tmp_path / "again" / shard.name, clips)
    assert again.read_bytes() == shard.read_bytes()
    assert index_path(again).read_bytes() == index_path(shard).read_bytes()
    for member in find_members(shard).values():
        assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")


def test_index_tells_size_and_checksum(shard):
    index = read_index(shard)
    assert index.size == shard.stat().st_size
    assert index.sha256 == hashlib.sha256(shard.read_bytes()).hexdigest()


def test_damaged_picture_is_named_and_the_others_can_be_read(shard):
    member = find_members(shard)["first.000004.jpg"]
    flip(shard, member.offset_data + member.size // 2)
    clip = shard / "first"
    assert len(read_frames(clip, [3, 5])) == 2
    assert len(read_frames(shard / "narrow")) == 9
    with pytest.raises(InputError) as error:
        read_frames(clip, [3, 4, 5])
    assert str(error.value) == f"{clip}: the shard is damaged at frame 4 of this clip"


def test_damaged_row(shard):
    member = find_members(shard)["first.json"]
    flip(shard, member.offset_data)
    with pytest.raises(InputError, match=r"train-000000.tar/first: the row of the clip is damaged"):
        read_frames(shard / "first")


def test_shard_or_index_of_another_packing(shard, pictures):
    """Also where sizes and numbers agree: the clip that lies there has another name."""
    other = pack(shard.with_name("dev-000000.tar"), {"short": pictures[:1], "third": pictures})
    index_path(shard).write_bytes(index_path(other).read_bytes().replace(b'"third"', b'"first"'))
    message = r"first: the row of the clip is damaged, or the index is of another shard"
    assert len(read_frames(shard / "first")) == len(pictures)
    shard.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match=message):
        read_frames(shard / "first")


def test_shard_that_was_cut_short(shard):
    member = find_members(shard)["narrow.000005.jpg"]
    with shard.open("r+b") as file:
        file.truncate(member.offset_data + 10)
    assert len(read_frames(shard / "narrow", [4])) == 1
    with pytest.raises(InputError, match=r"narrow: the shard is damaged at frame 5"):
        read_frames(shard / "narrow")


def test_what_is_not_there(shard):
    with pytest.raises(InputError, match=r"tar/other: no such clip, expected one of the 3 in this"):
        open_frames(shard / "other")
    with pytest.raises(
        InputError, match=r"dev-000000.index.json: not found, expected the index of a shard"
    ):
        open_frames(shard.with_name("dev-000000.tar") / "first")
    shard.unlink()
    assert open_frames(shard / "first").num_frames == 9
    with pytest.raises(
        InputError, match=r"train-000000.tar: the shard cannot be read: no such fil"
    ):
        read_frames(shard / "first")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty, truncated or not the index of a shard: run the same `ungl"),
        ("{", "not the index of a shard"),
        ("[]", "not the index of a shard"),
        ('{"version": 1, "size": 3}', "not the index of a shard"),
        ('{"version": 1, "size": 9999, "sha256": "", "clips": {"first": [512]}}', "not the index"),
        (
            '{"version": 1, "size": 9999, "sha256": "", "clips": {"first": [512, 1e12, 2]}}',
            "not th",
        ),
        ('{"version": 2}', "version 2, expected 1"),
    ],
)
def test_malformed_index(shard, text, message):
    index_path(shard).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        open_frames(shard / "first")
    assert str(error.value).startswith(str(index_path(shard)))
    assert "\n" not in str(error.value)


def test_index_is_made_anew_from_the_shard(shard):
    index = read_index(shard)
    again = scan_shard(shard)
    assert again.clips == {key: tuple(place) for key, place in index.clips.items()}
    assert (again.size, again.sha256) == (index.size, index.sha256)
    shard.write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"000000.tar: the shard cannot be read"):
        scan_shard(shard)


def test_index_that_was_replaced_is_read_again(shard, pictures):
    assert open_frames(shard / "first").num_frames == 9
    pack(shard, {"first": pictures[:4], "new": pictures})
    assert open_frames(shard / "first").num_frames == 4
    assert len(read_frames(shard / "new")) == 9


def test_folder_with_the_name_of_a_shard_is_a_folder(tmp_path, pictures, write_folder):
    folder = write_folder(tmp_path / "clips.tar" / "clip1", pictures)
    assert not is_packed(folder)
    assert np.array_equal(read_frames(folder), pictures)


def test_readers_do_not_disturb_each_other(shard):
    keys = ["short", "first", "narrow"] * 20
    expected = {key: read_frames(shard / key) for key in set(keys)}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda key: read_frames(shard / key), keys))
    assert all(
        np.array_equal(frames, expected[key]) for key, frames in zip(keys, found, strict=True)
    )


def test_facts_of_a_clip(shard):
    facts = MediaFacts("frames", 9 / 25, 9, 20, 32, 25.0)
    assert probe(shard / "narrow") == examine(shard / "narrow") == facts
    flip(shard, find_members(shard)["narrow.000008.jpg"].offset_data + 20)
    assert probe(shard / "narrow") == facts
    with pytest.raises(InputError, match="narrow: the shard is damaged at frame 8"):
        examine(shard / "narrow")
