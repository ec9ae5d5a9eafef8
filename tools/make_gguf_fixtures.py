#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/golden/gguf: what the gguf package (ggml's own) writes, and how it reads blocks.

  types.gguf           one tensor per element type that longtake reads, keys of every value type
  types.safetensors    the same tensors as F32, by gguf.quants.dequantize

Blocks are random bytes: every bit pattern of a block is a value, so scales that are subnormal,
negative, infinite or not a number occur too.
Needs numpy, gguf, safetensors. Run from the root: tools/make_gguf_fixtures.py
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf.quants import dequantize
from safetensors.numpy import save_file

OUT = pathlib.Path("tests/golden/gguf")
BLOCKS = [Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K, Q.IQ4_NL]
ROWS, COLS = 3, 512


def keys(w):
    w.add_string("test.string", "caf\u00e9")
    for name, add, value in (
            ("u8", w.add_uint8, 200), ("i8", w.add_int8, -100), ("u16", w.add_uint16, 60000),
            ("i16", w.add_int16, -30000), ("u32", w.add_uint32, 4000000000), ("i32", w.add_int32, -2000000000),
            ("u64", w.add_uint64, 2**64 - 1), ("i64", w.add_int64, -2**63), ("f32", w.add_float32, 0.25),
            ("f64", w.add_float64, 0.1), ("bool", w.add_bool, True)):
        add("test." + name, value)
    w.add_array("test.strings", ["", "a", "\u2581the", "x" * 300])
    w.add_array("test.floats", [-1.5, 0.0, 2.25])
    w.add_array("test.ints", [-1, 0, 7])


def main():
    rng = np.random.default_rng(11)
    w = gguf.GGUFWriter(OUT / "types.gguf", "wan")
    keys(w)
    want = {}

    def plain(name, x, raw_dtype=None, raw=None):
        w.add_tensor(name, raw if raw is not None else x, raw_shape=None, raw_dtype=raw_dtype)
        want[name] = np.ascontiguousarray(x, np.float32)

    plain("f32", rng.standard_normal((2, 5)).astype(np.float32))
    plain("f16", rng.standard_normal((7,)).astype(np.float16))
    bits = rng.standard_normal((3, 4)).astype(np.float32).view(np.uint32) & 0xffff0000
    raw = (bits >> 16).astype(np.uint16)
    plain("bf16", bits.view(np.float32), Q.BF16, raw.view(np.uint8).reshape(3, 8))
    plain("five", rng.standard_normal((4, 3, 1, 2, 2)).astype(np.float32))
    for q in BLOCKS:
        block, size = gguf.GGML_QUANT_SIZES[q]
        raw = rng.integers(0, 256, (ROWS, COLS // block * size), np.uint8)
        w.add_tensor(q.name.lower(), raw, raw_dtype=q)
        with np.errstate(all="ignore"):
            want[q.name.lower()] = np.ascontiguousarray(dequantize(raw, q), np.float32)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    save_file(want, OUT / "types.safetensors")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    main()
