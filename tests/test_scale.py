"""The files of examples/scale and the costs on docs/scale.md, as far as one machine can check."""

import importlib.util
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from experiments.costs import (
    CORPORA,
    Rates,
    exchange,
    features,
    first_stage,
    second_stage,
    take,
    write_table,
)
from unglossed.cli import app
from unglossed.errors import InputError

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples/scale"
PAGE = ROOT / "docs/scale.md"
SHELL = [*sorted(FOLDER.glob("*.sh")), *sorted(FOLDER.glob("*.sbatch"))]
MANIFESTS = sorted(FOLDER.glob("*.yaml"))


def find_strings(value: Any) -> Iterator[list[str]]:
    """The command lines in a manifest: lists of words, and entry points."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "entrypoint":
                yield shlex.split(inner)
            yield from find_strings(inner)
    elif isinstance(value, list):
        if value and all(isinstance(word, str) for word in value):
            yield value
        for inner in value:
            yield from find_strings(inner)


def find_commands(path: Path) -> list[list[str]]:
    """The words behind `unglossed` in each command line of a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        lines = [words for part in yaml.safe_load_all(text) for words in find_strings(part)]
        return [words[words.index("unglossed") + 1 :] for words in lines if "unglossed" in words]
    if path.suffix == ".md":
        text = "".join(re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
    lines = text.replace("\\\n", " ").splitlines()
    found = [re.search(r"^(?!\s*#).*\bunglossed ((?:train|extract|evaluate) .*)", x) for x in lines]
    return [shlex.split(match[1], comments=True) for match in found if match]


def parse(words: list[str]) -> None:
    """Have the command line read words, and run nothing."""
    command, context = typer.main.get_command(app), None
    rest = list(words)
    while hasattr(command, "resolve_command"):
        context = command.make_context("unglossed", rest, parent=context)
        _, command, rest = command.resolve_command(context, rest)
    command.make_context(words[0], rest, parent=context)


COMMANDS = [
    (path.name, words) for path in (*SHELL, *MANIFESTS, PAGE) for words in find_commands(path)
]


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_a_script_is_one_that_bash_reads(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True)

    assert done.stdout == ""


def test_every_file_has_a_command() -> None:
    names = {name for name, _ in COMMANDS}

    assert names == {path.name for path in (*SHELL, *MANIFESTS, PAGE)}


@pytest.mark.parametrize(("name", "words"), COMMANDS, ids=lambda x: x if isinstance(x, str) else "")
def test_the_command_line_knows_every_option(name: str, words: list[str]) -> None:
    parse(words)


def test_an_option_that_there_is_not_is_noticed() -> None:
    with pytest.raises(Exception, match="--no-such-option"):
        parse(shlex.split("train demo --corpus x --output y --no-such-option"))


def run_sbatch(path: Path, folder: Path, *words: str, **variables: str) -> list[str]:
    """Run a batch script with an srun that prints what each task would run."""
    (folder / "srun").write_text(
        "#!/bin/bash\nwhile [[ $1 == -* ]]; do shift; done\n"
        'export SLURM_PROCID=3 SLURM_LOCALID=1\nexec "$@"\n'
    )
    (folder / "scontrol").write_text("#!/bin/bash\nprintf 'gpu-01\\ngpu-02\\n'\n")
    (folder / "python").write_text('#!/bin/bash\necho "$MASTER_ADDR $RANK $LOCAL_RANK" "$@"\n')
    for name in ("srun", "scontrol", "python"):
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "SLURM_JOB_ID": "17", **variables}
    done = subprocess.run(
        ["bash", path, *words], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_batch_script_gives_each_process_its_rank_and_all_words(tmp_path: Path) -> None:
    """Slurm is not at hand: its commands are stand-ins, the script and its quoting are not."""
    words = run_sbatch(
        FOLDER / "train.sbatch",
        tmp_path,
        *("demo", "phoenix14t:/my", "runs/a", "seed=1"),
        SLURM_NTASKS="16",
        SLURM_JOB_NODELIST="gpu-[01-02]",
    )

    assert words[:3] == ["gpu-01", "3", "1"]
    assert words[3:10] == "-m unglossed train demo --corpus phoenix14t:/my --output".split()
    assert {"--resume", "--requeue", "seed=1"} <= set(words)


def test_the_array_gives_each_job_its_part(tmp_path: Path) -> None:
    words = run_sbatch(
        FOLDER / "extract.sbatch",
        tmp_path,
        *("demo", "corpus", "features", "run"),
        SLURM_ARRAY_TASK_ID="3",
        SLURM_ARRAY_TASK_COUNT="16",
        MASTER_ADDR="-",
        RANK="-",
        LOCAL_RANK="-",
    )

    assert words[-2:] == ["--shard", "3/16"]


def test_slurm_signals_the_processes_and_not_the_script() -> None:
    text = (FOLDER / "train.sbatch").read_text(encoding="utf-8")
    options = re.findall(r"^#SBATCH (\S+)$", text, flags=re.MULTILINE)

    assert "--signal=USR1@300" in options
    assert "--requeue" in options
    assert "--open-mode=append" in options  # or the log of the first time is lost


def load(path: Path) -> dict[str, Any]:
    (manifest,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return manifest


def check_pod(spec: dict[str, Any]) -> None:
    """What a pod must have: containers with image and resources, and every volume that is used."""
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    assert spec["containers"]
    for container in spec["containers"]:
        assert container["name"]
        assert container["image"]
        assert container["resources"]["limits"]["memory"]
        mounts = container.get("volumeMounts", [])
        assert {mount["name"] for mount in mounts} <= volumes
        assert all(isinstance(word, str) for word in container.get("command", []))


def test_the_job_saves_before_it_is_killed_and_starts_anew() -> None:
    job = load(FOLDER / "job.yaml")
    pod = job["spec"]["template"]["spec"]
    rules = {rule["action"]: rule for rule in job["spec"]["podFailurePolicy"]["rules"]}

    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert pod["restartPolicy"] == "Never"  # the one that podFailurePolicy allows
    assert rules["Ignore"]["onPodConditions"] == [{"type": "DisruptionTarget"}]
    exit_codes = rules["FailJob"]["onExitCodes"]
    assert exit_codes["containerName"] in {one["name"] for one in pod["containers"]}
    assert (exit_codes["operator"], exit_codes["values"]) == ("In", [2])
    assert pod["terminationGracePeriodSeconds"] > 30
    check_pod(pod)


def test_the_ray_job_makes_its_cluster_and_takes_it_away() -> None:
    job = load(FOLDER / "rayjob.yaml")
    cluster = job["spec"]["rayClusterSpec"]

    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    check_pod(cluster["headGroupSpec"]["template"]["spec"])
    for group in cluster["workerGroupSpecs"]:
        assert group["groupName"]
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        check_pod(group["template"]["spec"])


@pytest.fixture
def submitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("submitit")
    spec = importlib.util.spec_from_file_location("train_submitit", FOLDER / "train_submitit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "train_submitit", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOGS", tmp_path)
    return module


def test_submitit_runs_the_command_and_tells_its_failure(submitting: ModuleType) -> None:
    """By its executor for this machine: the job is pickled, and runs in a process of its own."""
    import cloudpickle
    import submitit

    cloudpickle.register_pickle_by_value(submitting)  # as for a script that is run
    good = submitting.main(["--help"], cluster="local")
    bad = submitting.main(["no_such_recipe", "--corpus", "x", "--output", "y"], cluster="local")

    assert good.result() == 0
    with pytest.raises(submitit.core.utils.FailedJobError, match="ended with code 2"):
        bad.result()


def test_a_checkpoint_is_waited_for_within_a_signal(
    submitting: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit asks in a signal handler, in the middle of the wait for the process."""

    class Short(submitting.Training):  # type: ignore[name-defined, misc]
        @property
        def command(self) -> list[str]:
            wait = (
                "import signal; signal.signal(signal.SIGUSR1, lambda *_: exit(3)); signal.pause()"
            )
            return [sys.executable, "-c", wait]

    monkeypatch.setattr(submitting, "MACHINES", 1)
    monkeypatch.setattr(submitting, "GPUS", 1)
    training, asked = Short(["demo"]), []
    before = signal.signal(signal.SIGALRM, lambda *_: asked.append(training.checkpoint()))
    signal.alarm(2)
    try:
        with pytest.raises(RuntimeError, match="ended with code 3"):
            training()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

    assert len(asked) == 1


def test_what_submitit_queues_again_names_no_checkpoint(submitting: ModuleType) -> None:
    import cloudpickle

    words = ["demo", "--corpus", "phoenix14t:x", "--output", "runs/a"]
    again = submitting.Training(words).checkpoint().function
    again = cloudpickle.loads(cloudpickle.dumps(again))

    assert again.command[1:] == ["-m", "unglossed", "train", *words, "--resume"]
    parse(again.command[3:])


def test_the_page_has_the_table_that_the_script_prints() -> None:
    assert write_table(CORPORA, Rates()) in PAGE.read_text(encoding="utf-8")


def test_stage_1_on_two_gpus_takes_the_hours_of_the_paper() -> None:
    phoenix = CORPORA[0]

    assert first_stage(phoenix, 2, Rates()).hours == pytest.approx(4.75, rel=0.01)


def test_gpus_beyond_the_clips_of_a_step_bring_nothing() -> None:
    how2sign, rates = CORPORA[1], replace(Rates(), least_step1=1e-9)

    few, many = (first_stage(how2sign, number, rates) for number in (8, 64))

    assert many.hours == pytest.approx(few.hours)
    assert many.bound == "batch: 8 GPUs work"


def test_what_costs_most_is_named() -> None:
    corpus = replace(CORPORA[2], batch1=512)
    slow_cores, slow_disk = replace(Rates(), milliseconds=50), replace(Rates(), storage=1)

    assert first_stage(corpus, 8, slow_cores).bound == "reading"
    assert features(corpus, 64, slow_disk).bound == "storage"
    assert second_stage(corpus, 64, replace(Rates(), outside=0.1)).bound == "network"
    assert exchange(1e9, 1, Rates()) == 0


def test_own_rates_and_an_own_corpus_change_the_table() -> None:
    (yours,), rates = take(["clips=1000", "seconds=5", "frames=910", "price=2"])
    table = write_table((yours,), rates)

    assert (yours.name, yours.clips, rates.frames) == ("yours", 1000, 910)
    assert "| price |" in table
    assert len(table.splitlines()) == 5


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("frames=0", "frames=0: expected KEY=VALUE with a number above 0"),
        ("frames", "frames: expected KEY=VALUE"),
        ("frmaes=3", "frmaes: no such key; there are batch1, "),
        ("clips=3", "clips: give seconds="),
    ],
)
def test_what_is_no_rate_is_told(word: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        take([word])
