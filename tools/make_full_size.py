#!/usr/bin/env python3
"""Random weights with the names, shapes, dtypes and files of Wan2.1-T2V-1.3B and Self-Forcing.

    tools/make_full_size.py DIR [--part dit,text,vae,self-forcing] [--tiny]

Role     full-size tests without the real weights (which cannot be had everywhere): load time, memory and speed
         depend on names, shapes and layout, not on values.  About 23 GB.  Needs numpy only.
Writes   DIR/diffusion_pytorch_model.safetensors   DiT, F32, original names, 825 tensors         5.7 GB
         DIR/models_t5_umt5-xxl-enc-bf16.pth       UMT5-XXL encoder, BF16, Wan names, 242        11.4 GB
         DIR/Wan2.1_VAE.pth                        VAE, F32, 194                                 0.5 GB
         DIR/self_forcing_dmd.pt                   {"generator_ema": {"model.<DiT name>": F32}}  5.7 GB
         DIR/google/umt5-xxl/spiece.model          256,300 made-up pieces, umt5's ids                4 MB
Layout   .pth and .pt are torch zip archives: stored entries, data 64-byte aligned by a padded extra field, protocol-2
         pickle.  The pickle is made with stand-in classes named like torch's, so torch itself is not needed.
Pitfall  values are drawn once (4 M normals) and repeated from varying places, scaled by fan-in: activations stay
         finite in bf16, pictures are noise.
"""
import argparse
import collections
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile

import numpy as np

POOL = np.random.default_rng(1).standard_normal(1 << 22).astype(np.float32)


def dit(dim=1536, ffn=8960, layers=30, text=4096, freq=256, channels=16):
    """name -> shape of the DiT, in file order."""
    t = collections.OrderedDict()

    def linear(name, out, inp):
        t[name + ".weight"], t[name + ".bias"] = (out, inp), (out,)

    t["patch_embedding.weight"], t["patch_embedding.bias"] = (dim, channels, 1, 2, 2), (dim,)
    linear("text_embedding.0", dim, text)
    linear("text_embedding.2", dim, dim)
    linear("time_embedding.0", dim, freq)
    linear("time_embedding.2", dim, dim)
    linear("time_projection.1", 6 * dim, dim)
    for n in range(layers):
        b = f"blocks.{n}."
        t[b + "modulation"] = (1, 6, dim)
        for a in ("self_attn", "cross_attn"):
            for m in "qkvo":
                linear(f"{b}{a}.{m}", dim, dim)
            t[f"{b}{a}.norm_q.weight"] = t[f"{b}{a}.norm_k.weight"] = (dim,)
        t[b + "norm3.weight"], t[b + "norm3.bias"] = (dim,), (dim,)
        linear(b + "ffn.0", ffn, dim)
        linear(b + "ffn.2", dim, ffn)
    t["head.modulation"] = (1, 2, dim)
    linear("head.head", 4 * channels, dim)
    return t


def umt5(vocab=256384, dim=4096, heads=64, hd=64, ff=10240, layers=24):
    t = collections.OrderedDict([("token_embedding.weight", (vocab, dim))])
    for n in range(layers):
        b = f"blocks.{n}."
        t[b + "norm1.weight"] = (dim,)
        for m in "qkv":
            t[f"{b}attn.{m}.weight"] = (heads * hd, dim)
        t[b + "attn.o.weight"] = (dim, heads * hd)
        t[b + "norm2.weight"] = (dim,)
        t[b + "ffn.gate.0.weight"] = t[b + "ffn.fc1.weight"] = (ff, dim)
        t[b + "ffn.fc2.weight"] = (dim, ff)
        t[b + "pos_embedding.embedding.weight"] = (32, heads)
    t["norm.weight"] = (dim,)
    return t


def vae(base=96, z=16):
    t = collections.OrderedDict()

    def conv(name, out, inp, *k):
        t[name + ".weight"], t[name + ".bias"] = (out, inp, *k), (out,)

    def res(name, inp, out):
        t[name + ".residual.0.gamma"] = (inp, 1, 1, 1)
        conv(name + ".residual.2", out, inp, 3, 3, 3)
        t[name + ".residual.3.gamma"] = (out, 1, 1, 1)
        conv(name + ".residual.6", out, out, 3, 3, 3)
        if inp != out:
            conv(name + ".shortcut", out, inp, 1, 1, 1)

    def middle(side, c):
        res(f"{side}.middle.0", c, c)
        t[f"{side}.middle.1.norm.gamma"] = (c, 1, 1)
        conv(f"{side}.middle.1.to_qkv", 3 * c, c, 1, 1)
        conv(f"{side}.middle.1.proj", c, c, 1, 1)
        res(f"{side}.middle.2", c, c)

    a, b, c = base, 2 * base, 4 * base
    conv("encoder.conv1", a, 3, 3, 3, 3)
    d = "encoder.downsamples."
    # (in, out) of a residual block; (0, c) halves the picture, (1, c) the frames too
    for i, (inp, out) in enumerate([(a, a), (a, a), (0, a), (a, b), (b, b), (1, b), (b, c), (c, c), (1, c), (c, c), (c, c)]):
        if inp in (0, 1):
            conv(f"{d}{i}.resample.1", out, out, 3, 3)
            if inp:
                conv(f"{d}{i}.time_conv", out, out, 3, 1, 1)
        else:
            res(f"{d}{i}", inp, out)
    middle("encoder", c)
    t["encoder.head.0.gamma"] = (c, 1, 1, 1)
    conv("encoder.head.2", 2 * z, c, 3, 3, 3)
    conv("conv1", 2 * z, 2 * z, 1, 1, 1)
    conv("conv2", z, z, 1, 1, 1)
    conv("decoder.conv1", c, z, 3, 3, 3)
    middle("decoder", c)
    u, i = "decoder.upsamples.", 0
    for inp, width, up in ((c, c, 2), (b, c, 2), (b, b, 1), (a, a, 0)):
        for j in range(3):
            res(f"{u}{i}", inp if j == 0 else width, width)
            i += 1
        if up:
            conv(f"{u}{i}.resample.1", width // 2, width, 3, 3)
            if up == 2:
                conv(f"{u}{i}.time_conv", 2 * width, width, 3, 1, 1)
            i += 1
    t["decoder.head.0.gamma"] = (a, 1, 1, 1)
    conv("decoder.head.2", 3, a, 3, 3, 3)
    return t


def values(name, shape, n_done):
    """Float32 pieces of one tensor."""
    count = int(np.prod(shape))
    one = len(shape) == 1 and name.endswith("weight") or name.endswith("gamma")
    scale = 0. if one or name.endswith("bias") else 1 / np.sqrt(max(1, count // shape[0]))
    if "token_embedding" in name:
        scale = 1.
    at = n_done % (1 << 20)
    while count:
        n = min(count, len(POOL) - at)
        yield POOL[at:at + n] * np.float32(scale) + np.float32(one)
        count, at = count - n, 0


def stored(x, dtype):
    if dtype == "F32":
        return x.astype("<f4").tobytes()
    bits = x.view(np.uint32)
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def payload(table, dtype):
    done = 0
    for name, shape in table.items():
        for piece in values(name, shape, done):
            yield stored(piece, dtype)
        done += int(np.prod(shape)) + 7919


def write_safetensors(path, table, dtype="F32"):
    size, at, head = {"F32": 4, "BF16": 2}[dtype], 0, {}
    for name, shape in table.items():
        n = int(np.prod(shape)) * size
        head[name] = dict(dtype=dtype, shape=shape, data_offsets=[at, at + n])
        at += n
    text = json.dumps(head).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for b in payload(table, dtype):
            f.write(b)


def stand_ins():
    """Modules and names that the pickle refers to: {torch class name: class}, rebuild function."""
    mod, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    out = {}
    for s in ("FloatStorage", "BFloat16Storage"):
        out[s] = type(s, (), {"__module__": "torch"})
        setattr(mod, s, out[s])

    def rebuild(*_):
        raise RuntimeError("only a name")
    rebuild.__module__, rebuild.__name__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    sys.modules["torch"], sys.modules["torch._utils"] = mod, utils
    return out, rebuild


class Key:
    def __init__(self, *a):
        self.id = a


class Tensor:
    def __init__(self, rebuild, key, shape):
        stride = [int(np.prod(shape[i + 1:])) for i in range(len(shape))]
        self.call = rebuild, (key, 0, tuple(shape), tuple(stride), False, collections.OrderedDict())

    def __reduce__(self):
        return self.call


class Pickler(pickle._Pickler):                                    # the Python one: it honours persistent_id on every object
    def persistent_id(self, obj):
        return obj.id if isinstance(obj, Key) else None


def write_torch(path, table, dtype, wrap=None, prefix=""):
    classes, rebuild = stand_ins()
    size, kind = {"F32": (4, "FloatStorage"), "BF16": (2, "BFloat16Storage")}[dtype]
    tree = collections.OrderedDict()
    for i, (name, shape) in enumerate(table.items()):
        n = int(np.prod(shape))
        tree[prefix + name] = Tensor(rebuild, Key("storage", classes[kind], str(i), "cpu", n), shape)
    buf = io.BytesIO()
    Pickler(buf, 2).dump({wrap: tree} if wrap else tree)
    top = os.path.splitext(os.path.basename(path))[0]
    done = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as z:
        def entry(name):
            info = zipfile.ZipInfo(f"{top}/{name}")
            head = 30 + len(info.filename) + 20 + 4                # with the zip64 field that force_zip64 adds
            pad = -(z.fp.tell() + head) % 64
            info.extra = struct.pack("<HH", 0x4246, pad) + b"Z" * pad
            return z.open(info, "w", force_zip64=True)
        with entry("data.pkl") as f:
            f.write(buf.getvalue())
        with entry("byteorder") as f:
            f.write(b"little")
        for i, (name, shape) in enumerate(table.items()):
            with entry(f"data/{i}") as f:
                for piece in values(name, shape, done):
                    f.write(stored(piece, dtype))
            done += int(np.prod(shape)) + 7919
        with entry("version") as f:
            f.write(b"3\n")


def write_tokenizer(path, count):
    """A sentencepiece model: pad, </s>, <s>, <unk>, 256 bytes, letters, then words nobody types."""
    def field(number, value):
        if isinstance(value, int):
            return varint(number << 3) + varint(value)
        if isinstance(value, float):
            return varint(number << 3 | 5) + struct.pack("<f", value)
        return varint(number << 3 | 2) + varint(len(value)) + value

    def varint(n):
        out = bytearray()
        while n > 127:
            out.append(n & 127 | 128)
            n >>= 7
        return bytes(out + bytes([n]))

    normal, unknown, control, byte = 1, 2, 3, 6
    pieces = [("<pad>", control), ("</s>", control), ("<s>", control), ("<unk>", unknown)]
    pieces += [(f"<0x{i:02X}>", byte) for i in range(256)]
    pieces += [(c, normal) for c in "\u2581abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,"]
    pieces += [(f"\u2581q{i}q", normal) for i in range(max(0, count - len(pieces)))]
    out = b"".join(field(1, field(1, t.encode()) + field(2, -float(min(i, 9999)) / 1000) + field(3, k)) for i, (t, k) in enumerate(pieces))
    out += field(2, field(3, 1) + field(35, 1) + field(40, 3) + field(41, 2) + field(42, 1) + field(43, 0))
    out += field(3, field(1, b"identity") + field(3, 1) + field(4, 1) + field(5, 1))
    with open(path, "wb") as f:
        f.write(out)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("dir")
    ap.add_argument("--part", default="dit,text,vae,self-forcing", help="comma list")
    ap.add_argument("--tiny", action="store_true", help="the same files at small widths (tests of this script)")
    args = ap.parse_args()
    parts = args.part.split(",")
    d = dit(96, 160, 2, 64, 32) if args.tiny else dit()
    t = umt5(512, 64, 4, 16, 96, 2) if args.tiny else umt5()
    v = vae(8) if args.tiny else vae()
    if not args.tiny:
        for what, table, count in (("DiT", d, 825), ("text encoder", t, 242), ("VAE", v, 194)):
            if len(table) != count:
                sys.exit(f"{what}: {len(table)} tensors, the published file has {count}")
    os.makedirs(os.path.join(args.dir, "google/umt5-xxl"), exist_ok=True)
    at = lambda name: os.path.join(args.dir, name)
    if "dit" in parts:
        write_safetensors(at("diffusion_pytorch_model.safetensors"), d)
    if "text" in parts:
        write_torch(at("models_t5_umt5-xxl-enc-bf16.pth"), t, "BF16")
    if "vae" in parts:
        write_torch(at("Wan2.1_VAE.pth"), v, "F32")
    if "self-forcing" in parts:
        write_torch(at("self_forcing_dmd.pt"), d, "F32", "generator_ema", "model.")
    write_tokenizer(at("google/umt5-xxl/spiece.model"), 500 if args.tiny else 256300)


if __name__ == "__main__":
    main()
