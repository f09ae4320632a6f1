#!/usr/bin/env bash
# Ray Train: what a training reports is not in the result, unless a checkpoint is reported with it.
#
# Package: ray 2.60.0 with its extra train; Python 3.11.
# Expected: `ray.train.report({"score": 0.5})` in a worker is the result's `metrics` after `fit`, as
#   its name and its docstring ("Report metrics and optionally save a checkpoint") say.
# Happens: `result.metrics` is None, and nothing says so; with a checkpoint in the same call they are
#   there. A program that keeps checkpoints itself and reads its scores from the result gets None.
#   Output seen:
#     without a checkpoint: None
#     with a checkpoint: {'score': 0.5}
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q 'ray[train]==2.60.0'
cat > "$work/look.py" <<'PY'
import sys
import tempfile
from pathlib import Path

import ray
import ray.train
from ray.train import Checkpoint, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer


def train(config):
    if not config["saves"]:
        ray.train.report({"score": 0.5})
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "weights").write_text("none")
        ray.train.report({"score": 0.5}, checkpoint=Checkpoint.from_directory(folder))


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
seen = {}
for saves in (False, True):
    trainer = DataParallelTrainer(
        train,
        train_loop_config={"saves": saves},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name=f"saves-{saves}", storage_path=sys.argv[1]),
    )
    seen[saves] = trainer.fit().metrics
    print("with" if saves else "without", "a checkpoint:", seen[saves])
assert seen[False] is None
assert seen[True]["score"] == 0.5
PY
HOME="$work" RAY_TRAIN_V2_ENABLED=1 "$work/venv/bin/python" "$work/look.py" "$work/state" 2> "$work/log" \
	|| { tail -n 20 "$work/log"; exit 1; }
echo "as described"
