"""Checkpoints of other public code: read, mapped onto our parts, and computing the same."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import unglossed
from plain_peer import SIDE, PlainPeer, save_peer
from tiny import SENTENCES, write_corpus, write_frames
from unglossed.cli import app
from unglossed.errors import InputError
from unglossed.inference.export import export_encoder
from unglossed.models.saved import load_translator
from unglossed.models.temporal import real_positions
from unglossed.peers.importing import import_checkpoint

LENGTHS = [5, 1, 12, 7]


def random_clips(lengths: list[int] = LENGTHS) -> list[torch.Tensor]:
    """Pictures of noise, each of a colour of its own."""
    generator = torch.Generator().manual_seed(1)
    colours = torch.rand((sum(lengths), 1, 1, 3), generator=generator)
    noise = torch.rand((sum(lengths), SIDE, SIDE, 3), generator=generator)
    frames = (255 * (0.8 * colours + 0.2 * noise)).to(torch.uint8)
    return list(torch.split(frames, lengths))


@pytest.fixture(scope="module", params=["sltbaselines", "gfslt"])
def imported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PlainPeer, Path]:
    """A peer, and the folder of the model that was imported from its checkpoint."""
    folder = tmp_path_factory.mktemp(request.param)
    norm = "layer" if request.param == "sltbaselines" else "batch"
    peer, checkpoint = save_peer(folder, norm)
    import_checkpoint(checkpoint, request.param, folder / "model")
    return peer, folder / "model"


@torch.no_grad()
def test_features_and_logits_are_the_peers(imported: tuple[PlainPeer, Path]) -> None:
    peer, folder = imported
    model, processor = load_translator(str(folder))
    model.eval()
    clips = random_clips()
    labels = torch.tensor([row[:3] for row in processor.encode_texts([SENTENCES[0]] * len(clips))])
    start = torch.full((len(clips), 1), processor.start_token_id)
    read = torch.cat([start, labels[:, :-1]], 1)
    batches = [clips, *[[clip] for clip in clips]]
    for number, batch in enumerate(batches):
        lengths = torch.tensor([len(clip) for clip in batch])
        expected, real = peer.features(batch)
        found, mask = model.encoder(torch.cat(batch), lengths)
        assert torch.equal(mask, real)
        assert mask.sum(1).tolist() == [-(-len(clip) // 4) + 1 for clip in batch]
        assert (found - expected)[mask].abs().max() < 1e-4
        rows = slice(None) if number == 0 else slice(number - 1, number)
        logits = model(features=found, mask=mask, labels=labels[rows]).logits
        reference = peer(batch, read[rows])
        assert reference.std() > 0.1  # so that closeness says something
        assert (logits - reference).abs().max() < 1e-5


@torch.no_grad()
def test_frozen_encoder_computes_the_same_by_each_engine(
    imported: tuple[PlainPeer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, folder = imported
    clips = random_clips()
    translator = unglossed.load(folder)
    expected, mask = peer.features(clips)
    for engine in ("torch", "folded", "openvino"):
        monkeypatch.setenv("UNGLOSSED_ENCODER", engine)
        for row, clip in enumerate(clips):
            found = translator.encode_views(clip)
            assert (found - expected[row, mask[row]]).abs().max() < 1e-4


@torch.no_grad()
def test_clip_of_more_than_300_frames_is_thinned_evenly(imported: tuple[PlainPeer, Path]) -> None:
    peer, folder = imported
    model, _ = load_translator(str(folder))
    (clip,) = random_clips([450])
    model.encoder.temporal.max_frames = 30  # as 300 does, in less time
    found, mask = model.eval().encoder(clip[:45], torch.tensor([45]))
    kept = [number * 45 // 30 for number in range(30)]
    expected, _ = peer.features([clip[kept]])
    assert mask.all()
    assert (found - expected).abs().max() < 1e-4


def test_imported_model_translates_and_is_evaluated(tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path, "batch")
    folder = tmp_path / "model"
    import_checkpoint(checkpoint, "gfslt", folder)
    clip = write_frames(tmp_path / "clip", 6)
    texts = {
        precision: unglossed.translate(
            folder, clip, precision=precision, max_new_tokens=5, translate_empty=True
        )[0].text
        for precision in ("float32", "int8")
    }
    assert texts["float32"]
    assert texts["int8"]
    corpus = write_corpus(tmp_path / "corpus", num_train=1, num_dev=1)
    output = tmp_path / "scores"
    arguments = ["evaluate", str(folder), "--corpus", corpus, "--split", "test"]
    arguments += ["--max-new-tokens", "8", "--output", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "bleu4" in json.loads((output / "metrics.json").read_text())


@pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))),
    reason="the extra onnx is not installed",
)
@torch.no_grad()
def test_imported_model_is_exported(tmp_path: Path) -> None:
    import onnxruntime

    _, checkpoint = save_peer(tmp_path, "batch")
    import_checkpoint(checkpoint, "gfslt", tmp_path / "model")
    assert export_encoder(tmp_path / "model", tmp_path / "onnx") < 1e-5
    model, _ = load_translator(str(tmp_path / "model"))
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "encoder.onnx")
    lengths = torch.tensor([303, 6])  # one that is thinned, one that is padded
    frames = torch.cat(random_clips(lengths.tolist()))
    inputs = {"frames": frames.numpy(), "mask": real_positions(lengths).numpy()}
    (found,) = session.run(["embeds"], inputs)
    expected, mask = model.adapter(*model.eval().encoder(frames, lengths))
    assert (torch.from_numpy(found) - expected)[mask].abs().max() < 1e-4


def test_card_says_where_the_model_comes_from(imported: tuple[PlainPeer, Path]) -> None:
    _, folder = imported
    card = (folder / "README.md").read_text()
    assert f"github.com/{'zhoubenjia' if 'gfslt' in str(folder) else 'ozgemercanoglu'}/" in card
    assert "best_checkpoint.pth" in card
    assert "8 heads, relu, scaled embeddings, from the peers' light model" in card


def test_command_reports_and_overrides(tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path)
    arguments = ["import", str(checkpoint), "--from", "sltbaselines", "--heads", "4"]
    arguments += ["--no-scale-embedding", "--output", str(tmp_path / "model")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "4 heads, relu, plain embeddings, from the command and the peers'" in result.output
    fields = json.loads((tmp_path / "model" / "config.json").read_text())["language_model"]
    assert (fields["encoder_attention_heads"], fields["scale_embedding"]) == (4, False)


@torch.no_grad()
def test_scaled_features_are_those_of_the_peers_setting(tmp_path: Path) -> None:
    peer, checkpoint = save_peer(tmp_path)
    import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model", scale_features=True)
    model, _ = load_translator(str(tmp_path / "model"))
    features, mask = peer.features(random_clips())
    found, _ = model.eval().adapter(features * mask[..., None], mask)
    expected = 32**0.5 * peer.embeds(features)
    assert (found - expected)[mask].abs().max() < 1e-5


def test_config_beside_the_checkpoint_is_used_if_it_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer, checkpoint = save_peer(
        tmp_path, encoder_layers=1, encoder_attention_heads=4, activation_function="gelu"
    )
    with pytest.raises(InputError, match=r"--heads: told neither by the weights nor by a fitting"):
        import_checkpoint(checkpoint, "gfslt", tmp_path / "model")
    fields = peer.mbart.config.to_dict()
    (tmp_path / "config.json").write_text(json.dumps(fields))
    made = import_checkpoint(checkpoint, "gfslt", tmp_path / "model")
    assert (made.heads, made.activation) == ((4, 8), "gelu")
    (tmp_path / "config.json").write_text(json.dumps(fields | {"encoder_layers": 12}))
    with pytest.raises(InputError, match="--heads: told neither"):
        import_checkpoint(checkpoint, "gfslt", tmp_path / "other")
    assert "not used: its encoder_layers is 12, the checkpoint's 1" in capsys.readouterr().err


def changed(checkpoint: Path, **weights: torch.Tensor | None) -> Path:
    """The checkpoint with other weights, or without some; `__` stands for a dot."""
    content = torch.load(checkpoint, weights_only=False)
    for key, weight in weights.items():
        name = key.replace("__", ".")
        if weight is None:
            del content["model"][name]
        else:
            content["model"][name] = weight
    torch.save(content, checkpoint)
    return checkpoint


def test_weights_left_over_missing_or_of_another_shape_are_listed(tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path)
    changed(
        checkpoint,
        extra__weight=torch.ones(1),
        sign_emb__src_emb__bias=None,
        mbart__lm_head__weight=torch.ones(3, 32),
    )
    with pytest.raises(InputError) as error:
        import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model")
    told = str(error.value)
    assert told.startswith(f"{checkpoint}: found weights that do not fit: ")
    assert "1 left over (extra.weight)" in told
    assert "1 missing (adapter.linear.bias)" in told
    assert "language_model.model.lm_head.weight is (3, 32), expected (" in told
    assert "\n" not in told
    assert not (tmp_path / "model").exists()


def test_weight_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path)
    changed(checkpoint, sign_emb__src_emb__bias=torch.full((32,), torch.nan))
    with pytest.raises(InputError, match=r"adapter\.linear\.bias has values that are NaN"):
        import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model")


def test_variance_below_0_is_refused(tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path)
    weights = torch.load(checkpoint, weights_only=False)["model"]
    name = next(name for name in weights if name.endswith("running_var"))
    changed(checkpoint, **{name.replace(".", "__"): -torch.ones_like(weights[name])})
    with pytest.raises(InputError, match=r"running_var has values below 0, expected variances"):
        import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model")


def test_an_option_that_is_wrong_is_named(tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path)
    with pytest.raises(InputError, match=r"--activation: found 'nope', expected one such as"):
        import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model", activation="nope")
    with pytest.raises(InputError, match=r"--heads: found 3, expected a divisor of the width 32"):
        import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model", heads=3)


@pytest.mark.parametrize("kind", [torch.complex64, torch.int32, torch.bool])
def test_weights_of_another_kind_of_number_are_refused(kind: torch.dtype, tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path)
    changed(checkpoint, sign_emb__src_emb__bias=torch.ones(32, dtype=kind))
    told = rf"1 of another kind of number \(adapter\.linear\.bias is {kind}, expected torch.float32"
    with pytest.raises(InputError, match=told):
        import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model")


def test_tokens_that_the_tokenizer_does_not_have_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer, checkpoint = save_peer(tmp_path)
    size = peer.mbart.config.vocab_size
    content = torch.load(checkpoint, weights_only=False)
    for name, weight in content["model"].items():
        if name.startswith("mbart.") and size in weight.shape:
            shape = [side + 3 * (side == size) for side in weight.shape]
            content["model"][name] = torch.zeros(shape)
    torch.save(content, checkpoint)

    import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model")

    told = f"note: the checkpoint has {size + 3} tokens, the tokenizer {size}"
    assert told in capsys.readouterr().err


def test_parts_for_training_alone_are_left_out_of_sltbaselines(tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path)
    changed(checkpoint, model_txt__lm_head__weight=torch.ones(2, 2), logit_scale=torch.ones(()))
    with pytest.raises(InputError, match="2 left over"):
        import_checkpoint(checkpoint, "gfslt", tmp_path / "model")
    import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"weights": 1}, "found weights, expected weights under the key model"),
        ([1], "found list, expected weights under the key model"),
        ({"model": {"a": 1}}, "model: 'a': found no plain tensor"),
        ({"model": {"a": torch.ones(1)}}, "found no weight backbone.conv_2d.resnet.conv1.weight"),
        (
            {"model": {"a": torch.ones(1).expand(10**6, 10**6)}},
            "asks for 1,000,000,000,000 weights",
        ),
    ],
)
def test_other_content_is_one_line(content: object, told: str, tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path)
    torch.save(content, checkpoint)
    with pytest.raises(InputError) as error:
        import_checkpoint(checkpoint, "gfslt", tmp_path / "model")
    assert str(error.value).startswith(f"{checkpoint}: ")
    assert told in str(error.value)


def test_what_nothing_tells_has_to_be_given(tmp_path: Path) -> None:
    _, checkpoint = save_peer(tmp_path)
    content = torch.load(checkpoint, weights_only=False)
    del content["args"]
    torch.save(content, checkpoint)
    with pytest.raises(InputError, match="--language: not told by the checkpoint"):
        import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model")
    with pytest.raises(InputError, match="codes of the language: found none for zh"):
        import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model", language="zh")
    with pytest.raises(InputError, match="--language: found 'deutsch', expected that of the writ"):
        import_checkpoint(checkpoint, "sltbaselines", tmp_path / "model", language="deutsch")
    with pytest.raises(InputError, match="--from: found 'joey', expected one of sltbaselines"):
        import_checkpoint(checkpoint, "joey", tmp_path / "model")
    with pytest.raises(InputError, match="found 5, expected a divisor of the width 32"):
        import_checkpoint(checkpoint, "gfslt", tmp_path / "model", heads=5)
