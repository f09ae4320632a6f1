#!/usr/bin/env bash
# sacrebleu 2.6.0: `--paired-ar`, equal outputs
#
# One would expect that a test of two systems which wrote the same sentences says p = 1: every swap leaves them as
# different as they are, by nothing. What happens: trials count only if they differ more than the systems do, not if they
# differ as much, so p is the least that there can be, 1 / (trials + 1), as for a system that is better everywhere. The
# same where one sentence in two hundred is better: each trial differs by just as much. Seen: 0.000999 for
# both. Counting ties gives 1.
# Exits 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sacrebleu==2.6.0 numpy==2.4.6
cd "$folder"
seq 200 | sed 's/.*/line & of the reference is here/' > references
sed 's/is here/was there/' references > baseline
cp baseline equal
sed '1s/was there/is here/' baseline > one-better
for system in equal one-better; do
    venv/bin/sacrebleu references -i baseline "$system" -m bleu --paired-ar --paired-ar-n 1000 -f json 2> /dev/null |
        venv/bin/python -c 'import json, sys; print(round(json.load(sys.stdin)[1]["BLEU"]["p_value"], 6))'
done | tee found
printf '%s\n' 0.000999 0.000999 | diff - found > /dev/null
