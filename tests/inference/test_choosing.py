"""Choice among the texts that a search found, and what judges them."""

import numpy as np
import pytest
import torch
from sacrebleu.metrics.chrf import CHRF

from tiny import tiny_decoder_only, tiny_model, tiny_processor
from unglossed.config import DecodingSettings
from unglossed.errors import InputError
from unglossed.inference.choosing import Beside, Candidates, utilities
from unglossed.inference.search import write_texts, written
from unglossed.inference.translator import translate_features
from unglossed.models.kept_alignment import KeptAlignment
from unglossed.models.token_alignment import TokenAlignment

TEXTS = ["schnee im norden", "regen im süden", "regen im osten", "regen im süden"]


def candidates(scores, similarities=None, lengths=4) -> Candidates:
    similar = None if similarities is None else np.array(similarities)
    return Candidates(TEXTS, np.array(scores), np.full(4, lengths), similar)


def test_utilities_are_sacrebleus_chrf() -> None:
    found = utilities(TEXTS)
    expected = CHRF().sentence_score(TEXTS[0], [TEXTS[2]]).score / 100
    assert found[0, 2] == pytest.approx(expected)
    assert found[1, 3] == 1
    assert (np.diag(found) == 1).all()


def test_minimum_risk_takes_what_the_others_agree_with_by_their_probability() -> None:
    settings = DecodingSettings(choice="minimum_risk", beams=4)
    assert candidates([-0.5, -0.51, -0.52, -0.53]).order(settings)[0] == 1
    # The first is so likely that the others do not count.
    assert candidates([-0.5, -5.0, -5.0, -5.0]).order(settings)[0] == 0
    drawn = settings.change(sample=True)
    assert candidates([-0.5, -5.0, -5.0, -5.0]).order(drawn)[0] == 1
    found = candidates([-0.5, -0.6, -0.7, -0.8]).gains(drawn=False)
    weights = np.exp(4 * np.array([-0.5, -0.6, -0.7, -0.8]))
    np.testing.assert_allclose(found, utilities(TEXTS) @ weights / weights.sum())


def test_the_contrast_takes_what_resembles_the_clip_and_ties_stay_ranked() -> None:
    settings = DecodingSettings(choice="contrast", beams=4)
    assert candidates([-1.0] * 4, [0.1, 0.3, 0.4, 0.3]).order(settings) == [2, 1, 3, 0]
    assert candidates([-1.0] * 4).order(DecodingSettings()) == [0, 1, 2, 3]


def test_agreement_is_the_mean_over_the_others() -> None:
    agreed = candidates([-1.0] * 4).agreement
    found = utilities(TEXTS)
    assert agreed[1] == pytest.approx((found[1, 0] + found[1, 2] + found[1, 3]) / 3)
    assert Candidates(["x"], np.zeros(1), np.ones(1, int)).agreement.tolist() == [1]


@pytest.mark.parametrize("kind", [tiny_model, tiny_decoder_only])
@pytest.mark.parametrize("beams", [1, 3])
def test_no_run_of_tokens_stands_twice(kind, beams) -> None:
    model = kind(tiny_processor())
    features = torch.randn(4, 5, model.encoder.output_dim)
    mask = torch.ones(4, 5, dtype=torch.bool)
    settings = DecodingSettings(beams=beams, max_new_tokens=24)

    def runs(size: int) -> list[list[tuple[int, ...]]]:
        tokens = write_texts(model, features, mask, settings.change(no_repeat_ngram_size=size))
        rows = [
            row[real].tolist() for row, real in zip(tokens, written(model, tokens), strict=True)
        ]
        return [[tuple(row[n : n + 2]) for n in range(len(row) - 1)] for row in rows]

    assert any(len(set(row)) < len(row) for row in runs(0))
    assert all(len(set(row)) == len(row) for row in runs(2))


@pytest.mark.parametrize("kind", [tiny_model, tiny_decoder_only])
def test_judging_changes_no_translation(kind) -> None:
    processor = tiny_processor()
    model = kind(processor)
    features = [torch.randn(length, model.encoder.output_dim) for length in (4, 9, 6)]
    settings = DecodingSettings(beams=3, max_new_tokens=8)
    plain = translate_features(model, processor, features, settings)
    judged = translate_features(model, processor, features, settings, beside=Beside(collects=True))
    assert [one.text for one in plain] == [one.text for one in judged]
    assert [one.score for one in plain] == pytest.approx([one.score for one in judged], abs=1e-5)
    assert all(one.evidence is None for one in plain)
    for one in judged:
        assert one.evidence is not None
        assert one.evidence["score"] == one.score
        assert set(one.evidence) == {"score", "agreement", "gain", "steadiness"}
    # It does not depend on the batch.
    (alone,) = translate_features(
        model, processor, features[:1], settings, beside=Beside(collects=True)
    )
    assert dict(alone.evidence or {}) == pytest.approx(dict(judged[0].evidence or {}), abs=1e-5)


def test_the_contrast_is_computed_with_the_kept_alignment() -> None:
    processor = tiny_processor()
    model = tiny_model(processor)
    torch.manual_seed(2)
    model.align(TokenAlignment(32, 32, 0.07))
    kept = KeptAlignment.of(model)
    model.align(None)
    features = [torch.randn(6, model.encoder.output_dim) for _ in range(6)]
    settings = DecodingSettings(beams=4, max_new_tokens=6, choice="contrast")
    judged = translate_features(
        *(model, processor, features, settings), n_best=4, beside=Beside(kept, collects=True)
    )
    best = translate_features(
        *(model, processor, features, settings.change(choice="best")),
        n_best=4,
        beside=Beside(kept, collects=True),
    )
    for one, other in zip(judged, best, strict=True):
        assert {text.text for text in one.n_best} == {text.text for text in other.n_best}
        assert (one.evidence or {})["similarity"] >= (other.evidence or {})["similarity"]
    assert [one.text for one in judged] != [one.text for one in best]


def test_a_choice_without_what_it_needs_is_refused() -> None:
    processor = tiny_processor()
    model = tiny_model(processor)
    settings = DecodingSettings(choice="contrast")
    with pytest.raises(InputError, match="found contrast, but no alignment was kept beside"):
        translate_features(model, processor, [torch.zeros(3, 16)], settings)
    with pytest.raises(InputError, match="choice minimum_risk is among several texts: found 1"):
        DecodingSettings().change(choice="minimum_risk", beams=1)
