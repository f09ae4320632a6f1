#!/usr/bin/env bash
# pympi-ling 1.71: all parts of a symbolic subdivision get the time of the whole.
#
# In ELAN the annotations of a tier of the type Symbolic Subdivision share their parent's time in
# equal parts, in the order of PREVIOUS_ANNOTATION, and so they are shown, played and exported. One
# would expect `get_annotation_data_for_tier`, which returns (begin, end, value, ...), to return those
# times. Every part comes with the whole of its parent, in the order of the file: who cuts a video by
# them gets the same clip under each text.
#
# Seen: [(0, 3000, 'last'), (0, 3000, 'first'), (0, 3000, 'second')]
# ELAN: first 0 to 1000, second 1000 to 2000, last 2000 to 3000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pympi-ling==1.71
"$folder/env/bin/python" - "$folder/talk.eaf" <<'PYTHON'
import sys
from pathlib import Path

from pympi import Elan


def part(id, text, previous=None):
    after = f' PREVIOUS_ANNOTATION="{previous}"' if previous else ""
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{id}" ANNOTATION_REF="a1"{after}>'
        f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
    )


Path(sys.argv[1]).write_text(
    '<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT AUTHOR=""'
    ' DATE="2026-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">'
    '<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/><TIME_ORDER>'
    '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/>'
    '<TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="3000"/></TIME_ORDER>'
    '<TIER LINGUISTIC_TYPE_REF="top" TIER_ID="whole"><ANNOTATION><ALIGNABLE_ANNOTATION'
    ' ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE>all'
    "</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"
    '<TIER LINGUISTIC_TYPE_REF="parts" PARENT_REF="whole" TIER_ID="parts">'
    + part("b3", "last", "b2")
    + part("b1", "first")
    + part("b2", "second", "b1")
    + '</TIER><LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="top" TIME_ALIGNABLE="true"/>'
    '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="parts" TIME_ALIGNABLE="false"'
    ' CONSTRAINTS="Symbolic_Subdivision"/></ANNOTATION_DOCUMENT>'
)
found = [row[:3] for row in Elan.Eaf(sys.argv[1]).get_annotation_data_for_tier("parts")]
print(found)
sys.exit(found != [(0, 3000, "last"), (0, 3000, "first"), (0, 3000, "second")])
PYTHON
