# SPDX-License-Identifier: Apache-2.0
"""--max-ram and the table of --dry-run; what is promised there against the process's own memory."""
import json
import math
import os
import re
import struct
import subprocess
import unittest

from rig import LONGTAKE, SOURCE, TINY, CliTest, run

PARTS = ("dit", "text", "vae", "cache", "activations", "vae_state", "frames")
MIB = 1 << 20
BESIDE = 60  # MiB: program, libraries, scratch of the backend


def zeros(path, shapes):
    head, at = {}, 0
    for name, shape in shapes.items():
        end = at + 4 * math.prod(shape)
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(head).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)


class Memory(CliTest):
    def plan(self, *args):
        r = self.generate("--dry-run", "--json", "-o", "null", *args)
        self.assertEqual(r.returncode, 0, r.stderr)
        return json.loads(r.stdout)["memory"]

    def test_table(self):
        m = self.plan()
        self.assertEqual(sorted(m), sorted(PARTS + ("total",)))
        self.assertEqual(m["total"], sum(m[p] for p in PARTS))
        self.assertTrue(all(m[p] > 0 for p in PARTS), m)
        larger = self.plan("-W", "64", "--window", "12")
        for part in ("cache", "activations", "vae_state", "frames"):
            self.assertGreater(larger[part], m[part], part)
        self.assertEqual(larger["dit"], m["dit"])
        said = self.generate("--dry-run", "-o", "null").stdout.decode()
        self.assertRegex(said, r"memory\n  dit +\d+\.\d+ GiB\n")
        self.assertRegex(said, r"\n  total +\d+\.\d+ GiB\n")

    def test_limit(self):
        gib = 1 << 30
        total = self.plan()["total"]
        enough, less = ("%.12f" % ((total + by) / gib) for by in (1000, -1000))
        self.assert_done(self.generate("--frames", "5", "-o", "null", "--max-ram", enough))
        r = self.generate("--frames", "5", "-o", self.path("a.mp4"), "--max-ram", less)
        self.assert_refused(r, "--max-ram", "GiB", "frame cache", "VAE state")
        self.assert_refused(self.generate("--dry-run", "--max-ram", less), "--max-ram")
        self.assert_refused(self.generate("--max-ram", "0.000001"), "diffusion weights")
        self.assert_refused(run("eval", "text", "-m", TINY, "-p", "x", "--out", self.path("x"),
                                "--max-ram", "0.000001"), "text encoder")
        self.assert_refused(run("bench", "--full", TINY, "--max-ram", "0.000001"), "text encoder")
        self.assertEqual(os.listdir(self.dir), [])

    def test_eval(self):
        """Tensors and working memory of each part are counted, and are what the process then grows by."""
        golden = os.path.join(SOURCE, "tests", "golden")
        tae = ["--tae", os.path.join(golden, "tae", "tiny.safetensors")]
        encoder = ["--vae", os.path.join(golden, "vae", "light_encoder.safetensors")]
        schedule = ["--timesteps", "1000,500", "--chunk", "3", "--sink", "3"]
        text = [12, 24]

        def shapes(part, n):  # n: latent height and width
            return {"dit": {"x": [8, 16, n, n], "t": [8], "text": text},
                    "rollout": {"noise": [6, 16, n, n], "renoise": [1, 6, 16, n, n], "text": text},
                    "vae-decode": {"latent": [3, 16, n, n]}, "tae-decode": {"latent": [3, 16, n, n]},
                    "vae-encode": {"rgb": [5, 3, 8 * n, 8 * n]}, "tae-encode": {"rgb": [8, 3, 8 * n, 8 * n]}}[part]

        def resident(args):
            with subprocess.Popen([LONGTAKE, *args]) as p:
                _, status, usage = os.wait4(p.pid, 0)
                p.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(p.returncode, 0, args)
            return usage.ru_maxrss / 1024
        for part, more in (("dit", []), ("rollout", schedule), ("vae-decode", []), ("vae-encode", encoder),
                           ("tae-decode", tae), ("tae-encode", tae)):
            small, large, out = (self.path(f) for f in ("small", "large", "out"))
            zeros(small, shapes(part, 4))
            zeros(large, shapes(part, 64))
            args = ["eval", part, "-m", TINY, "--out", out, "-t", "1", *more, "--in"]
            r = run(*args, large, "--max-ram", "0.005")
            self.assert_refused(r, "--max-ram allows 0.005", "smaller tensors")
            self.assertFalse(os.path.exists(out))
            total = float(re.search(r"needs ([0-9.]+) GiB", r.stderr.decode()).group(1))
            self.assert_refused(run(*args, large, "--max-ram", "%.4f" % (total - 0.001)), "--max-ram")
            self.assert_done(run(*args, large, "--max-ram", "%.4f" % (total + 0.001)))
            grown = resident([*args, large]) - resident([*args, small])
            self.assertLess(abs(grown - 1024 * total), 8 + 0.2 * 1024 * total, (part, total))
            os.remove(out)
        prompt = ["eval", "text", "-m", TINY, "-p", "a red ball", "--out", self.path("out")]
        weights = 28000 / (1 << 30)  # more than those of tests/tiny's encoder, less than with its activations
        self.assert_refused(run(*prompt, "--max-ram", "%.12f" % weights), "activations", "prompt")

    def test_bad_limits(self):
        for bad in ("-1", "nan", "inf", "1e99", "x", "", "0x10", "2G", "-0.5"):
            self.assert_refused(self.generate("--max-ram=" + bad), "--max-ram")
        self.assert_refused(self.generate("--backend", "cpu", "--max-vram", "8"), "max_vram", "--max-ram")

    def test_resident_memory_is_what_was_promised(self):
        """The whole process, its mapped files included, over a run that fills the window."""
        args = [LONGTAKE, "generate", "-m", os.path.join(SOURCE, "models"), "-p", "a red ball",
                "--frames", "97", "-s", "1", "-t", "2", "-o", "null", "--json", "--quiet"]
        with subprocess.Popen(args, stdout=subprocess.PIPE) as p:
            out = p.stdout.read()
            _, status, usage = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(p.returncode, 0)
        total = json.loads(out)["memory"]["total"] / MIB
        resident = usage.ru_maxrss / 1024
        self.assertLess(resident, total + BESIDE, "promised %.1f MiB" % total)
        self.assertGreater(resident, total * 0.9)


if __name__ == "__main__":
    unittest.main()
