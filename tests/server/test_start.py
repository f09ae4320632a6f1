"""How a server starts: nothing is served that is not safe to serve."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner
from websockets.sync.client import connect

from moving import write_moving
from processes import run_python
from tiny import tiny_translator
from unglossed.cli import app
from unglossed.errors import InputError
from unglossed.server.guard import host_name
from unglossed.server.run import take_port
from unglossed.server.settings import ServerSettings, is_loopback

TOKEN = "a-token-of-24-characters"


def refusal(*options: str, env: dict[str, str] | None = None) -> str:
    """What `unglossed serve` says before it looks for its model."""
    done = CliRunner().invoke(app, ["serve", "no-model", *options], env=env)
    assert done.exit_code == 2
    return done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org"])
def test_other_addresses_need_a_token(host: str) -> None:
    told = refusal("--host", host)

    assert f"--host: found {host}" in told
    assert "UNGLOSSED_TOKEN" in told


def test_names_of_a_proxy_need_a_token() -> None:
    assert "--allowed-host: found example.org and no token" in refusal(
        "--allowed-host", "example.org"
    )


@pytest.mark.parametrize("token", ["short", "with a space in it.", "ümlaute-sind-nicht-erlaubt"])
def test_a_token_is_long_and_can_be_sent(token: str) -> None:
    told = refusal(env={"UNGLOSSED_TOKEN": token})

    assert f"--token: found {len(token)} characters" in told
    assert token not in told


def test_names_of_hosts_are_names() -> None:
    told = refusal("--token", TOKEN, "--allowed-host", "https://example.org/")

    assert "expected a name such as example.org" in told


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port: 127\.0\.0\.1, port {port}, cannot"):
            take_port(ServerSettings(port=port))


def test_which_addresses_are_this_machine_alone() -> None:
    assert all(
        is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3")
    )
    assert not any(
        is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.evil", "")
    )


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("127.0.0.1:8000", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("a:b", "a:b"),
        ("evil.example:8000", "evil.example"),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


def test_names_that_are_allowed_beside_loopback() -> None:
    behind = ServerSettings(token=TOKEN, allowed_hosts=("Signs.Example",))

    assert behind.host_names == {"localhost", "127.0.0.1", "[::1]", "signs.example"}
    assert "127.0.0.2" in (ServerSettings(host="127.0.0.2").host_names or ())
    assert ServerSettings(host="0.0.0.0", token=TOKEN).host_names is None


def test_the_command_serves_until_it_is_asked_to_end(tmp_path: Path) -> None:
    model = tiny_translator(tmp_path / "signs")
    command = [sys.executable, "-m", "unglossed", "serve", str(model), "--port", "0"]
    command += ["--max-megabytes", "7", "--max-minutes", "2", "--queue", "3", "--webcams", "0"]
    source = Path(__file__).parents[2] / "src"
    environment = os.environ | {"PYTHONPATH": str(source), "UNGLOSSED_TOKEN": TOKEN}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout is not None
        address = re.findall(r"http://\S+", process.stdout.readline())[0]
        assert httpx.get(f"{address}v1/models").status_code == 401
        headers = {"authorization": f"Bearer {TOKEN}"}
        told = httpx.get(f"{address}v1/models", headers=headers).json()
        jobs = httpx.get(f"{address}v1/jobs", headers=headers).json()
        with connect(address.replace("http", "ws") + "v1/live") as wire:
            wire.send(json.dumps({"type": "start", "token": TOKEN}))
            webcam = json.loads(wire.recv(timeout=10))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)

    assert told["data"][0]["id"] == "signs"
    assert (told["limits"]["max_bytes"], told["limits"]["max_seconds"]) == (7_000_000, 120.0)
    assert jobs["most"] == 3
    assert webcam["error"]["code"] == "busy"
    assert process.returncode == 128 + signal.SIGTERM
    assert err == "stopped by SIGTERM\n"
    assert TOKEN not in out + err


def test_nothing_is_left_when_the_server_is_killed(tmp_path: Path) -> None:
    model = tiny_translator(tmp_path / "signs")
    video = write_moving(tmp_path / "long.mp4", [(n, n + 2.5) for n in range(1, 60, 4)], 62.0)
    folder = tmp_path / "temporary"
    folder.mkdir()
    command = [sys.executable, "-m", "unglossed", "serve", str(model), "--port", "0"]
    source = Path(__file__).parents[2] / "src"
    environment = os.environ | {"PYTHONPATH": str(source), "TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.findall(r"http://\S+", process.stdout.readline())[0]
        made = httpx.post(f"{address}v1/jobs", files={"file": video.read_bytes()})
        assert made.status_code == 202
        process.kill()

    assert list(folder.iterdir()) == []


def test_what_reads_uploads_has_no_network() -> None:
    code = (
        "import socket, sys; from unglossed.server.decoder import leave_network\n"
        "left = leave_network()\n"
        "try: socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "except OSError: print('none')\n"
        "else: print('some' if left else 'not left')"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", code, str(server.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    if done.stdout == "not left\n":
        pytest.skip("this system keeps processes in the network")

    assert done.stdout == "none\n"


def test_help_loads_nothing_of_the_server() -> None:
    heavy = "fastapi", "uvicorn", "starlette", "prometheus_client", "websockets"
    done = run_python(
        ["-c", f"import sys, unglossed.cli; print([n for n in {heavy} if n in sys.modules])"]
    )

    assert done.stdout.strip() == "[]"
