"""The command line: what it prints, what it writes, how it ends."""

import gc
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import unglossed
from sentencepiece_models import write_mbart
from tiny import FRONTEND, tiny_translator, write_corpus, write_frames
from unglossed.cli import app
from unglossed.cli.common import quick_imports
from unglossed.models.frozen import installed_engines
from unglossed.training.recipe import find_recipe


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def assert_refused(result: Result, *parts: str) -> None:
    """One `error:` line that says all of this, nothing on standard output, exit code 2."""
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_translator(tmp_path_factory.mktemp("run") / "model").parent


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, unglossed.cli as cli\n"
        "try:\n    cli.app(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'cv2', 'av', 'sacrebleu', 'pydantic', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
    for verb in ("synth", "corpus", "train", "evaluate", "score", "translate", "trim", "doctor"):
        assert f"\n  {verb} " in result.stdout


def modules_after(*words: object) -> set[str]:
    """Packages that a verb has imported when it is done."""
    code = (
        "import sys, unglossed.cli as cli\n"
        f"sys.argv[1:] = {[str(word) for word in words]!r}\n"
        "try:\n    cli.main()\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split(" "))


def test_score_needs_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("morgen regnet es\n", encoding="utf-8")
    modules = modules_after("score", path, path, "--language", "de")
    assert "sacrebleu" in modules
    assert not modules & {"torch", "transformers", "numpy", "cv2", "av", "matplotlib"}


def test_score_segments_needs_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("start,end\n1,2\n", encoding="utf-8")
    modules = modules_after("score-segments", path, path)
    assert "numpy" in modules
    assert not modules & {"torch", "transformers", "sacrebleu", "matplotlib"}


def test_translate_imports_only_what_it_needs(model: Path, tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", 6)
    modules = modules_after("translate", model, clip, "--max-new-tokens", 2)
    assert "transformers" in modules
    ours = {name for name in modules if name.startswith("unglossed.")}
    assert not {name for name in ours if name.split(".")[1] in ("training", "evaluation")}
    unneeded = {"torch._dynamo.eval_frame", "torch.distributed.tensor", "sympy"}
    assert not modules & unneeded
    unneeded = {"peft", "onnx", "onnxruntime", "matplotlib", "sacrebleu", "bitsandbytes"}
    assert not modules & (unneeded | {"tensorboard", "torch.utils.tensorboard", "pyarrow"})


NEEDS_THE_COMPILER = [
    "import torch._dynamo.config as config; config.suppress_errors",
    "import torch; torch._dynamo.config.suppress_errors",
    "from torch._dynamo import OptimizedModule",
    "import torch._dynamo._trace_wrapped_higher_order_op as t; t.TransformGetItemToIndex()",
    "from transformers.masking_utils import TransformGetItemToIndex as T; T().__enter__",
]


def test_a_postponed_compiler_is_imported_once_something_needs_it() -> None:
    """Each statement in a process of its own, forked from one that has transformers."""
    code = f"""
import os, sys
from unglossed.cli import common
common.own_process = True
with common.quick_imports():
    from transformers import PreTrainedModel
from torch._dynamo import disable
assert disable(len) is len
modules = "torch._dynamo.eval_frame", "torch.distributed.tensor"
assert not {{*modules}} & {{*sys.modules}}
for statement in {NEEDS_THE_COMPILER}:
    process = os.fork()
    if process:
        assert os.waitpid(process, 0)[1] == 0, statement
        continue
    exec(statement)
    import torch
    assert torch._dynamo.__file__ and modules[0] in sys.modules
    assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist() == [2, 2]
    os._exit(0)
print("all")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all\n"


def test_garbage_is_collected_again_after_an_import_that_failed() -> None:
    with pytest.raises(ImportError), quick_imports():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


def test_version_and_module() -> None:
    command = [sys.executable, "-m", "unglossed", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"unglossed {unglossed.__version__}\n"


@pytest.mark.parametrize("name", [name for name in unglossed.__all__ if name != "__version__"])
def test_every_public_name_can_be_imported(name: str) -> None:
    assert callable(getattr(unglossed, name))
    assert name in dir(unglossed)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tranlsate'"):
        _ = unglossed.tranlsate


def test_score_by_hand_as_text_and_json(tmp_path: Path) -> None:
    hypotheses, references = tmp_path / "hyp.txt", tmp_path / "ref.txt"
    hypotheses.write_text("morgen scheint die sonne im süden\n", encoding="utf-8")
    references.write_text("morgen scheint die sonne im norden\n", encoding="utf-8")
    text = run("score", hypotheses, references, "--language", "de")
    assert text.exit_code == 0
    assert text.stdout.startswith("BLEU-1..4 83.33 / 81.65 / 79.37 / 75.98  chrF ")
    assert "tok:13a" in text.stdout
    content = json.loads(run("score", hypotheses, references, "--language=de", "--json").stdout)
    assert content["bleu2"] == pytest.approx(100 * (2 / 3) ** 0.5, abs=1e-4)
    assert content["num_samples"] == 1


def test_score_counts_empty_lines_and_only_line_feeds_end_one(tmp_path: Path) -> None:
    hypotheses, references = tmp_path / "hyp.txt", tmp_path / "ref.txt"
    hypotheses.write_text("eins\n\nzwei\u2028drei\n", encoding="utf-8")
    references.write_text("eins\nzwei\ndrei\n", encoding="utf-8")
    result = run("score", hypotheses, references, "--language", "de", "--json")
    assert json.loads(result.stdout)["num_samples"] == 3
    assert "1 of 3 hypotheses are blank" in result.stderr
    assert "1 x line separators (U+2028) in 3 lines" in result.stderr
    hypotheses.write_text("eins\n\nzwei\n", encoding="utf-8")
    assert_refused(run("score", references, hypotheses, "--language", "de"), "hyp.txt, line 2")


def test_score_refuses_files_that_do_not_fit(tmp_path: Path) -> None:
    one, two, latin = (tmp_path / name for name in ("one.txt", "two.txt", "latin.txt"))
    one.write_text("a\n", encoding="utf-8")
    two.write_text("a\nb\n", encoding="utf-8")
    latin.write_bytes("süden\n".encode("latin-1"))
    assert_refused(run("score", one, two, "--language", "de"), "found 1 and 2 sentences")
    assert_refused(run("score", one, one, "--language", "cn"), "found 'cn'", "zh")
    assert_refused(run("score", one, one, "--language", "ase"), "found 'ase'", "written text")
    assert_refused(
        run("score", one, tmp_path / "none.txt", "--language", "de"), "none.txt", "No such"
    )
    assert_refused(run("score", one, tmp_path, "--language", "de"), str(tmp_path), "directory")
    assert_refused(run("score", one, latin, "--language", "de"), "latin.txt", "0xfc at 1", "UTF-8")


def test_synth_refuses_a_size_that_is_none(tmp_path: Path) -> None:
    for size in ("210", "210x", "0x260", "axb", "-1x5"):
        assert_refused(run("synth", tmp_path / "out", f"--size={size}"), f"'{size}'", "210x260")
    mp4 = ("--size", "21x30", "--media", "mp4")
    assert_refused(run("synth", tmp_path / "out", *mp4), "21x30", "even numbers")
    assert_refused(run("synth", tmp_path / "out", "--sentences", 3), "found 3, expected 4")
    assert not (tmp_path / "out").exists()


def test_translate_as_text(model: Path, tmp_path: Path) -> None:
    clips = [write_frames(tmp_path / f"clip{index}", 6 + index) for index in range(2)]
    limits = ("--max-new-tokens", 5, "--beams", 3)
    one = run("translate", model, clips[0], *limits)
    both = run("translate", model, *clips, *limits)
    assert one.exit_code == both.exit_code == 0, one.output
    assert both.stdout.splitlines()[0] == f"{clips[0]}\t{one.stdout.removesuffix(chr(10))}"
    n_best = run("translate", model, clips[0], *limits, "--n-best", 3).stdout.splitlines()
    assert len(n_best) == 4
    assert n_best[0] == n_best[1].split("\t")[1]


def test_translate_as_json_into_a_file(model: Path, tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", 8)
    output = tmp_path / "new" / "texts.json"
    result = run(
        *("translate", model, clip, "--format", "json", "--n-best", 2),
        *("--max-new-tokens", 5, "--output", output),
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    (row,) = json.loads(output.read_text(encoding="utf-8"))
    assert list(row) == ["media", "text", "score", "n_best"]
    assert row["media"] == str(clip)
    assert row["n_best"][0] == {"text": row["text"], "score": row["score"]}
    assert len(row["n_best"]) == 2


def test_one_bad_file_does_not_keep_the_others_from_being_translated(model, tmp_path) -> None:
    good = [write_frames(tmp_path / f"good{index}", 6) for index in range(2)]
    bad = tmp_path / "bad.mp4"
    bad.touch()
    result = run("translate", model, good[0], bad, good[1], "--max-new-tokens", 4)
    assert_refused(result, "bad.mp4: the file is empty")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == list(map(str, good))


def truncated_png(folder: Path) -> Path:
    clip = write_frames(folder / "clip", 4)
    picture = clip / "images0003.png"
    picture.write_bytes(picture.read_bytes()[:-20])
    return clip


def zero_byte_video(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def audio_only_video(folder: Path) -> Path:
    path = folder / "audio.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def missing_folder(folder: Path) -> Path:
    return folder / "missing"


def empty_folder(folder: Path) -> Path:
    path = folder / "empty"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (truncated_png, "images0003.png"),
        (zero_byte_video, "empty.mp4"),
        (audio_only_video, "no video stream"),
        (missing_folder, "missing"),
        (empty_folder, "found no frame"),
    ],
)
def test_unreadable_video_is_one_line(
    make: Callable[[Path], Path], said: str, model: Path, tmp_path: Path
) -> None:
    result = run("translate", model, make(tmp_path))
    assert_refused(result, said)
    assert result.stdout == ""


def test_model_that_is_none_is_one_line(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", 4)
    assert_refused(run("translate", tmp_path / "none", clip), "none: no such folder")
    assert_refused(run("translate", clip, clip), "found neither model/config.json nor config.json")


def test_evaluate_prints_and_writes_the_scores(model: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    words = ("evaluate", model, "--corpus", corpus, "--output", tmp_path / "out")
    result = run(*words, "--split", "dev", "--max-new-tokens", 5)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("BLEU-1..4 ")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["num_samples"] == 2
    assert f"chrF {metrics['chrf']:.2f}" in result.stdout


def six_fields(root: Path) -> None:
    path = root / "PHOENIX-2014-T/annotations/manual/PHOENIX-2014-T.test.corpus.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2].rpartition("|")[0]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def no_frame_folder(root: Path) -> None:
    folder = root / "PHOENIX-2014-T/features/fullFrame-210x260px/test/test-1"
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize(("damage", "said"), [(six_fields, "3"), (no_frame_folder, "test-1")])
def test_damaged_corpus_is_one_line(
    damage: Callable[[Path], None], said: str, model: Path, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    damage(tmp_path / "corpus")
    result = run("evaluate", model, "--corpus", corpus, "--output", tmp_path / "out")
    assert_refused(result, said)
    assert not (tmp_path / "out").exists()


def test_missing_and_empty_corpus_are_one_line(model: Path, tmp_path: Path) -> None:
    for folder in (missing_folder(tmp_path), empty_folder(tmp_path)):
        spec = f"phoenix14t:{folder}"
        result = run("evaluate", model, "--corpus", spec, "--output", tmp_path / "out")
        assert_refused(result, str(folder))


def test_check_and_train_agree_that_a_corpus_does_not_fit_a_recipe(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 2, 1)
    recipe = tmp_path / "speech.yaml"
    tiny = Path(__file__).with_name("end_to_end") / "tiny.yaml"
    audio = "\naudio: {audio_rate: 16000, max_seconds: 8}\n"
    recipe.write_text(tiny.read_text(encoding="utf-8") + audio, encoding="utf-8")
    hears = f"stages.1.encoder={json.dumps({'config': {'frontend': FRONTEND}})}"
    assert run("corpus", "check", corpus, "--recipe", tiny).exit_code == 0
    result = run("corpus", "check", corpus, "--recipe", recipe)
    said = "found video only in all 4 media"
    assert result.exit_code == 1
    assert "does not fit the recipe: 1" in result.stdout
    assert said in result.stdout
    refused = run("train", recipe, "--corpus", corpus, "--output", tmp_path / "run", hears)
    assert_refused(refused, said.replace("4", "3"), "expected audio")  # test is not trained on


def test_check_takes_changes_of_the_recipe_as_train_does(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 2, 1)
    tiny = Path(__file__).with_name("end_to_end") / "tiny.yaml"
    check = ("corpus", "check", corpus, "--recipe", tiny)
    longer = "clip longer than the limit: 4"
    assert longer not in run(*check).stdout
    assert longer in run(*check, "video.max_frames=1").stdout
    train = ("train", tiny, "--corpus", corpus, "--output", tmp_path / "run")
    for wrong in ("sede=1", "seed"):
        refused = run(*check, wrong)
        assert_refused(refused, wrong.split("=")[0])
        assert refused.stderr == run(*train, wrong).stderr
    assert_refused(run("corpus", "check", corpus, "seed=1"), "'seed=1'", "--recipe")


def test_train_looks_at_clips_first_unless_told_not_to(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 2, 1)
    (picture,) = tmp_path.rglob("train/train-1/images0001.png")
    picture.write_bytes(picture.read_bytes()[:40])
    tiny = Path(__file__).with_name("end_to_end") / "tiny.yaml"
    words = ("train", tiny, "--corpus", corpus, "--output", tmp_path / "run")
    assert_refused(run(*words, "--max-damaged", "0"), "train-1", "images0001.png")
    text_alone = ("stages.1.skip=true", "stages.2.skip=true")
    assert run(*words, *text_alone, "--no-check").exit_code == 0


def test_misspelt_key_in_a_recipe_is_one_line(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    recipe = tmp_path / "recipe.yaml"
    shipped = find_recipe("demo").read_text(encoding="utf-8")
    recipe.write_text(shipped + "\nsede: 1\n", encoding="utf-8")
    result = run("train", recipe, "--corpus", corpus, "--output", tmp_path / "run")
    assert_refused(result, "recipe.yaml", "sede")
    assert not (tmp_path / "run").exists()


def test_misspelt_override_is_one_line(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    result = run("train", "demo", "--corpus", corpus, "--output", tmp_path / "run", "sede=1")
    assert_refused(result, "sede")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_model_is_one_line(tmp_path: Path, name: str) -> None:
    folder = tiny_translator(tmp_path / "model")
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    result = run("translate", folder, write_frames(tmp_path / "clip", 4))
    assert_refused(result, str(folder / name), "cannot be loaded as a ")


def test_evaluate_refuses_a_file_as_its_output_folder(model: Path, tmp_path: Path) -> None:
    taken = tmp_path / "scores"
    taken.write_text("mine")
    spec = write_corpus(tmp_path / "corpus", 1, 1)
    result = run("evaluate", model, "--corpus", spec, "--split", "dev", "--output", taken)
    assert_refused(result, str(taken), "expected a folder")
    assert taken.read_text() == "mine"


def test_no_translation_leaves_the_output_file_alone(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "told.json"
    output.write_text("before")
    broken = zero_byte_video(tmp_path)
    assert_refused(run("translate", model, broken, "--format", "json", "--output", output), "empty")
    assert output.read_text() == "before"


def test_doctor_finds_what_the_tests_run_on() -> None:
    result = run("doctor")
    lines = result.stdout.splitlines()
    assert result.exit_code == (1 if any(line.startswith("MISSING") for line in lines) else 0)
    subjects = [line.split()[1] for line in lines]
    assert {"python", "torch", "transformers", "bfloat16", "gpu", "disk"} <= set(subjects)
    assert any("h264" in line for line in lines)
    (encoder,) = (line for line in lines if line.split()[1] == "encoder")
    assert re.search(r"(torch|folded|openvino) in \w+: [1-9][\d,]* frames a second", encoder)
    if not torch.cuda.is_available():
        assert all(re.search(rf"\b{engine}\b", encoder) for engine in installed_engines())


def test_trim_cuts_a_model_to_a_corpus_and_refuses_a_second_time(tmp_path: Path) -> None:
    spec = f"{write_corpus(tmp_path / 'corpus', 4, 1)}?media=none"
    shutil.rmtree(tmp_path / "corpus/PHOENIX-2014-T/features")  # texts are enough
    model, out = tmp_path / "model", tmp_path / "trimmed"
    model.mkdir()
    write_mbart(model)
    report = json.loads(run("trim", model, "--text", spec, "--output", out, "--json").stdout)
    assert report["num_texts"] == 4
    assert report["tokens_after"] < report["tokens_before"]
    assert_refused(run("trim", model, "--text", spec, "--output", out), str(out), "empty")
    assert_refused(run("trim", model, "--text", "spec", "--output", out), "'spec'", "kind:path")


def test_trim_keeps_the_tokens_of_a_files_lines(tmp_path: Path) -> None:
    spec = write_corpus(tmp_path / "corpus", 4, 1)
    model, prompts = tmp_path / "model", tmp_path / "prompts.txt"
    model.mkdir()
    write_mbart(model)
    wanted = ["trim", model, "--text", spec, "--json", "--output"]
    prompts.write_text("tomorrow it will be windy\n\nwarm\n", encoding="utf-8")
    kept = [
        json.loads(run(*wanted, tmp_path / name, *options).stdout)["tokens_after"]
        for name, options in (("without", []), ("with", ["--keep", prompts]))
    ]
    assert kept[0] < kept[1]
    missing = tmp_path / "none.txt"
    assert_refused(run(*wanted, tmp_path / "out", "--keep", missing), str(missing))
    prompts.write_bytes(b"w\xe4rmer\n")
    assert_refused(run(*wanted, tmp_path / "out", "--keep", prompts), "line 1", "not UTF-8")
