"""The exported page in Chromium: the texts of Python, and nothing leaves the device.

Needs Debian's chromium, the Python package playwright, and onnxruntime-web: from the folder that
UNGLOSSED_RUNTIME names, or from npm. Without them these tests are skipped.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pysubs2
import pytest
import torch

from benchmarks.web import CHROMIUM, FAKE_CAMERA, WEBGPU, browse, serve, translate, wait_idle
from tiny import SENTENCES, tiny_model, tiny_processor
from unglossed.config import DecodingSettings
from unglossed.errors import InputError
from unglossed.inference.search import DECODING_FILE
from unglossed.inference.translator import SignTranslator
from unglossed.inference.web.export import export_web
from unglossed.inference.web.runtime import copy_runtime
from unglossed.models.processing import pad_labels

X86 = platform.machine().lower() in ("x86_64", "amd64")
PACKAGES = ("playwright", "onnx", "onnxruntime", "onnxscript")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"{CHROMIUM} is not there"),
    pytest.mark.skipif(not all(map(find_spec, PACKAGES)), reason=f"needs {', '.join(PACKAGES)}"),
]
SECONDS = 1.6
SIZE = 96, 72
NAMES = ("right", "down", "round")


def picture(name: str, time: float) -> np.ndarray:
    """A bright hand in front of a plain wall: (height, width, 3)."""
    width, height = SIZE
    share = time / SECONDS
    place = {
        "right": (0.15 + 0.7 * share, 0.5),
        "down": (0.5, 0.15 + 0.7 * share),
        "round": (0.5 + 0.3 * np.sin(7 * share), 0.5 + 0.3 * np.cos(7 * share)),
        "still": (0.5, 0.5),
    }[name]
    x, y = int(place[0] * width), int(place[1] * height)
    frame = np.full((height, width, 3), (90, 100, 120), np.uint8)
    frame[max(y - 9, 0) : y + 9, max(x - 9, 0) : x + 9] = (230, 180, 150)
    return frame


def write_clip(path: Path, name: str, rate: str = "25", codec: str = "libx264") -> Path:
    """A video of one of the hands, or black."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.bit_rate = 400_000
        for number in range(round(SECONDS * Fraction(rate))):
            black = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
            frame = black if name == "black" else picture(name, float(number / Fraction(rate)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return path


def train(folder: Path) -> Path:
    """A tiny model that has learned the three hands, each its sentence."""
    processor = tiny_processor()
    model = tiny_model(processor)
    views = []
    for name in NAMES:
        frames = [picture(name, at / 12.5) for at in range(round(SECONDS * 12.5))]
        views.append(processor([np.stack(frames)])["frames"])
    labels = pad_labels(processor.encode_texts(SENTENCES))
    lengths = torch.tensor([len(view) for view in views])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    rng = np.random.default_rng(0)
    for _ in range(150):
        shift = torch.from_numpy(rng.integers(0, 5, (3,)).astype(np.uint8))
        logits = model(frames=torch.cat(views) + shift, lengths=lengths, labels=labels).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    settings = DecodingSettings(beams=4, max_new_tokens=20).model_dump()
    (folder / DECODING_FILE).write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory) -> Path:
    given = os.environ.get("UNGLOSSED_RUNTIME")
    target = tmp_path_factory.mktemp("package") / "runtime"
    try:
        copy_runtime(None if given is None else Path(given), target, webgpu=True)
    except InputError as error:
        pytest.skip(str(error))
    return target


@pytest.fixture(scope="module")
def folder(model: Path, runtime: Path, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("page") / "web"
    (model / "README.md").write_text("# A model\n\n## Data\n\n- three hands, drawn.\n")
    export_web(model, target, runtime=runtime)
    return target


@pytest.fixture(scope="module")
def address(folder: Path):
    with serve(folder) as address:
        yield address


@pytest.fixture
def page(address: str):
    """A page that has loaded, with a list of all that it asked for."""
    with browse(FAKE_CAMERA, locale="en", permissions=["camera"]) as context:
        page = context.new_page()
        page.asked = []
        context.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        wait_idle(page)
        yield page


CLIPS = [
    ("right.mp4", "right", "25", "libx264"),
    ("down.mp4", "down", "30000/1001", "libx264"),
    ("round.webm", "round", "30", "libvpx"),
    ("down.webm", "down", "50", "libvpx-vp9"),
    ("right.mp4", "right", "12", "libx264"),
]


def test_the_page_gives_the_texts_of_python_without_a_network(
    page, address: str, model: Path, tmp_path: Path
) -> None:
    translator = SignTranslator.from_pretrained(model, precision="int8" if X86 else "float32")
    page.context.set_offline(True)
    loaded = len(page.asked)
    for name, *clip in CLIPS:
        path = write_clip(tmp_path / name, *clip)
        (expected,) = translator.translate(path)
        assert expected.text == SENTENCES[NAMES.index(clip[0])]
        told = translate(page, path)
        assert told.text == expected.text, clip
        assert page.locator("#sentences li").count() == 0
        percent = int(re.search(r"(\d+) %", told.score)[1])
        assert percent == pytest.approx(100 * np.exp(expected.score), abs=5)
    assert [one for one in page.asked[loaded:] if not one.startswith("blob:")] == []
    assert {one.removeprefix("blob:").startswith(address) for one in page.asked} == {True}


QUIRKS = {
    "seconds": "Math.trunc(video.currentTime)",  # as Firefox does
    "playhead": "Math.round(1e6 * video.currentTime)",  # as some WebKits do
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_browser_that_tells_other_times_of_frames_reads_all_of_them(
    address: str, model: Path, tmp_path: Path, quirk: str
) -> None:
    wrong = f"""window.VideoFrame = class {{
      constructor(video) {{ this.timestamp = {QUIRKS[quirk]}; }}
      close() {{}}
    }}"""
    clip = write_clip(tmp_path / "round.mp4", "round")
    with browse(locale="en") as context:
        page = context.new_page()
        page.add_init_script(wrong)
        page.goto(address)
        wait_idle(page)
        assert translate(page, clip).text == SENTENCES[2]


def write_recording(path: Path, names: tuple[str, ...], rest: float = 1.0) -> Path:
    """A video in which each hand moves in turn, and all rests in between."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for name in names:
            for _ in range(round(25 * rest)):
                frame = picture("still", 0.0)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            for number in range(round(25 * SECONDS)):
                frame = picture(name, number / 25)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        for _ in range(round(25 * rest)):
            frame = picture("still", 0.0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return path


def test_a_long_video_becomes_subtitles(page, tmp_path: Path) -> None:
    page.context.set_offline(True)
    names = ("down", "round", "right", "round", "down", "right", "down")
    told = translate(page, write_recording(tmp_path / "long.mp4", names))
    assert told.text == ""
    assert "Found 7 sentences" in told.score
    texts = page.locator("#sentences li q").all_inner_texts()
    same = [SENTENCES[NAMES.index(name)] == text for name, text in zip(names, texts, strict=True)]
    assert sum(same) >= 6  # a begin may be a frame late
    with page.expect_download() as download:
        page.click("#save")
    saved = pysubs2.load(str(download.value.path()), encoding="utf-8", format_="srt")
    assert [one.text for one in saved] == texts
    for number, one in enumerate(saved):
        begin = 1 + number * (1 + SECONDS)
        assert one.start / 1000 == pytest.approx(begin, abs=0.25)
        assert one.end / 1000 == pytest.approx(begin + SECONDS, abs=0.25)
    page.locator("#sentences button").nth(2).click()
    page.wait_for_function("() => document.getElementById('video').currentTime > 6")
    shown = "[...document.getElementById('video').textTracks[0].cues].map(one => one.text)"
    assert page.evaluate(shown) == texts


def test_a_file_that_is_read_can_be_cancelled(page, tmp_path: Path) -> None:
    page.set_input_files("#file", str(write_recording(tmp_path / "long.mp4", NAMES * 5)))
    page.wait_for_selector("#sentences li")
    page.click("#cancel")
    wait_idle(page)
    assert page.inner_text("#status") == "Cancelled. Nothing of it is kept."
    assert page.locator("#cancel").is_hidden()
    assert page.locator("#sentences li").count() == 0
    told = translate(page, write_clip(tmp_path / "right.mp4", "right"))
    assert told.text == SENTENCES[0]


def test_a_browser_that_loads_no_picture_before_it_plays(
    address: str, model: Path, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "round.mp4", "round")
    with browse(locale="en") as context:
        page = context.new_page()
        page.goto(address)
        wait_idle(page)
        page.evaluate("document.getElementById('video').preload = 'none'")  # as iOS has it
        context.set_default_timeout(20_000)
        assert translate(page, clip).text == SENTENCES[2]


def test_no_other_origin_can_be_asked(page) -> None:
    with serve(Path(__file__).parent) as other:  # which would answer
        ask = "address => fetch(address, {mode: 'no-cors'}).then(() => 'asked', String)"
        assert "Failed to fetch" in page.evaluate(ask, other)
        (worker,) = page.workers
        assert "Failed to fetch" in worker.evaluate(ask, other)
        picture = "address => new Promise(done => { const one = new Image();"
        picture += " one.onload = () => done('asked'); one.onerror = () => done('refused');"
        picture += " one.src = address; })"
        assert page.evaluate(picture, f"{other}x.png") == "refused"


def test_what_has_nothing_in_it_is_not_translated(page, tmp_path: Path) -> None:
    for name, reason in (("black", "is black"), ("still", "nothing moves")):
        told = translate(page, write_clip(tmp_path / f"{name}.mp4", name))
        assert told.text == ""
        assert reason in told.score
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video" * 100)
    page.set_input_files("#file", str(damaged))
    wait_idle(page)
    assert "cannot read the video" in page.inner_text("#status")
    told = translate(page, write_clip(tmp_path / "right.mp4", "right"))  # it goes on
    assert told.text == SENTENCES[0]


def test_the_limits_stand_above_all_that_can_be_used(page) -> None:
    limits = page.inner_text(".limits")
    for words in ("no interpreter", "medical, legal or emergency", "three hands, drawn", "stays"):
        assert words in limits
    top = page.locator(".limits").bounding_box()["y"]
    assert all(
        top < page.locator(f"#{name}").bounding_box()["y"] for name in ("file", "open", "text")
    )
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.select_option("#language", "de")
    assert "Nicht für medizinische" in page.inner_text(".limits")
    assert page.get_attribute("html", "lang") == "de"
    assert page.get_attribute("#text", "lang") == "de"
    assert page.inner_text("#status") == "Bereit."


def test_the_camera_by_keyboard_alone(page) -> None:
    page.context.set_offline(True)
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        if reached[-1] == "open":
            break
    assert reached[:3] == ["language", "file", "open"]
    page.keyboard.press("Enter")
    page.wait_for_selector("#start:focus")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop:focus")
    page.wait_for_function("() => /[2-9] s/.test(document.getElementById('timer').textContent)")
    page.keyboard.press("Enter")
    wait_idle(page)
    assert page.inner_text("#status") == "Done."
    assert "Confidence" in page.inner_text("#score")  # the fake camera's picture moves
    page.click("#clear")  # the camera stays on
    page.wait_for_timeout(300)
    before = page.evaluate("document.getElementById('video').currentTime")
    page.wait_for_timeout(500)
    assert page.evaluate("document.getElementById('video').currentTime") > before
    page.click("#close")
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_a_model_that_computes_something_else_here_is_not_used(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "web"
    shutil.copytree(folder, other)
    manifest = json.loads((other / "model" / "manifest.json").read_text())
    manifest["probe"]["scores"] = [one - 1 for one in manifest["probe"]["scores"]]
    (other / "model" / "manifest.json").write_text(json.dumps(manifest))
    with serve(other) as address, browse(locale="en") as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_function("() => /failed/.test(document.getElementById('status').textContent)")
        assert "computes other numbers here" in page.inner_text("#status")
        assert page.is_disabled("#file")


def with_webgpu(folder: Path, runtime: Path, target: Path) -> Path:
    """The same page as `--webgpu` writes it."""
    shutil.copytree(folder, target)
    shutil.copytree(runtime, target / "runtime", dirs_exist_ok=True)
    manifest = json.loads((target / "model" / "manifest.json").read_text())
    manifest["runtime"]["webgpu"] = True
    (target / "model" / "manifest.json").write_text(json.dumps(manifest))
    return target


def test_webgpu_reads_frames_where_it_computes_the_same(
    folder: Path, runtime: Path, tmp_path: Path
) -> None:
    target = with_webgpu(folder, runtime, tmp_path / "web")
    clip = write_clip(tmp_path / "round.mp4", "round")
    adapter = "navigator.gpu ? navigator.gpu.requestAdapter().then(Boolean) : false"
    with serve(target) as address, browse(WEBGPU, locale="en") as context:
        page = context.new_page()
        page.goto(address)
        if not page.evaluate(adapter):
            pytest.skip("this Chromium has no WebGPU")
        wait_idle(page)
        assert page.inner_text("#about").endswith("computed with webgpu")
        assert translate(page, clip).text == SENTENCES[2]
        # A runtime that computes something else: every number is one too large.
        path = target / "runtime" / "ort.webgpu.min.mjs"
        path.rename(path.with_name("real.mjs"))
        path.write_text(
            'import * as real from "./real.mjs";'
            "export const { env, Tensor } = real;"
            "export const InferenceSession = { create: async (...words) => {"
            " const one = await real.InferenceSession.create(...words);"
            " return { run: async (fed) => { const { vectors } = await one.run(fed);"
            " return { vectors: { data: vectors.data.map((value) => value + 1),"
            " dispose() {} } }; } }; } };"
        )
        page.reload()
        wait_idle(page)
        assert page.inner_text("#about").endswith("computed with wasm")
        assert translate(page, clip).text == SENTENCES[2]
