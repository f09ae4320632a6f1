"""The encoder of poses: a graph network over the named points of body, hands, mouth and face.

Groups are CoSign's (Jiao et al., ICCV 2023, section 3.2): each has a network of its own, and is
centred for itself. A missing point is left out of sums, and never stands at the origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unglossed.config import FieldError
from unglossed.media.skeletons import SKELETONS, Skeleton
from unglossed.models.over_time import DEFAULTS, OverTime, OverTimeEncoder

_LEAST = 1e-6


class GraphEncoder(OverTimeEncoder):
    """Poses (time, points, coordinates and seconds) to features of signs.

    1. Coordinates are divided by the width of the shoulders, the median of the clip's. The body is
       centred between them, every other group at its first point, or where that is missing at the
       mean of its points. Each point has its coordinates, their change in a second, and whether it
       is there.
    2. Graph layers of each group mix points with their neighbours, see `GraphLayer`.
    3. The points of a group become one vector, and the groups' vectors that of a frame.
    4. `OverTime`: temporal convolutions and a small Transformer.

    Args:
        config: `skeleton` (a name, or a `Skeleton` as dict) and `depth` (whether there is z), both
            those of the recipe's `array`; `point_dim` (width of a point), `graph_layers`; and the
            keys of `OverTime`.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        "skeleton": None,
        "depth": None,
        "point_dim": 64,
        "graph_layers": 3,
        **DEFAULTS,
    }

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.skeleton = _skeleton_of(config["skeleton"])
        self.depth = bool(config["depth"])
        self.output_dim = config["dim"]
        groups = self.skeleton.group_indices
        width, num_layers = config["point_dim"], config["graph_layers"]
        self.groups = nn.ModuleDict(
            {
                name: GroupNetwork(
                    self.skeleton, places, 2 * self.num_coordinates + 1, width, num_layers
                )
                for name, places in groups.items()
            }
        )
        self.project = nn.Linear(width * len(groups), self.output_dim)
        self.over_time = OverTime(config)

    @property
    def num_coordinates(self) -> int:
        """Coordinates of a point."""
        return 3 if self.depth else 2

    @classmethod
    def complete(cls, config: Mapping[str, Any], processor: Any) -> dict[str, Any]:
        """See `Encoder.complete`."""
        array = processor.array or {}
        told = {"skeleton": array.get("skeleton"), "depth": array.get("depth")}
        if None in told.values():
            raise FieldError("kind", "found graph, expected array.skeleton in the recipe")
        return {**cls.defaults, **told, **config}

    def misfit(self, processor: Any) -> str | None:
        """See `Encoder.misfit`."""
        given = processor.array["skeleton"]
        if given is None or _skeleton_of(given).groups != self.skeleton.groups:
            return "reads another skeleton than array.skeleton, expected the same groups of points"
        if processor.array["depth"] != self.depth:
            return f"reads {self.num_coordinates} coordinates, expected as array.depth says"
        return None

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.forward`; frames are (sum of lengths, points, coordinates + 1) float32."""
        seconds = frames[:, 0, -1]
        points, scales = frames[..., :-1], []
        for clip in torch.split(points, lengths.tolist()):
            scales.append(self._scale(clip).expand(len(clip)))
        points = points / torch.cat(scales)[:, None, None]
        vectors = []
        for name, places in self.skeleton.group_indices.items():
            group = points[:, places]
            there = ~torch.isnan(group[..., :2]).any(dim=-1)  # (frames, points)
            centred = group - self._centre(name, points, group, there)[:, None]
            values = torch.cat(
                [
                    torch.nan_to_num(centred),
                    self._change(group, seconds, lengths),
                    there[..., None].to(group.dtype),
                ],
                dim=-1,
            )
            vectors.append(self.groups[name](values, there))
        rows = self.project(torch.cat(vectors, dim=-1))
        features: tuple[Tensor, Tensor] = self.over_time(rows, seconds, lengths)
        return features

    def _scale(self, clip: Tensor) -> Tensor:
        """Width of the shoulders of a clip; the spread of its points where they are not there."""
        one, other = self.skeleton.shoulder_indices
        width = (clip[:, one, :2] - clip[:, other, :2]).norm(dim=-1).nanmedian()
        spread = 2 * (clip[..., :2] - clip[..., :2].nanmean(dim=(0, 1))).abs().nanmean()
        width = torch.where(width > _LEAST, width, spread)  # NaN is not above it
        return torch.where(width > _LEAST, width, torch.ones_like(width))

    def _centre(self, name: str, points: Tensor, group: Tensor, there: Tensor) -> Tensor:
        """Where each frame's group has its origin: (frames, coordinates)."""
        if name == "body":
            anchor = points[:, list(self.skeleton.shoulder_indices)].mean(dim=1)
        else:
            anchor = group[:, 0]
        counts = there.sum(dim=1, keepdim=True).clamp(min=1)
        mean = (torch.nan_to_num(group) * there[..., None]).sum(dim=1) / counts
        return torch.where(torch.isnan(anchor), mean, anchor)

    @staticmethod
    def _change(group: Tensor, seconds: Tensor, lengths: Tensor) -> Tensor:
        """Change of coordinates in a second since the frame before, 0 where one is not there."""
        change = torch.zeros_like(group)
        steps = (seconds[1:] - seconds[:-1])[:, None, None]
        change[1:] = torch.nan_to_num((group[1:] - group[:-1]) / steps, 0.0, 0.0, 0.0)
        starts = torch.cumsum(lengths.to(group.device), 0)[:-1]
        change[torch.cat([starts.new_zeros(1), starts])] = 0
        return change


class GroupNetwork(nn.Module):
    """The points of a group to one vector a frame, by graph layers and a linear one over all.

    Args:
        skeleton: has the neighbours.
        places: of the group's points among those of the skeleton that are used.
        input_dim: numbers of a point.
        width: of a point within, and of the vector.
        num_layers: graph layers.
    """

    def __init__(
        self, skeleton: Skeleton, places: list[int], input_dim: int, width: int, num_layers: int
    ) -> None:
        super().__init__()
        names = [skeleton.used[place] for place in places]
        neighbours = torch.eye(len(names), device="cpu")
        for one, other in skeleton.edges:
            if one in names:
                i, j = names.index(one), names.index(other)
                neighbours[i, j] = neighbours[j, i] = 1.0
        widths = [input_dim, *[width] * num_layers]
        self.layers = nn.ModuleList(
            GraphLayer(neighbours, widths[number], width) for number in range(num_layers)
        )
        self.join = nn.Linear(len(names) * width, width)

    def forward(self, points: Tensor, there: Tensor) -> Tensor:
        """Vectors (frames, width) of points (frames, points, numbers), of which some are there."""
        for layer in self.layers:
            points = layer(points, there)
        vectors: Tensor = torch.relu(self.join(points.flatten(1)))
        return vectors


class GraphLayer(nn.Module):
    """Each point with the mean of its neighbours that are there, and of those it learns to look at.

    Args:
        neighbours: (points, points), 1 where two are neighbours, each its own.
        input_dim: width of a point.
        output_dim: width of a point behind it.
    """

    neighbours: Tensor

    def __init__(self, neighbours: Tensor, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.register_buffer("neighbours", neighbours.clone())  # else all layers share one
        self.learnt = nn.Parameter(torch.zeros(neighbours.shape))
        self.linear = nn.Linear(2 * input_dim, output_dim)
        self.norm = nn.LayerNorm(output_dim)

    def forward(self, points: Tensor, there: Tensor) -> Tensor:
        """Points (frames, points, output_dim), zero where they are not there."""
        weight = there[..., None].to(points.dtype)
        neighbours = self.neighbours.to(points.dtype)
        counts = (neighbours @ weight).clamp(min=1)
        around = neighbours @ (points * weight) / counts + self.learnt @ (points * weight)
        mixed = self.linear(torch.cat([points, around.to(points.dtype)], dim=-1))
        return torch.relu(self.norm(mixed)) * weight


def _skeleton_of(given: Any) -> Skeleton:
    return SKELETONS[given] if isinstance(given, str) else Skeleton.model_validate(given)
