#!/usr/bin/env bash
# pose_format 0.15.0: changing the frame rate of a pose fills in hands that were not seen.
#
# The body's `interpolate(new_fps, kind)` is documented as interpolating the data to match a new frame
# rate; that it is for missing points is said in a list of another class. A point that was not found
# has confidence 0, and one would expect it to stay missing between the new times too. Gaps at the
# beginning and the end do stay; a gap in the middle, of any length, is filled from the frames around
# it, with a cubic by default, and so is the confidence: a hand that was out of the picture for 30
# frames comes back where it never was, and surer than any that was seen. It happens with the rate
# that the pose has, too, and no argument turns it off.
#
# Seen: a wrist seen in 20 of 50 frames, at heights of 260 to 440 and confidences up to 0.9, has after
# interpolate(25) of its 25 frames a second 50 frames, heights from 108, and confidences up to 1.38.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pose_format==0.15.0 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/python" - <<'PYTHON'
import sys

import numpy as np
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

places = np.zeros((50, 1, 1, 2), np.float32)  # (frames, people, points, x and y)
confidence = np.zeros((50, 1, 1), np.float32)
for number in range(10):  # it rises, is not seen for 30 frames, and falls
    places[number] = 320, 440 - 20 * number
    places[40 + number] = 320, 260 + 20 * number
    confidence[[number, 40 + number]] = 0.9 if number % 2 else 0.8
part = PoseHeaderComponent("HAND", ["WRIST"], [], [(255, 0, 0)], "XYC")
header = PoseHeader(0.2, PoseHeaderDimensions(640, 480), [part])
pose = Pose(header, NumPyPoseBody(25, places, confidence)).interpolate(25)

seen = int((pose.body.confidence > 0).sum())
highest = round(float(pose.body.data[..., 1].min()))
surest = round(float(pose.body.confidence.max()), 2)
print(f"seen in {seen} of 50 frames, heights from {highest}, confidences up to {surest}")
sys.exit((seen, highest, surest) != (50, 108, 1.38))
PYTHON
