#!/usr/bin/env bash
# imageio 2.38.1 with imageio-ffmpeg 0.8.1: a video whose frames come unevenly, as a phone's do, is
# read with more frames than it has, and the reader's own count does not say so.
#
# One would expect `imread` to give each frame once, as imageio's other plugin, pyav, does, and
# `count_frames` to tell how many those are. The FFMPEG plugin has ffmpeg write pictures at a
# constant rate, here 30 a second: where two frames are further apart the former is repeated.
# `count_frames` asks ffmpeg in another way, and gets the number in the file. Labels, poses or time
# stamps that were made frame by frame with another reader then belong to other pictures, and the
# more so the later in the video; nothing is raised.
#
# With av 18.1.0 (which also writes the video) and numpy 2.4.6. Seen, of 60 frames with every
# twentieth six times as long as the others:
#   pyav reads 60, FFMPEG reads 75, of these 15 repeated, count_frames says 60
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q imageio==2.38.1 imageio-ffmpeg==0.8.1 av==18.1.0 numpy==2.4.6
cd "$folder"
env/bin/python - <<'PYTHON'
import sys
from fractions import Fraction

import av
import imageio
import imageio.v3 as iio
import numpy as np

tick, now = Fraction(1, 600), 0
with av.open("clip.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=30, options={"qp": "0"})
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = tick
    for number in range(60):
        picture = np.full((64, 64, 3), 4 * number, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = now, tick
        now += 120 if number % 20 == 0 else 20
        container.mux(stream.encode(frame))
    container.mux(stream.encode())

with av.open("clip.mp4") as container:
    by_pyav = sum(1 for _ in container.decode(video=0))
pictures = iio.imread("clip.mp4", plugin="FFMPEG")
levels = pictures[:, 0, 0, 0].astype(int)
repeated = int((np.diff(levels) == 0).sum())
told = imageio.get_reader("clip.mp4", "FFMPEG").count_frames()
print(
    f"pyav reads {by_pyav}, FFMPEG reads {len(pictures)}, of these {repeated} repeated,"
    f" count_frames says {told}"
)
sys.exit((by_pyav, len(pictures), repeated, told) != (60, 75, 15, 60))
PYTHON
