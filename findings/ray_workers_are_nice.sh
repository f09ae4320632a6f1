#!/usr/bin/env bash
# Ray 2.60.0: on a cluster that a program starts itself, tasks and actors run at a niceness of 15.
#
# One would expect what `ray.init()` starts to have the priority of the program that starts it, as
# processes of multiprocessing, torchrun and joblib have. Workers are 15 steps lower: beside any busy
# process of normal priority they get a few hundredths of a core. A small training of two workers that
# took four minutes did not end in 25 beside other work, and nothing said why.
# Whoever runs Ray under `nice` makes it 15 lower still. The variable RAY_worker_niceness, read when
# the cluster starts, sets it; the list of options of `ray.init` has no word of it.
#
# Seen: niceness 0 in the program, 15 in a task, and 0 in a task with RAY_worker_niceness=0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q ray==2.60.0
cat > "$folder/niceness.py" <<'PYTHON'
import os

import ray


@ray.remote
def niceness():
    return os.nice(0)


ray.init("local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
print(ray.get(niceness.remote()) - os.nice(0))
PYTHON
usual=$(env -u RAY_worker_niceness "$folder/env/bin/python" "$folder/niceness.py" 2> "$folder/errors")
told=$(RAY_worker_niceness=0 "$folder/env/bin/python" "$folder/niceness.py" 2> "$folder/errors")
echo "a task is nicer than the program by $usual, with RAY_worker_niceness=0 by $told"
[ "$usual" = 15 ] && [ "$told" = 0 ]
