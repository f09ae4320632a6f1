#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1, swscale): YUV of limited range converted to RGB of 16 bits
#
# One would expect that white, luma 235 of 8 bits or 940 of 10, becomes 65535, as it becomes 255 in RGB of 8 bits.
# What happens: it becomes 65283 (65021 from 8 bits unless ACCURATE_RND is set), so that a table over 0..65535 is off by
# 0.4 %: one in 255 of linear light at the bright end. RGB of 10 bits does become 65535. Seen: 65283, 65021, 65535.
# Exits 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import av
import numpy as np
from av.video.reformatter import Interpolation


def white(pixels, bits, codes, **how):
    frame = av.VideoFrame(64, 64, pixels)
    for plane, code in zip(frame.planes, codes):
        np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)[:] = code
    frame.color_range = 1
    return int(frame.to_ndarray(format="rgb48le", **how)[32, 32, 1])


exact = {"interpolation": Interpolation.BILINEAR | Interpolation.ACCURATE_RND}
found = [
    white("yuv420p10le", 10, (940, 512, 512), **exact),
    white("yuv420p", 8, (235, 128, 128), **exact),
    white("yuv420p", 8, (235, 128, 128)),
    white("gbrp10le", 10, (1023, 1023, 1023), **exact),
]
print(found)
sys.exit(found != [65283, 65283, 65021, 65535])
PYTHON
