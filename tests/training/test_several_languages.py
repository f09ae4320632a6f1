"""One stage over texts in several languages: how they are asked for, and off-target texts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import planned
import tiny
from unglossed import cli
from unglossed.config import read_yaml
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.evaluation.calibration import calibrate
from unglossed.evaluation.evaluate import evaluate
from unglossed.evaluation.off_target import PACKAGE
from unglossed.inference.translator import SignTranslator
from unglossed.models.language_model import IGNORED
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.saved import load_processor
from unglossed.training.callbacks import read_metrics
from unglossed.training.data import Collator, LanguageDataset, TextDataset
from unglossed.training.objectives.translation import unlikelihood_loss
from unglossed.training.recipe import load_recipe
from unglossed.training.settings import StageSettings
from unglossed.training.tokenizer import train_tokenizer
from unglossed.training.train import train_recipe

CODES = ("de", "en", "zh")
TEXTS = {
    "de": [f"Gestern {one} es" for one in ("regnet", "schneit", "stürmt", "friert")],
    "en": [f"Everywhere Cold {one}" for one in ("rain", "snow", "storm", "frost")],
    "zh": [f"今天有{one}" for one in ("小雨", "大雪", "风暴", "霜冻")],
}
RECIPE = """
description: one stage in three languages
languages: [de, en, zh]
tokenizer: {vocab_size: 200}
video: {frame_share: 0.5, resize: 20, crop: 16, augmentation: null}
decoding: {max_new_tokens: 20, beams: 1}
stages:
  - name: tuning
    encoder:
      config:
        backbone: {model_type: resnet, embedding_size: 8, hidden_sizes: [8], depths: [1],
          layer_type: basic}
        temporal_dim: 16
    adapter: {config: {hidden_dim: 32}}
    language_model: {config: {light_t: {layers: 1, heads: 2, width: 32, ffn_dim: 64}}}
    learning_rates: {encoder: 0.01, adapter: 0.01, language_model: 0.01}
    optimizer: {max_grad_norm: 1.0}
    precision: float32
    batch_size: 8
    epochs: 2
    evaluate_every: 2
"""
LLAMA = json.dumps(
    {
        "config": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 128,
        },
        "prompt": {"before": "<s>", "after": "say it in {language}"},
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with a text in each language, and a recipe."""
    folder = tmp_path_factory.mktemp("languages")
    rows = []
    for split, count in (("train", 8), ("dev", 4), ("test", 4)):
        for number in range(count):
            name = f"{split}{number}"
            tiny.write_frames(folder / name, 6, seed=number % 4)
            rows += [
                {
                    "id": f"{name}-{code}",
                    "media": name,
                    "split": split,
                    "language": code,
                    "text": TEXTS[code][number % 4],
                }
                for code in CODES
            ]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


def spec_of(folder: Path, language: str = "*") -> str:
    return f"table:{folder / 'rows.jsonl'}?language={language}"


def trained(folder: Path, name: str, *changes: str) -> Path:
    """The run of this name, trained if need be."""
    output = folder / name
    train_recipe(
        folder / "recipe.yaml", spec_of(folder), output, overrides=changes, resume=output.is_dir()
    )
    return output


def trained_on_german(folder: Path) -> Path:
    """A run that learns to write German whichever language is asked for."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        row["text"] = TEXTS["de"][int(row["media"][-1]) % 4]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "german.jsonl").write_text("".join(lines), encoding="utf-8")
    spec = f"table:{folder / 'german.jsonl'}?language=*"
    train_recipe(
        *(folder / "recipe.yaml", spec, folder / "german"), overrides=["stages.tuning.epochs=10"]
    )
    return folder / "german"


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A run that learns the three languages well."""
    return trained(folder, "run", "stages.tuning.epochs=30", "stages.tuning.unlikelihood=0.05")


def test_unlikelihood_is_that_of_the_paper() -> None:
    logits = 3 * torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 4, 2], [3, 2, IGNORED]])
    shares = logits.double().softmax(-1)
    by_hand = -sum(
        math.log(1 - float(shares[row, place, labels[row, place]]))
        for row, place in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))
    )

    assert float(unlikelihood_loss(logits, labels)) == pytest.approx(by_hand / 5, rel=1e-5)
    whole = unlikelihood_loss(logits, labels, num_tokens=10)
    assert float(whole) == pytest.approx(by_hand / 10, rel=1e-5)


def test_unlikelihood_of_a_sure_token_has_a_gradient_of_one() -> None:
    logits = torch.tensor([[[60.0, 0.0, 0.0]]], requires_grad=True)
    unlikelihood_loss(logits, torch.tensor([[0]])).backward()

    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[[1.0, -0.5, -0.5]]]))


def test_a_wrong_language_is_never_the_texts_own_and_is_drawn_anew_in_each_epoch() -> None:
    texts, own = ["a", "b", "c"] * 20, [*CODES] * 20
    processor = TranslatorProcessor(
        train_tokenizer(texts, "de", 40, ["en", "zh"]), "de", "<de>", start_tokens=starts()
    )
    items = LanguageDataset(TextDataset(texts, processor), own, wrong=CODES, seed=1)
    drawn = [[items[epoch, row]["wrong_language"] for row in range(60)] for epoch in (0, 1)]

    assert all(one != wrong for row in drawn for one, wrong in zip(own, row, strict=True))
    assert {*drawn[0]} == {*CODES}
    assert drawn[0] != drawn[1]
    assert drawn[0] == [items[0, row]["wrong_language"] for row in range(60)]


def starts() -> dict[str, str]:
    return {code: f"<{code}>" for code in CODES}


def test_masked_texts_are_restored_behind_the_token_of_their_language() -> None:
    texts = ["regen", "rain", "雨"]
    processor = TranslatorProcessor(
        train_tokenizer(texts, "de", 60, ["en", "zh"]), "de", "<de>", start_tokens=starts()
    )
    items = LanguageDataset(TextDataset(texts, processor), [*CODES], seed=1)
    batch = Collator(processor)([items[0, row] for row in (2, 0, 1)])

    ids = processor.tokenizer.convert_tokens_to_ids(["<zh>", "<de>", "<en>"])
    assert batch["decoder_input_ids"][:, 0].tolist() == ids
    assert "languages" not in batch  # a model of transformers would not know it


@pytest.mark.slow
def test_no_text_is_off_target_where_three_languages_are_learnt(run: Path, folder: Path) -> None:
    pytest.importorskip(PACKAGE)
    rows = [row for row in read_metrics(run / "1-tuning/metrics.jsonl") if "eval_off_target" in row]
    german = trained_on_german(folder)
    scores = evaluate(run, spec_of(folder), "test", run / "test")

    off_target = evaluate(german, spec_of(folder), "test", german / "test").off_target
    assert off_target is not None
    assert off_target > 60
    assert rows[-1]["eval_off_target"] == 0
    assert scores.off_target == 0
    assert [*scores.languages] == [*CODES]
    assert scores.languages["zh"].tokenizer == "zh"
    written = json.loads((run / "test/metrics.json").read_text(encoding="utf-8"))
    assert written["languages"]["en"]["off_target"] == written["off_target"] == 0


@pytest.mark.slow
def test_each_language_is_written_where_it_is_asked_for(run: Path, folder: Path) -> None:
    translator = SignTranslator.from_pretrained(run)
    assert translator.processor.languages == CODES

    for code in CODES:
        (found,) = translator.translate([folder / "test0"], to=code)
        assert found.text in TEXTS[code]
    (first,) = translator.translate([folder / "test0"])
    assert first.text in TEXTS["de"]


@pytest.mark.slow
def test_a_calibration_asks_for_each_texts_own_language(run: Path, folder: Path) -> None:
    # Asked for German alone, two thirds of these sentences, which it has learnt, would be wrong.
    with pytest.raises(InputError, match="found all of 24 sentences with a chrF of 20 or more"):
        calibrate(run, spec_of(folder), split="train", beams=2, least_chrf=20)


@pytest.mark.slow
def test_beams_and_contrast_search_in_the_language_that_is_asked_for(
    run: Path, folder: Path
) -> None:
    translator = SignTranslator.from_pretrained(run)

    for settings in ({"beams": 3}, {"beams": 3, "language_contrast": 0.05}):
        (found,) = translator.translate([folder / "test1"], to="en", **settings)
        assert found.text in TEXTS["en"]


@pytest.mark.slow
def test_a_language_that_the_model_does_not_write_is_refused_in_a_line(
    run: Path, folder: Path
) -> None:
    with pytest.raises(InputError) as told:
        SignTranslator.from_pretrained(run).translate([folder / "test0"], to="fr")
    assert str(told.value) == "to: found 'fr', expected de, en or zh, which the model writes"

    for more in ([], ["--format", "srt"]):
        words = ["translate", str(run), str(folder / "test0"), "--to", "fr", *more]
        ended = CliRunner().invoke(cli.app, words)
        assert ended.exit_code == 2
        assert f"error: {told.value}\n" in ended.stderr


@pytest.mark.slow
def test_a_corpus_in_a_language_of_others_is_not_evaluated(run: Path, folder: Path) -> None:
    row = {"id": "a", "media": "test0", "split": "test", "language": "fr", "text": "il pleut"}
    (folder / "french.jsonl").write_text(json.dumps(row), encoding="utf-8")

    with pytest.raises(InputError, match="found texts in 'fr', expected 'de', 'en', 'zh'"):
        evaluate(run, f"table:{folder / 'french.jsonl'}", "test", folder / "french")


@pytest.mark.slow
def test_a_saved_model_whose_languages_do_not_fit_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(run / "model")
    target = tmp_path / "copy"
    target.mkdir()
    for path in (run / "model").iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    config = target / "processor_config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    (target / "checksums.json").unlink(missing_ok=True)

    def refused(fault: str, **changes: Any) -> None:
        config.write_text(json.dumps(content | changes), encoding="utf-8")
        with pytest.raises(InputError, match=fault):
            SignTranslator.from_pretrained(target)

    refused(
        "prompt.languages: found de, en, zh, expected de, en",
        start_tokens={"de": "<de>", "en": "<en>"},
    )
    refused(
        "start_tokens.fr: found '<fr>', which the tokenizer",
        start_tokens={"de": "<de>", "fr": "<fr>"},
    )
    refused("start_tokens: found en, expected 'de' among them", start_tokens={"en": "<en>"})


def likelihoods(run: Path, folder: Path) -> dict[str, float]:
    """Mean log-probability of dev's tokens where their language, or a wrong one, is asked for."""
    translator = SignTranslator.from_pretrained(run)
    model, processor = translator.model, translator.processor
    found: dict[str, list[float]] = {"right": [], "wrong": []}
    for sample in read_corpus(spec_of(folder)).split("dev"):
        features = translator.encode(translator.read(sample))[None]
        mask = torch.ones(features.shape[:2], dtype=torch.bool)
        labels = torch.tensor([processor.encode_text(sample.text)])
        for code in CODES:
            with torch.no_grad():
                logits = model(features=features, mask=mask, labels=labels, languages=[code]).logits
            chosen: Tensor = logits.log_softmax(-1).gather(2, labels[..., None])
            found["right" if code == sample.language else "wrong"].append(float(chosen.mean()))
    return {name: sum(values) / len(values) for name, values in found.items()}


@pytest.mark.slow
def test_a_text_becomes_less_likely_where_a_wrong_language_is_asked_for(folder: Path) -> None:
    few = ("stages.tuning.epochs=12", "stages.tuning.evaluate_every=12")
    plain = likelihoods(trained(folder, "plain", *few), folder)
    told = likelihoods(trained(folder, "told", *few, "stages.tuning.unlikelihood=0.5"), folder)

    assert told["wrong"] < plain["wrong"] - 1  # a factor of e for each token
    assert told["right"] > plain["right"] - 0.3


@pytest.mark.slow
def test_lists_of_languages_pass_through_a_step_in_bfloat16(folder: Path) -> None:
    few = ("stages.tuning.epochs=1", "stages.tuning.evaluate_every=1")
    run = trained(
        folder, "half", *few, "stages.tuning.precision=bfloat16", "stages.tuning.unlikelihood=0.1"
    )
    losses = [row["loss"] for row in read_metrics(run / "1-tuning/metrics.jsonl") if "loss" in row]

    assert losses
    assert all(map(math.isfinite, losses))


@pytest.mark.slow
def test_a_decoder_only_model_is_told_the_languages_name(folder: Path) -> None:
    change = f"stages.tuning.language_model={LLAMA}"
    run = trained(folder, "llama", change, "stages.tuning.epochs=1")
    writer = SignTranslator.from_pretrained(run).model.language_model
    tokenizer = load_processor(run / "model").tokenizer

    told = {code: tokenizer.decode(one["after"]) for code, one in writer.languages.items()}
    assert told == {
        "de": "say it in German",
        "en": "say it in English",
        "zh": "say it in Chinese",
    }
    assert writer.after == writer.languages["de"]["after"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (["languages=[de]"], "languages: found de, expected two or more, or none"),
        (["languages=[de, de]"], "languages: found de, de, expected two or more"),
        (["languages=[de, xx]"], "languages.1: found 'xx', expected that of the written text"),
        (
            ["languages=[]", "stages.tuning.unlikelihood=0.1"],
            "stages.tuning.unlikelihood: found 0.1, expected several `languages` beside it",
        ),
        (
            ["stages.tuning.masked_features={}"],
            "stages.tuning.masked_features: found beside several `languages`",
        ),
        (["tokenizer.start_tokens={fr: <fr>}"], "tokenizer.start_tokens: found fr, expected some"),
        (["tokenizer.start_token=<de>"], "tokenizer.start_token: found one beside languages"),
        (["extra_texts=more.txt"], "extra_texts: found one beside several languages"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder: Path, changes: list[str], fault: str) -> None:
    with pytest.raises(InputError) as told:
        load_recipe(folder / "recipe.yaml", changes)
    assert fault in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("language", "changes", "fault"),
    [
        ("*", ["languages=[]"], "in several languages: de (12), en (12), zh (12), expected one"),
        (
            "de",
            [],
            "found texts of train and dev in de (12), expected in train all of the recipe's",
        ),
        ("*", ["languages=[de, en]"], "`languages` and no others: de, en"),
    ],
)
def test_a_corpus_of_other_languages_is_refused_before_training(
    folder: Path, tmp_path: Path, language: str, changes: list[str], fault: str
) -> None:
    spec = spec_of(folder, language)
    with pytest.raises(InputError) as told:
        train_recipe(folder / "recipe.yaml", spec, tmp_path / "run", overrides=changes)
    assert fault in str(told.value)


def test_a_decoder_only_model_without_an_instruction_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    change = f"stages.tuning.language_model={LLAMA}"
    plain = "stages.tuning.language_model.prompt.after=say it"
    with pytest.raises(InputError, match=r"prompt: found nothing that tells en from de, expected"):
        train_recipe(
            folder / "recipe.yaml", spec_of(folder), tmp_path / "run", overrides=[change, plain]
        )


def test_codes_of_a_published_tokenizer_are_found_or_asked_for(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(tiny.SENTENCES, "de", 120)
    names = ["deu_Latn", "eng_Latn", "zho_Hans", "zho_Hant"]
    tokenizer.add_special_tokens({"extra_special_tokens": names})
    tokenizer.save_pretrained(tmp_path)
    from unglossed.training.recipe import TokenizerSettings
    from unglossed.training.tokenizer import build_tokenizer, find_start

    settings = TokenizerSettings(pretrained=str(tmp_path))
    loaded, start = build_tokenizer(settings, [], "en", ["zh"])
    assert start == "eng_Latn"
    with pytest.raises(
        InputError, match=r"start_tokens.zh: is missing, expected one of zho_Hans, zho_Hant"
    ):
        find_start(settings, loaded, "zh")
    chosen = TokenizerSettings(pretrained=str(tmp_path), start_tokens={"zh": "zho_Hans"})
    assert find_start(chosen, loaded, "zh") == "zho_Hans"
    with pytest.raises(
        InputError, match=r"start_tokens.zh: found 'deu_Latn', but the corpus is in 'zh'"
    ):
        find_start(
            TokenizerSettings(pretrained=str(tmp_path), start_tokens={"zh": "deu_Latn"}),
            loaded,
            "zh",
        )


def test_codes_reach_the_decoder_of_an_encoder_decoder(folder: Path) -> None:
    processor = TranslatorProcessor(
        train_tokenizer(
            [text for rows in TEXTS.values() for text in rows], "de", 200, ["en", "zh"]
        ),
        "de",
        "<de>",
        start_tokens=starts(),
    )
    stage = StageSettings.model_validate(read_yaml(folder / "recipe.yaml")["stages"][0])
    model = planned.build_translator(stage, {}, processor)
    read: list[Tensor] = []
    decoder = model.language_model.model.get_decoder()
    decoder.register_forward_pre_hook(
        lambda module, inputs, named: read.append(named["input_ids"]), with_kwargs=True
    )
    labels = torch.tensor([[30, 2], [31, 2], [32, 2]])
    model(
        features=torch.zeros(3, 4, 16), mask=torch.ones(3, 4).bool(), labels=labels, languages=CODES
    )

    ids = processor.tokenizer.convert_tokens_to_ids([*starts().values()])
    assert read[0].tolist() == [[ids[0], 30], [ids[1], 31], [ids[2], 32]]
