"""A language model shared out among processes: here among one, which has all of the parts.

What two do together is in `faults/several.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from transformers import MBartConfig

import planned
import tiny
from unglossed.errors import InputError
from unglossed.models.processing import pad_labels
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.ranks import Ranks, is_shard
from unglossed.training.objectives.translation import text_loss
from unglossed.training.optimizers import build_optimizer
from unglossed.training.settings import StageSettings
from unglossed.training.sharding import Shards, check_sharding

pytestmark = pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
PROCESSOR = tiny.tiny_processor()


@pytest.fixture(autouse=True)
def process_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def tied_model() -> Translator:
    """Around an mBART, whose word embeddings are its output matrix too."""
    torch.manual_seed(0)
    sizes = {"d_model": 32, "max_position_embeddings": 64, "vocab_size": len(PROCESSOR.tokenizer)}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 64}
    language_model = MBartConfig(**sizes, decoder_start_token_id=PROCESSOR.start_token_id)
    config = TranslatorConfig(
        encoder=tiny.ENCODER,
        adapter={"hidden_dim": 32, "dropout": 0.0},
        language_model=language_model.to_dict(),
    )
    return Translator(config).eval()


MODELS: dict[str, Callable[[], Translator]] = {
    "light_t": lambda: tiny.tiny_model(PROCESSOR),
    "mbart": tied_model,
    "llama": lambda: tiny.tiny_decoder_only(PROCESSOR, before="text:", after="says"),
}


def stage(**changes: Any) -> StageSettings:
    settings: dict[str, Any] = {
        "name": "stage",
        "encoder": {},
        "adapter": {},
        "language_model": {},
        "frozen": ["encoder"],
        "learning_rates": {"adapter": 0.01, "language_model": 0.01},
        "epochs": 1,
        "batch_size": 2,
    }
    return StageSettings.model_validate(settings | changes)


def loss_of(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(3, 5, 24, generator=generator)
    mask = torch.arange(5) < torch.tensor([[5], [3], [4]])
    labels = pad_labels([PROCESSOR.encode_text(text) for text in tiny.SENTENCES])
    return text_loss(model(features=features, mask=mask, labels=labels).logits, labels)


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    return {
        name: weight.grad.full_tensor() if is_shard(weight.grad) else weight.grad
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_their_norm_are_those_of_a_whole_model(name: str) -> None:
    whole = MODELS[name]()
    model = copy.deepcopy(whole)
    shards = Shards(model, Ranks(), bfloat16=False)

    losses = [loss_of(one) for one in (whole, model)]
    for loss in losses:
        loss.backward()

    torch.testing.assert_close(losses[0], losses[1])
    mine, theirs = gradients_of(model), gradients_of(whole)
    assert mine.keys() == theirs.keys()
    for weight, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs[weight])
    norm = torch.nn.utils.clip_grad_norm_(whole.parameters(), 0.1)
    torch.testing.assert_close(shards.clip_gradients(model.parameters(), 0.1), norm)
    for weight, gradient in gradients_of(model).items():
        torch.testing.assert_close(gradient, theirs[weight])


@pytest.mark.parametrize("name", MODELS)
def test_the_whole_model_is_there_for_a_block_and_what_it_becomes_can_be_kept(name: str) -> None:
    before = MODELS[name]()
    model = copy.deepcopy(before)
    shards = Shards(model, Ranks(), bfloat16=False)
    assert all(is_shard(weight) for weight in model.language_model.parameters())

    with shards.whole() as whole:
        assert whole is model
        state = model.state_dict()
        assert state.keys() == before.state_dict().keys()
        assert all(torch.equal(value, state[key]) for key, value in before.state_dict().items())
        writer = whole.language_model.model
        tied = writer.get_input_embeddings().weight is writer.get_output_embeddings().weight
        assert tied == (name == "mbart")
        assert loss_of(whole) == loss_of(before)
    with shards.whole(keep=True), torch.no_grad():
        for weight in model.language_model.parameters():
            weight += 1.0
    assert all(is_shard(weight) for weight in model.language_model.parameters())

    assert shards.end() is model
    ended = dict(model.named_parameters())
    for key, weight in before.named_parameters():
        expected = weight + 1.0 if key.startswith("language_model.") else weight
        assert torch.equal(ended[key], expected), key


@pytest.mark.parametrize("momentum", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimisers_move_shards_as_they_move_weights_and_tell_a_whole_state(
    name: str, momentum: str
) -> None:
    settings = stage(
        optimizer={"name": name, "momentum_dtype": momentum, "weight_decay": 0.1},
        learning_rates={"adapter": 1e-2, "language_model": 1e-2},
    )
    whole = MODELS["light_t"]()
    model = copy.deepcopy(whole)
    shards = Shards(model, Ranks(), bfloat16=False)
    optimizers = []
    for one in (whole, model):
        one.freeze(settings.frozen)
        optimizers.append(build_optimizer(settings, one))
    shards.keep_whole(optimizers[1])

    for _ in range(2):
        for one, optimizer in zip((whole, model), optimizers, strict=True):
            optimizer.zero_grad()
            loss_of(one).backward()
            optimizer.step()

    torch.testing.assert_close(loss_of(model), loss_of(whole), rtol=1e-3, atol=1e-4)
    with shards.gathered(optimizers[1]):
        told = optimizers[1].state_dict()
    expected = optimizers[0].state_dict()
    assert told["state"].keys() == expected["state"].keys()
    for number, kept in expected["state"].items():
        for key, value in kept.items():
            found = told["state"][number][key]
            assert not is_shard(found)
            assert (found.shape, found.dtype) == (value.shape, value.dtype)
    other = build_optimizer(settings, model)
    shards.keep_whole(other)
    other.load_state_dict(told)
    with shards.gathered(other):
        again = other.state_dict()
    for number, kept in told["state"].items():
        for key, value in kept.items():
            torch.testing.assert_close(again["state"][number][key].to(value.dtype), value)


def test_in_bfloat16_weights_stay_float32() -> None:
    whole = MODELS["mbart"]()
    model = copy.deepcopy(whole)
    Shards(model, Ranks(), bfloat16=True)

    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model)
    loss.backward()

    torch.testing.assert_close(loss, loss_of(whole), rtol=2e-2, atol=0)
    for weight in model.language_model.parameters():
        assert weight.dtype == torch.float32
        assert weight.grad is None or weight.grad.dtype == torch.float32


LORA = {"r": 2, "alpha": 4.0, "dropout": 0.0, "targets": "all-linear"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"language_model": {"lora": LORA}}, "a language model with LoRA"),
        (
            {"frozen": ["encoder", "language_model"], "learning_rates": {"adapter": 0.01}},
            "a frozen language model",
        ),
        (
            {
                "alignment": "tokens",
                "learning_rates": {"adapter": 0.1, "language_model": 0.1, "alignment": 0.1},
            },
            "an alignment",
        ),
        ({"norms_every": 5, "optimizer": {"in_backward": False}}, "norms_every"),
    ],
)
def test_what_cannot_be_shared_out_is_told(changes: dict[str, Any], found: str) -> None:
    config = {"light_t": {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64}}
    settings = stage(
        **{
            "encoder": {"config": tiny.ENCODER},
            "adapter": {"config": {"hidden_dim": 32}},
            **changes,
            "language_model": {"config": config, **changes.get("language_model", {})},
        }
    )
    plan = planned.plan(settings, PROCESSOR)

    with pytest.raises(InputError, match=rf"^{plan.where}: found {found}, expected a language"):
        check_sharding([plan])
