# SPDX-License-Identifier: Apache-2.0
"""Models in GGUF files give, bit for bit, what the same numbers in safetensors give: plain types, the
names, folded shapes and prefixes that GGUF tools write, and blocks (Q8_0)."""
import json
import os
import random
import shutil
import struct
import unittest

from rig import TINY, CliTest, run, write_safetensors

T, C, S = 6, 16, 4  # latent frames, channels, side: 32x32 pixels

DIT = [("condition_embedder.text_embedder.linear_1.", "text_embedding.0."),
       ("condition_embedder.text_embedder.linear_2.", "text_embedding.2."),
       ("condition_embedder.time_embedder.linear_1.", "time_embedding.0."),
       ("condition_embedder.time_embedder.linear_2.", "time_embedding.2."),
       ("condition_embedder.time_proj.", "time_projection.1."), ("proj_out.", "head.head."),
       (".norm2.", ".norm3."), (".attn1.", ".self_attn."), (".attn2.", ".cross_attn."),
       (".to_q.", ".q."), (".to_k.", ".k."), (".to_v.", ".v."), (".to_out.0.", ".o."),
       (".ffn.net.0.proj.", ".ffn.0."), (".ffn.net.2.", ".ffn.2.")]
TEXT = [("shared.", "token_embd."), ("encoder.final_layer_norm.", "enc.output_norm."),
        ("encoder.block.", "enc.blk."), (".layer.0.layer_norm.", ".attn_norm."),
        (".layer.0.SelfAttention.relative_attention_bias.", ".attn_rel_b."),
        (".layer.0.SelfAttention.", ".attn_"), (".layer.1.layer_norm.", ".ffn_norm."),
        (".layer.1.DenseReluDense.wi_0.", ".ffn_gate."), (".layer.1.DenseReluDense.wi_1.", ".ffn_up."),
        (".layer.1.DenseReluDense.wo.", ".ffn_down.")]


def original(name):
    if name == "scale_shift_table":
        return "head.modulation"
    for a, b in DIT + [("scale_shift_table", "modulation")]:
        name = name.replace(a, b)
    return name


def llama(name):
    for a, b in TEXT:
        name = name.replace(a, b)
    return name


def read_bf16(part):
    """name -> (shape, floats) of a part of the small model."""
    with open(os.path.join(TINY, part, "diffusion_pytorch_model.safetensors"), "rb") as f:
        data = f.read()
    size = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, t in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            assert t["dtype"] == "BF16"
            a, b = t["data_offsets"]
            raw = struct.unpack("<%dH" % ((b - a) // 2), data[8 + size + a:8 + size + b])
            out[name] = (t["shape"], struct.unpack("<%df" % len(raw), b"".join(struct.pack("<I", x << 16) for x in raw)))
    return out


def store(kind, values):
    """(bytes, the floats that they mean)."""
    n = len(values)
    if kind == "F32":
        return struct.pack("<%df" % n, *values), values
    if kind == "F16":
        raw = struct.pack("<%de" % n, *values)
        return raw, struct.unpack("<%de" % n, raw)
    if kind == "BF16":  # the values are, already
        return b"".join(struct.pack("<f", x)[2:] for x in values), values
    raw, means = b"", []
    for i in range(0, n, 32):  # Q8_0
        row = values[i:i + 32]
        head = struct.pack("<e", max(map(abs, row)) / 127)
        d = struct.unpack("<e", head)[0]
        q = [max(-127, min(127, round(x / d))) for x in row]
        raw += head + struct.pack("<32b", *q)
        means += [d * x for x in q]  # exact: 11 bits by 8
    return raw, means


TYPE = {"F32": 0, "F16": 1, "BF16": 30, "Q8_0": 8}


def string(s):
    return struct.pack("<Q", len(s)) + s.encode()


def write_gguf(path, tensors, arch=None, alignment=32):
    """tensors: name -> (shape, kind, bytes)."""
    kv = [string("general.alignment") + struct.pack("<II", 4, alignment)]
    if arch is not None:
        kv.append(string("general.architecture") + struct.pack("<I", 8) + string(arch))
    head, body = b"", b""
    for name, (shape, kind, raw) in tensors.items():
        head += string(name) + struct.pack("<I", len(shape))
        head += struct.pack("<%dQ" % len(shape), *reversed(shape)) + struct.pack("<IQ", TYPE[kind], len(body))
        body += raw + b"\0" * (-len(raw) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(kv)) + b"".join(kv) + head
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % alignment) + body)


def fold(name, shape):
    """What tools make of shapes that ggml cannot have or does not keep."""
    if name == "patch_embedding.weight":
        return [shape[0] * shape[1], *shape[2:]]
    return shape[1:] if name.endswith("modulation") else shape


def random_dit(dim=64, ffn=96, text_dim=32, layers=2):
    rng = random.Random(3)
    shapes = {"patch_embedding.weight": [dim, C, 1, 2, 2], "patch_embedding.bias": [dim],
              "head.head.weight": [4 * C, dim], "head.head.bias": [4 * C], "head.modulation": [1, 2, dim]}

    def linear(name, o, i):
        shapes[name + ".weight"], shapes[name + ".bias"] = [o, i], [o]
    linear("text_embedding.0", dim, text_dim)
    linear("text_embedding.2", dim, dim)
    linear("time_embedding.0", dim, 32)
    linear("time_embedding.2", dim, dim)
    linear("time_projection.1", 6 * dim, dim)
    for b in range(layers):
        p = "blocks.%d." % b
        shapes[p + "modulation"] = [1, 6, dim]
        shapes[p + "norm3.weight"] = shapes[p + "norm3.bias"] = [dim]
        linear(p + "ffn.0", ffn, dim)
        linear(p + "ffn.2", dim, ffn)
        for a in ("self_attn.", "cross_attn."):
            for x in "qkvo":
                linear(p + a + x, dim, dim)
            shapes[p + a + "norm_q.weight"] = shapes[p + a + "norm_k.weight"] = [dim]
    return fill(shapes, rng)


def random_text(dim=32, heads=2, ffn=64, layers=2, vocab=304):
    shapes = {"shared.weight": [vocab, dim], "encoder.final_layer_norm.weight": [dim]}
    for b in range(layers):
        p = "encoder.block.%d.layer." % b
        for x in "qkvo":
            shapes[p + "0.SelfAttention.%s.weight" % x] = [dim, dim]
        shapes[p + "0.SelfAttention.relative_attention_bias.weight"] = [32, heads]
        shapes[p + "0.layer_norm.weight"] = shapes[p + "1.layer_norm.weight"] = [dim]
        for x in ("wi_0", "wi_1"):
            shapes[p + "1.DenseReluDense.%s.weight" % x] = [ffn, dim]
        shapes[p + "1.DenseReluDense.wo.weight"] = [dim, ffn]
    return fill(shapes, random.Random(4))


def fill(shapes, rng):
    out = {}
    for name, shape in shapes.items():
        n = 1
        for x in shape:
            n *= x
        scale = 0.5 if len(shape) == 1 else (n // shape[0]) ** -0.5
        base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        values = [base + scale * rng.gauss(0, 0.5) for _ in range(n)]
        out[name] = (shape, struct.unpack("<%df" % n, struct.pack("<%df" % n, *values)))
    return out


def linear_of_block(name, shape):
    return len(shape) == 2 and shape[-1] % 32 == 0 and ("block" in name or name == "shared.weight")


class Gguf(CliTest):
    def part(self, part, tensors, kind, rename, **opt):
        """Both files of one part: folders gguf/<part> and plain/<part>. kind(name, shape) -> type."""
        for folder in ("gguf", "plain"):
            d = self.path(os.path.join(folder, part))
            os.makedirs(d)
            with open(os.path.join(d, "config.json"), "w") as f:
                json.dump({"attention_head_dim": 16, "text_len": 12} if part == "transformer" else {}, f)
        quantized, plain = {}, {}
        for name, (shape, values) in tensors.items():
            raw, means = store(kind(name, shape), values)
            new = rename(name)
            quantized[opt.get("prefix", "") + new] = (opt.get("fold", lambda n, s: s)(new, shape), kind(name, shape), raw)
            plain[name] = (shape, means)
        write_gguf(self.path("gguf/%s/model.gguf" % part), quantized, opt.get("arch"), opt.get("alignment", 32))
        write_safetensors(self.path("plain/%s/model.safetensors" % part), plain)

    def rest(self):
        for folder in ("gguf", "plain"):
            shutil.copy(os.path.join(TINY, "longtake.json"), self.path(folder))
            for part in ("tokenizer", "vae"):
                shutil.copytree(os.path.join(TINY, part), self.path(os.path.join(folder, part)))

    def evaluate(self, folder, part, *args):
        out = self.path("%s_%s.safetensors" % (folder, part))
        self.assert_done(run("eval", part, "-m", self.path(folder), "--out", out, *args))
        with open(out, "rb") as f:
            return out, f.read()

    def compare(self, text_dim):
        text = {f: self.evaluate(f, "text", "-p", "a red ball")[1] for f in ("gguf", "plain")}
        self.assertEqual(text["gguf"], text["plain"])
        rng = random.Random(5)

        def noise(*shape):
            n = 1
            for x in shape:
                n *= x
            return list(shape), [rng.gauss(0, 1) for _ in range(n)]
        write_safetensors(self.path("in.safetensors"), {
            "noise": noise(T, C, S, S), "renoise": noise(1, T, C, S, S), "text": noise(12, text_dim)})
        for dtype in ("f32", "bf16"):
            args = ("--in", self.path("in.safetensors"), "--timesteps", "1000,500", "--chunk", "3",
                    "--sink", "3", "--dtype", dtype)
            a, b = (self.evaluate(f, "rollout", *args)[1] for f in ("gguf", "plain"))
            self.assertEqual(a, b)

    def test_plain_types(self):
        dit, text = read_bf16("transformer"), read_bf16("text_encoder")
        for kind, opt in (("F32", {"arch": "wan"}), ("BF16", {"prefix": "model.diffusion_model.", "fold": fold}),
                          ("F16", {"arch": "pig", "fold": fold, "alignment": 256})):
            with self.subTest(kind=kind):
                self.part("transformer", dit, lambda n, s: kind, original, **opt)
                self.part("text_encoder", text, lambda n, s: kind, llama, arch="t5encoder")
                self.rest()
                self.compare(24)
            for folder in ("gguf", "plain"):
                shutil.rmtree(self.path(folder))

    def test_blocks(self):
        def kind(name, shape):
            return "Q8_0" if linear_of_block(name, shape) else "F16" if len(shape) == 2 else "F32"
        self.part("transformer", random_dit(), kind, original, arch="wan", fold=fold)
        self.part("text_encoder", random_text(), kind, llama, arch="t5")
        self.rest()
        self.compare(32)

    def test_other_model(self):
        shutil.copytree(TINY, self.path("m"))
        part = self.path("m/transformer")
        os.remove(os.path.join(part, "diffusion_pytorch_model.safetensors"))
        write_gguf(os.path.join(part, "model.gguf"), {}, "llama")
        r = run("generate", "-m", self.path("m"), "-p", "a", "-o", self.path("x.mp4"))
        self.assert_refused(r, "model.gguf", "'llama'", "wan", code=2)

    def test_wrong_fold(self):
        shutil.copytree(TINY, self.path("m"))
        part = self.path("m/transformer")
        os.remove(os.path.join(part, "diffusion_pytorch_model.safetensors"))
        tensors = {}
        for name, (shape, values) in read_bf16("transformer").items():
            new = original(name)
            if new == "patch_embedding.weight":
                shape, values = [shape[0] * 16 + 1, *shape[2:]], values + values[:4]
            tensors[new] = (shape, "F32", store("F32", values)[0])
        write_gguf(os.path.join(part, "model.gguf"), tensors)
        r = run("generate", "-m", self.path("m"), "-p", "a", "-o", self.path("x.mp4"))
        self.assert_refused(r, "model.gguf", "patch_embedding.weight", "multiple of 192")


if __name__ == "__main__":
    unittest.main()
