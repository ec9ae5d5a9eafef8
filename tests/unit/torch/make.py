#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the .pt files beside this script, with torch.save, and what they must be read as.

  types        every dtype; 0-d, empty and one-element tensors
  views        shared storages, transposes, slices, an expanded tensor, a channels_last one
  ordered      OrderedDict with _metadata, Parameters (one with an attribute), a step count
  nested       a training checkpoint: generator, critic, generator_ema with FSDP names, optimizer, settings
  protocol4    types, pickled with protocol 4
  bare         torch.save(tensor)
  text         tests/tiny's text encoder under Wan's names, bf16
  dit          tests/tiny's transformer as generator_ema of a training checkpoint, FSDP names, bf16
  old, script, big_endian, deflated    what must be refused
NAME.safetensors holds the same tensors, contiguous, under the names the engine gives them.
Needs torch, safetensors. Run from the root: tests/unit/torch/make.py
"""
import argparse, collections, pathlib, zipfile
import torch
from safetensors.torch import load_file, save_file

OUT = pathlib.Path("tests/unit/torch")
TINY = pathlib.Path("tests/tiny")


def write(name, obj, want=None, **how):
    torch.save(obj, OUT / f"{name}.pt", **how)
    if want is not None:
        save_file({k: v.detach().contiguous().clone() for k, v in want.items()}, OUT / f"{name}.safetensors")


def types():
    x = torch.randn(3, 5) * 4
    t = {str(d).removeprefix("torch."): x.to(d) for d in (
        torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2,
        torch.int64, torch.int32, torch.int16, torch.int8)}
    t["uint8"], t["bool"] = (x.abs() * 20).to(torch.uint8), x > 0
    t["scalar"], t["empty"], t["one"] = torch.tensor(2.5), torch.zeros(0, 4), torch.ones(1, 1, 1)
    t["rank6"] = torch.randn(1, 2, 1, 3, 1, 2)
    return t


def views():
    base = torch.arange(120.0).reshape(2, 3, 4, 5)
    m = torch.randn(7, 9).to(torch.bfloat16)
    return {"base": base, "last": base[1], "middle": base[0, 1:3], "transposed": m.t(), "whole": m, "columns": m[:, 2:6],
            "every_third": m[1::3, ::4], "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 6),
            "zero_stride": torch.tensor(3.0).expand(4, 4), "channels_last": base.to(memory_format=torch.channels_last),
            "permuted": base.permute(3, 1, 0, 2), "ints": torch.arange(12).reshape(3, 4).t(),
            "fp8": torch.randn(4, 6).to(torch.float8_e4m3fn).t()}


def ordered():
    d = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4)).state_dict()
    d["param"] = torch.nn.Parameter(torch.randn(2, 2))
    d["marked"] = torch.nn.Parameter(torch.randn(3))
    d["marked"].note = "kept by torch"
    want = dict(d)
    d["step"], d["name"], d["none"], d["flags"] = 1 << 40, "x", None, [True, 1.5, {1, 2}, frozenset([3]), b"b"]
    return d, want


def nested():
    names = ["blocks.0.ffn.0.weight", "blocks.0.ffn.0.bias", "patch_embedding.weight"]
    gen = {n: torch.randn(2, 3) for n in names}
    ema = {n: torch.randn(2, 3) for n in names}
    fsdp = lambda n: "model._fsdp_wrapped_module." + n.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module.")
    p = torch.nn.Parameter(torch.ones(2))
    opt = torch.optim.AdamW([p])
    p.sum().backward(), opt.step()
    write("nested", {"generator": {"model": {"model." + n: v for n, v in gen.items()}}, "critic": {n: torch.zeros(9) for n in names},
                     "generator_ema": collections.OrderedDict((fsdp(n), v) for n, v in ema.items()),
                     "optimizer": opt.state_dict(), "step": 7, "config": argparse.Namespace(lr=1e-5)},
          {**{"ema." + n: v for n, v in ema.items()}, **{"gen." + n: v for n, v in gen.items()}})


def text():
    top = {"shared.": "token_embedding.", "encoder.final_layer_norm.": "norm."}
    block = {"layer.0.layer_norm.": "norm1.", "layer.0.SelfAttention.relative_attention_bias.": "pos_embedding.embedding.",
             "layer.0.SelfAttention.": "attn.", "layer.1.layer_norm.": "norm2.", "layer.1.DenseReluDense.wi_0.": "ffn.gate.0.",
             "layer.1.DenseReluDense.wi_1.": "ffn.fc1.", "layer.1.DenseReluDense.wo.": "ffn.fc2."}
    t = {}
    for k, v in load_file(TINY / "text_encoder/diffusion_pytorch_model.safetensors").items():
        for a, b in {**top, **block}.items():
            k = k.replace(a, b)
        t[k.replace("encoder.block.", "blocks.")] = v
    write("text", t)


def dit():
    t = load_file(TINY / "transformer/diffusion_pytorch_model.safetensors")
    fsdp = lambda n: "model._fsdp_wrapped_module." + n
    write("dit", {"generator_ema": {fsdp(k): v for k, v in t.items()}, "generator": {"model.x": torch.zeros(2)},
                  "critic": {"model.x": torch.zeros(2)}, "step": 600})


def refused():
    x = {"w": torch.ones(2)}
    write("old", x, _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), OUT / "script.pt")
    write("plain", x)
    with zipfile.ZipFile(OUT / "plain.pt") as z:
        for name, method, patch in (("big_endian", 0, True), ("deflated", zipfile.ZIP_DEFLATED, False)):
            with zipfile.ZipFile(OUT / f"{name}.pt", "w", method) as out:
                for i in z.infolist():
                    out.writestr(i.filename, b"big" if patch and i.filename.endswith("byteorder") else z.read(i.filename))
    (OUT / "plain.pt").unlink()


def main():
    torch.manual_seed(3)
    t = types()
    write("types", t, t)
    write("protocol4", t, pickle_protocol=4)
    v = views()
    write("views", v, v)
    write("ordered", *ordered())
    write("bare", torch.randn(2, 3, dtype=torch.bfloat16))
    nested(), text(), dit(), refused()


if __name__ == "__main__":
    main()
