# SPDX-License-Identifier: Apache-2.0
"""longtake info on what people download: real names, shapes and sizes, in files without payload.

The files are sparse: a true header, then a hole as long as the weights."""
import json
import math
import os
import resource
import struct
import unittest

from rig import SOURCE, TINY, CliTest, run

SIZE = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1}
LINEARS = [a + "." + x for a in ("self_attn", "cross_attn") for x in "qkvo"]


def dit(d, ffn, layers, c_in=16, c_out=16, image=False):
    s = {"patch_embedding.weight": [d, c_in, 1, 2, 2], "patch_embedding.bias": [d],
         "head.head.weight": [4 * c_out, d], "head.head.bias": [4 * c_out], "head.modulation": [1, 2, d]}
    for name, out, in_ in (("text_embedding.0", d, 4096), ("text_embedding.2", d, d),
                           ("time_embedding.0", d, 256), ("time_embedding.2", d, d),
                           ("time_projection.1", 6 * d, d)):
        s |= {name + ".weight": [out, in_], name + ".bias": [out]}
    for i in range(layers):
        b = "blocks.%d." % i
        s |= {b + "modulation": [1, 6, d], b + "norm3.weight": [d], b + "norm3.bias": [d],
              b + "ffn.0.weight": [ffn, d], b + "ffn.0.bias": [ffn],
              b + "ffn.2.weight": [d, ffn], b + "ffn.2.bias": [d]}
        for x in LINEARS + (["cross_attn.k_img", "cross_attn.v_img"] if image else []):
            s |= {b + x + ".weight": [d, d], b + x + ".bias": [d]}
        for a in ("self_attn", "cross_attn"):
            s |= {b + a + ".norm_q.weight": [d], b + a + ".norm_k.weight": [d]}
    return s


def umt5(d=4096, ffn=10240, heads=64, layers=24, vocab=256384):
    s = {"token_embedding.weight": [vocab, d], "norm.weight": [d]}
    for i in range(layers):
        b = "blocks.%d." % i
        s |= {b + "norm1.weight": [d], b + "norm2.weight": [d],
              b + "pos_embedding.embedding.weight": [32, heads], b + "ffn.gate.0.weight": [ffn, d],
              b + "ffn.fc1.weight": [ffn, d], b + "ffn.fc2.weight": [d, ffn]}
        s |= {b + "attn.%s.weight" % x: [d, d] for x in "qkvo"}
    return s


def vae(w=96):
    s = {"conv1.weight": [32, 32, 1, 1, 1], "conv1.bias": [32],
         "conv2.weight": [16, 16, 1, 1, 1], "conv2.bias": [16]}

    def conv(n, out, in_, *k):
        s[n + ".weight"], s[n + ".bias"] = [out, in_, *k], [out]

    def res(n, in_, out):
        s[n + ".residual.0.gamma"], s[n + ".residual.3.gamma"] = [in_, 1, 1, 1], [out, 1, 1, 1]
        conv(n + ".residual.2", out, in_, 3, 3, 3)
        conv(n + ".residual.6", out, out, 3, 3, 3)
        if in_ != out:
            conv(n + ".shortcut", out, in_, 1, 1, 1)

    def middle(n, c):
        res(n + ".middle.0", c, c)
        s[n + ".middle.1.norm.gamma"] = [c, 1, 1]
        conv(n + ".middle.1.to_qkv", 3 * c, c, 1, 1)
        conv(n + ".middle.1.proj", c, c, 1, 1)
        res(n + ".middle.2", c, c)

    conv("encoder.conv1", w, 3, 3, 3, 3)
    c, i = w, 0
    for stage, out in enumerate((w, 2 * w, 4 * w, 4 * w)):
        for _ in range(2):
            res("encoder.downsamples.%d" % i, c, out)
            c, i = out, i + 1
        if stage < 3:
            conv("encoder.downsamples.%d.resample.1" % i, c, c, 3, 3)
            if stage:
                conv("encoder.downsamples.%d.time_conv" % i, c, c, 3, 1, 1)
            i += 1
    middle("encoder", c)
    s["encoder.head.0.gamma"] = [c, 1, 1, 1]
    conv("encoder.head.2", 32, c, 3, 3, 3)
    conv("decoder.conv1", 4 * w, 16, 3, 3, 3)
    middle("decoder", 4 * w)
    c, i = 4 * w, 0
    for stage, out in enumerate((4 * w, 4 * w, 2 * w, w)):
        for _ in range(3):
            res("decoder.upsamples.%d" % i, c, out)
            c, i = out, i + 1
        if stage < 3:
            if stage < 2:
                conv("decoder.upsamples.%d.time_conv" % i, 2 * c, c, 3, 1, 1)
            conv("decoder.upsamples.%d.resample.1" % i, c // 2, c, 3, 3)
            c, i = c // 2, i + 1
    s["decoder.head.0.gamma"] = [c, 1, 1, 1]
    conv("decoder.head.2", 3, c, 3, 3, 3)
    return s


def lora(d, ffn, layers, rank):
    s = {}
    for i in range(layers):
        for x, out, in_ in [(x, d, d) for x in LINEARS] + [("ffn.0", ffn, d), ("ffn.2", d, ffn)]:
            n = "diffusion_model.blocks.%d.%s" % (i, x)
            s |= {n + ".lora_down.weight": [rank, in_], n + ".lora_up.weight": [out, rank]}
    return s


class Info(CliTest):
    def sparse(self, name, shapes, dtype="BF16"):
        head, at = {}, 0
        for n, s in shapes.items():
            size = math.prod(s) * SIZE[dtype]
            head[n] = {"dtype": dtype, "shape": s, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(head).encode()
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text)
            f.truncate(8 + len(text) + at)
        return path

    def info(self, path):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        r = run("info", path, "--json")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.assertLess(spent, 1, path)
        people = run("info", path)
        self.assertEqual((people.returncode, people.stderr), (0, b""))
        o = json.loads(r.stdout)
        self.assertIn(o["use"].encode(), people.stdout)
        self.assertLess(people.stdout.count(b"\n"), 20)
        return o

    def test_wan(self):
        for name, shapes, dtype, system, n, params in (
                ("1.3b", dit(1536, 8960, 30), "F32", "Wan2.1-T2V-1.3B", 825, 1418996800),
                ("14b", dit(5120, 13824, 40), "BF16", "Wan2.1-T2V-14B", 1095, 14288491584)):
            o = self.info(self.sparse(name + ".safetensors", shapes, dtype))
            self.assertTrue(o["system"].startswith(system), o["system"])
            self.assertEqual((o["part"], o["tensors"], o["params"]), ("transformer", n, params))
            self.assertEqual((o["n_missing"], o["n_unexpected"], o["runs"]), (0, 0, True))
            self.assertEqual(o["dtypes"], {dtype: n})
            self.assertEqual(o["bytes"], params * SIZE[dtype])
            self.assertEqual(len(o["list"]), n)

    def test_text_and_vae(self):
        for name, shapes, part, system, n, params in (
                ("t5", umt5(), "text_encoder", "UMT5-XXL", 242, 5680910336),
                ("vae", vae(), "vae", "Wan 2.1 VAE", 194, 126892531),
                ("light", vae(24), "vae", "Wan 2.1 VAE, pruned", 194, None)):
            o = self.info(self.sparse(name + ".safetensors", shapes))
            self.assertEqual((o["part"], o["tensors"], o["runs"]), (part, n, True))
            self.assertTrue(o["system"].startswith(system), o["system"])
            self.assertEqual((o["n_missing"], o["n_unexpected"]), (0, 0))
            if params:
                self.assertEqual(o["params"], params)

    def test_incomplete(self):
        shapes = dit(1536, 8960, 30)
        del shapes["blocks.7.ffn.2.bias"], shapes["text_embedding.2.weight"]
        shapes["blocks.3.extra.weight"] = [4]
        o = self.info(self.sparse("x.safetensors", shapes))
        self.assertEqual(o["missing"], ["text_embedding.2.weight", "blocks.7.ffn.2.bias"])
        self.assertEqual(o["unexpected"], ["blocks.3.extra.weight"])
        self.assertFalse(o["runs"])
        self.assertIn("2 tensors are missing", o["use"])
        no_encoder = {k: s for k, s in vae().items() if not k.startswith(("encoder.", "conv1."))}
        o = self.info(self.sparse("v.safetensors", no_encoder))
        self.assertTrue(o["runs"])  # enough to decode
        self.assertEqual(o["n_missing"], 86)

    def test_lora(self):
        o = self.info(self.sparse("lora.safetensors", lora(1536, 8960, 30, 256)))
        self.assertEqual((o["part"], o["runs"]), ("lora", True))
        self.assertIn("rank 256 on 300 layers", o["sizes"])
        self.assertIn("Wan 1.3B", o["sizes"])

    def test_refused_by_name(self):
        """What is not run is called by its name, by info and by generate."""
        unet = {"model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3]}
        cases = (
            ("i2v", dit(5120, 13824, 40, 36, 16, True), "Wan2.1-I2V"),
            ("i2v22", dit(5120, 13824, 40, 36), "Wan2.2-I2V-A14B"),
            ("5b", dit(3072, 14336, 30, 48, 48), "Wan2.2-TI2V-5B"),
            ("flf", dit(5120, 13824, 1, 36, 16, True) | {"img_emb.emb_pos": [1, 514, 1280]}, "FLF2V"),
            ("vace", dit(1536, 8960, 1) | {"vace_blocks.0.norm3.weight": [4]}, "VACE"),
            ("hunyuan", {"txt_in.individual_token_refiner.blocks.0.mlp.0.weight": [4, 4]}, "HunyuanVideo"),
            ("flux", {"double_blocks.0.img_attn.qkv.weight": [4, 4]}, "FLUX"),
            ("ltx", {"model.diffusion_model.patchify_proj.weight": [4, 4]}, "LTX-Video"),
            ("cog", {"patch_embed.text_proj.weight": [4, 4]}, "CogVideoX"),
            ("sd", unet, "Stable Diffusion"),
            ("clip", {"visual.transformer.resblocks.0.ln_1.weight": [4]}, "CLIP"),
        )
        for name, shapes, word in cases:
            with self.subTest(name=name):
                path = self.sparse(name + ".safetensors", shapes)
                o = self.info(path)
                self.assertEqual((o["part"], o["runs"]), ("foreign", False))
                self.assertIn(word, o["system"])
                self.assertIn("would need", o["use"])
                r = self.generate("-o", "null", "--diffusion-model", path)
                self.assert_refused(r, word, "would need")
        for name, part, word in (("vae", vae(), "--vae"), ("t5", umt5(8, 8, 2, 2, 8), "--t5xxl"),
                                 ("lora", lora(8, 8, 1, 2), "--lora")):
            path = self.sparse(name + ".safetensors", part)
            self.assert_refused(self.generate("-o", "null", "--diffusion-model", path), word)

    def test_other_files(self):
        o = self.info(os.path.join(TINY, "longtake.json"))
        self.assertEqual((o["part"], o["system"]), ("preset", "tiny"))
        o = self.info(os.path.join(TINY, "tokenizer", "spiece.model"))
        self.assertEqual((o["part"], o["pieces"]), ("tokenizer", 304))
        o = self.info(os.path.join(TINY, "transformer", "config.json"))
        self.assertEqual(o["part"], "config")
        o = self.info(os.path.join(SOURCE, "tests", "golden", "gguf", "types.gguf"))
        self.assertEqual(o["format"], "gguf v3")
        self.assertEqual(o["dtypes"]["Q4_K"], 1)
        o = self.info(os.path.join(SOURCE, "tests", "golden", "formats", "torch.pt"))
        self.assertEqual(o["format"], "torch .pt/.pth")
        self.assertEqual(o["dicts"], [{"name": "generator_lora", "tensors": 4, "used": True}])
        o = self.info(os.path.join(SOURCE, "tests", "fuzz", "seeds", "torch", "nested.pt"))
        self.assertEqual([d["name"] for d in o["dicts"] if d["used"]], ["generator_ema"])
        o = self.info(os.path.join(SOURCE, "tests", "golden", "formats", "fp8_comfy.safetensors"))
        self.assertEqual(o["dtypes"]["F8_E4M3 scaled"], 4)
        self.assertGreater(o["n_missing"], 0)

    def test_folder_of_files(self):
        self.sparse("a.safetensors", vae(24))
        with open(self.path("b.pt"), "wb") as f:
            f.write(b"PK\3\4 no more")
        r = run("info", self.dir, "--json")
        self.assertEqual(r.returncode, 0)
        a, b = json.loads(r.stdout)["files"]
        self.assertEqual(a["part"], "vae")
        self.assertIn("b.pt", b["use"])
        self.assertEqual(run("info", self.dir).returncode, 0)

    def test_verbose(self):
        path = os.path.join(TINY, "vae", "diffusion_pytorch_model.safetensors")
        text = run("info", path, "-v").stdout.decode()
        self.assertRegex(text, r"decoder\.conv1\.weight +BF16 +\[16,16,3,3,3\]")

    def test_bad(self):
        for name, data in (("x.safetensors", b"\0" * 20), ("x.pt", b"PK\3\4"), ("x.gguf", b"GGUF\3\0"),
                           ("x.json", b"{"), ("x.bin", b""), ("x.model", b"\x0a\xff\xff")):
            with self.subTest(name=name):
                with open(self.path(name), "wb") as f:
                    f.write(data)
                self.assert_refused(run("info", self.path(name)), name)
        for word, data in (("Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
                           ("web page", b"<!doctype html><html><body>Sign in</body></html>")):
            with open(self.path("x.safetensors"), "wb") as f:
                f.write(data)
            self.assert_refused(run("info", self.path("x.safetensors")), word)
        os.mkdir(self.path("empty"))
        self.assert_refused(run("info", self.path("empty")), "empty")


if __name__ == "__main__":
    unittest.main()
