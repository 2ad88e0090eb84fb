"""Writes the golden values of lazuli-quant's tests: crates/lazuli-quant/tests/data/goldens.safetensors.

Needs mlx 0.32 and gguf 0.19 (`pip install mlx[cpu] gguf`). Run from the repository root.
"""

import json
import struct

import gguf
import mlx.core as mx
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

OUT = "crates/lazuli-quant/tests/data/goldens.safetensors"
rng = np.random.default_rng(7)
tensors: dict[str, np.ndarray] = {}

# IQ1_M: random blocks; the four top nibbles that make up the scale are set to a plain f16.
raw = rng.integers(0, 256, (3, 56), dtype=np.uint8)
for block, d in zip(raw, [0.25, -1.5, 0.0117]):
    bits = int(np.float16(d).view(np.uint16))
    for i in range(4):
        block[49 + 2 * i] = (block[49 + 2 * i] & 15) | ((bits >> (4 * i)) & 15) << 4
tensors["IQ1_M.raw"] = raw.reshape(-1)
tensors["IQ1_M.f32"] = quants.dequantize(raw, T.IQ1_M).reshape(-1)

# NVFP4: random blocks, every scale code somewhere.
raw = np.random.default_rng(8).integers(0, 256, (64, 36), dtype=np.uint8)
raw[:, :4] = np.arange(256, dtype=np.uint8).reshape(64, 4)
nvfp4_raw, nvfp4_f32 = raw.reshape(-1), quants.dequantize(raw, T.NVFP4).reshape(-1)

# Weights with awkward groups: all zero, constant, all of one sign, tiny, large, outliers.
w = rng.normal(0, 0.5, (2, 512)).astype(np.float32)
w[0, :32] = 0
w[0, 32:64] = 0.75
w[0, 64:96] = np.abs(w[0, 64:96]) + 3
w[0, 96:128] = -np.abs(w[0, 96:128]) - 3
w[0, 128:160] *= 1e-4
w[0, 160:192] *= 1e3
w[0, 200] = 17
w[1, 256:] = np.round(w[1, 256:] * 8) / 8
tensors["w"] = w.reshape(-1)
for kind in [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.TQ1_0, T.TQ2_0, T.MXFP4]:
    tensors[f"{kind.name}.encoded"] = quants.quantize(w, kind).reshape(-1)

# MLX: what mx.quantize writes, and what mx.dequantize reads in single precision.
rounded = np.array(mx.array(w).astype(mx.bfloat16).astype(mx.float32))
rounded[0, 160:192] = np.clip(rounded[0, 160:192], -2e4, 2e4)
tensors["w.rounded"] = rounded.reshape(-1)
TYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
SUFFIX = {"f32": "-f32", "f16": "-f16", "bf16": ""}


def bytes_of(a):
    if a.dtype == mx.bfloat16:
        a = a.view(mx.uint16)
    return np.array(a).reshape(-1).view(np.uint8)


cases = [(2, 32, "f32"), (3, 64, "bf16"), (4, 64, "bf16"), (4, 32, "f16"), (5, 32, "bf16"), (6, 128, "f32"), (8, 128, "bf16")]
for bits, group, kind in cases:
    source = w if kind == "f32" else rounded
    planes = mx.quantize(mx.array(source).astype(TYPES[kind]), group_size=group, bits=bits)
    name = f"affine{bits}g{group}{SUFFIX[kind]}"
    for i, plane in enumerate(planes):
        tensors[f"{name}.{i}"] = bytes_of(plane)
    codes, scales, biases = planes
    floats = mx.dequantize(codes, scales.astype(mx.float32), biases.astype(mx.float32), group_size=group, bits=bits)
    tensors[f"{name}.f32"] = np.array(floats).reshape(-1)
for mode in ["mxfp4", "nvfp4", "mxfp8"]:
    codes, scales = mx.quantize(mx.array(w), mode=mode)
    tensors[f"{mode}.0"], tensors[f"{mode}.1"] = bytes_of(codes), bytes_of(scales)
    floats = mx.dequantize(codes, scales, mode=mode, dtype=mx.float32)
    tensors[f"{mode}.f32"] = np.array(floats).reshape(-1)
tensors["e4m3.f32"] = np.array(mx.from_fp8(mx.arange(256).astype(mx.uint8), dtype=mx.float32))

tensors["NVFP4.raw"], tensors["NVFP4.f32"] = nvfp4_raw, nvfp4_f32

header, data = {}, b""
for name, array in tensors.items():
    dtype = {"uint8": "U8", "float32": "F32"}[str(array.dtype)]
    blob = np.ascontiguousarray(array).tobytes()
    header[name] = {"dtype": dtype, "shape": [array.size], "data_offsets": [len(data), len(data) + len(blob)]}
    data += blob
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
with open(OUT, "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + data)
print(OUT, len(data), "bytes; gguf", getattr(gguf, "__version__", "0.19"), "mlx", mx.__version__)
