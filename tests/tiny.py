"""Small real models, clips and corpora for the tests: seconds to make, nothing is imitated."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from transformers import LlamaConfig

from unglossed.models.language_model import light_t_config
from unglossed.models.processing import TranslatorProcessor
from unglossed.models.translator import Translator, TranslatorConfig
from unglossed.training.tokenizer import train_tokenizer

SENTENCES = [
    "morgen regnet es im norden",
    "heute schneit es im süden",
    "am abend scheint die sonne",
]

ENCODER = {
    "backbone": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
    },
    "grid": 1,
    "temporal_dim": 24,
    "temporal_kernel": 3,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
}


FRONTEND = {
    "model_type": "wav2vec2",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 8, 4],
    "conv_stride": [5, 8, 8],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}

WHISPER = {
    "model_type": "whisper",
    "d_model": 16,
    "num_mel_bins": 80,
    "max_source_positions": 200,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "vocab_size": 40,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def tiny_processor() -> TranslatorProcessor:
    """A processor with a trained tokenizer, 36 px views and a sampling rate of one half."""
    return TranslatorProcessor(
        tokenizer=train_tokenizer(SENTENCES, "de", 120),
        language="de",
        start_token="<de>",
        frame_share=0.5,
        resize=36,
        crop=32,
    )


def tiny_model(processor: TranslatorProcessor, seed: int = 0, **encoder: Any) -> Translator:
    """A translator of about 100,000 weights, in eval mode; `encoder` changes its encoder."""
    torch.manual_seed(seed)
    tokenizer = processor.tokenizer
    language_model = light_t_config(
        {"layers": 1, "heads": 2, "width": 32, "ffn_dim": 64},
        len(tokenizer),
        max_position_embeddings=64,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
        decoder_start_token_id=processor.start_token_id,
    )
    config = TranslatorConfig(
        encoder={**ENCODER, **encoder},
        adapter={"hidden_dim": 32, "dropout": 0.0},
        language_model=language_model.to_dict(),
    )
    return Translator(config).eval()


def tiny_speech_model(
    processor: TranslatorProcessor, frontend: dict[str, Any] = FRONTEND, seed: int = 0
) -> Translator:
    """The tiny model with a speech encoder in the place of its visual one."""
    torch.manual_seed(seed)
    config = TranslatorConfig(
        **tiny_model(processor).config.to_diff_dict() | {"encoder": {"frontend": frontend}}
    )
    return Translator(config).eval()


def tiny_decoder_only(processor: TranslatorProcessor, seed: int = 0, **prompt: str) -> Translator:
    """A translator around a Llama of about 20,000 weights, in eval mode.

    It reads its begin token, the text `before`, the features and the text `after`; without texts
    its begin token and the features.
    """
    torch.manual_seed(seed)
    tokenizer = processor.tokenizer
    language_model = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        initializer_range=0.3,  # so that what it says depends on what it is shown
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    sides = {
        side: tokenizer(prompt.get(side, ""), add_special_tokens=False)["input_ids"]
        for side in ("before", "after")
    }
    config = TranslatorConfig(
        encoder=ENCODER,
        adapter={"hidden_dim": 32, "dropout": 0.0},
        language_model=language_model.to_dict(),
        prompt=sides | {"before": [tokenizer.bos_token_id, *sides["before"]]},
    )
    return Translator(config).eval()


def tiny_translator(folder: Path, **encoder: Any) -> Path:
    """Save a tiny translator and its processor into `folder`, and return it."""
    processor = tiny_processor()
    tiny_model(processor, **encoder).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def edit(path: Path, old: str, new: str) -> Path:
    """Replace words of a text file, which has to hold them."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def write_frames(folder: Path, num_frames: int, seed: int = 0) -> Path:
    """Write a PHOENIX14T frame folder of coloured noise that changes slowly, 26 x 21 pixels."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 255, (26, 21, 3))
    for number in range(1, num_frames + 1):
        frame = np.clip(base + 4 * number, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"images{number:04d}.png"), frame)
    return folder


def write_corpus(root: Path, num_train: int = 8, num_dev: int = 2, num_frames: int = 6) -> str:
    """Write a miniature corpus in the PHOENIX14T layout and return its spec.

    The first clip of each split has `num_frames` frames, each further one a frame more.
    """
    base = root / "PHOENIX-2014-T"
    annotations = base / "annotations" / "manual"
    annotations.mkdir(parents=True)
    words = ["regen", "schnee", "sonne", "wind"]
    for split, size in (("train", num_train), ("dev", num_dev), ("test", num_dev)):
        rows = ["name|video|start|end|speaker|orth|translation"]
        for index in range(size):
            name = f"{split}-{index}"
            text = f"{words[index % 4]} im {'norden' if index % 2 else 'süden'} {split} {index}"
            rows.append(f"{name}|{name}/1/*.png|-1|-1|Signer01|{text.upper()}|{text}")
            folder = base / "features" / "fullFrame-210x260px" / split / name
            write_frames(folder, num_frames + index, seed=index)
        path = annotations / f"PHOENIX-2014-T.{split}.corpus.csv"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return f"phoenix14t:{root}"


def write_sound(path: Path, samples: np.ndarray) -> Path:
    """A WAV file of samples from -2 to 2, at 16 kHz; gives its path."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 2**14).astype("<i2").tobytes())
    return path


def write_film(path: Path, seconds: int, sound_seconds: int) -> Path:
    """Write a video whose pictures, black, and whose sound, a tone, have each their length."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono")
        for _ in range(25 * seconds):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode())
        tone = 0.5 * np.sin(np.arange(16000 * sound_seconds) / 5).astype(np.float32)
        for begin in range(0, len(tone), 1024):
            piece = av.AudioFrame.from_ndarray(tone[None, begin : begin + 1024], "fltp", "mono")
            piece.sample_rate, piece.pts = 16000, begin
            container.mux(audio.encode(piece))
        container.mux(audio.encode())
    return path


def write_speech_corpus(folder: Path) -> str:
    """Six clips of a second of noise, each with a sentence, and return their spec."""
    rows = []
    for number, split in enumerate(["train"] * 4 + ["dev", "test"]):
        samples = np.random.default_rng(number).integers(-9999, 9999, 16000, dtype=np.int16)
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
        rows.append({"id": str(number), "media": f"{number}.wav", "split": split})
        rows[-1] |= {"text": SENTENCES[number % 3], "language": "de"}
        rows[-1]["transcript"] = "Es regnet"
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"table:{folder / 'rows.jsonl'}"


def make_sure(model: Translator, times: float = 10.0) -> Translator:
    """Make a random model sure of what it says, in place, so that live captions show it."""
    norm = model.language_model.model.model.decoder.layer_norm
    with torch.no_grad():
        norm.weight.mul_(times)
        norm.bias.mul_(times)
    return model
