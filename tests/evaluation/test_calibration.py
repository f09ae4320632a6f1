"""Calibrated confidences: fitted, stored beside a model, and what they keep back."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from moving import write_moving
from tiny import tiny_translator, write_corpus
from unglossed.cli import app
from unglossed.errors import InputError
from unglossed.evaluation.calibration import (
    REAL,
    Shown,
    calibrate,
    fit,
    fit_logistic,
    undo_calibration,
)
from unglossed.evaluation.evaluate import evaluate
from unglossed.evaluation.reliability import Reliability, sentence_chrf
from unglossed.files import read_checksums, write_checksums
from unglossed.inference.confidence import Confidence, oddness_of, steadiness_of
from unglossed.inference.output import NOT_UNDERSTOOD, Doubt, format_json, format_text
from unglossed.inference.sentences import SentenceTranslator
from unglossed.inference.subtitles import render
from unglossed.inference.translator import SignTranslator

FIELDS = {"beams": 3, "max_new_tokens": 8}


def shown(num: int = 150, seed: int = 0) -> list[Shown]:
    """Clips whose sentence is good the more often, the higher the score, and corrupted ones."""
    rng = np.random.default_rng(seed)
    found = []
    for clip in range(num):
        score = rng.normal()
        good = bool(rng.random() < 1 / (1 + np.exp(-2 * score)))
        found.append(Shown(clip, REAL, row(score, 0.5 + 0.1 * rng.normal()), feature(rng, 0), good))
        found.append(Shown(clip, "freeze", row(score, 1.0), feature(rng, 0), False))
        found.append(Shown(clip, "noise", row(score, 0.5), feature(rng, 4), False))
    return found


def row(score: float, steadiness: float) -> dict[str, float]:
    return {"score": score, "agreement": 0.5, "gain": 1.0, "steadiness": steadiness}


def feature(rng: np.random.Generator, away: float) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=(1, 8)) + away)


def test_the_logistic_regression_is_the_least_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=(200, 3)), rng.uniform(0.5, 2, 200)
    labels = inputs @ [2.0, -1.0, 0.0] + rng.logistic(size=200) > 0.5
    found = fit_logistic(inputs, labels, weights)
    free = torch.tensor([*found.weights, found.bias], dtype=torch.float64, requires_grad=True)
    logits = torch.from_numpy(inputs) @ free[:3] + free[3]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(labels).double(), torch.from_numpy(weights), reduction="sum"
    )
    (loss + free[:3].square().sum() / 2 + 1e-6 * free[3] ** 2 / 2).backward()
    assert free.grad is not None
    assert float(free.grad.abs().max()) < 1e-6
    np.testing.assert_allclose(found.of(inputs), logits.detach().sigmoid().numpy(), atol=1e-9)


def test_it_also_ends_where_classes_do_not_overlap() -> None:
    inputs = np.array([[-6.0], [-5.0], [5.0], [6.0]] * 20)
    found = fit_logistic(inputs, inputs[:, 0] > 0, np.ones(80))
    assert found.weights[0] > 0.5
    assert np.isfinite(found.of(inputs)).all()


def test_confidences_are_probabilities_and_corrupted_clips_have_little() -> None:
    made = fit(shown(), 50, 0.98, {})
    assert made.dev["coverage"] >= 0.98
    assert made.dev["calibration_error"] < 0.1
    assert min(made.dev["abstained_corrupted"].values()) > 0.95
    others = shown(600, seed=1)
    sure = np.array([made.of({**o.evidence, "oddness": made.oddness(o.features)}) for o in others])
    real = np.array([one.kind == REAL for one in others])
    good = np.array([one.good for one in others])
    seen = Reliability(sure[real], good[real], made.threshold, 50)
    assert seen.calibration_error < 0.08
    assert seen.kept.mean() > 0.95
    assert (sure[~real] < made.threshold).mean() > 0.95


def test_all_good_or_none_is_nothing_to_calibrate_by() -> None:
    bad = [Shown(one.clip, one.kind, one.evidence, one.features, False) for one in shown(30)]
    with pytest.raises(InputError, match="found none of 30 sentences with a chrF of 50 or more"):
        fit(bad, 50, 0.98, {})


def test_reliability_by_hand() -> None:
    found = Reliability(
        np.array([0.95, 0.92, 0.15, 0.15]), np.array([True, False, False, True]), 0.2, 50
    )
    assert found.bins == [
        (pytest.approx(0.15), 0.5, 2),
        (pytest.approx(0.935), 0.5, 2),
    ]
    assert found.calibration_error == pytest.approx((0.35 + 0.435) / 2)
    assert found.brier == pytest.approx((0.05**2 + 0.92**2 + 0.15**2 + 0.85**2) / 4)
    assert found.risk_coverage == ((0.25, 0.0), (0.5, 0.5), (1.0, 0.5))
    told = found.to_dict()
    assert (told["coverage"], told["risk"], told["abstained"]) == (0.5, 0.5, 2)


def test_the_nearest_reference_counts() -> None:
    assert sentence_chrf("regen im norden", ["schnee", "regen im norden"]) == 100


def test_steadiness_and_oddness() -> None:
    still = torch.ones(5, 3)
    assert steadiness_of(still) == pytest.approx(1)
    assert steadiness_of(still[:1]) == 1
    assert steadiness_of(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])) == 0
    assert steadiness_of(torch.zeros(3, 2)) == 0
    assert oddness_of(still, np.zeros(3), np.full(3, 0.5)) == pytest.approx(np.log(2))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("calibrated")
    corpus = write_corpus(folder / "corpus", num_dev=20)
    model = tiny_translator(folder / "model")
    calibrate(model, corpus, least_chrf=18.5, coverage=0.8, **FIELDS)
    return model, corpus


def clip_of(corpus: str, name: str = "dev-3") -> Path:
    root = Path(corpus.partition(":")[2], "PHOENIX-2014-T", "features", "fullFrame-210x260px")
    return root / name.partition("-")[0] / name


def test_it_lies_beside_the_model_and_is_applied(calibrated, tmp_path: Path) -> None:
    model, corpus = calibrated
    made = Confidence.load(model)
    assert made is not None
    assert made.dev["clips"] == 20
    assert set(made.dev["abstained_corrupted"]) == {
        *("blank", "noise", "freeze", "shuffle", "shuffled features")
    }
    translator = SignTranslator.from_pretrained(model)
    clip = clip_of(corpus)
    plain = translator.translate(clip, least_confidence=0.0, **FIELDS)[0]
    assert plain.text
    assert plain.confidence is not None
    assert plain.reason is None
    noted: list[str] = []
    (kept,) = translator.translate(
        clip, least_confidence=1.0, on_note=lambda _, text: noted.append(text), **FIELDS
    )
    assert (kept.text, kept.n_best, kept.reason) == ("", (), Doubt.NOT_UNDERSTOOD)
    assert kept.confidence == plain.confidence
    assert kept.score == plain.score
    assert noted == [f"not understood: confidence {plain.confidence:.2f}, expected 1.00 at least"]
    (told,) = json.loads(format_json([kept]))
    assert told["text"] == ""
    assert told["reason"] == "not_understood"
    assert told["confidence"] == round(plain.confidence, 4)
    assert format_text([kept], named=False) == f"{NOT_UNDERSTOOD}\n"
    by_default = translator.translate(clip, on_note=lambda *_: None, **FIELDS)[0]
    assert (by_default.text == "") is (plain.confidence < made.threshold)
    drawn = translator.translate(clip, sample=True, **FIELDS)[0]
    assert drawn.confidence is None
    assert drawn.text


def test_captions_mark_what_was_not_understood(calibrated, tmp_path: Path) -> None:
    model, _ = calibrated
    translator = SentenceTranslator.from_pretrained(model)
    clip = write_moving(tmp_path / "clip.mp4", [(0.2, 1.8)], 2.0)
    for cut in ("whole", "motion"):
        sentences = list(translator.translate(clip, cut=cut, least_confidence=1.0, **FIELDS))
        assert sentences
        assert all(one.text == "" and not one.understood for one in sentences)
        told = json.loads(render(sentences, "json", language="de", media=str(clip)))
        assert told["text"] == ""
        first = told["segments"][0]
        assert first["understood"] is False
        assert 0 < first["confidence"] < 1
        for form in ("srt", "vtt", "tsv", "text", "eaf"):
            made = render(sentences, form, language="de", media=str(clip))
            assert NOT_UNDERSTOOD in made
    given = list(translator.translate(clip, cut="whole", least_confidence=0.0, **FIELDS))
    assert given[0].understood
    assert given[0].text
    assert given[0].confidence == given[0].calibrated


def test_evaluation_scores_all_and_tells_how_well_confidences_fit(
    calibrated, tmp_path: Path, capsys
) -> None:
    model, corpus = calibrated
    evaluate(model, corpus, "test", tmp_path / "scores", **FIELDS)
    lines = (tmp_path / "scores" / "predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert all(0 <= one["confidence"] <= 1 and one["hypothesis"] for one in rows)
    told = json.loads((tmp_path / "scores" / "metrics.json").read_text())["confidence"]
    made = Confidence.load(model)
    assert made is not None
    assert told["abstained"] == sum(one["confidence"] < made.threshold for one in rows)
    good = [sentence_chrf(one["hypothesis"], [one["reference"]]) >= 18.5 for one in rows]
    assert told["good"] == pytest.approx(np.mean(good), abs=1e-4)
    assert f"{told['abstained']} of 20 sentences have less" in capsys.readouterr().err
    drawing = (tmp_path / "scores" / "reliability.svg").read_text()
    assert drawing.startswith("<?xml")
    assert "confidence" in drawing


def test_what_cannot_be_calibrated_says_why(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    model = tiny_translator(tmp_path / "model")
    with pytest.raises(InputError, match="dev: found 2 clips, expected 20 at least"):
        calibrate(model, corpus)
    with pytest.raises(InputError, match=r"coverage: found 0\.2, expected 0\.5 to 1"):
        calibrate(model, corpus, coverage=0.2)
    with pytest.raises(InputError, match="drawn texts have no confidence"):
        calibrate(model, corpus, sample=True)
    translator = SignTranslator.from_pretrained(model)
    with pytest.raises(InputError, match="the model has no confidence: calibrate it"):
        translator.stream([], least_confidence=0.5)


def test_a_damaged_file_and_a_lost_alignment_are_named(calibrated, tmp_path: Path) -> None:
    content = json.loads((calibrated[0] / "confidence.json").read_text())
    path = tmp_path / "confidence.json"
    path.write_text(json.dumps({**content, "threshold": 2}))
    with pytest.raises(InputError, match=r"confidence\.json: threshold: found 2"):
        Confidence.load(tmp_path)
    path.write_text(json.dumps({**content, "centre": [1.0]}))
    with pytest.raises(InputError, match=r"spread: found \d+ numbers, expected 1"):
        Confidence.load(tmp_path)


def test_the_command_tells_what_dev_showed(calibrated, capsys) -> None:
    model, corpus = calibrated
    options = ["--least-chrf", "18.5", "--coverage", "0.8", "--most-clips", "20", "--beams", "3"]
    with pytest.raises(SystemExit) as ended:
        app(["calibrate", str(model), "--corpus", corpus, *options, "--max-new-tokens", "8"])
    assert ended.value.code == 0
    made = Confidence.load(model)
    assert made is not None
    assert (made.decoding["beams"], made.decoding["max_new_tokens"]) == (3, 8)
    told = capsys.readouterr().out
    assert told.startswith("confidence: a chrF of 18.5 or more, as")
    assert "corrupted ones: blank" in told


def test_another_decoding_than_the_calibrated_one_is_noted_once(calibrated, capsys) -> None:
    model, corpus = calibrated
    translator = SignTranslator.from_pretrained(model)
    clip = clip_of(corpus)
    translator.translate(clip, **FIELDS)
    translator.translate(clip, sample=True, seed=1, **FIELDS)
    assert "calibrated with" not in capsys.readouterr().err
    for _ in range(2):
        translator.translate(clip, **FIELDS | {"beams": 2})
    noted = [one for one in capsys.readouterr().err.splitlines() if "calibrated with" in one]
    assert noted == [
        "note: confidence.json: calibrated with beams 3, found beams 2: confidences may not fit;"
        " calibrate the model as it is used (unglossed calibrate)"
    ]
    sentences = SentenceTranslator.from_pretrained(model)
    list(sentences.translate(clip, cut="whole", **FIELDS | {"no_repeat_ngram_size": 2}))
    assert "with no_repeat_ngram_size 0, found no_repeat_ngram_size 2" in capsys.readouterr().err


def test_a_calibration_is_taken_away_and_its_drawing_with_the_next_evaluation(
    calibrated, tmp_path: Path, capsys
) -> None:
    model = Path(shutil.copytree(calibrated[0], tmp_path / "model"))
    before = {path.name for path in model.iterdir()} - {"confidence.json"}
    write_checksums(model)
    evaluate(model, calibrated[1], "test", tmp_path / "scores", **FIELDS)
    assert (tmp_path / "scores" / "reliability.svg").is_file()
    with pytest.raises(SystemExit) as ended:
        app(["calibrate", str(model), "--undo"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"removed {model}/confidence.json\n"
    assert {path.name for path in model.iterdir()} == before | {"checksums.json"}
    assert set(read_checksums(model) or ()) == before - {"checksums.json"}
    assert SignTranslator.from_pretrained(model).beside.confidence is None
    evaluate(model, calibrated[1], "test", tmp_path / "scores", **FIELDS)
    assert {path.name for path in (tmp_path / "scores").iterdir()} == {
        "metrics.json",
        "predictions.jsonl",
    }
    with pytest.raises(InputError, match=r"confidence\.json: not found, expected the confidence"):
        undo_calibration(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--corpus: not given, expected a corpus to calibrate on, or --undo"),
        (["--undo", "--corpus", "table:a.csv"], "--undo: found --corpus table:a.csv beside it"),
    ],
)
def test_a_calibration_needs_a_corpus_or_undo(tmp_path, capsys, options, message) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["calibrate", str(tmp_path), *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
