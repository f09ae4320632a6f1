#!/usr/bin/env bash
# pysubs2 1.8.1: the `Format:` line of a SubStation file is not read.
#
# In a SubStation (.ass) file the `Format:` line of [Events] says in which order the fields of each
# `Dialogue:` line stand, and players follow it. One would expect `SSAFile.from_string` to do so too,
# or to refuse another order. It takes the usual order for granted: with Start and End exchanged the
# line is read with its end as its begin, and with Name and Style exchanged the actor becomes the
# style. There is no error and no warning.
#
# Seen: start 4000, end 1000, style 'Anna', name 'Default'
# Right: start 1000, end 4000, style 'Default', name 'Anna'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pysubs2==1.8.1
"$folder/env/bin/python" -W error - <<'PYTHON'
import sys

import pysubs2

TEXT = """[Script Info]
ScriptType: v4.00+

[Events]
Format: Layer, End, Start, Name, Style, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:04.00,0:00:01.00,Anna,Default,0,0,0,,It rains.
"""
(event,) = pysubs2.SSAFile.from_string(TEXT, format_="ass")
print(f"start {event.start}, end {event.end}, style {event.style!r}, name {event.name!r}")
sys.exit((event.start, event.end, event.style, event.name) != (4000, 1000, "Anna", "Default"))
PYTHON
