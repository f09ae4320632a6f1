#!/usr/bin/env bash
# sacrebleu 2.6.0: SACREBLEU_SEED=0 and `--paired-ar`
#
# One would expect that the seed 0 gives the same p every time, as 1 does; the signature says `seed:0`. What happens: 0
# counts as no seed, and p differs from run to run. Seen: three values of p in three runs.
# Exits 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sacrebleu==2.6.0 numpy==2.4.6
cd "$folder"
seq 200 | sed 's/.*/line & of the reference is here/' > references
sed '0~2s/is here/was there/' references > baseline
sed '0~3s/is here/was there/; 0~7s/line/word/' references > system
for seed in 0 1; do
    for _ in 1 2 3; do
        SACREBLEU_SEED=$seed venv/bin/sacrebleu references -i baseline system -m bleu --paired-ar --paired-ar-n 1000 \
            -f json 2> /dev/null | venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)[1]["BLEU"]["p_value"])'
    done | sort -u | wc -l
done | tee found
[ "$(head -n 1 found)" -gt 1 ]
[ "$(tail -n 1 found)" -eq 1 ]
