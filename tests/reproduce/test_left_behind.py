"""What a folder of `reproduce` holds from earlier calls: other plans, changed and damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from sentencepiece_models import write_mbart
from unglossed.corpora.registry import read_corpus
from unglossed.errors import InputError
from unglossed.reproduce.graph import held
from unglossed.reproduce.run import _trimmed, reproduce
from unglossed.reproduce.task import USAGE, read_usage

ROOT = Path(__file__).parents[2]
SOURCE = (
    Path(__file__)
    .with_name("plan.yaml")
    .read_text(encoding="utf-8")
    .replace("RECIPE", str(ROOT / "tests" / "end_to_end" / "tiny.yaml"))
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"))


def write_plan(folder: Path, source: str = SOURCE) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "plan.yaml"
    path.write_text(source, encoding="utf-8")
    return path


def begin(plan: Path, output: Path, spec: str, **settings: object) -> None:
    settings = {"dry_run": True, "tell": lambda _: None, **settings}
    reproduce(plan, output, corpus=spec, **settings)  # type: ignore[arg-type]


def test_a_model_is_trimmed_again_for_other_texts_and_another_model(
    spec: str, tmp_path: Path
) -> None:
    model = tmp_path / "mbart"
    model.mkdir()
    write_mbart(model)
    more = tiny.write_corpus(tmp_path / "corpus", num_train=9)
    told: list[str] = []

    def trim(corpus: str) -> Path:
        found = _trimmed([str(model)], read_corpus(corpus), tmp_path, False, told.append)
        return Path(found[str(model)])

    first, again, other = trim(spec), trim(spec), trim(more)
    assert first == again
    assert first.is_dir() and other.is_dir()
    assert first != other
    (model / "more.txt").write_text("a change")
    assert trim(spec) != first
    assert len(told) == 3


def test_a_models_folder_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    weights = tmp_path / "part" / "model.safetensors"
    weights.write_bytes(b"one")
    before = held(str(tmp_path))
    assert held(str(tmp_path)) == before

    weights.write_bytes(b"two")

    assert held(str(tmp_path)) != before
    assert held("a/hub-name") == "a/hub-name"


def test_another_plan_of_the_same_name_is_refused_and_an_edited_one_goes_on(
    spec: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    begin(write_plan(tmp_path / "a"), output, spec)
    more = SOURCE.replace("  - name: joint", "  - name: both_again\n  - name: joint")
    begin(write_plan(tmp_path / "b", more), output, spec)
    begin(write_plan(tmp_path / "a"), output, spec)

    other = SOURCE.replace("title: A tiny paper", "title: Another paper")
    with pytest.raises(InputError, match=r"plan.json: title: found 'A tiny paper', expected 'Ano"):
        begin(write_plan(tmp_path / "c", other), output, spec)
    rows = "title: A tiny paper\npaper: {recipe: demo}\nsmall: {recipe: demo}\nrows: [{name: x}]\n"
    with pytest.raises(InputError, match=r"plan.json: rows: found \['both', .*choose another"):
        begin(write_plan(tmp_path / "d", rows), output, spec, only=["x"])


def test_a_call_that_cannot_begin_leaves_nothing(spec: str, tmp_path: Path) -> None:
    plan, output = write_plan(tmp_path / "a"), tmp_path / "output"
    with pytest.raises(InputError):
        begin(plan, output, "phoenix14t:./nowhere")
    with pytest.raises(InputError, match="epochz"):
        begin(plan, output, spec, overrides=["epochz=1"])
    with pytest.raises(InputError, match="table9"):
        begin(plan, output, spec, only=["table9"])
    no_split = SOURCE.replace("split: test\n", "split: tset\n")
    with pytest.raises(InputError, match="tset"):
        begin(write_plan(tmp_path / "b", no_split), output, spec)
    assert not output.exists()
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis.tex"):
        begin(plan, own, spec)
    assert [file.name for file in own.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1" + "0" * 400])
def test_what_is_no_time_is_dropped(tmp_path: Path, value: str) -> None:
    (tmp_path / USAGE).write_text(f'{{"memory": 3, "seconds": {value}}}')

    assert read_usage(tmp_path).keys() <= {"memory"}
