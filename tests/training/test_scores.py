"""Scores on dev: over the whole split, in eval mode, the same at every call."""

from typing import Any

import pytest
import torch

import tiny
from unglossed.corpora.registry import read_corpus
from unglossed.evaluation.metrics import word_error_rate
from unglossed.models.processing import pad_features, pad_labels
from unglossed.models.recogniser import Recogniser, RecogniserConfig, decode_greedily
from unglossed.models.vlp import VisualLanguageConfig, VisualLanguageModel
from unglossed.training.data import ClipDataset
from unglossed.training.job import BATCH_SIZE, DevSplit
from unglossed.training.objectives.alignment import VisualLanguagePretraining, alignment_loss
from unglossed.training.objectives.recognition import GlossCtc, GlossTarget, gloss_loss
from unglossed.training.parts import new_language_model_config
from unglossed.training.settings import MaskingSettings

PROCESSOR = tiny.tiny_processor()
NUM_CLIPS = BATCH_SIZE + 2


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    """More than one batch of clips."""
    spec = tiny.write_corpus(tmp_path_factory.mktemp("corpus"), 1, NUM_CLIPS, num_frames=2)
    target = GlossTarget(["DEV", "IM", "NORDEN", "REGEN"], GlossCtc.symbols)
    return ClipDataset(read_corpus(spec).split("dev"), PROCESSOR, limit=4, target=target)


@pytest.fixture(scope="module")
def features() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2 + i % 5, 24, generator=generator) for i in range(NUM_CLIPS)]


class Joined(GlossCtc):
    """Glosses are letters of a word."""

    @staticmethod
    def words(symbols: str) -> str:
        return symbols.replace(" ", "")


def test_word_error_rate_is_of_every_clip_of_dev(
    clips: ClipDataset, features: list[torch.Tensor]
) -> None:
    glosses = ["DEV", "IM", "NORDEN", "REGEN"]
    torch.manual_seed(0)
    model = Recogniser(RecogniserConfig(encoder=tiny.ENCODER, symbols=glosses))

    references = [sample.gloss or "" for sample in clips.samples]
    dev = DevSplit(model, clips, bfloat16=False, features=features)
    scores = dev.scored(GlossCtc().score)()

    batch, mask = pad_features(features)
    read = decode_greedily(model(features=batch, mask=mask).logits, mask, glosses)
    labels = pad_labels([clips.target(sample) for sample in clips.samples])
    logits = model(features=batch, mask=mask).logits.detach()
    loss = float(gloss_loss(logits, mask, labels))
    assert scores == {
        "word_error_rate": pytest.approx(word_error_rate(read, references)),
        "loss": pytest.approx(loss, rel=1e-4),
    }
    assert 0 < scores["word_error_rate"] < 300
    # Symbols that are parts of words are put together before they are compared.
    joined = dev.scored(Joined().score)()
    words, whole = ([text.replace(" ", "") for text in texts] for texts in (read, references))
    assert joined["word_error_rate"] == pytest.approx(word_error_rate(words, whole))
    assert joined != scores


def test_frames_are_encoded_where_no_features_are_given(clips: ClipDataset) -> None:
    torch.manual_seed(0)
    glosses = ["DEV", "IM", "NORDEN", "REGEN"]
    model = Recogniser(RecogniserConfig(encoder=tiny.ENCODER, symbols=glosses))
    model.ctc_head.weight.data *= 50  # so that not every frame says the same
    rows = []
    for index in range(len(clips)):
        item = clips[0, index]
        encoded, _ = model.eval().encode(item["frames"], item["lengths"])
        rows.append(encoded[0].detach())
    model.train()

    found = DevSplit(model, clips, bfloat16=False).scored(GlossCtc().score)()

    stored = DevSplit(model, clips, bfloat16=False, features=rows).scored(GlossCtc().score)()
    # The features are those of the encoder's fast form.
    assert found == {name: pytest.approx(value, rel=1e-5) for name, value in stored.items()}


def alignment_model(dropout: float = 0.0) -> VisualLanguageModel:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"model_type": "mbart", "d_model": 16, "dropout": dropout}
    for side in ("encoder", "decoder"):
        shape |= {f"{side}_layers": 1, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 32}
    text = new_language_model_config(shape, PROCESSOR)
    config = VisualLanguageConfig(
        encoder=tiny.ENCODER,
        adapter={"hidden_dim": 16, "dropout": dropout},
        language_model=text,
        text_encoder=text,
    )
    return VisualLanguageModel(config)


def alignment_scores(
    model: VisualLanguageModel, clips: ClipDataset, features: list[torch.Tensor], share: float = 0.3
) -> dict[str, float]:
    dev = DevSplit(model, clips, bfloat16=False, features=features)
    score = VisualLanguagePretraining().score
    return dev.scored(score, masking=MaskingSettings(share=share))()


def test_every_clip_is_compared_with_every_sentence_of_dev(
    clips: ClipDataset, features: list[torch.Tensor]
) -> None:
    model = alignment_model().eval()
    with torch.no_grad():
        videos = [model.embed_clips(*pad_features([row])) for row in features]
        texts = [
            model.embed_texts(torch.tensor([PROCESSOR.encode_text(sample.text)]))
            for sample in clips.samples
        ]
        similarities = model.alignment(torch.cat(videos), torch.cat(texts))

    scores = alignment_scores(model, clips, features)

    assert similarities.shape == (NUM_CLIPS, NUM_CLIPS)
    assert scores["loss"] == pytest.approx(float(alignment_loss(similarities)), rel=1e-4)
    hits = sum(int(row.argmax()) == number for number, row in enumerate(similarities))
    assert scores["retrieval"] == pytest.approx(100 * hits / NUM_CLIPS)


def test_alignment_is_scored_in_eval_mode_and_the_same_each_time(
    clips: ClipDataset, features: list[torch.Tensor]
) -> None:
    model = alignment_model(dropout=0.5).train()
    first = alignment_scores(model, clips, features)
    model.train()

    assert alignment_scores(model, clips, features) == first
    masked = alignment_scores(model, clips, features, share=0.9)
    assert masked["restoration_loss"] != first["restoration_loss"]
    assert masked["loss"] == first["loss"]
