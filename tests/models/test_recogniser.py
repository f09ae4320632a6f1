"""The recogniser: what it reads off, how many frames that takes, and that it is kept."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

import tiny
from unglossed.models.recogniser import (
    Recogniser,
    RecogniserConfig,
    as_letters,
    decode_greedily,
    frames_needed,
    from_letters,
    symbol_ids,
)
from unglossed.training.objectives.recognition import gloss_loss
from unglossed.training.sources import load_trained

GLOSSES = ["MORGEN", "NORD", "REGEN"]


def recogniser() -> Recogniser:
    torch.manual_seed(0)
    return Recogniser(RecogniserConfig(encoder=tiny.ENCODER, symbols=GLOSSES)).eval()


def test_glosses_are_numbered_from_one_and_unknown_ones_go() -> None:
    assert symbol_ids("REGEN NORD  REGEN", GLOSSES) == [3, 2, 3]
    assert symbol_ids("REGEN SCHNEE", GLOSSES) == [3]
    assert symbol_ids("", GLOSSES) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([3, 3, 0, 3, 2, 2], "REGEN REGEN NORD"),
        ([3, 3, 3, 3, 2, 2], "REGEN NORD"),
        ([0, 0, 0, 0, 0, 0], ""),
        ([0, 1, 0, 0, 2, 3], "MORGEN NORD REGEN"),
    ],
)
def test_repetitions_are_joined_and_blanks_left_out(path: list[int], expected: str) -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([path]), 4).float()

    assert decode_greedily(logits, torch.ones(1, 6, dtype=torch.bool), GLOSSES) == [expected]


@pytest.mark.parametrize(
    ("text", "symbols", "back"),
    [
        ("Heute regnet es.", "h e u t e | r e g n e t | e s .", "heute regnet es."),
        ("  Zwei   Wörter ", "z w e i | w ö r t e r", "zwei wörter"),
        ("", "", ""),
    ],
)
def test_a_transcript_is_spelt_and_put_together_again(text: str, symbols: str, back: str) -> None:
    assert as_letters(text) == symbols
    assert from_letters(symbols) == back


def test_bars_without_letters_make_no_words() -> None:
    assert from_letters("| a b | | c |") == "ab c"


def test_padding_is_not_read() -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([[3, 2, 1, 1]]), 4).float()
    mask = torch.tensor([[True, True, False, False]])

    assert decode_greedily(logits, mask, GLOSSES) == ["REGEN NORD"]


@pytest.mark.parametrize("ids", [[1], [1, 2], [1, 1], [2, 2, 2], [1, 2, 2, 1]])
def test_frames_needed_are_the_fewest_with_which_ctc_has_a_path(ids: list[int]) -> None:
    def loss_of(num_frames: int) -> float:
        mask = (torch.arange(8) < num_frames)[None]
        return float(gloss_loss(torch.zeros(1, 8, 4), mask, torch.tensor([ids])))

    assert loss_of(frames_needed(ids)) > 0
    assert loss_of(frames_needed(ids) - 1) == 0


def test_a_clip_is_read_alike_alone_and_in_a_batch() -> None:
    model = recogniser()
    frames = torch.randint(0, 256, (7, 32, 32, 3), dtype=torch.uint8)

    together = model(frames=frames, lengths=torch.tensor([4, 3]))
    alone = model(frames=frames[4:], lengths=torch.tensor([3]))

    assert together.logits.shape == (2, 4, 4)
    assert together.mask.tolist() == [[True] * 4, [True] * 3 + [False]]
    # Float32, another batch: worst seen 1e-6.
    torch.testing.assert_close(together.logits[1, :3], alone.logits[0], atol=1e-5, rtol=1e-5)


def test_features_take_the_place_of_frames() -> None:
    model = recogniser()
    frames = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    features, mask = model.encode(frames, torch.tensor([4]))

    assert torch.equal(
        model(features=features, mask=mask).logits,
        model(frames=frames, lengths=torch.tensor([4])).logits,
    )


def test_a_recogniser_is_saved_with_its_glosses(tmp_path: Path) -> None:
    model = recogniser()
    model.save_pretrained(tmp_path)

    again = AutoModel.from_pretrained(tmp_path)

    assert isinstance(again, Recogniser)
    assert again.config.symbols == GLOSSES
    assert again.config.model_type == "unglossed_recogniser"
    mine, theirs = model.state_dict(), again.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_a_recogniser_that_an_earlier_version_saved_is_loaded(tmp_path: Path) -> None:
    model = recogniser()
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields |= {"model_type": "unglossed_gloss", "architectures": ["Recogniser"]}
    fields["glosses"] = fields.pop("symbols")
    path.write_text(json.dumps(fields), encoding="utf-8")

    again = load_trained(str(tmp_path), "stages.x.encoder.source")

    assert isinstance(again, Recogniser)
    assert again.config.symbols == GLOSSES
    assert not hasattr(again.config, "glosses")
    assert torch.equal(again.ctc_head.weight, model.ctc_head.weight)
    again.save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "config.json").read_text(encoding="utf-8"))
    assert saved["model_type"] == "unglossed_recogniser"


def test_a_frozen_backbone_keeps_its_statistics_while_the_rest_learns() -> None:
    model = recogniser()
    model.freeze(["encoder.backbone"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    frames = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8)
    output = model(frames=frames, lengths=torch.tensor([6]))
    gloss_loss(output.logits, output.mask, torch.tensor([[1, 3]])).backward()
    optimizer.step()

    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert not any(name.startswith("encoder.backbone.") for name in moved)
    assert {"encoder.temporal.conv.weight", "encoder.temporal.norm.running_mean"} <= moved
    assert "ctc_head.weight" in moved
    assert not model.encoder.backbone.training
    assert model.encoder.temporal.training
