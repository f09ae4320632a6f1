#!/usr/bin/env bash
# rtmlib 0.0.16: where its detector finds nobody, the pose of a person comes back all the same.
#
# `Wholebody` runs a detector and then the pose model in each of its boxes. One would expect nobody's
# pose where there is no box. But `RTMPose` called with no boxes reads the whole picture as one, and
# nothing that comes back tells the difference: a frame in which the signer is out of the picture has
# all points, with the scores of a person. A caller has to ask the detector on its own.
#
# With onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6, opencv-python-headless 5.0.0.93. The two models
# are made here: a detector whose only box has a score of 0, and a pose model that gives every point
# the same column, row and score of 0.9 in any picture. Seen, of a black picture:
#   boxes: 0; points: (1, 133, 2), the first at [240. 196.], score 0.9
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6 \
  opencv-python-headless==5.0.0.93 tqdm==4.67.1
"$folder/env/bin/pip" install -q --no-deps rtmlib==0.0.16 # it asks for two other builds of OpenCV
cd "$folder"
env/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rtmlib import Wholebody

WIDTH, HEIGHT = 192, 256


def write(path, size, outputs):
    """A model that reads pictures of this size and gives the same outputs for each."""
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in outputs.items()
    ]
    told = [helper.make_tensor_value_info(name, 1, value.shape) for name, value in outputs.items()]
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size[1], size[0]])
    graph = helper.make_graph(constants, "constant", [picture], told)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


columns = np.zeros((1, 133, 2 * WIDTH), np.float32)
rows = np.zeros((1, 133, 2 * HEIGHT), np.float32)
columns[..., WIDTH] = rows[..., HEIGHT] = 0.9  # the middle
write("pose.onnx", (WIDTH, HEIGHT), {"simcc_x": columns, "simcc_y": rows})
write("detector.onnx", (640, 640), {"dets": np.array([[[9, 9, 99, 99, 0]]], np.float32)})

whole = Wholebody("detector.onnx", (640, 640), "pose.onnx", (WIDTH, HEIGHT))
picture = np.zeros((392, 480, 3), np.uint8)
boxes = whole.det_model(picture)
points, scores = whole(picture)
place, score = points[0, 0], round(float(scores[0, 0]), 2)
print(f"boxes: {len(boxes)}; points: {points.shape}, the first at {place}, score {score}")
sys.exit((len(boxes), points.shape, place.tolist(), score) != (0, (1, 133, 2), [240, 196], 0.9))
PYTHON
