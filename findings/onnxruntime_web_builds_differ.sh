#!/usr/bin/env bash
# onnxruntime-web: the build with WebGPU lacks kernels of the plain one, also when WebGPU is not used.
#
# Package: npm onnxruntime-web 1.30.0, in Node.js 20; the model is made with onnx 1.23.2.
# Expected: the files that the package exports as `/wasm` and `/webgpu` differ in WebGPU alone; a
#   session with executionProviders ["wasm"] opens the same models with either, so that a page can
#   load the second one and leave it to the machine what is used.
# Happens: a Cast of float to double (as exporters write it for an exact scale of whole numbers) opens
#   with the first, while the second refuses the model. A page that wants both has to load both.
#   Output seen:
#     wasm: opened, 4 doubles
#     webgpu: Can't create a session. [...] Could not find an implementation for Cast(19) node [...]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.2
"$work/venv/bin/python" - "$work/cast.onnx" <<'PY'
import sys

import onnx
from onnx import TensorProto, helper

source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
result = helper.make_tensor_value_info("y", TensorProto.DOUBLE, [4])
node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.DOUBLE)
graph = helper.make_graph([node], "cast", [source], [result])
opset = [helper.make_opsetid("", 20)]
onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), sys.argv[1])
PY
cd "$work"
npm install --silent --no-audit --no-fund onnxruntime-web@1.30.0 >/dev/null
cat > look.mjs <<'JS'
import { readFileSync } from "node:fs";

const [, , name] = process.argv;
const file = new URL(`./node_modules/onnxruntime-web/dist/ort.${name}.min.mjs`, import.meta.url);
const ort = await import(file);
ort.env.wasm.numThreads = 1;
const model = new Uint8Array(readFileSync("cast.onnx"));
try {
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  const { y } = await session.run({ x: new ort.Tensor("float32", Float32Array.of(1, 2, 3, 4)) });
  console.log(`${name}: opened, ${y.data.length} doubles`);
} catch (error) {
  console.log(`${name}: ${error.message}`);
}
JS
plain=$(node look.mjs wasm)
gpu=$(node look.mjs webgpu)
printf '%s\n%s\n' "$plain" "$gpu"
[[ "$plain" == "wasm: opened, 4 doubles" ]]
[[ "$gpu" == *"Could not find an implementation for Cast"* ]]
echo "as described"
