"""Small training runs of every family of recipes, recorded to judge changes of the code.

`make golden` runs them and compares with `expected.json`; `make golden BASE=COMMIT` runs that
commit's code on this machine as well, on the same files, and asks for equality to the last bit.
`--write` keeps what this code gives: a commit that does so says why the numbers moved.

Recorded are the loss of every optimiser step, a hash of the final weights and the texts on dev.
Losses are taken where `backward` is called, so that nothing depends on how the code is arranged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import wave
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"

FAMILIES = (
    "fla_llm",  # two stages, Light-T, then an encoder-decoder
    "joint",
    "gfslt_vlp",
    "gloss_based",
    "demo",  # denoising first
    "demo_llm",  # decoder-only with LoRA
    "lst",  # speech, new tokens
    "lst_lora",
)

RELATIVE_TOLERANCE = 2e-3
"""Of a loss against `expected.json`: processors differ in last bits, which training raises."""


def make_inputs(folder: Path, root: Path) -> None:
    """Write what the runs read: two corpora, stand-ins for published models, resolved recipes.

    Args:
        folder: new or empty.
        root: checkout whose recipes and test helpers are used.
    """
    use_code_of(root)
    import numpy as np

    import tiny
    from shrinking import shrink
    from unglossed.config import write_settings
    from unglossed.training.recipe import load_recipe

    tiny.write_corpus(folder / "video", 4, 2, num_frames=26)
    sound = folder / "sound"
    sound.mkdir()
    rows = []
    for number, split in enumerate(["train"] * 4 + ["dev", "test"]):
        samples = np.random.default_rng(number).integers(-9999, 9999, 16000, dtype=np.int16)
        with wave.open(str(sound / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(samples.tobytes())
        rows.append({"id": str(number), "media": f"{number}.wav", "split": split})
        rows[-1] |= {"text": tiny.SENTENCES[number % 3], "language": "de"}
    (sound / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for family in FAMILIES:
        settings = load_recipe(family, shrink(family, folder / "models"))
        # In float32: what processors make of bfloat16 differs by a percent in the first step.
        small = [
            f"stages.{stage.name}.{change}"
            for stage in settings.stages
            for change in ("epochs=2", "precision=float32")
        ]
        settings = load_recipe(family, [*shrink(family, folder / "models"), *small])
        signal = "sound" if settings.needs.signal in ("sound", "audio") else "video"
        target = folder / "recipes" / signal / f"{family}.yaml"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_settings(settings, target)


def record(family: str, inputs: Path, root: Path) -> dict[str, Any]:
    """Train one family with the code of a checkout, in this process.

    Args:
        family: one of `FAMILIES`.
        inputs: what `make_inputs` wrote.
        root: the checkout.

    Returns:
        Losses in the order of the steps, a hash of the final weights, the texts on dev.
    """
    use_code_of(root)
    import torch
    from safetensors.torch import load_file

    from unglossed import cli

    torch.set_num_threads(1)
    losses: list[float] = []
    backward = torch.Tensor.backward

    def recorded(loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        losses.append(loss.item())
        backward(loss, *args, **kwargs)

    torch.Tensor.backward = recorded  # type: ignore[method-assign]
    torch.manual_seed(0)
    (recipe,) = inputs.glob(f"recipes/*/{family}.yaml")
    if recipe.parent.name == "sound":
        corpus = f"table:{inputs / 'sound' / 'rows.jsonl'}"
    else:
        corpus = f"phoenix14t:{inputs / 'video'}"

    def command(*words: str) -> None:
        sys.argv = ["unglossed", *words]
        code: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        assert not code, words

    with tempfile.TemporaryDirectory() as scratch:
        run, output = Path(scratch) / "run", Path(scratch) / "dev"
        command("train", str(recipe), "--corpus", corpus, "--output", str(run))
        command(
            *("evaluate", str(run), "--corpus", corpus, "--split", "dev", "--output", str(output)),
            *("--max-new-tokens", "8"),
        )
        rows = (output / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        weights = load_file(run / "model" / "model.safetensors")
    torch.Tensor.backward = backward  # type: ignore[method-assign]
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    texts = [json.loads(row)["hypothesis"] for row in rows]
    return {"losses": losses, "weights": digest.hexdigest(), "dev": texts}


def use_code_of(root: Path) -> None:
    """Have the modules of a checkout, and its test helpers, imported from now on."""
    sys.path[:0] = [str(root / "src"), str(root / "tests")]


def record_all(root: Path, inputs: Path, families: list[str]) -> dict[str, Any]:
    """Records of the families, made one after another in one process: torch is imported once."""
    line = [sys.executable, __file__, "--inputs", str(inputs), "--root", str(root)]
    finished = subprocess.run(
        [*line, "--record", *families],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    for family, one in found.items():
        print(f"{family}: {len(one['losses'])} steps", flush=True)
    return found


def difference(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> str | None:
    """Where two records of a family differ first, if they do.

    Args:
        found: a record.
        expected: another.
        tolerance: largest relative difference of losses; at 0 hash and texts are compared too.
    """
    if len(found["losses"]) != len(expected["losses"]):
        return f"{len(found['losses'])} steps, expected {len(expected['losses'])}"
    for step, (mine, theirs) in enumerate(zip(found["losses"], expected["losses"], strict=True), 1):
        if abs(mine - theirs) > tolerance * abs(theirs):
            return f"loss of step {step} is {mine!r}, expected {theirs!r}"
    if not tolerance:
        for key in ("weights", "dev"):
            if found[key] != expected[key]:
                return f"{key}: {found[key]}, expected {expected[key]}"
    return None


def main() -> int:
    """Run and compare; exit code 1 where something moved."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--base", help="commit to compare with on this machine, to the last bit")
    parser.add_argument("--write", action="store_true", help="keep the result as expected.json")
    parser.add_argument("--only", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--record", nargs="+", choices=FAMILIES, help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make-inputs", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, default=HERE.parents[1], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make_inputs:
        make_inputs(given.inputs, given.root)
        return 0
    if given.record:
        found = {family: record(family, given.inputs, given.root) for family in given.record}
        print(json.dumps(found))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        inputs, base = Path(scratch) / "inputs", Path(scratch) / "base"
        inputs.mkdir()
        here = HERE.parents[1]
        if given.base:
            add = ["git", "worktree", "add", "--quiet", "--detach", str(base), given.base]
            subprocess.run(add, cwd=here, check=True)
        try:
            root = base if given.base else here
            make = [sys.executable, __file__, "--make-inputs", "--inputs", str(inputs)]
            environment = {**os.environ, "PYTHONPATH": str(root / "src")}
            subprocess.run([*make, "--root", str(root)], check=True, env=environment)
            found = record_all(here, inputs, given.only)
            if given.base:
                print(f"{given.base}:")
                expected = record_all(base, inputs, given.only)
            elif given.write:
                EXPECTED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                expected = found
            else:
                expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
        finally:
            if given.base:
                remove = ["git", "worktree", "remove", "--force", str(base)]
                subprocess.run(remove, cwd=here, check=True)
    moved = {}
    for name in given.only:
        tolerance = 0.0 if given.base else RELATIVE_TOLERANCE
        moved[name] = difference(found[name], expected[name], tolerance)
    for name, what in moved.items():
        print(f"{name}: {what or 'as before'}")
    return 1 if any(moved.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
