"""The page's own scripts, run by Node, against Python: search, pictures, emptiness, texts."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from importlib.resources import files
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pysubs2
import pytest
import torch
from transformers import LogitsProcessorList
from transformers.generation.logits_process import (
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
)

from tiny import tiny_model, tiny_processor
from unglossed.inference.web.tokens import join, token_bytes
from unglossed.media.augment import render_view
from unglossed.media.probe import _fields, emptiness_of_frames

PAGE = Path(str(files("unglossed.inference.web") / "page"))
STATES = 64

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def run_node(tmp_path: Path, script: str, content: object) -> object:
    """What a script, a module in the page's folder, prints of `content` as JSON."""
    (tmp_path / "content.json").write_text(json.dumps(content), encoding="utf-8")
    shutil.copytree(PAGE, tmp_path / "page", dirs_exist_ok=True)
    (tmp_path / "page" / "package.json").write_text('{"type": "module"}')
    head = 'import fs from "fs"; const content = JSON.parse(fs.readFileSync("content.json"));'
    (tmp_path / "script.mjs").write_text(head + script, encoding="utf-8")
    done = subprocess.run(
        ["node", "script.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tables(seed: int, vocab: int) -> torch.Tensor:
    """Log-probabilities (states, vocab) of the next token: what came before picks the state."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(STATES, vocab, generator=generator)
    scores[:, 2] += torch.randn(STATES, generator=generator)  # the end, here likely, there not
    return scores.log_softmax(-1)


def state(tokens: torch.Tensor) -> torch.Tensor:
    steps = 1 + torch.arange(tokens.shape[-1])
    return (tokens * steps * 7).sum(-1) % STATES


class FromTables:
    """Stands in `generate` for what the model says, whatever that is."""

    def __init__(self, table: torch.Tensor) -> None:
        self.table = table

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return self.table[state(input_ids)]


SEARCH = """
import { search } from "./page/search.js";
const found = [];
for (const { table, settings } of content) {
  const states = table.length;
  let rows = [];
  const step = async (fed, order) => {
    rows = fed.map((tokens, at) => [...(rows[order[at]] ?? []), ...tokens]);
    return Float32Array.from(rows.flatMap((row) => {
      const sum = row.reduce((all, token, at) => all + token * (at + 1) * 7, 0);
      return table[sum % states];
    }));
  };
  found.push(await search(step, settings));
}
console.log(JSON.stringify(found));
"""


@torch.no_grad()
def test_the_page_searches_as_transformers_does(tmp_path: Path) -> None:
    model = tiny_model(tiny_processor()).language_model.model
    vocab = model.config.vocab_size
    states = torch.zeros(1, 2, model.config.d_model)
    chosen = product((1, 2, 5), (3, 14), (1.0, 0.0, 2.0, -0.5), (False, True, "never"))
    cases, expected = [], []
    for seed, (beams, most, penalty, early) in enumerate(chosen):
        table = tables(seed, vocab)
        ends = [2] if seed % 3 else [2, 7]
        begin, end = (9 if seed % 5 == 0 else None), (2 if seed % 4 == 0 else None)
        settings = {
            **{"start": [5], "end": ends, "beams": beams, "max_new_tokens": most},
            **{"length_penalty": penalty, "early_stopping": early},
            **{"forced_begin": begin, "forced_end": end},
        }
        processors = [FromTables(table)]
        if begin is not None:
            processors.append(ForcedBOSTokenLogitsProcessor(begin))
        if end is not None:
            processors.append(ForcedEOSTokenLogitsProcessor(most + 1, end))
        ranked = {"length_penalty": penalty, "early_stopping": early} if beams > 1 else {}
        ids = model.generate(
            inputs_embeds=states,
            attention_mask=torch.ones(1, 2, dtype=torch.long),
            decoder_input_ids=torch.tensor([[5]]),
            **{"num_beams": beams, "max_new_tokens": most, "do_sample": False, **ranked},
            eos_token_id=ends,
            logits_processor=LogitsProcessorList(processors),
        )
        row = ids[0, 1:].tolist()
        stop = next((place for place, one in enumerate(row) if one in ends), len(row) - 1)
        expected.append(row[: stop + 1])
        cases.append({"table": table.tolist(), "settings": settings})
    found = run_node(tmp_path, SEARCH, cases)
    assert len({tuple(row) for row in expected}) > 40
    for case, one, row in zip(cases, found, expected, strict=True):
        assert one["tokens"] == row, case["settings"]
        table = torch.tensor(case["table"])
        ids = torch.tensor([5, *row])
        told = [float(table[state(ids[: at + 1]), ids[at + 1]]) for at in range(len(row))]
        assert one["score"] == pytest.approx(np.mean(told), abs=1e-5)


PICTURES = """
import { view, fields } from "./page/pixels.js";
const found = content.map(({ pixels, width, height, resize, crop }) => {
  const data = new Uint8ClampedArray(Buffer.from(pixels, "base64"));
  return { view: [...view(data, width, height, resize, crop)],
           fields: [...fields(data, width, height)] };
});
console.log(JSON.stringify(found));
"""


def photo(height: int, width: int) -> np.ndarray:
    """A picture with edges, gradients and some noise."""
    rng = np.random.default_rng(height * width)
    row, column = np.mgrid[:height, :width] / max(height, width)
    light = 128 + 90 * np.sin(9 * row + 5 * column)[..., None] * [1, -0.6, 0.3]
    light[height // 3 : height // 2, width // 4 : width // 3] = [250, 20, 90]
    return np.clip(light + rng.normal(0, 6, light.shape), 0, 255).astype(np.uint8)


def test_pictures_are_resized_and_cut_as_python_does(tmp_path: Path) -> None:
    sizes = [(260, 210, 72, 64), (480, 640, 72, 64), (480, 640, 256, 224), (144, 144, 72, 64)]
    sizes += [(26, 21, 36, 32), (64, 48, 72, 64), (100, 90, 72, 72), (60, 300, 72, 64)]
    cases, frames = [], []
    for height, width, resize, crop in sizes:
        frame = photo(height, width)
        four = np.ascontiguousarray(cv2.cvtColor(frame, cv2.COLOR_RGB2RGBA))
        pixels = base64.b64encode(four.tobytes()).decode()
        cases.append(
            {"pixels": pixels, "width": width, "height": height, "resize": resize, "crop": crop}
        )
        frames.append(frame)
    found = run_node(tmp_path, PICTURES, cases)
    for frame, case, one in zip(frames, cases, found, strict=True):
        expected = render_view(frame[None], case["resize"], case["crop"])[0]
        seen = np.array(one["view"]).reshape(expected.shape)
        assert np.abs(seen - expected.astype(int)).max() <= 1, frame.shape
        np.testing.assert_allclose(one["fields"], _fields(frame).ravel(), atol=1e-3)


EMPTINESS = """
import { Emptiness } from "./page/emptiness.js";
console.log(JSON.stringify(content.map((rows) => {
  const found = new Emptiness();
  for (const row of rows) found.add(Float32Array.from(row));
  return found.reason();
})));
"""


def test_what_has_nothing_in_it_is_known(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plain = np.zeros((80, 60, 3), np.uint8)
    scene = photo(80, 60)
    moved = [np.roll(scene, 3 * number, 0) for number in range(6)]
    pulse = [scene, scene + np.uint8(2), *[scene + np.uint8(2)] * 6]
    noisy = [np.clip(scene + rng.normal(0, 25, scene.shape), 0, 255).astype(np.uint8)] * 2
    small = [scene.copy() for _ in range(6)]
    for number, frame in enumerate(small):
        frame[10:14, 10 + 6 * number : 14 + 6 * number] = 255
    clips = [[plain] * 3, [plain + np.uint8(90)] * 3, [scene], [scene] * 4, moved, pulse, noisy]
    clips.append(small)
    expected = [emptiness_of_frames(clip) for clip in clips]
    assert {None, "black", "blank", "one_frame", "still"} <= set(expected)
    rows = [[_fields(frame).ravel().tolist() for frame in clip] for clip in clips]
    assert run_node(tmp_path, EMPTINESS, rows) == expected


TEXTS = """
import { join } from "./page/translator.js";
console.log(JSON.stringify(content.rows.map((ids) => join(content.tokens, ids))));
"""


def test_texts_are_joined_as_the_tokenizer_does(tmp_path: Path) -> None:
    processor = tiny_processor()
    tokens = token_bytes(processor)
    texts = ["morgen regnet es im norden", "am abend, im süden", "doppelt  leer"]
    rows = [[5, *processor.encode_text(text), 1, 1] for text in texts]
    expected = processor.decode(torch.tensor([row + [1] * (60 - len(row)) for row in rows]))
    assert expected[0] == texts[0]
    assert [join(tokens, row) for row in rows] == expected
    content = {"rows": rows, "tokens": [one.decode("latin-1") for one in tokens]}
    assert run_node(tmp_path, TEXTS, content) == expected


TIMES = """
import { readingTimes } from "./page/media.js";
console.log(JSON.stringify(content.map((one) => readingTimes(...one))));
"""


def test_the_grid_of_times_is_pythons(tmp_path: Path) -> None:
    cases = [(0.0, 2.0, 0.25), (0.04, 1.9, 0.25), (0.0, 0.5, 1.0), (0.0, 0.01, 0.5)]
    found = run_node(tmp_path, TIMES, cases)
    for (begin, end, share), times in zip(cases, found, strict=True):
        grid = begin + np.arange(max(1, round((end - begin) * 25))) / 25
        np.testing.assert_allclose(times, grid[:: round(1 / share)])


SUBTITLES = """
import { subRip } from "./page/subtitles.js";
console.log(JSON.stringify(subRip(content)));
"""


def test_no_text_breaks_the_subtitles(tmp_path: Path) -> None:
    texts = ["norden --> süden", "zwei\n\nzeilen"]
    rows = [{"start": at, "end": at + 1, "text": text} for at, text in enumerate(texts)]
    file = pysubs2.SSAFile.from_string(str(run_node(tmp_path, SUBTITLES, rows)), format_="srt")
    assert [one.text for one in file] == ["norden → süden", "zwei\\Nzeilen"]


SENTENCES_FOUND = """
import { MotionCutter } from "./page/sentences.js";
const { side, rate, longest, views } = content;
const cutter = new MotionCutter(rate, longest);
const data = Buffer.from(views, "base64");
const size = side * side * 3;
const found = [];
for (let at = 0; at < data.length; at += size) {
  found.push(...cutter.push(data.subarray(at, at + size), side));
}
console.log(JSON.stringify([...found, ...cutter.finish()]));
"""


def recording(seed: int, side: int, rate: float) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Views of a minute in which a hand moves and rests in turn, and when it moves."""
    rng = np.random.default_rng(seed)
    frames, spans, place = [], [], np.array([side / 2, side / 2])
    wall = photo(side, side)
    while len(frames) < 60 * rate:
        for moves in (False, True):
            count = round(rng.uniform(1.5, 5) * rate)
            if moves:
                spans.append((len(frames), len(frames) + count))
            for _ in range(count):
                if moves:
                    place = np.clip(place + rng.uniform(-8, 8, 2), 8, side - 8)
                frame = wall.astype(float) + rng.normal(0, 1, wall.shape)
                y, x = place.astype(int)
                frame[y - 7 : y + 7, x - 7 : x + 7] = 240
                frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return np.stack(frames), spans


@pytest.mark.parametrize("seed", [0, 1])
def test_sentences_are_found_where_something_moves(tmp_path: Path, seed: int) -> None:
    side, rate, longest = 64, 6.25, 4.0
    views, spans = recording(seed, side, rate)
    pixels = base64.b64encode(views.tobytes()).decode()
    content = {"side": side, "rate": rate, "longest": longest, "views": pixels}
    found = run_node(tmp_path, SENTENCES_FOUND, content)
    inside = np.zeros(len(views), bool)
    for begin, end in found:
        assert end - begin <= longest * rate
        inside[begin:end] = True
    expected = np.zeros(len(views), bool)
    for begin, end in spans:
        expected[begin:end] = True
    assert (inside == expected).mean() > 0.9
    cutting = pytest.importorskip("unglossed.inference.cutting", reason="finds no sentences yet")
    cutter = cutting.MotionCutter(rate, longest)
    theirs = [*cutter.push(views, None), *cutter.finish()]
    assert [tuple(one) for one in found] == theirs


# A runtime that tells which pictures it was given: the first value of each.
FRAMES = """
import { Recording, Translator } from "./page/translator.js";
class Tensor {
  constructor(type, data, dims) { Object.assign(this, { type, data, dims }); }
}
const given = [];
const frames = {
  run: async ({ frames: { data, dims } }) => {
    const size = data.length / dims[0];
    const first = Array.from({ length: dims[0] }, (_, at) => data[at * size]);
    given.push(first);
    const vectors = first.slice(content.motion ? 1 : 0);
    return { vectors: { data: Float32Array.from(vectors), dispose() {} } };
  },
};
const ort = { Tensor };
const { crop, motion } = content;
const manifest = { crop, motion, resize: crop, frame_share: 0.5, longest_frames: 100 };
const translator = new Translator(ort, manifest, [], { runtime: ort, frames });
const recording = new Recording(translator, () => {});
for (const value of content.values) {
  await recording.add(new Uint8ClampedArray(4 * crop * crop).fill(value), crop, crop);
}
await recording.flush();
console.log(JSON.stringify({ given, vectors: recording.vectors.map((one) => one[0]) }));
"""


@pytest.mark.parametrize("motion", [False, True])
def test_with_motion_frames_come_behind_the_one_before_them(tmp_path: Path, motion: bool) -> None:
    values = [10 * number for number in range(1, 12)]  # more than go through together

    found = run_node(tmp_path, FRAMES, {"crop": 4, "motion": motion, "values": values})

    assert found["vectors"] == values
    before = [[values[0]], [values[7]]] if motion else [[], []]
    assert found["given"] == [before[0] + values[:8], before[1] + values[8:]]
