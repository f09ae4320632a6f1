"""One whole picture of a frame whose rows were taken at two times.

One picture a frame, so that frames keep their numbers: not one a field.
"""

from __future__ import annotations

from fractions import Fraction

import av
from av.filter import Graph


def deinterlace(
    before: av.VideoFrame | None, frame: av.VideoFrame, after: av.VideoFrame | None
) -> av.VideoFrame:
    """Fill in the rows of a frame's second field; a frame not marked as interlaced stays as it is.

    Args:
        before: The frame before it; None: there is none.
        frame: The frame.
        after: The frame after it; None: there is none.

    Returns:
        As FFmpeg's filter bwdif makes it, whatever else of the video is read.
    """
    if not frame.interlaced_frame:
        return frame
    alike = [
        (other, other is frame)
        for other in (before, frame, after)
        if other is not None and _kind(other) == _kind(frame)
    ]
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format.name,
        time_base=Fraction(1, 25),
    )
    graph.link_nodes(
        source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")
    ).configure()
    for place, (other, _) in enumerate(alike):
        other.pts = place
        graph.push(other)
    graph.push(None)
    whole = [graph.pull() for _ in alike]
    found = next(made for made, (_, is_it) in zip(whole, alike, strict=True) if is_it)
    assert isinstance(found, av.VideoFrame), found
    return found


def _kind(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
