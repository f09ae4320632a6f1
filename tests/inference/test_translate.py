"""Translation of clips with a small real model."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BartConfig

import unglossed
from tiny import tiny_model, tiny_processor, tiny_translator, write_frames
from unglossed.config import DecodingSettings
from unglossed.corpora.sample import Sample
from unglossed.errors import InputError
from unglossed.inference.translator import SignTranslator, translate_features
from unglossed.models.recogniser import RecogniserConfig
from unglossed.models.translator import Translator, TranslatorConfig

MAX_NEW_TOKENS = 12
# Measured worst case 5e-7: batches of another shape add the same numbers in another order.
SCORE_TOLERANCE = 1e-5


def decoding(**fields: float) -> DecodingSettings:
    return DecodingSettings(max_new_tokens=MAX_NEW_TOKENS, **fields)


@pytest.fixture(scope="module")
def translator() -> SignTranslator:
    return SignTranslator(tiny_model(tiny_processor(), seed=3), tiny_processor())


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [
        write_frames(folder / f"clip{index}", num_frames, seed=index)
        for index, num_frames in enumerate((9, 40, 17, 5, 26))
    ]


def write_video(path: Path, num_frames: int, frame_rate: int) -> Path:
    """A video whose brightness rises from black to white over its whole length."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=frame_rate)
        stream.width = stream.height = 48
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, frame_rate)
        for index in range(num_frames):
            picture = np.full((48, 48, 3), round(255 * index / (num_frames - 1)), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_clip_is_translated_alike_alone_and_in_any_batch(translator, clips) -> None:
    together = translator.translate(clips, max_new_tokens=MAX_NEW_TOKENS, batch_size=3)
    for clip, found in zip(clips, together, strict=True):
        (alone,) = translator.translate([clip], max_new_tokens=MAX_NEW_TOKENS)
        assert found.media == alone.media == str(clip)
        assert found.text == alone.text
        assert found.score == pytest.approx(alone.score, abs=SCORE_TOLERANCE)
    assert [row.num_frames for row in together] == [5, 20, 9, 3, 13]


@pytest.mark.parametrize("beams", [1, 4])
def test_score_is_the_mean_log_probability_of_the_tokens(beams: int) -> None:
    processor = tiny_processor()
    model = tiny_model(processor, seed=1)
    features = torch.randn(1, 6, model.encoder.output_dim)
    mask = torch.ones(1, 6, dtype=torch.bool)
    (found,) = translate_features(model, processor, [features[0]], decoding(beams=beams))
    tokens = model.generate(
        features=features, mask=mask, num_beams=beams, max_new_tokens=MAX_NEW_TOKENS
    )
    with torch.no_grad():
        logits = model(features=features, mask=mask, labels=tokens).logits
    expected = logits.log_softmax(-1).gather(2, tokens[..., None]).mean()
    assert found.text == processor.decode(tokens)[0]
    assert found.score == pytest.approx(float(expected), abs=1e-4)


def test_n_best_falls_and_begins_with_the_text(translator, clips) -> None:
    (found,) = translator.translate(clips[:1], beams=4, n_best=3, max_new_tokens=MAX_NEW_TOKENS)
    scores = [one.score for one in found.n_best]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert (found.n_best[0].text, found.n_best[0].score) == (found.text, found.score)
    assert list(found.to_dict()) == ["media", "text", "score", "n_best"]


def test_n_best_beyond_the_beams_is_refused(translator, clips) -> None:
    with pytest.raises(InputError, match="n_best: found 3, expected at most the 2 beams"):
        translator.translate(clips[:1], beams=2, n_best=3)


def test_attention_covers_the_words_and_the_frames(translator, clips) -> None:
    rows = translator.translate(clips, max_new_tokens=MAX_NEW_TOKENS, attention=True)
    for row in rows:
        assert row.attention is not None
        assert " ".join(word.word for word in row.attention).split() == row.text.split()
        for word in row.attention:
            assert len(word.weights) == row.num_frames
            assert sum(word.weights) == pytest.approx(1, abs=1e-4)


def test_an_unreadable_clip_ends_the_translation_or_is_reported(translator, clips) -> None:
    missing = clips[0].parent / "missing.mp4"
    with pytest.raises(InputError, match=r"missing\.mp4: not found"):
        translator.translate([clips[0], missing])
    failures: list[tuple[str, str]] = []
    rows = translator.translate(
        [clips[0], missing, clips[1]],
        max_new_tokens=MAX_NEW_TOKENS,
        on_error=lambda media, error: failures.append((media, str(error))),
    )
    assert [row.media for row in rows] == [str(clips[0]), str(clips[1])]
    assert [media for media, _ in failures] == [str(missing)]
    assert "not found" in failures[0][1]


def test_first_frame_of_each_group_is_read(translator, tmp_path: Path) -> None:
    video = write_video(tmp_path / "rising.mp4", 50, 25)
    brightness = translator.read(video).mean(axis=(1, 2, 3))
    assert brightness == pytest.approx(np.arange(0, 50, 2) * 255 / 49, abs=4)


def test_a_faster_video_is_thinned_by_time(translator, tmp_path: Path) -> None:
    usual = translator.read(write_video(tmp_path / "25.mp4", 50, 25))
    faster = translator.read(write_video(tmp_path / "50.mp4", 100, 50))
    assert len(usual) == len(faster) == 25
    assert faster.mean(axis=(1, 2, 3)) == pytest.approx(usual.mean(axis=(1, 2, 3)), abs=6)


def test_folders_of_another_rate_are_read_as_one_of_25(translator, tmp_path: Path) -> None:
    usual = translator.read(write_frames(tmp_path / "usual", 20))
    faster = tmp_path / "faster"
    faster.mkdir()
    for place, picture in enumerate(sorted((tmp_path / "usual").iterdir())):
        for copy in (0, 1):
            shutil.copy(picture, faster / f"{2 * place + copy:04d}.png")
    assert len(translator.read(faster)) == 2 * len(usual)
    assert np.array_equal(translator.read(faster, 50), usual)
    (row,) = translator.translate(faster, frame_rate=50, max_new_tokens=2)
    assert row.num_frames == len(usual)
    with pytest.raises(InputError, match=r"^frame_rate: found 'nan', expected"):
        translator.translate(faster, frame_rate=float("nan"), on_error=lambda *_: None)
    video = write_video(tmp_path / "a.mp4", 10, 25)
    with pytest.raises(InputError, match=r"a\.mp4: found a frame rate for it, expected it for"):
        translator.translate(video, frame_rate=50)


def test_begin_and_end_of_a_sample_are_honoured(translator, tmp_path: Path) -> None:
    video = write_video(tmp_path / "rising.mp4", 50, 25)
    sample = Sample(*("part", video, "text", "test", "de"), start_seconds=1.0, end_seconds=1.4)
    whole, part = translator.read(video), translator.read(sample)
    assert len(part) == 5
    expected = np.arange(25, 35, 2) * 255 / 49
    assert part.mean(axis=(1, 2, 3)) == pytest.approx(expected, abs=4)
    assert len(whole) == 25
    assert translator.translate([sample], max_new_tokens=2)[0].media == "part"


def test_a_clip_longer_than_the_language_model_takes_in_is_refused(translator, tmp_path) -> None:
    fits = write_frames(tmp_path / "fits", 128)
    longer = write_frames(tmp_path / "longer", 129)
    assert translator.translate([fits], max_new_tokens=2)[0].num_frames == 64
    with pytest.raises(InputError, match=r"longer: found 5\.2 seconds of video, .* at most 5\.1"):
        translator.translate([longer])


def test_translating_leaves_the_mode_of_the_model_as_it_was() -> None:
    processor = tiny_processor()
    model = tiny_model(processor)
    model.freeze(["encoder"])
    features = [torch.randn(4, model.encoder.output_dim)]
    model.train()
    first = translate_features(model, processor, features, decoding())
    assert model.training
    assert model.language_model.training
    assert not model.encoder.training
    model.eval()
    assert translate_features(model, processor, features, decoding()) == first
    assert not model.training


def test_translating_amid_training_leaves_nothing_that_breaks_gradients() -> None:
    processor = tiny_processor()
    model = tiny_model(processor)
    features = torch.randn(1, 4, model.encoder.output_dim)
    translate_features(model, processor, [features[0]], decoding(), attention=True)
    model.train()
    labels = torch.tensor([processor.encode_text("morgen regnet es")])
    mask = torch.ones(1, 4, dtype=torch.bool)
    model(features=features, mask=mask, labels=labels).logits.sum().backward()
    assert model.adapter.hidden.weight.grad.abs().sum() > 0


def test_no_clips_give_no_translations(translator) -> None:
    assert translator.translate([]) == []


def test_three_lines_of_python(tmp_path: Path) -> None:
    tiny_translator(tmp_path / "run" / "model")
    video = write_video(tmp_path / "clip.mp4", 20, 25)
    of_run = unglossed.load(tmp_path / "run").translate([video], max_new_tokens=6)
    of_model = unglossed.translate(tmp_path / "run" / "model", video, max_new_tokens=6)
    assert of_run == of_model
    assert of_run[0].media == str(video)


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found neither model/config\.json nor config\.json"):
        SignTranslator.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="missing: no such folder"):
        SignTranslator.from_pretrained(tmp_path / "missing")
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="the run is not finished"):
        SignTranslator.from_pretrained(tmp_path)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    BartConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="found a model of the type 'bart', expected 'unglossed'"):
        SignTranslator.from_pretrained(tmp_path)


def test_the_recogniser_of_a_run_without_a_translator_is_called_so(tmp_path: Path) -> None:
    RecogniserConfig(symbols=["NORD"]).save_pretrained(tmp_path)
    told = "found the recogniser of a CTC stage, which writes no sentences, expected 'unglossed'"
    with pytest.raises(InputError, match=told):
        SignTranslator.from_pretrained(tmp_path)


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    tiny_translator(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded as a model"):
        SignTranslator.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", ["missing", "unexpected", "mismatched"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, kind: str) -> None:
    tiny_translator(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    changed = weights.pop("adapter.hidden.weight")
    if kind == "unexpected":
        weights |= {"adapter.hidden.weight": changed, "adapter.more.weight": changed.clone()}
    if kind == "mismatched":
        weights["adapter.hidden.weight"] = changed[:-1].contiguous()
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"found 1 {kind} weights"):
        SignTranslator.from_pretrained(tmp_path)


def test_a_language_model_with_tied_embeddings_is_loaded_whole(tmp_path: Path) -> None:
    processor = tiny_processor()
    plain = tiny_model(processor).config
    tied = {**plain.language_model, "model_type": "mbart", "tie_word_embeddings": True}
    config = TranslatorConfig(encoder=plain.encoder, adapter=plain.adapter, language_model=tied)
    model = Translator(config).eval()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = SignTranslator.from_pretrained(tmp_path)
    features = [torch.randn(5, model.encoder.output_dim)]
    again = translate_features(loaded.model, processor, features, decoding())
    assert again == translate_features(model, processor, features, decoding())


def test_no_more_tokens_are_asked_for_than_there_are_positions(translator, clips) -> None:
    # The tiny model has 64 positions and, being untrained, rarely ends a sentence by itself.
    rows = translator.translate(clips, beams=1, max_new_tokens=500)
    assert len(rows) == len(clips)
    assert all(np.isfinite(row.score) for row in rows)


def test_what_cannot_be_opened_costs_a_line_and_the_others_are_translated(tmp_path: Path) -> None:
    model = SignTranslator.from_pretrained(tiny_translator(tmp_path / "model"))
    good = write_frames(tmp_path / "good", 6)
    dangling = write_frames(tmp_path / "dangling", 6)
    (dangling / "images0007.png").symlink_to("gone.png")
    endless = tmp_path / "endless.mp4"  # a box that says it is as long as can be said
    endless.write_bytes(b"\0\0\0\1ftyp" + b"\xff" * 8)
    shard = tmp_path / "train-000000.tar"
    shard.touch()
    bad = [dangling, endless, shard, tmp_path / ("x" * 300), "", tmp_path / "gr\udcfcn.mp4"]
    told: list[tuple[str, str]] = []
    found = model.translate(
        [*bad, good], on_error=lambda name, error: told.append((name, str(error)))
    )
    assert [one.media for one in found] == [str(good)]
    assert len(told) == len(bad)
    assert "gone.png" in told[0][1] or "images0007.png" in told[0][1]
    assert "expected a clip in it, as" in told[2][1]
    assert "found an empty name" in told[4][1]
    assert told[5][0].endswith("gr\\udcfcn.mp4")
    assert all("\n" not in text for _, text in told)
