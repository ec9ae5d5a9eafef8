# SPDX-License-Identifier: Apache-2.0
"""longtake convert and --lora: what goes in comes out, values survive, a failure leaves no file."""
import json
import math
import os
import random
import shutil
import struct
import unittest

from rig import SOURCE, TINY, CliTest, run

FORMATS = os.path.join(SOURCE, "tests", "golden", "formats")
PARTS = {"dit": "transformer", "text": "text_encoder", "vae": "vae"}
SIZE = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def weights(part):
    folder = os.path.join(TINY, PARTS[part])
    return os.path.join(folder, [f for f in os.listdir(folder) if f.endswith(".safetensors")][0])


def e4m3(b):
    e, m = b >> 3 & 15, b & 7
    v = math.nan if e == 15 and m == 7 else m * 2.0 ** -9 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7)
    return -v if b & 128 else v


def floats(dtype, raw):
    if dtype == "BF16":
        raw = b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))
    if dtype == "F8_E4M3":
        return [e4m3(b) for b in raw]
    code = {"F32": "f", "BF16": "f", "F16": "e"}[dtype]
    return list(struct.unpack("<%d%s" % (len(raw) // struct.calcsize(code), code), raw))


def read(path):
    """(metadata, name -> (dtype, shape, bytes)), with the rules a strict reader checks."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    head, out, spans = json.loads(data[8:8 + n]), {}, []
    for name, t in head.items():
        if name == "__metadata__":
            continue
        a, b = t["data_offsets"]
        assert b - a == math.prod(t["shape"]) * SIZE[t["dtype"]], name
        spans.append((a, b))
        out[name] = (t["dtype"], t["shape"], data[8 + n + a:8 + n + b])
    at = 0
    for a, b in sorted(spans):
        assert a == at
        at = b
    assert at == len(data) - 8 - n and (8 + n) % 8 == 0
    return head.get("__metadata__"), out


def write(path, tensors, dtype="F32"):
    """tensors: name -> (shape, floats)."""
    head, body = {}, b""
    for name, (shape, values) in tensors.items():
        data = struct.pack("<%d%s" % (len(values), {"F32": "f", "F16": "e"}[dtype]), *values)
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(head).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


class Convert(CliTest):
    def convert(self, src, *args, name="out.safetensors"):
        out = self.path(name)
        r = run("convert", src, "-o", out, "--quiet", *args)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (0, b"", b""))
        self.assertEqual([f for f in os.listdir(self.dir) if f.endswith(".tmp")], [])
        return out

    def values(self, path):
        return {k: floats(d, raw) for k, (d, _, raw) in read(path)[1].items()}

    def test_names_and_types(self):
        for part in PARTS:
            src = weights(part)
            own = {d for d, _, _ in read(src)[1].values()}
            meta, same = read(self.convert(src))
            self.assertEqual(meta["source"], os.path.basename(src))
            self.assertEqual({d for d, _, _ in same.values()}, own)
            for dtype, want in (("f32", "F32"), ("f16", "F16"), ("bf16", "BF16")):
                meta, got = read(self.convert(src, "--dtype", dtype))
                self.assertEqual(meta["dtype"], dtype)
                self.assertEqual({d for d, _, _ in got.values()}, {want})
                self.assertEqual({k: s for k, (_, s, _) in got.items()},
                                 {k: s for k, (_, s, _) in same.items()})
        self.assertIn("blocks.0.self_attn.q.weight", self.values(self.convert(weights("dit"))))

    def test_exact_where_it_can_be(self):
        src = self.convert(weights("dit"), "--dtype", "bf16", name="a.safetensors")
        wide = self.convert(src, "--dtype", "f32", name="b.safetensors")
        back = self.convert(wide, "--dtype", "bf16", name="c.safetensors")
        self.assertEqual(self.values(src), self.values(wide))
        self.assertEqual(read(src)[1], read(back)[1])
        again = self.convert(wide, name="d.safetensors")
        self.assertEqual(read(wide)[1], read(again)[1])

    def test_f8(self):
        want = self.values(self.convert(weights("dit"), "--dtype", "f32", name="a.safetensors"))
        f8 = self.convert(weights("dit"), "--dtype", "f8", name="b.safetensors")
        raw = read(f8)[1]
        self.assertEqual(raw["scaled_fp8"][:2], ("F8_E4M3", [2]))
        eight = {k for k, (d, _, _) in raw.items() if d == "F8_E4M3"} - {"scaled_fp8"}
        self.assertIn("blocks.0.ffn.0.weight", eight)
        self.assertEqual({k for k in raw if k.endswith(".scale_weight")},
                         {k.replace(".weight", ".scale_weight") for k in eight})
        for k in want:
            self.assertEqual(raw[k][0], "F8_E4M3" if k in eight else "BF16")
            if k in eight:
                self.assertTrue(k.startswith("blocks.") and len(raw[k][1]) == 2)
        # our own reader gives the products back, within half a step of E4M3
        got = self.values(self.convert(f8, "--dtype", "f32", name="c.safetensors"))
        self.assertEqual(set(got), set(want))
        for k in eight:
            scale = floats("F32", raw[k.replace(".weight", ".scale_weight")][2])[0]
            top = max(map(abs, want[k]))
            self.assertAlmostEqual(scale * 448, top, delta=top * 1e-6)
            for a, b, q in zip(got[k], want[k], floats("F8_E4M3", raw[k][2])):
                self.assertAlmostEqual(a, q * scale, delta=abs(a) * 1e-6)
                self.assertLessEqual(abs(a - b), max(abs(b) / 16, scale * 2 ** -10) * 1.001)
        self.assert_refused(run("convert", weights("vae"), "-o", self.path("v.safetensors"), "--dtype",
                                "f8"), "f8", "vae")

    def test_forms(self):
        """Scaled, quantized and torch files come out as plain tensors."""
        for name in ("fp8_comfy", "fp8_rows", "i8_rows"):
            got = self.values(self.convert(os.path.join(FORMATS, name + ".safetensors"), "--part",
                                           "dit", "--dtype", "f32"))
            want = self.values(os.path.join(FORMATS, name + ".want.safetensors"))
            for k, v in want.items():
                self.assertEqual(got[k], v, k)
            self.assertEqual(len(got), 10)
        own = read(self.convert(os.path.join(FORMATS, "fp8_rows.safetensors"), "--part", "dit"))[1]
        self.assertEqual({d for d, _, _ in own.values()}, {"BF16", "F32"})
        plain = read(self.convert(os.path.join(FORMATS, "fp8_plain.safetensors"), "--part", "dit"))[1]
        self.assertEqual(plain["blocks.0.ffn.0.weight"][0], "F8_E4M3")

    def test_gguf(self):
        """Every quantized type, as ggml's own package reads it; --part tae keeps the names."""
        src = os.path.join(SOURCE, "tests", "golden", "gguf", "types.gguf")
        got = read(self.convert(src, "--part", "tae", "--dtype", "f32"))[1]
        want = read(src.replace(".gguf", ".safetensors"))[1]
        self.assertEqual(set(got), set(want))
        for k, (_, shape, raw) in want.items():
            self.assertEqual(got[k][1], shape, k)
            for a, b in zip(floats("F32", got[k][2]), floats("F32", raw)):
                self.assertTrue(a == b or (math.isnan(a) and math.isnan(b)), (k, a, b))
        own = read(self.convert(src, "--part", "tae"))[1]
        self.assertEqual({d for d, _, _ in own.values()}, {"F32", "F16", "BF16"})

    def test_torch(self):
        """A strided tensor of a sub-dict: B A is what the merge of the same file adds."""
        src = os.path.join(FORMATS, "torch.pt")
        lora = self.values(self.convert(src, "--part", "tae", "--checkpoint-key", "generator_lora"))
        base = self.values(os.path.join(FORMATS, "base.safetensors"))
        want = self.values(os.path.join(FORMATS, "torch.want.safetensors"))
        name = "blocks.0.self_attn.k"
        a, b = (lora["base_model.model.%s.lora_%s.default.weight" % (name, x)] for x in "AB")
        for i in range(20):
            for j in range(20):
                d = sum(b[i * 4 + k] * a[k * 20 + j] for k in range(4))
                self.assertAlmostEqual(base[name + ".weight"][i * 20 + j] + d,
                                       want[name + ".weight"][i * 20 + j], delta=1e-5)
        self.assert_refused(run("convert", os.path.join(SOURCE, "tests/fuzz/seeds/torch/nested.pt"), "-o",
                                self.path("x.safetensors"), "--part", "tae", "--checkpoint-key", "nobody"),
                            "nobody", "critic")

    def test_shards(self):
        folder = self.path("sharded")
        os.mkdir(folder)
        write(os.path.join(folder, "a.safetensors"), {"condition_embedder.time_proj.bias": ([2], [1.0, 2.0])})
        write(os.path.join(folder, "b.safetensors"), {"blocks.0.attn1.to_q.weight": ([1, 2], [3.0, 4.0])})
        with open(os.path.join(folder, "x.safetensors.index.json"), "w") as f:
            json.dump({"weight_map": {"condition_embedder.time_proj.bias": "a.safetensors",
                                      "blocks.0.attn1.to_q.weight": "b.safetensors"}}, f)
        self.assertEqual(self.values(self.convert(folder, "--part", "dit")),
                         {"time_projection.1.bias": [1.0, 2.0], "blocks.0.self_attn.q.weight": [3.0, 4.0]})

    def test_lora(self):
        base = os.path.join(FORMATS, "base.safetensors")
        loras = (os.path.join(FORMATS, "peft", "adapter_model.safetensors"),
                 os.path.join(FORMATS, "comfy.safetensors"))
        want = self.values(os.path.join(FORMATS, "both.want.safetensors"))
        for args in (["--lora", loras[0] + ":0.5", "--lora", loras[1] + ":-0.25"],
                     ["--lora", "%s:0.5,%s:-0.25" % loras]):
            out = self.convert(base, "--part", "dit", "--dtype", "f32", *args)
            self.assertIn("adapter_model.safetensors:0.5", read(out)[0]["loras"])
            got = self.values(out)
            for k, v in want.items():
                for a, b in zip(got[k], v):
                    self.assertAlmostEqual(a, b, delta=1e-5)
        own = read(self.convert(base, "--part", "dit", "--lora", loras[0]))[1]
        self.assertEqual(own["blocks.0.self_attn.k.weight"][0], "BF16")  # as the base
        self.assertEqual(own["blocks.0.ffn.0.weight"][0], "F16")
        odd = self.path("with,comma:and colon.safetensors")
        shutil.copy(loras[1], odd)
        self.convert(base, "--part", "dit", "--lora", odd)

    def test_json(self):
        r = run("convert", weights("vae"), "-o", self.path("v.safetensors"), "--json", "--dtype", "f16")
        o = json.loads(r.stdout)
        self.assertEqual((r.returncode, o["part"], o["file"]), (0, "vae", self.path("v.safetensors")))
        self.assertGreater(o["bytes"], 1000)
        for line in r.stderr.splitlines():
            self.assertEqual(json.loads(line)["event"], "progress")

    def test_generate(self):
        """The engine makes the same picture from a converted f32 file, another with a LoRA."""
        model = self.path("model")
        shutil.copytree(TINY, model)
        args = ("--frames", "1", "-s", "3", "-o", "md5", "--quiet", "--dtype", "f32")
        plain = self.generate(*args)
        self.assert_done(plain)
        f32 = self.convert(weights("dit"), "--dtype", "f32", name="dit.safetensors")
        again = self.generate(*args, "--diffusion-model", f32)
        self.assert_done(again)
        self.assertEqual(plain.stdout, again.stdout)
        shape = read(f32)[1]["blocks.0.ffn.0.weight"][1]
        rng = random.Random(2)
        write(self.path("lora.safetensors"), {
            "diffusion_model.blocks.0.ffn.0.lora_down.weight": ([2, shape[1]], [rng.gauss(0, 1) for _ in range(2 * shape[1])]),
            "diffusion_model.blocks.0.ffn.0.lora_up.weight": ([shape[0], 2], [rng.gauss(0, 1) for _ in range(2 * shape[0])])})
        lora = self.path("lora.safetensors")
        changed = self.generate(*args, "--lora", lora)
        self.assert_done(changed)
        self.assertNotEqual(plain.stdout, changed.stdout)
        zero = self.generate(*args, "--lora", lora + ":0")
        self.assertEqual(plain.stdout, zero.stdout)
        merged = self.convert(weights("dit"), "--dtype", "f32", "--lora", lora, name="m.safetensors")
        baked = self.generate(*args, "--diffusion-model", merged)
        self.assertEqual(changed.stdout, baked.stdout)

    def test_refused(self):
        out = self.path("out.safetensors")
        src = weights("dit")
        bad = self.path("bad.safetensors")
        with open(src, "rb") as f, open(bad, "wb") as g:
            g.write(f.read()[:5000])
        write(self.path("sd.safetensors"), {"model.diffusion_model.input_blocks.0.0.weight": ([1], [0.0])})
        write(self.path("what.safetensors"), {"something.else": ([1], [0.0])})
        cases = (
            (("convert",), "name the file"), (("convert", src), "-o"),
            (("convert", src, "-o", self.path("x.pt")), ".safetensors"),
            (("convert", src, "-o", self.path("no/such/x.safetensors")), "no/such"),
            (("convert", self.path("nowhere"), "-o", out), "nowhere"),
            (("convert", bad, "-o", out), "bad.safetensors"),
            (("convert", self.path("sd.safetensors"), "-o", out), "Stable Diffusion"),
            (("convert", self.path("what.safetensors"), "-o", out), "--part"),
            (("convert", src, "-o", out, "--dtype", "q4"), "--dtype"),
            (("convert", src, "-o", out, "--part", "all"), "--part"),
            (("convert", src, "-o", out, "--lora", "x.safetensors:much"), "no scale"),
            (("convert", src, "-o", out, "--lora", self.path("no.safetensors")), "no.safetensors"),
            (("convert", src, "-o", out, "--lora", src), "LoRA"),
            (("convert", weights("vae"), "-o", out, "--lora", src), "diffusion model"),
        )
        for args, word in cases:
            with self.subTest(args=args[1:]):
                self.assert_refused(run(*args), word)
                self.assertFalse(os.path.exists(out))
        self.assertEqual([f for f in os.listdir(self.dir) if f.endswith(".tmp")], [])

    def test_full_disk(self):
        out = self.path("out.safetensors")
        with open(out, "wb") as f:
            f.write(b"old")
        r = run("convert", weights("dit"), "-o", out, "--dtype", "f32", limit=60000)
        self.assert_refused(r, "cannot write", code=1)
        with open(out, "rb") as f:
            self.assertEqual(f.read(), b"old")
        self.assertEqual(os.listdir(self.dir), ["out.safetensors"])


if __name__ == "__main__":
    unittest.main()
