"""Two small models in ONNX with the inputs and outputs of RTMPose and of its detector.

Their weights are none: the pose model tells where a picture is reddest and bluest, the detector
where it is red. What they find is therefore known without them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NUM_RED = 91
"""Points of body and face, where the pose model looks for red; those of the hands are blue."""


def write_pose_model(path: Path, *, width: int = 48, height: int = 64, points: int = 133) -> Path:
    """A model that tells of each point its column and row, in half pixels, by SimCC."""
    nodes = []
    for axis, (name, kept, length) in enumerate((("simcc_x", 2, width), ("simcc_y", 3, height))):
        found = []
        for color, channel, count in (("red", 0, NUM_RED), ("blue", 2, points - NUM_RED)):
            one = f"{name}_{color}"
            nodes += [
                helper.make_node("Gather", ["input", f"channel_{channel}"], [f"{one}_1"], axis=1),
                # The highest of each column, or of each row: (1, 1, length).
                helper.make_node(
                    "ReduceMax", [f"{one}_1", f"axis_{kept}"], [f"{one}_2"], keepdims=0
                ),
                helper.make_node("Unsqueeze", [f"{one}_2", "last"], [f"{one}_3"]),
                helper.make_node("Expand", [f"{one}_3", f"twice_{axis}"], [f"{one}_4"]),
                helper.make_node("Reshape", [f"{one}_4", f"flat_{axis}"], [f"{one}_5"]),
                helper.make_node("Expand", [f"{one}_5", f"count_{axis}_{count}"], [one]),
            ]
            found.append(one)
        nodes.append(helper.make_node("Concat", found, [name], axis=1))
        del length
    constants = {
        "channel_0": [0],
        "channel_2": [2],
        "axis_2": [2],
        "axis_3": [3],
        "last": [3],
        "twice_0": [1, 1, width, 2],
        "twice_1": [1, 1, height, 2],
        "flat_0": [1, 1, 2 * width],
        "flat_1": [1, 1, 2 * height],
    }
    for axis, length in enumerate((width, height)):
        for count in (NUM_RED, points - NUM_RED):
            constants[f"count_{axis}_{count}"] = [1, count, 2 * length]
    outputs = {"simcc_x": [1, points, 2 * width], "simcc_y": [1, points, 2 * height]}
    return _write(path, nodes, constants, {}, [1, 3, height, width], outputs)


def write_detector(path: Path, *, size: int = 256) -> Path:
    """A model that gives three boxes: a small sure one, that of what is red, an unsure large one.

    It reads BGR from 0 to 255, as YOLOX does.
    """
    nodes = [
        helper.make_node("Gather", ["input", "channel_2"], ["red"], axis=1),
        helper.make_node("Greater", ["red", "dark"], ["is_red"]),
        helper.make_node("Cast", ["is_red"], ["mask"], to=TensorProto.FLOAT),
    ]
    for name, axis, last in (("left", 2, 0), ("top", 3, 0), ("right", 2, 1), ("bottom", 3, 1)):
        nodes += [
            helper.make_node("ReduceMax", ["mask", f"axis_{axis}"], [f"{name}_1"], keepdims=0),
            helper.make_node(
                "ArgMax", [f"{name}_1"], [f"{name}_2"], axis=2, select_last_index=last
            ),
            helper.make_node("Cast", [f"{name}_2"], [name], to=TensorProto.FLOAT),
        ]
    nodes += [
        helper.make_node("ReduceMax", ["mask", "axes_2_3"], ["sure_1"], keepdims=0),
        helper.make_node("Unsqueeze", ["sure_1", "axis_2"], ["sure"]),
        helper.make_node("Concat", ["left", "top", "right", "bottom", "sure"], ["person"], axis=2),
        # Where nothing is red, neither is the small box sure.
        helper.make_node("Mul", ["small", "sure"], ["small_2"]),
        helper.make_node("Concat", ["small_2", "person", "large"], ["dets"], axis=1),
    ]
    constants = {"channel_2": [2], "axis_2": [2], "axis_3": [3], "axes_2_3": [2, 3]}
    boxes = {
        "dark": [130.0],
        "small": [[[1.0, 1.0, 4.0, 4.0, 0.99]]],
        "large": [[[0.0, 0.0, size, size, 0.1]]],
    }
    return _write(path, nodes, constants, boxes, [1, 3, size, size], {"dets": [1, 3, 5]})


def write_steps_model(path: Path) -> Path:
    """A model with a single output of no pose."""
    nodes = [helper.make_node("Identity", ["input"], ["heat"])]
    return _write(path, nodes, {}, {}, [1, 3, 64, 48], {"heat": [1, 3, 64, 48]})


def _write(path, nodes, integers, numbers, shape, outputs):  # type: ignore[no-untyped-def]
    initializers = [
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()
    ] + [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in numbers.items()
    ]
    graph = helper.make_graph(
        nodes,
        "spots",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, found)
            for name, found in outputs.items()
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path
