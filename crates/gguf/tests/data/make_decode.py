#!/usr/bin/env python3
"""Writes decode.bin and encode.bin: what the `gguf` Python package makes of random blocks and values.

    python3 make_decode.py [path/to/libggml-base.so]

With the library, every type is checked against ggml's own decoder as well, and the types that the package lacks (Q1_0, Q2_0,
Q8_K) come from there; without it these are left as they stand in the present decode.bin. Q8_1 has no decoder anywhere: its
values are scale times code by definition.

decode.bin: records of u32 type id, u32 element count, u32 byte count, the bytes, the elements as f32.
encode.bin: u32 element count, the elements as f32, then records of u32 type id, u32 byte count, the bytes.
"""
import ctypes
import struct
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

HERE = Path(__file__).parent
rng = np.random.default_rng(20240607)

# name: (id, elements per block, bytes per block, byte offsets of f16 scales, number of blocks)
TYPES = {
    "F16": (1, 1, 2, [0], 512), "BF16": (30, 1, 2, [], 512), "F64": (28, 1, 8, [], 64),
    "I8": (24, 1, 1, [], 64), "I16": (25, 1, 2, [], 64), "I32": (26, 1, 4, [], 64), "I64": (27, 1, 8, [], 64),
    "Q1_0": (41, 128, 18, [0], 16), "Q2_0": (42, 64, 18, [0], 32),
    "Q4_0": (2, 32, 18, [0], 48), "Q4_1": (3, 32, 20, [0, 2], 48), "Q5_0": (6, 32, 22, [0], 48), "Q5_1": (7, 32, 24, [0, 2], 48),
    "Q8_0": (8, 32, 34, [0], 48), "Q8_1": (9, 32, 36, [0, 2], 48),
    "Q2_K": (10, 256, 84, [80, 82], 8), "Q3_K": (11, 256, 110, [108], 8), "Q4_K": (12, 256, 144, [0, 2], 8),
    "Q5_K": (13, 256, 176, [0, 2], 8), "Q6_K": (14, 256, 210, [208], 8), "Q8_K": (15, 256, 292, [], 4),
    "IQ1_S": (19, 256, 50, [0], 64), "IQ1_M": (29, 256, 56, [], 8), "IQ2_XXS": (16, 256, 66, [0], 8),
    "IQ2_XS": (17, 256, 74, [0], 16), "IQ2_S": (22, 256, 82, [0], 32), "IQ3_XXS": (18, 256, 98, [0], 8),
    "IQ3_S": (21, 256, 110, [0], 8), "IQ4_NL": (20, 32, 18, [0], 48), "IQ4_XS": (23, 256, 136, [0], 8),
    "TQ1_0": (34, 256, 54, [52], 8), "TQ2_0": (35, 256, 66, [64], 8), "MXFP4": (39, 32, 17, [], 64), "NVFP4": (40, 64, 36, [], 64),
}

# Zero, minus zero, the least and greatest subnormals, the least normal, one, the greatest, and their negatives.
NASTY_HALVES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF]


def halves(count):
    """f16 bits: up to half of them nasty, then finite ones of every exponent."""
    bits = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    bits = np.where((bits & 0x7C00) == 0x7C00, bits & 0xBFFF, bits).astype(np.uint16)
    nasty = rng.permutation(np.array(NASTY_HALVES, dtype=np.uint16))[: count // 2]
    bits[: len(nasty)] = nasty
    return bits


def every_index(blocks, name):
    """Overwrites grid indices so that every point of the grid occurs."""
    n = len(blocks)
    if name == "IQ1_S":
        index = (np.arange(n * 32) * 7 % 2048).reshape(n, 8, 4)
        blocks[:, 2:34] = (index & 255).reshape(n, 32)
        high = index >> 8
        word = high[..., 0] | high[..., 1] << 3 | high[..., 2] << 6 | high[..., 3] << 9
        old = np.ascontiguousarray(blocks[:, 34:50]).view("<u2") & 0xF000
        blocks[:, 34:50] = (old | word).astype("<u2").view(np.uint8)
    elif name == "IQ2_XXS":
        blocks[:, 2:].reshape(n, 8, 8)[:, :, :4] = np.arange(n * 32).reshape(n, 8, 4) % 256
    elif name == "IQ2_XS":
        old = np.ascontiguousarray(blocks[:, 2:66]).view("<u2") & 0xFE00
        blocks[:, 2:66] = (old | np.arange(n * 32).reshape(n, 32) % 512).astype("<u2").view(np.uint8)
    elif name == "IQ2_S":
        index = (np.arange(n * 32) * 5 % 1024).reshape(n, 8, 4)
        blocks[:, 2:34] = (index & 255).reshape(n, 32)
        high = index >> 8
        blocks[:, 66:74] = high[..., 0] | high[..., 1] << 2 | high[..., 2] << 4 | high[..., 3] << 6
    elif name == "IQ3_XXS":
        blocks[:, 2:66] = np.arange(n * 64).reshape(n, 64) % 256
    elif name == "IQ3_S":
        index = (np.arange(n * 64) * 3 % 512).reshape(n, 8, 8)
        blocks[:, 2:66] = (index & 255).reshape(n, 64)
        blocks[:, 66:74] = ((index >> 8) << np.arange(8)).sum(axis=-1)


def make_blocks(name):
    _, _, size, scales, n = TYPES[name]
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    every_index(blocks, name)
    for k, at in enumerate(scales):
        blocks[:, at : at + 2] = np.roll(halves(n), k).astype("<u2").view(np.uint8).reshape(n, 2)
    if name == "BF16":  # no infinities, no NaNs
        word = blocks.view("<u2")
        blocks = np.where((word & 0x7F80) == 0x7F80, word & 0xBFFF, word).astype("<u2").view(np.uint8)
    elif name == "F64":
        blocks = rng.normal(0, 1e3, n).astype("<f8").view(np.uint8).reshape(n, 8)
    elif name == "IQ1_M":  # the f16 scale lies in the top nibbles of four words
        word = np.ascontiguousarray(blocks[:, 48:56]).view("<u2") & 0x0FFF
        d = halves(n).astype(np.uint32)[:, None]
        nibble = (d >> np.array([0, 4, 8, 12])) & 15
        blocks[:, 48:56] = (word | nibble << 12).astype("<u2").view(np.uint8)
    elif name == "Q8_K":
        d = np.array([1.5e-3, -0.0, 3e-41, -7.25], dtype="<f4")
        blocks[:, :4] = d.view(np.uint8).reshape(n, 4)
    elif name == "MXFP4":  # every fourth exponent, the ends among them
        blocks[:, 0] = np.r_[np.arange(2, 250, 4), 0, 1][:n]
    elif name == "NVFP4":  # every scale byte, NaN patterns among them
        blocks[:, :4] = np.arange(256).reshape(n, 4)
    return blocks


def from_package(name, blocks):
    plain = {"F64": "<f8", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
    if name in plain:
        return blocks.view(plain[name]).astype(np.float32).ravel()
    if name == "Q8_1":
        return (np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32) * blocks[:, 4:].view(np.int8).astype(np.float32)).ravel()
    try:
        return dequantize(blocks, T[name]).ravel()
    except (KeyError, NotImplementedError):
        return None


def from_library(library, name, blocks, count):
    function = {"MXFP4": "mxfp4", "NVFP4": "nvfp4"}.get(name, name.lower().replace("_k", "_K"))
    try:
        function = getattr(library, f"dequantize_row_{function}")
    except AttributeError:
        return None
    out = np.empty(count, dtype=np.float32)
    raw = np.ascontiguousarray(blocks)
    function(raw.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(count))
    return out


def old_records():
    path, records = HERE / "decode.bin", {}
    data, at = path.read_bytes() if path.exists() else b"", 0
    while at < len(data):
        number, count, size = struct.unpack_from("<III", data, at)
        end = at + 12 + size + 4 * count
        records[number] = data[at:end]
        at = end
    return records


def write_decode(library):
    old, out = old_records(), b""
    for name, (number, block_len, _, _, n) in TYPES.items():
        blocks = make_blocks(name)
        count = n * block_len
        with np.errstate(all="ignore"):
            values = from_package(name, blocks)
        from_c = from_library(library, name, blocks, count) if library else None
        if values is not None and from_c is not None:
            assert values.tobytes() == from_c.tobytes(), f"{name}: the package and ggml differ"
        source = "package" if values is not None else "ggml"
        if values is not None and from_c is not None:
            source = "package = ggml"
        values = from_c if values is None else values
        if values is None:
            assert number in old, f"{name}: neither package nor library decodes it"
            out += old[number]
            print(f"{name}: kept")
            continue
        raw = np.ascontiguousarray(blocks).tobytes()
        out += struct.pack("<III", number, count, len(raw)) + raw + values.astype("<f4").tobytes()
        print(f"{name}: {source}, {len(np.unique(values))} distinct values")
    (HERE / "decode.bin").write_bytes(out)


def write_encode():
    rows = [rng.normal(0, scale, 32) for scale in np.logspace(-6, 3, 24)]
    rows += [np.zeros(32), np.full(32, 3.25), np.full(32, -0.75), np.r_[-1.0, 1.0, np.linspace(-1, 1, 30)]]
    rows += [np.r_[127.0, np.arange(31) + 0.5], np.r_[-127.0, -(np.arange(31) + 0.5)], np.r_[-8.0, np.arange(31) / 2 - 7.5]]
    rows += [np.r_[np.zeros(31), 1e-5]]
    values = np.array(rows, dtype=np.float32)
    out = struct.pack("<I", values.size) + values.tobytes()
    for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]:
        raw = quantize(values, T[name]).tobytes()
        out += struct.pack("<II", T[name].value, len(raw)) + raw
    (HERE / "encode.bin").write_bytes(out)


if __name__ == "__main__":
    write_decode(ctypes.CDLL(sys.argv[1]) if len(sys.argv) > 1 else None)
    write_encode()
