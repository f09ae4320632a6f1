#!/usr/bin/env bash
# PyAV: a look at `frame.side_data` keeps every frame, and converting a frame starts threads for it.
#
# Package: av 18.1.0 with numpy 2.4.1; Python 3.11, Linux.
# Expected: in `for frame in container.decode(video=0)` a frame is freed when the next one comes,
#   whatever was asked of it, and `to_ndarray(format="rgb24")` of a small frame is one call.
# Happens: `frame.side_data`, where the rotation mark of a phone's video is found, gives an object
#   that holds the frame and is held by it: frames stay until the garbage collector runs. Each
#   `to_ndarray` with another format makes a converter of its own for the frame, with a thread for
#   each core; together the threads pile up, two a frame on two cores. (Workers of torch's DataLoader
#   were seen to wait for ever, or to end with a segmentation fault, while freeing such frames.)
#   `VideoReformatter().reformat(frame, format="rgb24", threads=1)`, one for all frames, gives the
#   same numbers without threads, in a fifteenth to four fifths of the time (84x104 to 1920x1080).
#   Output seen, 50 frames and two cores:
#     frames alive, threads more: to_ndarray 2, 2; after side_data 51, 100; one converter 2, 0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q av==18.1.0 numpy==2.4.1
cat > "$work/look.py" <<'PY'
import gc
import sys

import av
import numpy as np
from av.video.reformatter import VideoReformatter

path = sys.argv[1]
with av.open(path, "w") as container:
    stream = container.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.pix_fmt = 84, 104, "yuv420p"
    for number in range(50):
        picture = np.full((104, 84, 3), 5 * number, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode())


def num_threads():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("Threads:")).split()[1])


def look(work):
    """Frames alive and threads started when 50 frames have been read."""
    gc.collect()
    gc.disable()
    before = num_threads()
    with av.open(path) as container:
        container.streams.video[0].thread_type = "NONE"
        for frame in container.decode(video=0):
            work(frame)
        found = sum(type(one) is av.VideoFrame for one in gc.get_objects()), num_threads() - before
    del frame
    gc.enable()
    gc.collect()
    return found


def convert(frame):
    return frame.to_ndarray(format="rgb24")


def look_and_convert(frame):
    frame.side_data.get("DISPLAYMATRIX")
    return convert(frame)


shared = VideoReformatter()


def convert_by_one(frame):
    return shared.reformat(frame, format="rgb24", threads=1).to_ndarray()


with av.open(path) as container:
    for frame in container.decode(video=0):
        assert np.array_equal(convert(frame), convert_by_one(frame))
del frame
alone, beside, one = look(convert), look(look_and_convert), look(convert_by_one)
print(
    f"frames alive, threads more: to_ndarray {alone[0]}, {alone[1]};"
    f" after side_data {beside[0]}, {beside[1]}; one converter {one[0]}, {one[1]}"
)
assert alone[0] <= 2 and one[0] <= 2 and one[1] == 0, (alone, one)
assert beside[0] >= 50, beside
assert beside[1] >= 50 or num_threads() == 1, beside  # a machine of one core starts none
PY
"$work/venv/bin/python" "$work/look.py" "$work/clip.mp4"
echo "as described"
