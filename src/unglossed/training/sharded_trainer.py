"""The training loop of a stage whose language model the processes share out among them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Seq2SeqTrainingArguments

from unglossed.ranks import here
from unglossed.training.settings import StageSettings
from unglossed.training.sharding import Shards
from unglossed.training.trainer import StageTrainer


class ShardedTrainer(StageTrainer):
    """Trains one stage with a sharded language model; see `StageTrainer` for its arguments.

    Its numbers are those of a whole model, but for the order of sums, and in bfloat16 for weights
    that are rounded before they are gathered. When it is trained, `model` is whole again.
    """

    model: Any

    def __init__(
        self,
        stage: StageSettings,
        model: nn.Module,
        dataset: Any,
        collator: Any,
        arguments: Seq2SeqTrainingArguments,
        *rest: Any,
        **settings: Any,
    ) -> None:
        here().copy_first(model)
        self.shards = Shards(model, here(), bfloat16=arguments.bf16)
        super().__init__(stage, model, dataset, collator, arguments, *rest, **settings)

    def _move_model_to_device(self, *_: Any) -> None:
        """Nothing: it is there already, and weights that are sharded stay where they are."""

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """See `StageTrainer`; its state is written and read whole."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new:
            self.shards.keep_whole(optimizer)
        return optimizer

    def _steps_in_backward(self) -> bool:
        return False

    def _losses(self, model: nn.Module, parts: Sequence[dict[str, Any]], count: Any) -> list[Any]:
        """Forward and backward pass of each part, as often as in every other process.

        Weights are gathered in each pass; what is computed beyond the own parts counts nowhere.
        """
        more = self.ranks.largest([len(parts)])[0] - len(parts)
        with warnings.catch_warnings():
            # Nothing is done in place to the logits, which may be a view.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
            losses = super()._losses(model, parts, count)
            idle, self.ranks.idle = self.ranks.idle, True
            try:
                super()._losses(model, [parts[-1]] * more, count)
            finally:
                self.ranks.idle = idle
        return losses

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        return self.shards.clip_gradients(model.parameters(), self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        if grad_norm is not None:
            return grad_norm
        return self.shards.clip_gradients(model.parameters(), float("inf"))

    def evaluate(self, *arguments: Any, **settings: Any) -> dict[str, float]:
        """See `StageTrainer`; each process has the whole model while dev is scored."""
        with self.shards.whole():
            return super().evaluate(*arguments, **settings)

    def _save_step(self, *, unscored: bool = False) -> None:
        if self._written == (self.state.global_step, False):
            super()._save_step(unscored=unscored)
            return
        assert self.optimizer is not None
        before = self.model
        with (
            self.shards.gathered(self.optimizer),
            self.shards.whole(everywhere=False) as self.model,
        ):
            try:
                super()._save_step(unscored=unscored)
            finally:
                self.model = before

    def _load_from_checkpoint(self, folder: str, model: nn.Module | None = None) -> None:
        with self.shards.whole(keep=True) as whole:
            super()._load_from_checkpoint(folder, whole)

    def _load_best_model(self) -> None:
        self.model = self.shards.end()
        super()._load_best_model()

    def train(self, *arguments: Any, **settings: Any) -> Any:
        """See `StageTrainer`."""
        found = super().train(*arguments, **settings)
        self.model = self.shards.end()
        return found
