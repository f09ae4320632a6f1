"""A small real model on a miniature corpus, and the files that it leaves."""

import gzip
import json
import pickle
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU

from processes import run_python
from tiny import tiny_translator, write_corpus, write_frames
from unglossed.corpora.registry import read_corpus
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.evaluation.evaluate import Prediction, evaluate, predict, write_evaluation
from unglossed.evaluation.metrics import score
from unglossed.evaluation.text_files import score_files
from unglossed.inference.translator import SignTranslator

KEYS = [
    *("bleu1", "bleu2", "bleu3", "bleu4", "chrf", "rouge_l", "num_samples", "signature"),
    *("tokenizer", "normalisation"),
]


def read_rows(path: Path) -> list[dict[str, str | float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_predictions_and_metrics_agree_with_the_corpus(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", num_dev=3)
    model = tiny_translator(tmp_path / "model")
    scores = evaluate(model, corpus, "test", tmp_path / "scores", beams=2, max_new_tokens=8)
    rows = read_rows(tmp_path / "scores" / "predictions.jsonl")
    samples = read_corpus(corpus).split("test")
    assert [list(row) for row in rows] == [["id", "reference", "hypothesis", "score"]] * 3
    assert [row["id"] for row in rows] == [sample.id for sample in samples]
    assert [row["reference"] for row in rows] == [sample.text for sample in samples]
    assert all(float(row["score"]) < 0 for row in rows)
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics) == [*KEYS, "language"]
    assert metrics == {**scores.to_dict(), "language": "de"}
    hypotheses, references = (
        [str(row[key]) for row in rows] for key in ("hypothesis", "reference")
    )
    again = BLEU(max_ngram_order=1).corpus_score(hypotheses, [references]).score
    assert metrics["bleu1"] == pytest.approx(again, abs=1e-4)
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == [
        "metrics.json",
        "predictions.jsonl",
    ]


def test_normalisation_is_the_corpus_own_and_its_notes_are_shown(tmp_path: Path, capsys) -> None:
    release = read_corpus(write_corpus(tmp_path / "corpus"))
    for split, samples in release.splits.items():
        labels = {
            f"{split}/{sample.id}": {
                "name": f"{split}/{sample.id}",
                "gloss": "",
                "text": f"{sample.text} .",
                "length": 6,
            }
            for sample in samples
        }
        path = tmp_path / f"labels.{split}"
        path.write_bytes(gzip.compress(pickle.dumps(labels)))
    frames = release.split("test")[0].media.parent.parent
    shutil.rmtree(release.split("train")[0].media)
    spec = f"gfslt:{tmp_path}?media={frames}&missing=skip"
    model = tiny_translator(tmp_path / "model")
    evaluate(model, spec, "test", tmp_path / "scores", beams=1, max_new_tokens=8)
    rows = read_rows(tmp_path / "scores" / "predictions.jsonl")
    references = [str(row["reference"]) for row in rows]
    assert references == [f"{sample.text} ." for sample in release.split("test")]
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text(encoding="utf-8"))
    hypotheses = [str(row["hypothesis"]) for row in rows]
    stripped = [text.removesuffix(" .") for text in references]
    assert metrics["normalisation"] == "nfc_no_final_stop.v1"
    assert metrics["chrf"] == round(score(hypotheses, stripped, "de").chrf, 4)
    assert metrics["chrf"] != round(score(hypotheses, references, "de").chrf, 4)
    assert "note: left out by the corpus's rules: 1 (" in capsys.readouterr().err


def test_predictions_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    samples = read_corpus(write_corpus(tmp_path / "corpus", num_dev=4)).split("dev")
    translator = SignTranslator.from_pretrained(tiny_translator(tmp_path / "model"))
    one = predict(translator, samples, beams=2, max_new_tokens=6, batch_size=1)
    all_at_once = predict(translator, samples, beams=2, max_new_tokens=6, batch_size=4)
    assert [row.hypothesis for row in one] == [row.hypothesis for row in all_at_once]
    assert [row.id for row in all_at_once] == [sample.id for sample in samples]


def test_another_language_than_the_models_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus") + "?language=en"
    model = tiny_translator(tmp_path / "model")
    with pytest.raises(InputError, match="found texts in 'en', expected 'de'"):
        evaluate(model, corpus, "test", tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


def test_an_unknown_split_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    with pytest.raises(InputError, match="no split 'tset', expected train, dev, test"):
        evaluate(tmp_path / "no model", corpus, "tset", tmp_path / "scores")


def test_umlauts_and_chinese_stay_readable_in_the_predictions(tmp_path: Path) -> None:
    rows = [Prediction("a", "明天北部下雨", "明天南部下雨", -0.5)]
    scores = write_evaluation(tmp_path, rows, "zh")
    assert "明天南部下雨" in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8")
    assert scores.bleu3 == pytest.approx(50)


def test_predictions_stay_raw_where_the_scores_are_of_normalised_texts(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "im süden regnet es .")
    rows = [Prediction("a", "im süden  regnet es", decomposed, -0.5)]
    scores = write_evaluation(tmp_path, rows, "de", "nfc_no_final_stop.v1")
    assert scores.bleu4 == pytest.approx(100)
    (row,) = read_rows(tmp_path / "predictions.jsonl")
    assert (row["reference"], row["hypothesis"]) == ("im süden  regnet es", decomposed)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["tokenizer"], metrics["normalisation"]) == ("13a", "nfc_no_final_stop.v1")


def test_a_failed_evaluation_leaves_the_old_files(tmp_path: Path) -> None:
    write_evaluation(tmp_path, [Prediction("a", "es regnet", "es regnet", -0.1)], "de")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError):
        write_evaluation(tmp_path, [], "de")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_clip_that_cannot_be_read_counts_as_nothing_right(tmp_path: Path, capsys) -> None:
    spec = write_corpus(tmp_path / "corpus", 1, 3)
    model = tiny_translator(tmp_path / "model")
    whole = evaluate(model, spec, "test", tmp_path / "whole")
    (broken,) = (tmp_path / "corpus").rglob("test-1/images0001.png")
    broken.write_bytes(broken.read_bytes()[:60])
    capsys.readouterr()

    scores = evaluate(model, spec, "test", tmp_path / "scores")

    assert scores.num_samples == whole.num_samples == 3
    rows = read_rows(tmp_path / "scores" / "predictions.jsonl")
    assert [bool(row["hypothesis"]) for row in rows] == [True, False, True]
    assert rows[::2] == read_rows(tmp_path / "whole" / "predictions.jsonl")[::2]
    assert rows[1]["score"] is None
    assert "images0001.png" in rows[1]["notes"][0]
    told = "note: 1 of 3 clips cannot be read and count as nothing right (first: test-1: "
    assert told in capsys.readouterr().err

    for path in (tmp_path / "corpus").rglob("test-*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"found 3 of 3 clips that cannot be read, expected at mo"):
        evaluate(model, spec, "test", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_further_references_of_a_clip_count(tmp_path: Path) -> None:
    row = Prediction("a", "es regnet im norden", "im norden fällt regen", -0.5)
    assert write_evaluation(tmp_path, [row], "de").bleu4 < 50
    row = replace(row, references=("im norden fällt regen",))
    scores = write_evaluation(tmp_path, [row], "de")
    assert scores.bleu4 == pytest.approx(100)
    assert "nrefs:2" in scores.signature
    (written,) = read_rows(tmp_path / "predictions.jsonl")
    assert written["references"] == ["im norden fällt regen"]
    assert score_files(tmp_path / "predictions.jsonl", [], "de") == scores


def test_a_split_of_several_languages_is_scored_by_language(tmp_path: Path, capsys) -> None:
    folders = [write_frames(tmp_path / name, 8, seed) for seed, name in enumerate("abcd")]
    languages = {"a": "de", "b": "de", "c": "en", "d": "en"}
    samples = [
        Sample(folder.name, folder, "es regnet im norden", "test", languages[folder.name])
        for folder in folders
    ]
    translator = SignTranslator.from_pretrained(tiny_translator(tmp_path / "model"))
    predictions = predict(translator, samples, beams=1, max_new_tokens=4)
    assert [row.language for row in predictions] == ["de", "de", "en", "en"]
    predictions = [replace(row, hypothesis=row.reference) for row in predictions[:3]] + [
        replace(predictions[3], hypothesis="sonne")
    ]
    scores = write_evaluation(tmp_path / "scores", predictions, "de")
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["languages"]) == ["de", "en"]
    assert metrics["languages"]["de"]["bleu4"] == pytest.approx(100)
    assert metrics["languages"]["en"]["num_samples"] == 2
    assert metrics["bleu4"] == round((100 + scores.languages["en"].bleu4) / 2, 4)
    assert [row["language"] for row in read_rows(tmp_path / "scores" / "predictions.jsonl")] == [
        *("de", "de", "en", "en")
    ]


def test_bleu_that_is_not_defined_is_null_in_the_metrics(tmp_path: Path) -> None:
    write_evaluation(tmp_path, [Prediction("a", "regen", "regen", -0.1)], "de")
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["bleu1"], metrics["bleu2"], metrics["bleu4"]) == (100.0, None, None)


def test_a_killed_evaluation_leaves_no_scores_of_other_predictions(tmp_path: Path) -> None:
    write_evaluation(tmp_path, [Prediction("a", "regen", "regen", -0.1)], "de")
    # Ends without any cleaning up as soon as a whole file is there.
    kill = """
import os, sys
from pathlib import Path
from unglossed.evaluation.evaluate import Prediction, write_evaluation

seen = []
def watch(event, arguments):
    if event == "os.rename":
        seen.append(arguments)
        if len(seen) == 2:
            os._exit(9)
sys.addaudithook(watch)
write_evaluation(Path(sys.argv[1]), [Prediction("a", "regen", "sonne", -0.1)], "de")
"""
    ended = run_python(["-c", kill, tmp_path])

    assert ended.returncode == 9, ended.stderr
    (row,) = read_rows(tmp_path / "predictions.jsonl")
    assert row["hypothesis"] == "sonne"
    assert not (tmp_path / "metrics.json").exists()


def test_scores_that_cannot_be_written_leave_the_old_predictions(tmp_path: Path) -> None:
    write_evaluation(tmp_path, [Prediction("a", "regen", "regen", -0.1)], "de")
    (tmp_path / ".metrics.json.partial").mkdir()  # what stands in the way of writing

    with pytest.raises(OSError, match="metrics"):
        write_evaluation(tmp_path, [Prediction("a", "regen", "sonne", -0.1)], "de")

    (row,) = read_rows(tmp_path / "predictions.jsonl")
    assert row["hypothesis"] == "regen"
    assert json.loads((tmp_path / "metrics.json").read_bytes())["bleu1"] == 100.0


def test_look_alike_signs_are_told_after_an_evaluation(tmp_path: Path, capsys) -> None:
    spec = write_corpus(tmp_path / "corpus")
    model = tiny_translator(tmp_path / "model")
    evaluate(model, spec, "test", tmp_path / "first", beams=1, max_new_tokens=8)
    assert "look-alike" not in capsys.readouterr().err
    hypotheses = {
        row["id"]: row["hypothesis"] for row in read_rows(tmp_path / "first/predictions.jsonl")
    }
    (labels,) = (tmp_path / "corpus").rglob("*test.corpus.csv")
    rows = labels.read_text(encoding="utf-8").splitlines()
    wide = [
        row.rpartition("|")[0] + "|" + f"{hypotheses[row.split('|')[0]]}".replace("e", "ｅ")
        for row in rows[1:]
    ]
    labels.write_text("\n".join([rows[0], *wide]) + "\n", encoding="utf-8")
    evaluate(model, spec, "test", tmp_path / "second", beams=1, max_new_tokens=8)
    assert "differ from their reference in nothing but look-alike signs" in capsys.readouterr().err
