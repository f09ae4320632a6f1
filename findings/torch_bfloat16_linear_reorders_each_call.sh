#!/usr/bin/env bash
# torch 2.13.0 on an x86-64 CPU with AVX-512.
# Expected: a linear layer in bfloat16, called again and again with few rows in inference mode, takes as
# long as the product with its weight.
# Found: the weight is brought into oneDNN's order in each call. Brought there once, by the operators that
# torch's compiler uses for frozen weights, the same numbers take half to two thirds of the time.
# Output seen (AMD EPYC with AVX512-BF16, one thread, seconds of the CPU): "5 rows, 1024 to 4096: nn.Linear
# 1.13 ms, packed once 0.73 ms; largest difference 0.0".
# Ends with 1 once this is otherwise, and with 0 where the CPU has no such instructions.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy
cat > "$work/look.py" <<'PYTHON'
import statistics
import sys
import time

import torch
from torch import nn

if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
    print("this CPU has no kernels for bfloat16: nothing to see")
    sys.exit(0)
torch.set_num_threads(1)
torch.manual_seed(0)
layers = [nn.Linear(1024, 4096).to(torch.bfloat16) for _ in range(8)]  # more than a cache holds
inputs = torch.randn(5, 1024).to(torch.bfloat16)
with torch.inference_mode():
    packed = [torch.ops.mkldnn._reorder_linear_weight(one.weight.detach(), 8) for one in layers]

    def once() -> list[torch.Tensor]:
        return [
            torch.ops.mkldnn._linear_pointwise(inputs, weight, one.bias, "none", [], "")
            for weight, one in zip(packed, layers, strict=True)
        ]

    def plain() -> list[torch.Tensor]:
        return [one(inputs) for one in layers]

    rows = []
    for _ in range(12):
        row = []
        for work in (plain, once):
            begin = time.process_time()
            for _ in range(4):
                results = work()
            row.append((time.process_time() - begin) / 4 / len(layers) * 1e3)
        rows.append(row)
    pairs = zip(plain(), once(), strict=True)
    difference = max(float((one - other).abs().max()) for one, other in pairs)
each, packed_once = (statistics.median(column) for column in zip(*rows[2:], strict=True))
print(
    f"5 rows, 1024 to 4096: nn.Linear {each:.2f} ms, packed once {packed_once:.2f} ms;"
    f" largest difference {difference}"
)
sys.exit(0 if each > 1.2 * packed_once and difference < 0.05 else 1)
PYTHON
"$work/venv/bin/python" "$work/look.py"
