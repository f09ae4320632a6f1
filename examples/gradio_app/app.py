"""A page by Gradio: drop a video of signing, get its sentences and a file of subtitles.

pip install unglossed gradio
python app.py MODEL [SEGMENTER]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

import unglossed
from unglossed.inference.subtitles import render

LIMITS = (
    "No interpreter: not for medical, legal or emergency use. A model translates what it was"
    " trained on; elsewhere its sentences can be fluent and wrong."
)


def make_page(model: str, segmenter: str | None = None) -> gr.Blocks:
    """The page, which `launch` shows."""
    sentences = unglossed.SentenceTranslator.from_pretrained(model, segmenter)
    language = sentences.translator.processor.language

    def translate(video: str) -> tuple[list[list[Any]], str]:
        found = list(sentences.translate(video))
        subtitles = Path(tempfile.mkdtemp()) / f"{Path(video).stem}.srt"
        subtitles.write_text(render(found, "srt", language=language, media=video), encoding="utf-8")
        rows = [[one.start_seconds, one.end_seconds, one.text, one.confidence] for one in found]
        return rows, str(subtitles)

    with gr.Blocks(title="unglossed") as page:
        gr.Markdown(f"# Signing to text\n\n{LIMITS}")
        video = gr.Video(label="Video")
        table = gr.Dataframe(headers=["start", "end", "text", "confidence"], label="Sentences")
        file = gr.File(label="Subtitles")
        video.upload(translate, video, [table, file])
    return page


if __name__ == "__main__":
    make_page(*sys.argv[1:3]).launch()
