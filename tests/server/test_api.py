"""The API: what a client gets is what the library finds, in every form, and nothing is left."""

from __future__ import annotations

import errno
import json
import re
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pympi
import pysubs2
import pytest

import tiny
from hostile import FILE, FORM_TYPE, code_of, form, head, paths, post
from moving import write_moving
from unglossed.inference.sentences import SentenceTranslator
from unglossed.inference.subtitles import render
from unglossed.inference.translator import SignTranslator
from unglossed.models.processing import TranslatorProcessor
from unglossed.server import api as server_api
from unglossed.server import protocol
from unglossed.server.decoder import Task
from unglossed.server.decoding import Decoding
from unglossed.server.problems import Problem
from unglossed.training.tokenizer import train_tokenizer

ADDRESS = "v1/video/translations"


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]


@pytest.fixture(scope="module")
def expected(sentences: SentenceTranslator, video: Path) -> list[Any]:
    return list(sentences.translate(video, attention=True))


@pytest.mark.parametrize("form", ["srt", "vtt", "tsv", "text"])
def test_a_form_is_what_the_library_writes(running, video, expected, form) -> None:
    answer = post(running, video.read_bytes(), response_format=form)

    assert answer.status_code == 200
    assert answer.text == render(expected, form, language="de", media="a.mp4")
    assert (
        f'filename="a.{"txt" if form == "text" else form}"' in answer.headers["content-disposition"]
    )


def test_a_job_whose_client_goes_before_its_name_is_told_is_not_done(running, video) -> None:
    def done() -> float:
        told = running.client.get("metrics").text
        return float((re.findall(r'jobs_total\{state="done"\} (\S+)', told) or [0])[0])

    before = done()
    body = form((FILE, video.read_bytes()))
    asked = head(running, FORM_TYPE, f"Content-Length: {len(body)}", path="/v1/jobs")
    with socket.create_connection(("127.0.0.1", running.port)) as wire:
        wire.sendall(asked + body)
    post(running, video.read_bytes())  # one is translated at a time, in turn

    assert done() == before + 1


@pytest.mark.parametrize("charset", ["undefined", "punycode"])
def test_a_charset_that_decodes_nothing_is_refused(running, video, charset: str) -> None:
    kind = FORM_TYPE.partition(": ")[2] + f"; charset={charset}"
    body = form(('name="model"', b"\xff\xfe-\xff"), (FILE, video.read_bytes()))

    answer = running.client.post(ADDRESS, content=body, headers={"content-type": kind})

    assert code_of(answer) == (400, "malformed_form")


def test_a_full_disk_is_told(start, video, monkeypatch) -> None:
    server = start()

    def full(self: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "fileno", full)
    assert code_of(post(server, video.read_bytes())) == (507, "no_space")


def test_a_fault_is_told_in_the_shape_of_every_refusal(start, video, monkeypatch, capfd) -> None:
    server = start()
    monkeypatch.setattr(server_api, "described", lambda engine: 1 / 0)

    answer = server.client.get("v1/models")

    assert code_of(answer) == (500, "fault")
    assert answer.headers["x-content-type-options"] == "nosniff"
    told, end = "", time.monotonic() + 10
    while "ZeroDivisionError" not in told and time.monotonic() < end:  # behind the answer
        told += capfd.readouterr().err
        time.sleep(0.01)
    assert "ZeroDivisionError" in told


def test_forms_of_json(running, video, expected) -> None:
    brief = post(running, video.read_bytes()).json()
    whole = post(running, video.read_bytes(), response_format="verbose_json", attention="true")

    assert brief == {"text": " ".join(one.text for one in expected)}
    content = whole.json()
    assert len(content["segments"]) == len(expected) == 2
    assert content["language"] == "de"
    assert content["duration"] == pytest.approx(7.0)
    for row, one in zip(content["segments"], expected, strict=True):
        assert row["text"] == one.text
        assert row["start"] == pytest.approx(one.start_seconds, abs=1e-3)
        assert [word["word"] for word in row["words"]] == [word.word for word in one.words]
        assert len(row["frame_seconds"]) == len(row["words"][0]["weights"])


def test_elan_names_the_clients_file_and_no_folder_of_the_server(running, video, tmp_path) -> None:
    answer = post(running, video.read_bytes(), "my talk.mp4", response_format="eaf")
    (tmp_path / "a.eaf").write_text(answer.text, encoding="utf-8")

    read = pympi.Eaf(str(tmp_path / "a.eaf"))

    assert len(read.get_annotation_data_for_tier("translation")) == 2
    (linked,) = read.get_linked_files()
    assert linked["MEDIA_URL"] == "file:///my%20talk.mp4"


def test_sentences_are_streamed_as_they_are_found(running, video, expected) -> None:
    files, data = {"file": ("a.mp4", video.read_bytes())}, {"stream": "true"}
    with running.client.stream("POST", ADDRESS, files=files, data=data) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = events_of(answer)

    assert [one["type"] for one in events] == ["transcript.text.delta"] * 2 + [
        "transcript.text.done"
    ]
    assert "".join(one["delta"] for one in events[:-1]) == events[-1]["text"]
    assert events[0]["text"] == expected[0].text


def test_a_job_tells_its_progress_and_is_gone_when_it_is_removed(running, video, expected) -> None:
    made = running.client.post("v1/jobs", files={"file": ("a.mp4", video.read_bytes())})
    assert made.status_code == 202
    address = made.headers["location"]
    with running.client.stream("GET", f"{address}/events") as answer:
        events = events_of(answer)

    told = [one["progress"] for one in events if one["type"] == "progress"]
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert running.client.get(address).json()["status"] == "done"
    subtitles = running.client.get(f"{address}/result?response_format=srt").text
    assert len(pysubs2.SSAFile.from_string(subtitles)) >= len(expected)
    assert running.client.delete(address).status_code == 204
    assert running.client.get(address).status_code == 404
    assert running.client.get(f"{address}/result").status_code == 404


def test_a_job_that_waits_or_runs_can_be_ended(start, video) -> None:
    server = start(queue=3)
    jobs = [
        server.client.post("v1/jobs", files={"file": video.read_bytes()}).headers["location"]
        for _ in range(3)
    ]
    assert code_of(server.client.get(f"{jobs[2]}/result")) == (409, "not_done")

    for job in reversed(jobs):
        assert server.client.delete(job).status_code == 204

    end = time.monotonic() + 10
    while server.client.get("v1/jobs").json()["waiting"] and time.monotonic() < end:
        time.sleep(0.02)
    assert server.client.get("v1/jobs").json() == {"waiting": 0, "most": 3}
    assert post(server, video.read_bytes()).status_code == 200
    assert paths(server.folder) == []


def test_a_full_queue_says_when_to_come_again(start, video) -> None:
    server = start(queue=1)
    job = server.client.post("v1/jobs", files={"file": video.read_bytes()}).headers["location"]

    answer = server.client.post(ADDRESS, files={"file": video.read_bytes()})

    assert code_of(answer) == (429, "queue_full")
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    server.client.delete(job)
    time.sleep(0.3)
    assert post(server, video.read_bytes()).status_code == 200


def test_a_refused_upload_that_comes_to_its_end_leaves_its_connection_open(
    running, monkeypatch
) -> None:
    """A client that comes again on it when it was told to would be cut off."""
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.2)
    body = bytes(4_000_000)
    with socket.create_connection(("127.0.0.1", running.port), timeout=3) as wire:
        wire.sendall(head(running, FORM_TYPE, f"Content-Length: {len(body)}") + body[:1000])
        assert wire.recv(65536).startswith(b"HTTP/1.1 413")
        wire.sendall(body[1000:])
        time.sleep(0.6)
        wire.setblocking(False)
        with suppress(BlockingIOError):  # the answer's body may have come behind its head
            wire.recv(65536)
        wire.settimeout(3)
        wire.sendall(head(running, path="/health", method="GET"))
        assert wire.recv(65536).startswith(b"HTTP/1.1 200")


def test_results_are_thrown_away_after_their_time(start, video) -> None:
    server = start(kept_seconds=0.3)
    job = server.client.post("v1/jobs", files={"file": video.read_bytes()}).headers["location"]
    with server.client.stream("GET", f"{job}/events") as answer:
        events_of(answer)
    assert server.client.get(job).status_code == 200

    time.sleep(0.5)

    assert code_of(server.client.get(job)) == (404, "no_job")


def test_only_so_many_results_are_kept(start, video) -> None:
    server = start(max_kept=1)
    jobs = []
    for _ in range(3):
        made = server.client.post("v1/jobs", files={"file": video.read_bytes()})
        jobs.append(made.headers["location"])
        with server.client.stream("GET", f"{jobs[-1]}/events") as answer:
            events_of(answer)

    assert [server.client.get(job).status_code for job in jobs] == [404, 404, 200]


def test_a_token_is_asked_for_everywhere_but_on_the_page(start, video) -> None:
    server = start(token="a-token-of-24-characters")
    stranger = httpx.Client(base_url=server.url)

    for path in ("", "page/main.js", "health"):
        assert stranger.get(path).status_code == 200, path
    for path in ("v1/models", "v1/jobs", "metrics", "openapi.json", "v1/jobs/x"):
        answer = stranger.get(path)
        assert code_of(answer) == (401, "no_token"), path
        assert answer.headers["www-authenticate"] == "Bearer"
    assert stranger.post(ADDRESS, files={"file": video.read_bytes()}).status_code == 401
    wrong = {"authorization": "Bearer a-token-of-24-characterz"}
    assert stranger.get("v1/models", headers=wrong).status_code == 401
    assert post(server, video.read_bytes()).status_code == 200


def test_behind_a_proxy_its_name_is_allowed(start, video) -> None:
    server = start(token="a-token-of-24-characters", allowed_hosts=("signs.example",))
    files = {"file": video.read_bytes()}
    headers = {"host": "signs.example", "origin": "https://signs.example"}

    assert server.client.post(ADDRESS, files=files, headers=headers).status_code == 200
    other = headers | {"origin": "https://signs.example.evil"}
    assert server.client.post(ADDRESS, files=files, headers=other).status_code == 403
    unknown = headers | {"host": "other.example"}
    assert server.client.post(ADDRESS, files=files, headers=unknown).status_code == 421


def test_every_answer_bears_the_headers_of_safety(running) -> None:
    for path in ("", "page/main.js", "page/none.js", "health", "v1/models", "v1/jobs/x"):
        headers = running.client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_the_model_and_its_bounds_are_described(running) -> None:
    content = running.client.get("v1/models").json()

    (model,) = content["data"]
    assert (model["id"], model["language"], model["input"]) == ("tiny", "de", "video")
    assert content["limits"]["max_bytes"] == 3_000_000


def test_openapi_describes_the_addresses(running) -> None:
    paths_told = running.client.get("openapi.json").json()["paths"]

    assert {f"/{ADDRESS}", "/v1/audio/transcriptions", "/v1/jobs/{job_id}", "/v1/models"} <= set(
        paths_told
    )
    form = paths_told[f"/{ADDRESS}"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["required"] == ["file"]


def test_what_is_done_is_counted(start, video) -> None:
    server = start()
    post(server, video.read_bytes())
    post(server, b"nothing")

    text = server.client.get("metrics").text

    assert 'unglossed_jobs_total{state="done"} 1.0' in text
    assert "unglossed_media_seconds_total 6." in text
    assert f'unglossed_requests_total{{route="/{ADDRESS}",status="415"}} 1.0' in text
    assert "a.mp4" not in text


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"decode_seconds": 0.05}, (413, "too_slow")),
        ({"decode_bytes": 250_000_000}, (422, "unreadable")),
    ],
)
def test_reading_an_upload_is_bounded(start, video, settings, code) -> None:
    assert code_of(post(start(**settings), video.read_bytes())) == code


def test_cpu_time_of_reading_is_told_as_what_it_is(video) -> None:
    with video.open("rb") as file:
        task = Task(
            path=f"/proc/self/fd/{file.fileno()}",
            kind="mp4",
            resize=36,
            crop=32,
            frame_share=0.5,
            audio_rate=None,
            max_seconds=60,
            max_pixels=640 * 480,
            cpu_seconds=0,
            num_bytes=2 * 2**30,
        )
        with Decoding(task, file.fileno(), 60.0) as decoding, pytest.raises(Problem) as refused:
            list(decoding.frames())
    assert (refused.value.status, refused.value.code) == (413, "too_slow")


def test_a_long_video_is_read_within_the_usual_bounds(start, tmp_path: Path) -> None:
    moving = [(begin, begin + 2.0) for begin in range(2, 88, 20)]
    long = write_moving(tmp_path / "long.mp4", moving, 90.0)

    content = post(start(), long.read_bytes(), response_format="verbose_json").json()

    assert content["duration"] == pytest.approx(90.0)
    assert len(content["segments"]) == len(moving)


def test_speech_is_transcribed_at_its_own_address(start, tmp_path: Path) -> None:
    tokenizer = tiny.tiny_processor().tokenizer
    processor = TranslatorProcessor(
        tokenizer, language="de", start_token="<de>", audio_rate=16000, max_seconds=4.0
    )
    translator = SentenceTranslator(SignTranslator(tiny.tiny_speech_model(processor), processor))
    samples = np.random.default_rng(0).normal(0, 2e-5, 130 * 16000)  # more than a part of it
    for begin in (1, 59, 125):
        samples[begin * 16000 : (begin + 2) * 16000] *= 10_000
    sound = tiny.write_sound(tmp_path / "talk.wav", samples)
    expected = list(translator.translate(sound))
    server = start(translator)

    answer = server.client.post(
        "v1/audio/transcriptions",
        files={"file": sound.read_bytes()},
        data={"response_format": "srt"},
    )

    assert answer.status_code == 200, answer.text
    assert answer.text == render(expected, "srt", language="de", media="")
    assert expected[-1].start_seconds > 120
    assert code_of(server.client.post(ADDRESS, files={"file": sound.read_bytes()}))[0] == 400
    assert paths(server.folder) == []


def test_a_client_chooses_one_of_the_models_languages(start, video) -> None:
    codes = ["de", "en"]
    tokenizer = train_tokenizer(tiny.SENTENCES, "de", 120, ["en"])
    processor = TranslatorProcessor(
        tokenizer,
        *("de", "<de>", 0.5, 36, 32),
        start_tokens={code: f"<{code}>" for code in codes},
    )
    model = tiny.make_sure(tiny.tiny_model(processor))
    each = {
        code: {"before": [], "after": [], "start": ids}
        for code, ids in processor.start_ids().items()
    }
    model.language_model.languages = each
    translator = SentenceTranslator(SignTranslator(model, processor))
    expected = {code: [one.text for one in translator.translate(video, to=code)] for code in codes}
    assert expected["de"] != expected["en"]
    server = start(translator)

    (told,) = server.client.get("v1/models").json()["data"]
    assert told["languages"] == codes
    for code in codes:
        answer = post(server, video.read_bytes(), language=code, response_format="verbose_json")
        content = answer.json()
        assert content["language"] == code
        assert [row["text"] for row in content["segments"]] == expected[code]
    refused = post(server, video.read_bytes(), language="fr")
    assert refused.status_code == 400
    assert "this model writes de, en, expected language=de or language=en" in refused.text
