#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the other forms of tests/golden/systems/model.safetensors, as the field's own writers do.

  model.pt      a training checkpoint by torch.save: generator_ema holds the same numbers (names with
                "model." and one "_fsdp_wrapped_module."), generator others. What is equal shares its
                storage, as it does in a file that was saved right after the average was started.
  model.gguf    by the gguf package: vectors F32, matrices BF16, both bit by bit
  lora.pt       generator_lora: PEFT names, rank 4, on six matrices; no alpha, so alpha = rank
  lora_merged.safetensors(.index.json)    those six matrices with W + B A by torch in f32; the index
                takes all others from model.safetensors

Needs torch, safetensors, gguf, numpy. Run from the root: tools/make_system_formats.py
"""
import collections
import json
import pathlib

import gguf
import torch
from safetensors.torch import load_file, save_file

OUT = pathlib.Path("tests/golden/systems")
OTHER = ("bias", "modulation")  # of the plain generator: half of what it is in generator_ema
RANK = 4
LORA = ("blocks.0.self_attn.q", "blocks.0.self_attn.v", "blocks.0.ffn.0", "blocks.1.self_attn.k",
        "blocks.1.cross_attn.o", "blocks.1.ffn.2")


def write_torch(model):
    def theirs(d, infix):
        return collections.OrderedDict((f"model.{infix}{n}", t) for n, t in d.items())

    plain = {n: t * 0.5 if n.endswith(OTHER) else t for n, t in model.items()}
    torch.save({"generator": theirs(plain, ""),
                "generator_ema": theirs(model, "_fsdp_wrapped_module."), "step": 600}, OUT / "model.pt")


def write_gguf(model):
    w = gguf.GGUFWriter(OUT / "model.gguf", "wan")
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, t in model.items():
        if t.dtype == torch.bfloat16:
            raw = t.contiguous().view(torch.uint8).numpy()  # last extent in bytes
            w.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            w.add_tensor(name, t.contiguous().numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_lora(model):
    gen = torch.Generator().manual_seed(5)
    lora, merged = {}, {}
    for n in LORA:
        base = model[n + ".weight"].float()
        a = torch.randn(RANK, base.shape[1], generator=gen) / base.shape[1]**0.5
        b = torch.randn(base.shape[0], RANK, generator=gen) * base.std() * 0.5
        lora[f"base_model.model.{n}.lora_A.default.weight"] = a
        lora[f"base_model.model.{n}.lora_B.default.weight"] = b
        merged[n + ".weight"] = base + b @ a
    torch.save({"generator_lora": lora, "step": 3000}, OUT / "lora.pt")
    save_file(merged, OUT / "lora_merged.safetensors")
    files = {n: "lora_merged.safetensors" if n in merged else "model.safetensors" for n in model}
    index = {"metadata": {}, "weight_map": files}
    (OUT / "lora_merged.safetensors.index.json").write_text(json.dumps(index, indent=0) + "\n")


if __name__ == "__main__":
    weights = load_file(OUT / "model.safetensors")
    write_torch(weights)
    write_gguf(weights)
    write_lora(weights)
