"""The benchmarks run, at a size at which their ratios mean nothing, and both ways agree."""

import os
import re
from pathlib import Path

from moving import write_moving
from processes import run_python
from tiny import tiny_translator
from unglossed.inference.subtitles import Cue, write_srt

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *options: str) -> str:
    """What a benchmark prints."""
    done = run_python([BENCHMARKS / script, *options])
    assert done.returncode == 0, done.stderr
    return done.stdout


def number(pattern: str, text: str) -> float:
    """The number that stands where the pattern has its group."""
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1])


def test_both_ways_of_stage_1_have_the_same_losses() -> None:
    told = run("stage1.py", "--size", "small", "--pairs", "1", "--lengths", "6", "6")

    assert number(r"apart by (\S+) of their value", told) < 1e-5
    assert number(r"peak memory: ([\d.]+)", told) > 0.1
    assert number(r"; ([\d.]+) times as fast", told) > 0


def test_memory_of_long_clips_is_told() -> None:
    told = run("stage1.py", "--size", "small", "--memory", "4", "8")

    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "one clip of 4 frames",
        "one clip of 8 frames",
    ]


def test_stored_features_are_those_that_the_encoder_gives() -> None:
    told = run("features.py", "--small", "--step", "--pairs", "1", "--clips", "6")

    assert number(r"largest difference of a feature, of the largest: (\S+)", told) < 1e-5
    assert number(r"from the cache ([\d.]+) times as fast", told) > 1


def test_both_loaders_give_the_same_pixels() -> None:
    told = run("loader.py", "--small", "--pairs", "1")

    assert number(r"mean ([\d.]+)", told) < 0.5
    assert number(r"loaded: ([\d.]+) times as fast", told) > 1


def test_a_step_is_shared_among_its_operations() -> None:
    told = run("stage1.py", "--size", "small", "--profile", "--lengths", "4", "4")

    shares = [float(share) for share in re.findall(r"^ *([\d.]+) %", told, re.MULTILINE)]
    assert 99 < sum(shares) < 101
    assert "convolution" in told


def test_the_page_of_a_gpu_is_written(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    options = ("--clips", "32", "--epochs", "2", "--pairs", "1", "--page", str(page))
    told = run("gpu.py", "--device", "cpu", "--tiny", *options)

    assert page.read_text(encoding="utf-8") in told
    assert number(r"stage 1, .*? \| ([\d.]+) ms", told) > 0
    assert number(r"stage 2, .*epochs: ([\d.]+) hours", told) >= 0
    # The plain loop of stage 1 normalises padding, too.
    assert number(r"stage 1 \| .*fast \| (\S+) \|", told) < 0.05
    assert number(r"stage 2 \| .*fast \| (\S+) \|", told) < 1e-5
    assert "nan" not in told
    lines = page.read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line[:1] != "|" and "](" not in line and ".py" not in line]
    assert max(map(len, texts)) <= 100


def test_without_a_gpu_what_would_be_checked_is_told(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = run_python([BENCHMARKS / "gpu.py", "--page", page], env=environment)

    assert done.returncode == 0
    first, *checks = done.stdout.splitlines()
    assert first.startswith("no GPU with CUDA was found: nothing is checked")
    assert len(checks) == 6
    assert not page.exists()


def test_every_precision_translates() -> None:
    told = run("translate.py", "--small", "--pairs", "1", "--threads", "1")

    for way in ("float32", "bfloat16", "int8"):
        assert number(rf"{way} ([\d.]+) times as fast", told) > 0
        assert number(rf"{way} ([\d.]+) GB at most", told) > 0.1


def test_a_frozen_encoder_gives_torchs_features_whatever_computes_it() -> None:
    once = ("--small", "--pairs", "1", "--threads", "1", "--cpu-time")
    told = run("encoder.py", *once, "--precision", "float32")

    assert number(r"folded: .*: ([\d.]+) times as fast", told) > 0
    assert number(r"folded: features (\S+) of the largest", told) < 1e-5
    told = run("translate.py", *once, "--bfloat16")
    for part in ("a clip to text", r"the encoder, by \w+", "the language model"):
        assert number(rf"bfloat16, {part}: ([\d.]+) times as fast", told) > 0


def test_both_kernels_of_attention_give_the_same() -> None:
    told = run("attention.py", "--pairs", "1", "--positions", "12", "40")

    assert number(r"rows of 12: plain ([\d.]+) times as fast", told) > 0
    assert number(r"rows of 40: .* apart by ([\d.]+)", told) < 0.02


def test_beams_that_share_a_reading_find_the_same_texts() -> None:
    told = run("beams.py", "--small", "--pairs", "1", "--positions", "6")

    assert number(r"(\d+) of 16 texts are the same", told) == 16
    assert number(r"read once ([\d.]+) times as fast", told) > 0


def test_a_server_answers_every_upload(tmp_path: Path) -> None:
    model = tiny_translator(tmp_path / "model")
    video = write_moving(tmp_path / "clip.mp4", [(0.4, 2.0)], 3.0)
    told = run(
        *("serve.py", str(model), str(video)),
        *("--uploads", "5", "--clients", "3", "--queue", "1"),
    )

    assert "5 of 5 uploads answered, 1 different texts" in told
    assert number(r"the queue was full (\d+) times", told) > 0
    assert "0 files left" in told


def test_a_long_video_is_timed_against_its_clips(tmp_path: Path) -> None:
    model = tiny_translator(tmp_path / "model")
    video = write_moving(tmp_path / "talk.mp4", [(5.0, 7.0), (9.0, 11.0)], 13.0)
    cues = [Cue(5.0, 7.0, "regen"), Cue(9.0, 11.0, "sonne")]
    video.with_suffix(".srt").write_text(write_srt(cues))

    told = run("long_videos.py", str(model), str(video), "--pairs", "1")

    assert "2 clips one by one, 2 sentences found by motion" in told
    assert number(r"([\d.]+) times as fast", told) > 0


def test_frames_of_a_video_are_pyavs() -> None:
    told = run("frames.py", "--pairs", "1")

    assert told.count("the same pixels") == 2
    assert number(r"84x104.*: ([\d.]+) times as fast", told) > 0


def test_a_step_on_poses_is_timed_against_one_on_pictures() -> None:
    told = run("signals.py", "--size", "small", "--pairs", "1", "--lengths", "6", "6")

    assert number(r"peak memory: ([\d.]+)", told) > 0.1
    assert number(r"; ([\d.]+) times as fast", told) > 0
