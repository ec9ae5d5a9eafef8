# SPDX-License-Identifier: Apache-2.0
"""longtake eval and info: the shapes of the contract; the numbers are the golden tests' business."""
import json
import math
import os
import random
import shutil
import unittest

from rig import TINY, CliTest, read_safetensors, run, write_safetensors

T, C, S = 3, 16, 4  # latent frames, channels, side: 32x32 pixels


def noise(*shape):
    rng = random.Random(1)
    return list(shape), [rng.gauss(0, 1) for _ in range(math.prod(shape))]


class Eval(CliTest):
    def evaluate(self, part, tensors=None, *args):
        out = self.path("out.safetensors")
        if tensors is not None:
            write_safetensors(self.path("in.safetensors"), tensors)
            args = ("--in", self.path("in.safetensors"), *args)
        r = run("eval", part, "-m", TINY, "--out", out, *args)
        self.assertEqual((r.returncode, r.stdout, r.stderr), (0, b"", b""))
        got = read_safetensors(out)
        for _, shape, values in got.values():
            self.assertEqual(math.prod(shape), len(values))
            self.assertTrue(all(map(math.isfinite, values)))
        return got

    def text(self):
        return self.evaluate("text", None, "-p", "a red ball")

    def test_text(self):
        got = self.text()
        dtype, shape, ids = got["ids"]
        self.assertEqual((dtype, len(shape)), ("I32", 1))
        self.assertEqual(ids[-1], 1)  # the end mark
        _, (rows, dim), values = got["text"]
        self.assertGreater(rows, len(ids))
        self.assertTrue(any(values[:dim]))
        self.assertFalse(any(values[len(ids) * dim:]))

    def test_tokenizer_of_a_folder(self):
        """tokenizer.json before spiece.model, as transformers has it: a typed <pad> is one id there, text here."""
        golden = os.path.join(os.environ["SOURCE"], "tests/golden/tokenizer")
        model = self.path("model")
        shutil.copytree(os.path.join(TINY, "text_encoder"), os.path.join(model, "text_encoder"))

        def ids(*args):
            out = self.path("ids.safetensors")
            self.assert_done(run("eval", "text", "-m", model, "-p", "a <pad> b", "--out", out, *args))
            return read_safetensors(out)["ids"][2]
        of_json = ids("--tokenizer", os.path.join(golden, "rules.json"))
        of_spiece = ids("--tokenizer", os.path.join(golden, "rules.model"))
        self.assertNotEqual(of_json, of_spiece)
        for folder in ("", "google/umt5-xxl", "tokenizer"):
            os.makedirs(os.path.join(model, folder), exist_ok=True)
            shutil.copy(os.path.join(golden, "rules.model"), os.path.join(model, folder, "spiece.model"))
            self.assertEqual(ids(), of_spiece, folder)
            shutil.copy(os.path.join(golden, "rules.json"), os.path.join(model, folder, "tokenizer.json"))
            self.assertEqual(ids(), of_json, folder)
        said = json.loads(run("info", model, "--json").stdout)["parts"]["tokenizer"]["path"]
        self.assertTrue(said.endswith("tokenizer/tokenizer.json"), said)
        with open(os.path.join(model, "tokenizer", "tokenizer.json"), "w") as f:
            f.write("{}")
        self.assert_refused(run("eval", "text", "-m", model, "-p", "a", "--out", self.path("x")), "--tokenizer")

    def test_dit(self):
        _, shape, text = self.text()["text"]
        inputs = {"x": noise(T, C, S, S), "t": ([T], [1000.0, 500.0, 0.0]), "text": (shape, list(text))}
        got = self.evaluate("dit", inputs)
        self.assertEqual(got["flow"][1], [T, C, S, S])
        again = self.evaluate("dit", inputs, "--backend", "ref", "--dtype", "f32")
        self.assertEqual(again["flow"][1], [T, C, S, S])

    def test_rollout_then_decode(self):
        _, shape, text = self.text()["text"]
        frames = 6
        got = self.evaluate("rollout", {
            "noise": noise(frames, C, S, S), "renoise": noise(1, frames, C, S, S),
            "text": (shape, list(text))}, "--timesteps", "1000,500", "--chunk", "3", "--sink", "3")
        _, shape, latent = got["latent"]
        self.assertEqual(shape, [frames, C, S, S])
        rgb = self.evaluate("vae-decode", {"latent": (shape, list(latent))})["rgb"]
        self.assertEqual(rgb[1], [1 + 4 * (frames - 1), 3, 8 * S, 8 * S])

    def test_tae(self):
        tae = ("--tae", os.path.join(os.environ["SOURCE"], "tests/golden/tae/tiny.safetensors"))
        rgb = self.evaluate("tae-decode", {"latent": noise(T, C, S, S)}, *tae)["rgb"]
        self.assertEqual(rgb[1], [1 + 4 * (T - 1), 3, 8 * S, 8 * S])
        self.assertTrue(all(0 <= x <= 1 for x in rgb[2]))
        got = self.evaluate("tae-encode", {"rgb": (rgb[1], list(rgb[2]))}, *tae)["latent"]
        self.assertEqual(got[1], [T, C, S, S])
        got = self.evaluate("tae-encode", {"rgb": ([2, 3, 16, 24], [0.5] * (2 * 3 * 16 * 24))}, *tae)["latent"]
        self.assertEqual(got[1], [1, C, 2, 3])

    def test_vae_encode(self):
        vae = ("--vae", os.path.join(os.environ["SOURCE"], "tests/golden/vae/light_encoder.safetensors"))
        n = 5 * 3 * 16 * 24
        got = self.evaluate("vae-encode", {"rgb": ([5, 3, 16, 24], [math.sin(i) for i in range(n)])}, *vae)["latent"]
        self.assertEqual(got[1], [2, 16, 2, 3])
        write_safetensors(self.path("in.safetensors"), {"rgb": ([4, 3, 16, 24], [0.0] * (n * 4 // 5))})
        self.assert_refused(run("eval", "vae-encode", "-m", TINY, *vae, "--in", self.path("in.safetensors"),
                                "--out", self.path("x")), "4 pictures")
        write_safetensors(self.path("in.safetensors"), {"rgb": ([1, 3, 16, 20], [0.0] * 960)})
        self.assert_refused(run("eval", "vae-encode", "-m", TINY, *vae, "--in", self.path("in.safetensors"),
                                "--out", self.path("x")), "divide by 8")

    def test_needs_only_its_part(self):
        for part, keep in (("text", ["text_encoder", "tokenizer"]), ("vae-decode", ["vae"])):
            model = self.path(part)
            for name in keep:
                shutil.copytree(os.path.join(TINY, name), os.path.join(model, name))
            write_safetensors(self.path("in.safetensors"), {"latent": noise(1, C, S, S)})
            args = ["-p", "a"] if part == "text" else ["--in", self.path("in.safetensors")]
            self.assert_done(run("eval", part, "-m", model, "--out", self.path("out"), *args))

    def test_bad_tensors(self):
        out = self.path("out.safetensors")
        cases = {
            "dit": {"x": noise(T, C, S, S)}, "rollout": {"noise": noise(T, C, S, S)},
            "vae-decode": {"latent": noise(T, C + 1, S, S)},
        }
        for part, tensors in cases.items():
            with self.subTest(part=part):
                write_safetensors(self.path("in.safetensors"), tensors)
                r = run("eval", part, "-m", TINY, "--in", self.path("in.safetensors"), "--out", out)
                self.assert_refused(r)
                self.assertFalse(os.path.exists(out))
        r = run("eval", "dit", "-m", TINY, "--in", self.path("no.safetensors"), "--out", out)
        self.assert_refused(r, "no.safetensors")
        r = run("eval", "text", "-m", TINY, "-p", "a", "--out", self.path("no/out.safetensors"))
        self.assert_refused(r, "no/out.safetensors")

    def test_json(self):
        r = run("eval", "text", "-m", TINY, "-p", "a", "--out", self.path("t.safetensors"), "--json")
        o = json.loads(r.stdout)
        self.assertEqual((o["part"], o["file"]), ("text", self.path("t.safetensors")))


class Info(CliTest):
    def test_folder(self):
        r = run("info", "-m", TINY, "--json")
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        self.assertEqual(json.loads(r.stdout)["name"], "tiny")
        self.assertEqual(json.loads(run("info", TINY, "--json").stdout), json.loads(r.stdout))
        text = run("info", TINY)
        self.assertEqual(text.returncode, 0)
        self.assertIn(b"tiny", text.stdout)

    def test_file(self):
        folder = os.path.join(TINY, "vae")
        name = [f for f in os.listdir(folder) if f.endswith(".safetensors")][0]
        r = run("info", os.path.join(folder, name), "--json")
        self.assertEqual(r.returncode, 0)
        self.assertIsInstance(json.loads(r.stdout), dict)


if __name__ == "__main__":
    unittest.main()
