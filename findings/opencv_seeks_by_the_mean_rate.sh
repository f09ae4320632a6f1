#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93: in a video of variable rate, asking for a frame by number gives another.
#
# Phones film with a rate that varies with the light. The documentation says of CAP_PROP_POS_FRAMES
# that it is the index of the frame that is read next, and for a video of one rate it is. Where the
# rate varies, the number is turned into a time by the mean rate: set(CAP_PROP_POS_FRAMES, 20) is
# accepted, get() says 20, and read() gives picture 26; for the last six numbers get() says 24 and
# read() gives nothing, although CAP_PROP_FRAME_COUNT is 30 and reading from the beginning gives all
# 30. A clip that is cut from a recording by frame numbers is thus another one, and no call failed.
#
# Seen: of 30 frames, 0 to 19 are right, 20 to 23 give 26 to 29, and 24 to 29 give none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q opencv-python-headless==5.0.0.93 av==18.1.0 numpy==2.4.6
"$folder/env/bin/python" - "$folder/clip.mp4" <<'PYTHON'
import sys
from fractions import Fraction

import av
import cv2
import numpy as np

with av.open(sys.argv[1], "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"crf": "10", "g": "10", "bf": "2"})
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    for number in range(30):  # each frame as bright as its number says
        picture = np.full((64, 96, 3), number * 8, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        # 25 a second, then a third of it
        frame.pts, frame.time_base = number if number < 15 else number * 3, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def read(capture):
    found, picture = capture.read()
    return round(float(picture.mean()) / 8) if found else None


capture = cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG)
assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 30
in_turn = [read(capture) for _ in range(30)]
by_number = []
for number in range(30):
    assert capture.set(cv2.CAP_PROP_POS_FRAMES, number)
    assert capture.get(cv2.CAP_PROP_POS_FRAMES) == min(number, 24)
    by_number.append(read(capture))
print("in turn", in_turn)
print("by number", by_number)
sys.exit(in_turn != [*range(30)] or by_number != [*range(20), 26, 27, 28, 29, *[None] * 6])
PYTHON
