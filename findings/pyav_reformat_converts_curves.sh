#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1): VideoFrame.reformat(dst_color_trc=..., dst_color_primaries=...)
#
# One would expect, from its docstring: "Desired transfer characteristic to tag on the output frame [...] This sets frame
# metadata only; it does not perform a pixel-level transfer function conversion."
# What happens: the pixels are converted from HLG and BT.2020 to BT.709, light brighter than SDR white is cut off, and
# the first frame of each size costs seconds, in which FFmpeg makes a table. Seen: grey 189 becomes 254.
# Exits 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import time

import av
import numpy as np

assert "metadata only" in av.video.reformatter.VideoReformatter.reformat.__doc__.replace("\n", " ")
frame = av.VideoFrame(64, 64, "yuv420p10le")
for plane, code in zip(frame.planes, (64 + round(876 * 0.75), 512, 512)):  # 75 %: SDR white, ITU-R BT.2408
    np.frombuffer(plane, np.uint16)[:] = code
frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, 18, 1
plain = frame.to_ndarray(format="rgb24")[32, 32]
start = time.perf_counter()
tagged = frame.reformat(format="rgb24", dst_color_trc=1, dst_color_primaries=1).to_ndarray()[32, 32]
print("as it is", plain, "| with a target curve", tagged, f"| {time.perf_counter() - start:.1f} s")
sys.exit(not (abs(int(plain[0]) - 189) <= 2 and tagged[0] >= 250))
PYTHON
