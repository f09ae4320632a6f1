#!/usr/bin/env bash
# datasets: a metadata file above the folders of splits is ignored, and so are files beside them.
#
# Package: datasets 5.2.0 with pyarrow 26.0.1; Python 3.11.
# Expected: `load_dataset("videofolder")` on a folder with `metadata.jsonl`, whose `file_name`s are
#   `train/a.mp4`, `test/b.mp4` and `more/c.mp4`, gives rows with the column `text`, or says that it
#   did not use the file; and says what becomes of `more/c.mp4`.
# Happens: splits are told by the names of folders, the metadata file is in none of them, and is not
#   read: there is no text, without a message. The third file is in no split and is gone as well.
#   With a metadata file in each folder the texts are there.
#   Output seen:
#     above: {'train': ['label', 'video'], 'test': ['label', 'video']} 2 rows, warnings: 0
#     within: {'train': ['text', 'video'], 'test': ['text', 'video']} 2 rows, warnings: 0
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q datasets==5.2.0 pyarrow==26.0.1
for kind in above within; do
	mkdir -p "$work/$kind/train" "$work/$kind/test" "$work/$kind/more"
	touch "$work/$kind/train/a.mp4" "$work/$kind/test/b.mp4" "$work/$kind/more/c.mp4"
done
for name in train/a test/b more/c; do
	echo "{\"file_name\": \"$name.mp4\", \"text\": \"$name\"}" >> "$work/above/metadata.jsonl"
done
echo '{"file_name": "a.mp4", "text": "a"}' > "$work/within/train/metadata.jsonl"
echo '{"file_name": "b.mp4", "text": "b"}' > "$work/within/test/metadata.jsonl"
cat > "$work/show.py" <<'PY'
import sys
import warnings

from datasets import load_dataset, logging

logging.set_verbosity_warning()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    loaded = load_dataset("videofolder", data_dir=sys.argv[1])
found = {split: sorted(rows.column_names) for split, rows in loaded.items()}
told = [one for one in caught if "metadata" in str(one.message)]
print(found, sum(map(len, loaded.values())), "rows, warnings:", len(told))
PY
export HF_HOME="$work/home" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1
for kind in above within; do
	(cd "$work" && venv/bin/python show.py "$kind") > "$work/$kind.out" 2> "$work/$kind.err"
	echo "$kind: $(cat "$work/$kind.out")"
	! grep -i metadata "$work/$kind.err"
done
lost="{'train': ['label', 'video'], 'test': ['label', 'video']} 2 rows, warnings: 0"
there="{'train': ['text', 'video'], 'test': ['text', 'video']} 2 rows, warnings: 0"
[ "$(cat "$work/above.out")" = "$lost" ]
[ "$(cat "$work/within.out")" = "$there" ]
echo "as described"
