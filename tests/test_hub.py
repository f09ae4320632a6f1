"""What others saved is loaded in one place: its code never runs, its faults are one line."""

from __future__ import annotations

import ast
import builtins
import json
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer, MBartConfig

import tiny
import unglossed
from unglossed import hub
from unglossed.errors import InputError
from unglossed.models.language_model import light_t_config
from unglossed.training.sources import load_language_model, load_trained
from unglossed.trimming.trim import trim_model

SOURCES = Path(unglossed.__file__).parent
RAN = "code-of-the-model-ran"
CODE = dict.fromkeys(
    ("AutoConfig", "AutoModel", "AutoModelForSeq2SeqLM", "AutoModelForCausalLM"), "own.Thing"
)


@pytest.fixture(autouse=True)
def never_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A question on standard input, or code that ran, fails a test."""

    def ask(*_: Any) -> str:
        (tmp_path / RAN).touch()
        return "y"

    monkeypatch.setattr(builtins, "input", ask)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A translator as an earlier version saved it, with Python code beside it."""
    folder = tiny.tiny_translator(tmp_path / "model")
    return with_code(folder, tmp_path)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A language model with its tokenizer, with Python code beside it."""
    processor = tiny.tiny_processor()
    config = MBartConfig(
        vocab_size=len(processor.tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=32,
    )
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path / "published")
    processor.tokenizer.save_pretrained(tmp_path / "published")
    return with_code(tmp_path / "published", tmp_path)


def with_code(folder: Path, root: Path) -> Path:
    code = f"import pathlib\npathlib.Path({str(root / RAN)!r}).touch()\nclass Thing: pass\n"
    (folder / "own.py").write_text(code, encoding="utf-8")
    return folder


def change(path: Path, **values: Any) -> None:
    """Change values of a JSON file; `a__b` is the key b within a, and None takes a key away."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    for key, value in values.items():
        *parents, last = key.split("__")
        place = fields
        for name in parents:
            place = place[name]
        place[last] = value
    path.write_text(json.dumps(fields), encoding="utf-8")


def refusal(call: Any) -> str:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def translate(folder: Path, tmp_path: Path) -> Any:
    clip = tmp_path / "clip"
    clip = clip if clip.is_dir() else tiny.write_frames(clip, 6)
    return unglossed.translate(folder, clip, max_new_tokens=4)[0]


def test_no_other_module_loads_from_transformers() -> None:
    loading = {"from_pretrained", "from_config", "cached_file", "cached_files", "get_config_dict"}
    loading |= {"hf_hub_download", "snapshot_download", "load_pretrained_model", "pipeline"}
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", None))
            if isinstance(node, ast.ImportFrom):
                name = next((one.name for one in node.names if one.name in loading), None)
            of = ast.unparse(node.value) if isinstance(node, ast.Attribute) else ""
            ours = of in ("SignTranslator", "SentenceTranslator", "super()")  # by the hub alone
            if name in loading and not ours and path.name != "hub.py":
                found.append(f"{path.relative_to(SOURCES)}:{node.lineno} {name}")
    assert not found


def test_the_one_place_never_trusts() -> None:
    tree = ast.parse((SOURCES / "hub.py").read_text(encoding="utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("from_pretrained", "from_config")
    ]
    assert len(calls) == 2
    for call in calls:
        assert "trust_remote_code=False" in ast.unparse(call)


@pytest.mark.parametrize(
    ("file", "values", "told"),
    [
        ("config.json", {"model_type": "own", "auto_map": CODE}, ["auto_map", "'own'"]),
        ("config.json", {"model_type": "own"}, ["model_type: found 'own'"]),
        (
            "config.json",
            {"language_model__model_type": "resnet", "language_model__auto_map": CODE},
            ["no model can be built"],
        ),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Thing"]}},
            ["auto_map", "tokenizer_class 'Own'"],
        ),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "Own", "auto_map": ["own.Thing", None]},
            ["auto_map", "tokenizer_class 'Own'"],
        ),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "own.Thing"}}, ["auto_map"]),
        ("processor_config.json", {"processor_class": "Own"}, ["processor_class: found 'Own'"]),
    ],
)
def test_code_of_a_translator_never_runs(
    file: str, values: dict[str, Any], told: list[str], model: Path, tmp_path: Path
) -> None:
    change(model / file, **values)
    message = refusal(lambda: translate(model, tmp_path))
    for words in (str(model / file), *told):
        assert words in message
    assert not (tmp_path / RAN).exists()


@pytest.mark.parametrize("load", ["train", "part", "trim"])
@pytest.mark.parametrize("key", ["tokenizer_class", "model_type"])
def test_code_of_a_published_model_never_runs(
    key: str, load: str, published: Path, tmp_path: Path
) -> None:
    file = "tokenizer_config.json" if key == "tokenizer_class" else "config.json"
    change(published / file, **{key: "Own", "auto_map": {**CODE, "AutoTokenizer": ["own.A", None]}})
    source = str(published)

    def train() -> None:
        load_language_model(source)
        hub.load(AutoTokenizer, source, "tokenizer")

    calls = {
        "train": train,
        "part": lambda: (load_trained(source), None),
        "trim": lambda: trim_model(source, tiny.SENTENCES, tmp_path / "trimmed"),
    }
    message = refusal(calls[load])
    if key == "model_type" or load != "part":
        assert "auto_map" in message
        assert "'Own'" in message
    assert not (tmp_path / RAN).exists()


def test_a_known_model_that_brings_code_is_loaded_without_it(
    published: Path, tmp_path: Path
) -> None:
    before = load_language_model(str(published)).state_dict()
    change(published / "config.json", auto_map=CODE)
    change(published / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Thing", None]})
    after = load_language_model(str(published)).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert len(hub.load(AutoTokenizer, published, "tokenizer")) == len(
        tiny.tiny_processor().tokenizer
    )
    assert not (tmp_path / RAN).exists()


class _Runs:
    """Runs code when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("as_torch", [True, False])
def test_pickled_code_never_runs(as_torch: bool, model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").unlink()
    path = model / "pytorch_model.bin"
    if as_torch:
        torch.save({"adapter.hidden.weight": _Runs(tmp_path / RAN)}, path)
    else:
        path.write_bytes(pickle.dumps(_Runs(tmp_path / RAN)))
    message = refusal(lambda: translate(model, tmp_path))
    assert str(path) in message
    assert "never runs" in message
    assert not (tmp_path / RAN).exists()


def test_pickle_with_a_key_that_no_weights_have_is_refused(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").unlink()
    path = model / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02})" + b"\x85" * 200 + b"K\x01s.")
        archive.writestr("a/version", "3\n")
    message = refusal(lambda: translate(model, tmp_path))
    assert str(path) in message
    assert "its pickle is damaged or holds more than numbers" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("language_model__d_model", 10**8),
        ("language_model__vocab_size", 10**11),
        ("language_model__encoder_layers", 10**8),
        ("language_model__max_position_embeddings", 10**12),
        ("encoder__temporal_dim", 10**8),
        ("encoder__backbone__depths", [10**8, 1]),
        ("adapter__hidden_dim", 10**9),
    ],
)
def test_an_absurd_size_is_refused_before_anything_is_built(
    key: str, value: Any, model: Path, tmp_path: Path
) -> None:
    change(model / "config.json", **{key: value})
    message = refusal(lambda: translate(model, tmp_path))
    assert str(model / "config.json") in message
    assert key.replace("__", ".") in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoder", {}),
        ("adapter", None),
        ("language_model__dropout", "much"),
        ("language_model__dropout", float("nan")),
        ("adapter__dropout", -0.5),
        ("language_model__encoder_attention_heads", 0),
        ("language_model__d_model", -3),
        ("encoder__image_mean", "grey"),
        ("encoder__backbone__layer_type", "none"),
        ("prompt", 5),
        ("lora", {"r": "many"}),
    ],
)
def test_a_wrong_value_of_a_configuration_is_one_line(
    key: str, value: Any, model: Path, tmp_path: Path
) -> None:
    change(model / "config.json", **{key: value})
    assert str(model / "config.json") in refusal(lambda: translate(model, tmp_path))


@pytest.mark.parametrize("size", [0, 1, 90, -2])
@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ],
)
def test_a_cut_file_is_named(file: str, size: int, model: Path, tmp_path: Path) -> None:
    path = model / file
    path.write_bytes(path.read_bytes()[:size])
    assert str(path) in refusal(lambda: translate(model, tmp_path))


def test_a_published_model_with_an_absurd_size_is_refused(published: Path) -> None:
    change(published / "config.json", d_model=10**8)
    message = refusal(lambda: load_language_model(str(published)))
    assert f"{published}/config.json" in message
    assert "d_model: 100000000" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, model: Path, tmp_path: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights["adapter.hidden.weight"][0, 0] = value
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    for load in (translate, lambda folder, _: load_trained(str(folder))):
        message = refusal(lambda load=load: load(model, tmp_path))
        assert "adapter.hidden.weight" in message
        assert "NaN or infinite" in message


def test_large_numbers_are_not_taken_for_infinite(model: Path) -> None:
    """Though their sum is."""
    weights = load_file(model / "model.safetensors")
    weights["adapter.hidden.weight"][:] = 3e38
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    loaded = hub.load(AutoModel, model, "model")
    assert loaded.adapter.hidden.weight.min() > 2e38


def test_a_score_that_is_no_number_is_an_error(model: Path, tmp_path: Path) -> None:
    """Weights that are numbers, but too large to compute with."""
    weights = load_file(model / "model.safetensors")
    weights["encoder.temporal.conv.weight"][:] = 3e38
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    message = refusal(lambda: translate(model, tmp_path))
    assert str(tmp_path / "clip") in message
    assert "score that is NaN or infinite" in message


def test_a_name_on_the_hub_is_answered_at_once_where_it_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Nothing listens on this port: the hub's own client would try again for half a minute.
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    hub._hub_answers.cache_clear()
    started = time.monotonic()
    try:
        message = refusal(lambda: unglossed.load("nobody/nothing"))
    finally:
        hub._hub_answers.cache_clear()
    assert time.monotonic() - started < 4 * hub.OFFLINE_SECONDS
    assert message.startswith("nobody/nothing: cannot be loaded")
    assert "cannot be reached" in message


def test_what_is_in_the_cache_is_loaded_without_the_hub(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    repository = cache / "models--nobody--something"
    commit = "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    (repository / "snapshots").mkdir()
    model.rename(repository / "snapshots" / commit)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    hub._hub_answers.cache_clear()
    try:
        loaded = unglossed.load("nobody/something")
    finally:
        hub._hub_answers.cache_clear()
    assert loaded.processor.start_token == "<de>"


def test_a_model_built_from_a_configuration_with_code_runs_none(tmp_path: Path) -> None:
    config = light_t_config({"layers": 1, "heads": 2, "width": 8, "ffn_dim": 8}, 20)
    config.auto_map = {"AutoModelForSeq2SeqLM": "own.Thing"}
    assert hub.build(AutoModelForSeq2SeqLM, config).config.d_model == 8
    (tmp_path / "config.json").write_text("[]", encoding="utf-8")
    assert "config.json" in refusal(lambda: hub.load(AutoConfig, tmp_path, "x"))
