"""Packets that show nothing, or hold a frame that shows nothing beside one that is shown."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unglossed.media.frames import open_frames, read_frames
from unglossed.media.videofile import count_shown

SHADES = np.arange(30) * 8
PICTURES = np.broadcast_to(SHADES[:, None, None, None], (30, 64, 64, 3)).astype(np.uint8)


def hide(data, codec):
    """Say in a keyframe's header that it is not shown."""
    return bytes([data[0] & ~(0x10 if codec == "vp8" else 0x02)]) + data[1:]


def join(one, other):
    """Two VP9 frames as one packet, with an index behind them (VP9 specification, annex B)."""
    sizes = len(one).to_bytes(2, "little") + len(other).to_bytes(2, "little")
    mark = bytes([0b110 << 5 | 1 << 3 | 1])
    return one + other + mark + sizes + mark


def rewrite(source, target, codec):
    """Hide the keyframes 10 and 20; in VP9 put the latter into one packet with frame 21."""
    held = b""
    with av.open(str(source)) as original, av.open(str(target), "w") as copy:
        stream = original.streams.video[0]
        new = copy.add_stream_from_template(stream)
        for number, packet in enumerate(original.demux(stream)):
            data = bytes(packet)
            if number in (10, 20):
                assert packet.is_keyframe
                data = hide(data, codec)
            if codec == "vp9" and number == 20:
                held = data
                continue
            if held:
                data, held = join(held, data), b""
            if data:
                changed = av.Packet(data)
                changed.stream, changed.time_base = new, packet.time_base
                changed.pts, changed.dts = packet.pts, packet.dts
                changed.is_keyframe = packet.is_keyframe
                copy.mux(changed)
    return target


@pytest.mark.parametrize(("codec", "encoder"), [("vp8", "libvpx"), ("vp9", "libvpx-vp9")])
def test_hidden_frames_are_not_counted(tmp_path, write_video, codec, encoder):
    options = {"g": "10", "threads": "1"}
    plain = write_video(tmp_path / "plain.webm", PICTURES, encoder, options=options)
    path = rewrite(plain, tmp_path / "v.webm", codec)
    shown = [number for number in range(30) if number not in (10, 20)]
    assert open_frames(path).num_frames == 28
    assert open_frames(path).times == pytest.approx(np.array(shown) / 25, abs=1e-3)
    shades = read_frames(path).mean(axis=(1, 2, 3))
    assert np.abs(shades - SHADES[shown]).max() < 4
    for place in (9, 10, 18, 19, 27):
        assert abs(read_frames(path, [place]).mean() - SHADES[shown[place]]) < 4


@given(st.binary(min_size=1, max_size=40), st.sampled_from(["vp8", "vp9", "mpeg4", "h264", "?"]))
def test_any_bytes_are_counted(data, codec):
    assert count_shown(av.Packet(data), codec) in (None, 0, 1)


@given(st.binary(max_size=20), st.integers(0, 31))
def test_any_index_of_a_packet_is_counted(data, low):
    mark = bytes([0b110 << 5 | low])
    assert count_shown(av.Packet(b"\x82" + mark + data + mark), "vp9") in (None, 0, 1)
