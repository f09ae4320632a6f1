"""What is kept of a token alignment after its training: how much a clip resembles a text.

A stage that trains an alignment saves it beside its model, in the folder `alignment`: the adapter
and the linear map of clips, and a vector for each token. A later stage's model gets a copy of it as
long as its encoder is the one that the alignment was trained with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unglossed import hub
from unglossed.errors import InputError
from unglossed.models.adapter import build_adapter
from unglossed.models.language_model import IGNORED
from unglossed.models.token_alignment import TokenAlignment, token_similarities

FOLDER = "alignment"
"""Of a model's folder."""
CONFIG, WEIGHTS = f"{FOLDER}/alignment.json", f"{FOLDER}/alignment.safetensors"
_ENCODER = "encoder."


class KeptAlignment(nn.Module):
    """Similarities of clips and texts by a trained `TokenAlignment`; nothing of it is trained.

    Args:
        config: `adapter` (its settings), `feature_dim`, `clip_dim`, `text_dim`, `num_tokens` and
            `temperature`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.adapter = build_adapter(config["feature_dim"], config["clip_dim"], config["adapter"])
        self.clip_map = nn.Linear(config["clip_dim"], config["text_dim"])
        self.token_vectors: Tensor
        shape = config["num_tokens"], config["text_dim"]
        self.register_buffer("token_vectors", torch.zeros(shape))
        self.requires_grad_(False).eval()

    @classmethod
    @torch.no_grad()
    def of(cls, model: Any) -> Self | None:
        """Of a translator that an alignment was trained beside; None where tokens have no vectors.

        That is so where an encoder reads the texts (`alignment.states`): what a token resembles
        then depends on its text.
        """
        trained: TokenAlignment = model.alignment
        words = model.language_model.model.get_input_embeddings()
        vectors = trained.token_vectors(words)
        if vectors is None:
            return None
        kept = cls(
            {
                "adapter": dict(model.config.adapter),
                "feature_dim": model.encoder.output_dim,
                "clip_dim": trained.clip_map.in_features,
                "text_dim": trained.clip_map.out_features,
                "num_tokens": len(vectors),
                "temperature": trained.temperature,
            }
        )
        kept.adapter.load_state_dict(model.adapter.state_dict())
        kept.clip_map.load_state_dict(trained.clip_map.state_dict())
        kept.token_vectors.copy_(vectors)
        return kept

    def save(self, folder: Path) -> None:
        """Write it into a model's folder."""
        (folder / FOLDER).mkdir(exist_ok=True)
        told = json.dumps(self.config, indent=2, sort_keys=True) + "\n"
        (folder / CONFIG).write_text(told, encoding="utf-8")
        values = {name: value.cpu().contiguous() for name, value in self.state_dict().items()}
        save_file(values, folder / WEIGHTS)

    @classmethod
    def load(cls, source: str | Path) -> Self | None:
        """Load it from a model's folder or hub name; None where none was kept.

        Raises:
            InputError: its files are damaged, or do not belong together.
        """
        path = hub.find_file(source, CONFIG)
        if path is None:
            return None
        weights = hub.find_file(source, WEIGHTS)
        if weights is None:
            raise InputError(f"{source}/{WEIGHTS}: is missing, expected it beside {CONFIG}")
        try:
            kept = cls(json.loads(path.read_text(encoding="utf-8")))
            kept.load_state_dict(load_file(weights))
        except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
            told = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path.parent}: found files that cannot be read as a kept alignment ({told}),"
                f" expected {CONFIG} and {WEIGHTS} of one training"
            ) from None
        return kept

    @torch.no_grad()
    def forward(self, features: Tensor, mask: Tensor, tokens: Tensor) -> Tensor:
        """Similarity (batch,) of each clip and its text, -1 to 1: the mean of both views.

        Args:
            features: (batch, time, dim) of the encoder.
            mask: (batch, time) bool, True where real.
            tokens: (batch, tokens) a text for each clip, `IGNORED` where padded.
        """
        embeds, real = self.adapter(features.float(), mask)
        positions = nn.functional.normalize(self.clip_map(embeds), dim=-1)
        found = []
        for row, text in enumerate(tokens):
            ids = text[text != IGNORED]
            counts = torch.ones(len(ids), 1, device=ids.device)
            clip = positions[row : row + 1], real[row : row + 1]
            both = token_similarities(
                *clip, self.token_vectors[ids], counts, self.config["temperature"]
            )
            found.append((both.of_clips + both.of_texts)[0, 0] / 2)
        return torch.stack(found)


def shares_encoder(one: Path, other: Path) -> bool:
    """Whether the encoders of two model folders have the same weights, to the last bit."""
    with ExitStack() as opened:
        ours, theirs = (_encoder_of(folder, opened) for folder in (one, other))
        return ours.keys() == theirs.keys() and all(
            torch.equal(ours[name].get_tensor(name), theirs[name].get_tensor(name)) for name in ours
        )


def _encoder_of(folder: Path, opened: ExitStack) -> dict[str, Any]:
    """The open file in which each weight of a model's encoder is."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        file = cast(Any, opened.enter_context(safe_open(path, framework="pt")))
        found |= {name: file for name in file.keys() if name.startswith(_ENCODER)}  # noqa: SIM118
    return found


def latest_kept(stages: Sequence[Path]) -> Path | None:
    """The last of some model folders in which an alignment was kept; None: none has any."""
    return next((one for one in reversed(stages) if (one / CONFIG).is_file()), None)
