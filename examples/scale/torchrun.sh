#!/usr/bin/env bash
# Several processes, one for each GPU, on one machine or on two.
#
#   examples/scale/torchrun.sh RECIPE CORPUS DIR [KEY=VALUE...]
#
# One machine: as it is. Two: start it on both, with the first one's name, and MACHINES=2:
#   MACHINES=2 FIRST=gpu-01 examples/scale/torchrun.sh ...
# CORPUS and DIR lie on storage that both share. The same command goes on after a stop.
set -euo pipefail

recipe=$1 corpus=$2 run=$3
shift 3
processes=${PROCESSES:-$(nvidia-smi --list-gpus | wc -l)}

launch=(torchrun --nproc-per-node "$processes" "--signals-to-handle=SIGTERM,SIGUSR1")
if [ "${MACHINES:-1}" = 1 ]; then
    launch+=(--standalone)
else
    launch+=(--nnodes "$MACHINES" --rdzv-backend c10d --rdzv-id "$run"
        --rdzv-endpoint "${FIRST:?the name of the first machine}:29500")
fi

# torchrun ends its processes 30 seconds after it has passed a signal on: a checkpoint has to be
# written by then. Its exit code is 1 whatever theirs are.
exec "${launch[@]}" -m unglossed train "$recipe" --corpus "$corpus" --output "$run" --resume \
    --save-every 30min --keep 2 "$@"
