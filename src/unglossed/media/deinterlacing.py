"""Deinterlacing, frame by frame: what comes out does not depend on what else is read."""

from __future__ import annotations

from fractions import Fraction

import av
from av.filter import Graph


def deinterlace(
    before: av.VideoFrame | None, frame: av.VideoFrame, after: av.VideoFrame | None
) -> av.VideoFrame:
    """Fill in the rows of a frame's second field with FFmpeg's filter bwdif.

    The result does not depend on what else of the video is read. A frame that is not marked as
    interlaced stays as it is. None stands for a neighbour that does not exist.
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
