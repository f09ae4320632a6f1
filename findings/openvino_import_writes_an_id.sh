#!/usr/bin/env bash
# `import openvino` alone: it makes a user's number, keeps it in the home folder, and reports.
#
# Package: openvino 2026.4.1 with openvino-telemetry 2025.2.0, which it depends on; Python 3.11.
# Expected: telemetry, if any, of the conversion tools, as their documentation says, after a
#   question or a note; importing a library for inference leaves no file and sends nothing.
# Happens: the import loads the conversion tools, these load `openvino_telemetry`, a random number is
#   written to ~/intel/openvino_ga_cid, and an event with it is queued for Google Analytics. Nothing
#   is printed. Where `openvino_telemetry` cannot be imported, openvino imports and infers as well.
#   Output seen:
#     as installed: telemetry loaded True, files ['intel/openvino_ga_cid', ...]
#     without openvino_telemetry: telemetry loaded False, files []
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q openvino==2026.4.1 openvino-telemetry==2025.2.0
cat > "$work/look.py" <<'PY'
import socket
import sys
from pathlib import Path


def offline(*_):
    raise OSError("nothing is sent from here")


socket.socket.connect = offline  # the event stays where it is
import openvino

model = openvino.opset13.relu(openvino.opset13.parameter([1], openvino.Type.f32))
assert model is not None
found = sorted(str(path.relative_to(Path.home())) for path in Path.home().rglob("*") if path.is_file())
print(f"telemetry loaded {'openvino_telemetry' in sys.modules}, files {found}")
PY
mkdir "$work/home" "$work/other"
told=$(HOME="$work/home" "$work/venv/bin/python" "$work/look.py")
echo "as installed: $told"
"$work/venv/bin/pip" uninstall -q -y openvino-telemetry
without=$(HOME="$work/other" "$work/venv/bin/python" "$work/look.py")
echo "without openvino_telemetry: $without"
[[ "$told" == *"loaded True"*"intel/openvino_ga_cid"* ]]
[[ "$without" == "telemetry loaded False, files []" ]]
echo "as described"
