#!/usr/bin/env bash
# decord 0.6.0: a video that was cut without encoding it again has frames too many, all of them the last.
#
# Cutting at a place that is no key frame keeps the frames from the key frame on and writes into the
# MP4 (its edit list) where the picture really begins; sign language corpora are cut into sentences in
# this way. Players, OpenCV's read() and PyAV show the frames from there on. One would expect decord,
# which much of this field's code reads videos with, to have either these frames or all that are in
# the file. Its length counts all of them, its pictures begin where they should, and what is missing
# at the end is the last picture again and again, without a word: here a quarter of the clip stands
# still.
#
# Seen: PyAV reads 15 frames, 15 to 29; decord 20: 15 to 29, then 29 five times more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q decord==0.6.0 av==18.1.0 numpy==2.4.6
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import sys
from fractions import Fraction

import av
import decord
import numpy as np

whole, cut = f"{sys.argv[1]}/whole.mp4", f"{sys.argv[1]}/cut.mp4"
with av.open(whole, "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"crf": "10", "g": "10"})
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    for number in range(30):  # each frame as bright as its number says
        picture = np.full((64, 96, 3), number * 8, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())

with av.open(whole) as source, av.open(cut, "w") as container:  # from frame 15 on; 10 is a key frame
    stream = source.streams.video[0]
    copy = container.add_stream_from_template(stream)
    for packet in source.demux(stream):
        if packet.dts is not None and packet.pts * packet.time_base * 25 >= 10:
            shift = int(15 / 25 / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copy
            container.mux(packet)


def numbers(pictures):
    return [round(float(picture.mean()) / 8) for picture in pictures]


with av.open(cut) as container:
    shown = numbers(frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
reader = decord.VideoReader(cut)
read = numbers(reader[number].asnumpy() for number in range(len(reader)))
print("PyAV", shown)
print("decord", read)
sys.exit(shown != [*range(15, 30)] or read != [*range(15, 30), 29, 29, 29, 29, 29])
PYTHON
