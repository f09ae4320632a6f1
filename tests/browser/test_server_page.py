"""The page of `unglossed serve` in a real browser: as people use it, and as they cannot.

The pictures of docs/how-to/serve.md come from here:

    UNGLOSSED_PICTURES=docs/images UNGLOSSED_MODEL=RUN UNGLOSSED_VIDEO=MP4 pytest -k pictures THIS
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pympi
import pysubs2
import pytest

from moving import draw_moving, write_moving
from serving import Running, serving, sure_sentences
from tiny import tiny_processor, tiny_speech_model, write_sound
from unglossed.inference.sentences import SentenceTranslator
from unglossed.inference.translator import SignTranslator
from unglossed.models.about import read_about
from unglossed.models.processing import TranslatorProcessor

AXE = "axe-core@4.11.0"
MOVING = [(0.6, 2.6), (4.4, 6.4)]
TOKEN = "a-token-of-24-characters"
_ABOUT = "Signers of train: <b>9</b>."
_SETTLED = "#done:not([hidden])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def video(folder: Path) -> Path:
    return write_moving(folder / "talk.mp4", MOVING, 7.0)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with serving(sure_sentences(), folder / "temporary", about=[_ABOUT]) as running:
        yield running


@pytest.fixture
def page(browser: Any, server: Running) -> Iterator[Any]:
    """The page, open; a fault of its scripts, or of its policy, fails the test."""
    yield from opened(browser.new_context(locale="en-GB", accept_downloads=True), server)


def opened(context: Any, server: Running, address: str = "") -> Iterator[Any]:
    faults: list[str] = []
    made = context.new_page()
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("console", lambda told: faults.append(told.text) if is_fault(told) else None)
    made.goto(server.url + address)
    made.wait_for_selector("#tools:not([hidden])")
    yield made
    context.close()
    assert faults == []


def is_fault(told: Any) -> bool:
    """Whether a line of the console is more than a request that was refused."""
    return told.type == "error" and not told.text.startswith("Failed to load resource")


def until(page: Any, expression: str, seconds: float = 20.0) -> None:
    """Wait until an expression is true; Playwright's own way is what the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.05)


def translate(page: Any, video: Path) -> None:
    page.set_input_files("#file", video)
    page.wait_for_selector(_SETTLED)


def test_a_video_becomes_subtitles(page: Any, server: Running, video: Path) -> None:
    limits = page.locator("#limits")
    assert limits.is_visible()
    assert "no interpreter" in limits.inner_text()
    assert _ABOUT in limits.inner_text()
    page.evaluate(
        """() => { window.seen = []; const bar = document.getElementById('progress');
        new MutationObserver(() => window.seen.push(bar.value))
          .observe(bar, { attributes: true }); }"""
    )

    translate(page, video)

    seen = page.evaluate("window.seen")
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert page.inner_text("#status") == "Done: 2 sentences"
    rows = page.locator("#sentences > li")
    assert rows.count() == 2
    assert "Confidence" in rows.first.inner_text()
    until(page, "document.querySelector('track')?.readyState === 2")
    mode, texts = page.evaluate(
        """() => { const track = document.getElementById('player').textTracks[0];
        return [track.mode, [...track.cues].map((cue) => cue.text)]; }"""
    )
    assert mode == "showing"
    assert " ".join(" ".join(texts).split()) == " ".join(
        " ".join(row.split()) for row in page.locator("#sentences .text").all_inner_texts()
    )
    rows.nth(1).locator(".jump").click()
    until(page, "document.getElementById('player').currentTime >= 4")
    page.evaluate("document.getElementById('player').pause()")
    assert server.client.get("v1/jobs").json()["waiting"] == 0
    assert list(server.folder.iterdir()) == []


def test_words_show_the_frames_they_attended_to(page: Any, video: Path) -> None:
    translate(page, video)
    row = page.locator("#sentences > li").first

    row.get_by_role("button", name="What it looked at").click()
    row.locator(".words button").first.click()

    until(page, "document.querySelectorAll('canvas[data-drawn]').length === 6")
    differ = page.evaluate(
        """() => new Set([...document.querySelectorAll('canvas')].map((c) => c.toDataURL())).size"""
    )
    assert differ > 1
    assert "weight" in row.locator(".frames li").first.inner_text()


def test_frames_come_where_no_picture_is_loaded_before_it_plays(page: Any, video: Path) -> None:
    page.evaluate(
        """() => Object.defineProperty(HTMLMediaElement.prototype, 'preload', {
          set() { this.setAttribute('preload', 'none'); } })"""  # as iOS has it
    )
    translate(page, video)
    row = page.locator("#sentences > li").first
    row.get_by_role("button", name="What it looked at").click()
    row.locator(".words button").first.click()
    until(page, "document.querySelectorAll('canvas[data-drawn]').length === 6")


@pytest.mark.parametrize("form", ["srt", "vtt", "eaf", "json"])
def test_what_is_saved_can_be_read(page: Any, video: Path, tmp_path: Path, form: str) -> None:
    translate(page, video)
    with page.expect_download() as waiting:
        page.locator(f'[data-form="{form}"]').click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)

    assert path.name == f"talk.{form}"
    if form == "eaf":
        assert len(pympi.Eaf(str(path)).get_annotation_data_for_tier("translation")) == 2
    elif form == "json":
        assert len(json.loads(path.read_text(encoding="utf-8"))["segments"]) == 2
    else:
        assert len(pysubs2.load(str(path))) >= 2


def test_text_is_kept_only_when_asked_and_can_be_deleted(page: Any, video: Path) -> None:
    translate(page, video)
    assert page.evaluate("localStorage.length") == 0
    assert page.locator("#kept li").count() == 0

    page.locator("#keep").click()
    assert page.evaluate("localStorage.length") == 1
    page.reload()
    page.wait_for_selector("#kept li")
    assert "talk.mp4" in page.inner_text("#kept")
    page.get_by_role("button", name="Delete talk.mp4").click()

    assert page.locator("#kept li").count() == 0
    assert page.evaluate("localStorage.length") == 0


def test_what_is_no_video_is_told(page: Any, folder: Path) -> None:
    fake = folder / "<b>not.mp4"
    fake.write_text("<script>alert(1)</script>")
    page.context.on("dialog", lambda dialog: pytest.fail("a script ran"))

    page.set_input_files("#file", fake)
    page.wait_for_selector("#problem:not(:empty)")

    assert "no video" in page.inner_text("#problem")
    page.select_option("#language", "de")
    assert "keine Video- oder Audiodatei" in page.inner_text("#problem")
    assert page.locator("#file").is_enabled()


def test_a_translation_can_be_cancelled(page: Any, server: Running, folder: Path) -> None:
    long = write_moving(folder / "long.mp4", [(n, n + 2.5) for n in range(1, 60, 4)], 62.0)

    page.set_input_files("#file", long)
    page.locator("#cancel").click()

    until(page, "document.getElementById('status').textContent.startsWith('Cancelled')")
    end = time.monotonic() + 10
    while server.client.get("v1/jobs").json()["waiting"] and time.monotonic() < end:
        time.sleep(0.05)
    assert server.client.get("v1/jobs").json()["waiting"] == 0


def test_nothing_is_kept_of_what_was_cleared(page: Any, video: Path) -> None:
    page.evaluate(
        """() => { window.rows = []; const list = document.getElementById('sentences');
        new MutationObserver(() => {
          for (const row of list.children) window.rows.push(new WeakRef(row));
        }).observe(list, { childList: true }); }"""
    )
    translate(page, video)
    page.locator("#clear").click()
    page.mouse.move(1, 1)

    end = time.monotonic() + 10
    while page.evaluate("window.rows.filter((row) => row.deref()).length"):
        assert time.monotonic() < end
        page.request_gc()


def test_a_short_loss_of_the_network_costs_nothing(page: Any, server: Running, video: Path) -> None:
    asked: list[int] = []

    def lose(route: Any) -> None:
        asked.append(1)
        if len(asked) == 1:
            route.abort()
        elif len(asked) == 2:
            told = route.fetch().body()
            route.fulfill(body=told[: told.rindex(b"data:")], content_type="text/event-stream")
        else:
            route.continue_()

    page.route("**/v1/jobs/*/events", lose)
    translate(page, video)

    assert len(asked) == 3
    assert page.inner_text("#status") == "Done: 2 sentences"
    assert page.locator("#sentences > li").count() == 2
    assert server.client.get("v1/jobs").json()["waiting"] == 0


def test_it_is_german_where_the_browser_is(browser: Any, server: Running, video: Path) -> None:
    for page in opened(browser.new_context(locale="de-DE"), server):
        assert page.inner_text("h1") == "Übersetzung von Gebärdensprache"
        assert page.evaluate("document.documentElement.lang") == "de"
        translate(page, video)
        assert page.inner_text("#status") == "Fertig: 2 Sätze"
        page.select_option("#language", "en")
        assert page.inner_text("#status") == "Done: 2 sentences"
        assert "{" not in page.inner_text("body")


def test_the_keyboard_is_enough(page: Any, video: Path) -> None:
    # Listened for from the begin: Playwright takes a while to catch what a key opens.
    page.on("filechooser", lambda chooser: chooser.set_files(video))
    reached: list[str] = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.className")
        )
    assert reached == ["skip", "language", "size", "card-title", "file"]
    page.keyboard.press("Enter")
    page.wait_for_selector(_SETTLED)

    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "jump":
            break
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_selector("canvas[data-drawn]")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, by npm."""
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("axe")
    if npm is None:
        pytest.skip("no npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", AXE]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip("npm cannot fetch axe-core")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Any, video: Path, axe: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    translate(page, video)
    page.locator("#keep").click()
    page.locator("#sentences .plain").first.click()
    page.locator("#sentences .words button").first.click()
    page.wait_for_selector("canvas[data-drawn]")

    page.evaluate(axe)
    found = page.evaluate("axe.run().then((told) => told.violations)")

    serious = [row for row in found if row["impact"] in ("serious", "critical")]
    assert [(row["id"], [node["html"] for node in row["nodes"]]) for row in serious] == []


def test_it_fits_a_phone_and_large_text(
    playwright: Any, browser: Any, server: Running, video: Path
) -> None:
    phone = playwright.devices["Pixel 5"]
    for page in opened(browser.new_context(**phone, locale="en-GB"), server):
        translate(page, video)
        for size in ("100 %", "200 %"):
            page.select_option("#size", size)
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, size
        page.select_option("#size", "100 %")
        heights = page.evaluate(
            "[...document.querySelectorAll('button')].filter((b) => b.offsetParent)"
            ".map((b) => b.getBoundingClientRect().height)"
        )
        assert min(heights) >= 40


_SEEN = """['stop', 'camera', 'captions'].every((id) => {
  const { top, bottom } = document.getElementById(id).getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight + 1;
})"""


def test_a_phone_shows_camera_and_captions_together(
    launch: Callable[..., Any], playwright: Any, server: Running, folder: Path
) -> None:
    pictures = draw_moving([(1.0, 4.0)], 6.0)
    with_camera = launch(*write_camera(folder / "phone.y4m", pictures, 240, 320))
    phone = playwright.devices["Pixel 5"]
    context = with_camera.new_context(**phone, locale="en-GB", permissions=["camera"])
    for page in opened(context, server):
        page.locator("#start").click()
        until(page, _SAID.replace("COUNT", "1"), seconds=40)
        until(page, _SEEN)


def test_a_token_is_asked_for_or_taken_from_the_address(
    browser: Any, folder: Path, video: Path
) -> None:
    with serving(sure_sentences(), folder / "temporary", token=TOKEN) as server:
        context = browser.new_context(locale="en-GB")
        page = context.new_page()
        page.goto(server.url)
        page.wait_for_selector("#token-form:not([hidden])")
        page.fill("#token", "a-wrong-token-of-26-letters")
        page.keyboard.press("Enter")
        page.wait_for_selector("#token-problem:not(:empty)")
        page.fill("#token", TOKEN)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        twice = "const form = document.getElementById('token-form');"
        page.evaluate(f"() => {{ {twice} form.requestSubmit(); form.requestSubmit(); }}")
        page.wait_for_selector("#tools:not([hidden])")
        page.wait_for_load_state("networkidle")
        translate(page, video)
        assert sent.count("POST") == 1
        context.close()
        without = browser.new_context()  # where nothing may be kept
        without.add_init_script(
            """Object.defineProperty(window, 'sessionStorage', {
              get() { throw new DOMException('no', 'SecurityError'); } })"""
        )
        for page in opened(without, server, f"#token={TOKEN}"):
            assert TOKEN not in page.url
            translate(page, video)


def test_a_speech_model_reads_recordings(browser: Any, folder: Path) -> None:
    processor = TranslatorProcessor(
        tiny_processor().tokenizer, language="de", start_token="<de>", audio_rate=16000
    )
    speech = SentenceTranslator(SignTranslator(tiny_speech_model(processor), processor))
    sound = write_sound(folder / "talk.wav", np.random.default_rng(0).normal(0, 0.2, 32000))
    with serving(speech, folder / "temporary") as server:
        for page in opened(browser.new_context(locale="en-GB"), server):
            assert page.inner_text("h1") == "Speech to text"
            assert "voices" in page.inner_text("#limits")
            assert page.locator("#webcam").is_hidden()
            translate(page, sound)
            assert page.locator("#sentences > li").count() >= 1
            assert page.locator("#unplayable").is_hidden()


def write_camera(path: Path, pictures: Iterable[Any], width: int, height: int) -> list[str]:
    """Arguments for Chromium whose camera sees the pictures (height, width, 3), 25 a second."""
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("wrapped_avframe", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in pictures:
            wide = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
            frame = av.VideoFrame.from_ndarray(wide, "rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    return [*fakes, f"--use-file-for-fake-video-capture={path}"]


_WATCH = """() => {
  window.texts = [];
  window.changed = 0;
  const was = new Map();
  new MutationObserver(() => {
    for (const [place, span] of document.querySelectorAll('#captions .committed').entries()) {
      const before = was.get(span) ?? '';
      if (!span.textContent.startsWith(before)) window.changed += 1;
      was.set(span, span.textContent);
    }
    for (const span of document.querySelectorAll('#captions .uncommitted')) {
      if (span.textContent) window.texts.push(span.textContent);
    }
  }).observe(document.getElementById('captions'), { childList: true, subtree: true,
    characterData: true });
}"""


_SAID = """[...document.querySelectorAll('.committed')]
  .filter((e) => e.textContent).length >= COUNT"""


def test_a_webcam_is_captioned(
    launch: Callable[..., Any], server: Running, folder: Path, tmp_path: Path
) -> None:
    pictures = draw_moving([(1.0, 4.0), (6.0, 9.0)], 11.0)
    with_camera = launch(*write_camera(folder / "camera.y4m", pictures, 320, 240))
    context = with_camera.new_context(locale="en-GB", permissions=["camera"])
    for page in opened(context, server):
        page.evaluate(_WATCH)
        page.locator("#start").click()
        until(page, _SAID.replace("COUNT", "2"), seconds=40)
        assert "s" in page.inner_text("#latency")
        assert page.evaluate("document.documentElement.dataset.awake") in ("true", None)
        colours = page.evaluate(
            "['committed', 'uncommitted'].map((name) => getComputedStyle("
            "document.querySelector('.' + name)).color)"
        )
        assert colours[0] != colours[1]
        assert page.get_attribute("#captions", "aria-live") == "polite"
        assert page.locator(".uncommitted:not([aria-hidden])").count() == 0
        page.locator("#stop").click()
        until(page, "document.getElementById('start').disabled === false")

        assert page.evaluate("window.changed") == 0
        assert page.evaluate("window.texts.length") > 0
        assert page.inner_text("#live-status") == "Stopped."
        assert page.inner_text("#live-problem") == ""
        assert page.evaluate("document.getElementById('camera').srcObject") is None
        with page.expect_download() as waiting:
            page.locator("#live-save").click()
        waiting.value.save_as(tmp_path / "live.vtt")
        first = pysubs2.load(str(tmp_path / "live.vtt"))
        assert len(first) >= 2
        assert page.evaluate("localStorage.length") == 0

        said = page.locator("#captions").inner_text()
        page.locator("#start").click()
        until(page, _SAID.replace("COUNT", str(len(first) + 1)), seconds=40)
        page.locator("#stop").click()
        until(page, "document.getElementById('start').disabled === false")
        assert page.locator("#captions").inner_text().startswith(said)
        with page.expect_download() as waiting:
            page.locator("#live-save").click()
        waiting.value.save_as(tmp_path / "both.vtt")
        both = pysubs2.load(str(tmp_path / "both.vtt"))
        assert [one.text for one in both[: len(first)]] == [one.text for one in first]
        assert both[len(first)].start > first[-1].start
        page.locator("#live-clear").click()
        assert page.inner_text("#captions") == ""
        assert page.locator("#live-save").is_disabled()


def test_frames_of_a_webcam_are_averaged_where_the_canvas_leaves_pixels_out(
    launch: Callable[..., Any], server: Running, folder: Path
) -> None:
    stripes = np.zeros((240, 320, 3), np.uint8)
    stripes[:, ::3] = 255
    with_camera = launch(*write_camera(folder / "stripes.y4m", [stripes] * 25, 320, 240))
    context = with_camera.new_context(locale="en-GB", permissions=["camera"])
    context.add_init_script(
        """Object.defineProperty(CanvasRenderingContext2D.prototype, 'imageSmoothingQuality',
          { get() { return 'low'; }, set() {} })"""  # as Firefox has it
    )
    sent: list[bytes] = []

    def hear(told: Any) -> None:
        if isinstance(told, bytes):
            sent.append(told)

    for page in opened(context, server):
        page.on("websocket", lambda socket: socket.on("framesent", hear))
        page.locator("#start").click()
        end = time.monotonic() + 20
        while len(sent) < 10 and time.monotonic() < end:
            page.wait_for_timeout(100)
        page.locator("#stop").click()
        until(page, "document.getElementById('start').disabled === false")
    pixels = np.frombuffer(sent[9], np.uint8, offset=8)
    assert 60 < pixels.mean() < 110
    assert pixels.std() < 12


_CAPTIONED = """(() => { const rows = [...document.querySelectorAll('#captions p')];
  return rows.length > 1 && rows.at(-1).children[0].textContent
    && rows.at(-1).children[1].textContent; })()"""
_MOST_BYTES = 300_000


@pytest.mark.skipif("UNGLOSSED_PICTURES" not in os.environ, reason="writes files of the docs")
def test_pictures_for_the_docs(launch: Callable[..., Any], folder: Path) -> None:
    target, model = Path(os.environ["UNGLOSSED_PICTURES"]), os.environ["UNGLOSSED_MODEL"]
    video = Path(os.environ["UNGLOSSED_VIDEO"])
    with av.open(str(video)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    sentences, about = SentenceTranslator.from_pretrained(model), read_about(model)
    browser = launch(*write_camera(folder / "docs.y4m", pictures[300:], 420, 520))
    view = {"viewport": {"width": 900, "height": 900}, "permissions": ["camera"]}
    with serving(sentences, folder / "temporary", name="demo", about=about) as server:
        for page in opened(browser.new_context(**view, locale="en-GB"), server):
            translate(page, video)
            until(page, "document.querySelector('track')?.readyState === 2")
            row = page.locator("#sentences > li").nth(3)
            row.locator(".jump").click()
            until(page, "document.getElementById('player').currentTime > 15")
            page.evaluate("document.getElementById('player').pause()")
            row.get_by_role("button", name="What it looked at").click()
            row.locator(".words button").nth(3).click()
            until(page, "document.querySelectorAll('canvas[data-drawn]').length === 6")
            time.sleep(0.5)
            clip = {"x": 0, "y": 0, "width": 900, "height": 2100}
            shown = {"full_page": True, "clip": clip, "quality": 75}
            page.screenshot(path=target / "serve-page.jpg", **shown)
            page.locator("#start").click()
            until(page, _CAPTIONED, seconds=60)
            page.locator("#webcam").screenshot(path=target / "serve-webcam.jpg", quality=75)

    for name in ("serve-page.jpg", "serve-webcam.jpg"):
        assert (target / name).stat().st_size < _MOST_BYTES
