"""Readers that other packages add, and `read_corpus` as its docstring shows it."""

import os
import shutil
import sys
import tomllib
from pathlib import Path

import av
import numpy as np
import pytest

from processes import run_python
from unglossed.corpora.check import check_corpus
from unglossed.corpora.faults import FaultKind
from unglossed.corpora.registry import is_spec, read_corpus
from unglossed.errors import InputError

EXAMPLE = Path(__file__).parents[2] / "examples" / "corpus"
STEPS = """\
pancakes/1|anna|0|0.4|Mix flour, milk and eggs.
pancakes/2|anna|0.4|1|Bake it.
dev-soup/1|ben|0|1|Cut the onions.
test-tea/1|ben|0|0.8|Boil the water.
"""


def install(place: Path, entries: dict[str, str], name: str = "own") -> None:
    """Make a package known as an installation does: by metadata in a folder of `sys.path`."""
    info = place / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{kind} = {value}" for kind, value in entries.items()]
    (info / "entry_points.txt").write_text("[unglossed.corpora]\n" + "\n".join(lines))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of `sys.path` for packages."""
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return tmp_path / "packages"


@pytest.fixture
def example(tmp_path):
    """The package of `examples/corpus`, in a folder outside of the repository."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    install(tmp_path / "site", project["entry-points"]["unglossed.corpora"], "signed_recipes")
    shutil.copy(EXAMPLE / "signed_recipes.py", tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "recipes"
    (folder / "videos").mkdir(parents=True)
    (folder / "steps.txt").write_text(STEPS)
    for name in ("pancakes", "dev-soup", "test-tea"):
        with av.open(str(folder / "videos" / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width = stream.height = 32
            for number in range(30):
                frame = np.full((32, 32, 3), 8 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return folder


def test_the_example_reads_its_layout(example, corpus, monkeypatch):
    monkeypatch.syspath_prepend(example)
    spec = f"signed_recipes:{corpus}"
    assert is_spec(spec)
    found = read_corpus(spec)
    assert repr(found) == f"Corpus({spec!r}, language='en', train: 2, dev: 1, test: 1)"
    bake = found.split("train")[1]
    assert (bake.id, bake.signer, bake.start_seconds, bake.end_seconds) == (
        *("pancakes/2", "anna", 0.4, 1.0),
    )
    assert bake.media == corpus / "videos" / "pancakes.mp4"
    (corpus / "videos" / "test-tea.mp4").unlink()
    with pytest.raises(InputError, match=r"steps.txt, line 4: no media for 'test-tea/1', expected"):
        read_corpus(spec)
    assert "test" not in read_corpus(f"{spec}?missing=skip").splits
    (corpus / "videos" / "other.mp4").touch()
    report = check_corpus(f"{spec}?missing=skip")
    assert [fault.where for fault in report.faults.examples(FaultKind.MEDIA_WITHOUT_ROW)] == [
        str(corpus / "videos" / "other")
    ]


def test_corpus_check_knows_the_example(example, corpus):
    path = os.pathsep.join(filter(None, [str(example), *sys.path]))
    with (corpus / "steps.txt").open("a") as steps:
        steps.write("pancakes/3|anna|x|2|Eat.\npancakes/4|anna\n")
    done = run_python(
        ["-m", "unglossed", "corpus", "check", f"signed_recipes:{corpus}"],
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "steps.txt, line 5: times 'x' to '2', expected seconds" in done.stdout
    assert "line 6: found 2 fields, expected recipe/step|signer|from|to|text" in done.stdout


def test_unknown_kind_lists_those_of_other_packages(tmp_path, place):
    install(place, {"mine": "own_module:read"})
    with pytest.raises(InputError) as error:
        read_corpus(f"min:{tmp_path}")
    assert "unknown kind 'min', expected one of phoenix14t, " in str(error.value)
    assert str(error.value).endswith(", hub, mine")
    assert not is_spec(f"min:{tmp_path}")


@pytest.mark.parametrize(
    ("module", "value", "reason"),
    [
        (None, "own_module:read", "ModuleNotFoundError: No module named 'own_module'"),
        ("x = 1", "own_module:read", "AttributeError: module 'own_module' has no attribute 'read'"),
        ("1 / 0", "own_module:read", "ZeroDivisionError: division by zero"),
    ],
)
def test_reader_that_cannot_be_imported_is_one_line(
    tmp_path, place, monkeypatch, module, value, reason
):
    install(place, {"mine": value})
    if module is not None:
        (place / "own_module.py").write_text(module)
    monkeypatch.delitem(sys.modules, "own_module", raising=False)
    with pytest.raises(InputError) as error:
        read_corpus(f"mine:{tmp_path}")
    assert str(error.value) == (
        f"corpus 'mine:{tmp_path}': the reader own_module:read cannot be imported: {reason}"
    )
    sys.modules.pop("own_module", None)


def test_kind_of_two_packages_and_kinds_of_ours(tmp_path, place):
    install(place, {"mine": "one:read", "folder": "one:read"}, "one")
    install(place, {"mine": "two:read"}, "two")
    with pytest.raises(InputError, match=r"'mine' is in several packages \(one:read, two:read\)"):
        read_corpus(f"mine:{tmp_path}")
    with pytest.raises(InputError, match="found no row of the split 'train'"):  # ours come first
        read_corpus(f"folder:{tmp_path}?language=de")
