"""A language model that writes several languages: each row is read as if it were alone."""

from __future__ import annotations

import pytest
import torch

import tiny
from unglossed.models.language_model import IGNORED, LanguageModel, build_language_model

STARTS = {"de": [5], "en": [7], "zh": [9]}
INSTRUCTIONS = {"de": [11], "en": [12, 13, 14], "zh": [15, 16]}
LABELS = torch.tensor([[20, 21, 2], [22, 2, IGNORED], [23, 24, 2], [25, 2, IGNORED]])
ASKED = ["en", "de", "zh", "en"]


def language_model(*, decoder_only: bool) -> LanguageModel:
    """A tiny model whose languages have start tokens, or instructions of different lengths."""
    processor = tiny.tiny_processor()
    make = tiny.tiny_decoder_only if decoder_only else tiny.tiny_model
    model = make(processor)
    each = {
        code: {
            "before": [1],
            "after": INSTRUCTIONS[code] if decoder_only else [],
            "start": [] if decoder_only else STARTS[code],
        }
        for code in STARTS
    }
    prompt = {**each["de"], "languages": each}
    found = build_language_model(model.config.language_model, prompt).eval()
    found.load_state_dict(model.language_model.state_dict())
    return found


@pytest.fixture(params=["encoder-decoder", "decoder-only"])
def writer(request: pytest.FixtureRequest) -> LanguageModel:
    return language_model(decoder_only=request.param == "decoder-only")


@pytest.fixture
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    embeds = torch.randn(4, 6, 32, generator=torch.Generator().manual_seed(0))
    return embeds, torch.arange(6) < torch.tensor([6, 4, 5, 3])[:, None]


@torch.no_grad()
def test_rows_of_several_languages_are_read_as_each_alone(
    writer: LanguageModel, clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    embeds, mask = clips
    together = writer(embeds, mask, LABELS, ASKED)

    for row, code in enumerate(ASKED):
        length = int(mask[row].sum())
        with writer.writing(code):
            alone = writer(
                embeds[row : row + 1, :length], mask[row : row + 1, :length], LABELS[[row]]
            )
        real = LABELS[row] != IGNORED
        torch.testing.assert_close(together[row][real], alone[0][real], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_another_language_gives_other_numbers(
    writer: LanguageModel, clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    one, other = (writer(*clips, LABELS, [code] * 4) for code in ("de", "en"))

    assert not torch.allclose(one[:, 0], other[:, 0], atol=1e-3)
    torch.testing.assert_close(writer(*clips, LABELS), one)  # the first, where none is asked for


@torch.no_grad()
def test_texts_are_generated_in_the_language_of_the_block(
    writer: LanguageModel, clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    for code in STARTS:
        with writer.writing(code):
            tokens = writer.generate(*clips, num_beams=1, max_new_tokens=4, min_new_tokens=4)
        logits = writer(*clips, tokens, [code] * 4)
        logits[..., writer.model.config.eos_token_id] = -torch.inf
        assert torch.equal(logits[:, :4].argmax(-1), tokens[:, :4])
    before = writer.before, writer.after, writer.start
    with writer.writing(None):
        assert (writer.before, writer.after, writer.start) == before


def test_the_longest_instruction_counts_where_positions_are_few() -> None:
    assert language_model(decoder_only=True).prompt_length == 1 + len(INSTRUCTIONS["en"])
