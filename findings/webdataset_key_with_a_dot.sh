#!/usr/bin/env bash
# webdataset 1.0.2: samples that are written under keys with a dot are read under shorter keys, and
# two of them come back as one.
#
# `TarWriter` takes any key and names files `KEY.EXTENSION`. One would expect the reader to cut a
# name at its last dot. It cuts at the first one: all behind it is the extension, so that a clip
# that is named by its times, VIDEO-00:00:01.250-00:00:03.000, as some corpora of sign language name
# theirs, gets the key VIDEO-00:00:01 and a column `250-00:00:03.000.txt`. Clips that are neighbours
# and begin in the same second have the same key and are merged into one sample. Nothing is raised
# on either side: the columns are other ones, and there are fewer samples than were written.
#
# With numpy 2.4.6. Seen, of three samples with a column `txt` each:
#   talk-00:00:01: 250-00:00:03.000.txt 900-00:00:04.000.txt
#   talk-00:00:05: 000-00:00:06.000.txt
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q webdataset==1.0.2 numpy==2.4.6
cd "$folder"
env/bin/python - <<'PYTHON'
import sys

import webdataset

KEYS = (
    "talk-00:00:01.250-00:00:03.000",
    "talk-00:00:01.900-00:00:04.000",
    "talk-00:00:05.000-00:00:06.000",
)
with webdataset.TarWriter("clips.tar") as sink:
    for key in KEYS:
        sink.write({"__key__": key, "txt": f"text of {key}"})

found = {}
for sample in webdataset.WebDataset("clips.tar", shardshuffle=False).decode():
    found[sample["__key__"]] = sorted(name for name in sample if not name.startswith("__"))
for key, columns in found.items():
    print(f"{key}: {' '.join(columns)}")
expected = {
    "talk-00:00:01": ["250-00:00:03.000.txt", "900-00:00:04.000.txt"],
    "talk-00:00:05": ["000-00:00:06.000.txt"],
}
sys.exit(found != expected)
PYTHON
