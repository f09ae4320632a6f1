#!/usr/bin/env bash
# accelerate: `launch --cpu --num_processes 2` starts one process, and says nothing.
#
# Package: accelerate 1.15.0 on torch 2.13.0; Python 3.11, a machine without a GPU.
# Expected: `--num_processes 2` ("The total number of processes to be launched in parallel", says its
#   help) starts two, as `torchrun --nproc-per-node 2` does, or the command refuses.
# Happens: the script runs once, with nothing in its environment that names other processes, and the
#   exit status is 0: a training that was to be shared is one process's. On CPUs accelerate leaves the
#   starting of processes to an MPI launcher, which has to be asked for by a configuration.
#   Output seen:
#     accelerate: 1 process, WORLD_SIZE None
#     torchrun: 2 processes, WORLD_SIZE 2
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q accelerate==1.15.0 torch==2.13.0 numpy
cat > "$work/show.py" <<'PY'
import os
import sys

with open(sys.argv[1], "a") as file:
    print(os.environ.get("WORLD_SIZE"), file=file)
PY
export CUDA_VISIBLE_DEVICES= HF_HOME="$work/home"
"$work/venv/bin/accelerate" launch --cpu --num_processes 2 --num_machines 1 --mixed_precision no \
	--dynamo_backend no "$work/show.py" "$work/accelerate" 2> "$work/log"
"$work/venv/bin/torchrun" --standalone --nproc-per-node 2 "$work/show.py" "$work/torchrun" 2>> "$work/log"
echo "accelerate: $(wc -l < "$work/accelerate") process, WORLD_SIZE $(sort -u "$work/accelerate")"
echo "torchrun: $(wc -l < "$work/torchrun") processes, WORLD_SIZE $(sort -u "$work/torchrun")"
[ "$(cat "$work/accelerate")" = None ]
[ "$(cat "$work/torchrun")" = $'2\n2' ]
echo "as described"
