#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1): stamps of an MPEG program stream after a seek
#
# One would expect that a packet has the same stamp however it was reached, and that a keyframe does at the least.
# What happens: a program stream stamps one packet in several, FFmpeg makes up the others from those before, and after a
# seek begins with what it finds there: packets of the same bytes bear stamps of other frames. The length is a guess as
# well. Seen: of 11 keyframes reached by seeks 6 have another stamp, and 5.00 seconds are called 4.06.
# Exits 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/film.mpg" <<'PYTHON'
import sys

import av
import numpy as np

path = sys.argv[1]
with av.open(path, "w", format="mpeg") as film:
    stream = film.add_stream("mpeg1video", rate=25)
    stream.width, stream.height, stream.pix_fmt, stream.gop_size, stream.max_b_frames = 96, 96, "yuv420p", 12, 2
    for number in range(125):
        bits = np.repeat(number >> np.arange(12) & 1, 8)
        picture = np.broadcast_to((20 + 215 * bits)[None, :, None], (96, 96, 3)).astype(np.uint8)
        film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    film.mux(stream.encode())

with av.open(path) as film:
    told = film.duration / 1_000_000
    stamps = {bytes(packet): packet.pts for packet in film.demux(video=0) if packet.size and packet.is_keyframe}
wrong = 0
with av.open(path) as film:
    stream = film.streams.video[0]
    for stamp in stamps.values():
        film.seek(stamp, stream=stream)
        for packet in film.demux(stream):
            if packet.size and packet.is_keyframe and bytes(packet) in stamps:
                wrong += packet.pts != stamps[bytes(packet)]
                break
print(f"{wrong} of {len(stamps)} keyframes have another stamp after a seek; 5.00 seconds are called {told:.2f}")
sys.exit(not wrong or told > 4.9)
PYTHON
