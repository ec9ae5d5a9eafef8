# SPDX-License-Identifier: Apache-2.0
"""longtake bench --gpu: a small random model on the CPU, so that what a GPU machine runs is known to run."""
import json
import unittest

from rig import TINY, CliTest, run

HOST = "cpu" if b"cpu (" in run("--version").stdout else "ref"
SMALL = ["--gpu", "--backend", HOST, "--dim", "128", "--layers", "2", "-W", "64", "-H", "32"]
# tools/gpu-check.sh and bench/torch read these names
NAMES = ["make and pack random weights", "DiT pass, 24 tokens seeing 144", "  share of the matmul's rate", "clean pass",
         "TAE, a latent frame (4 pictures)", "VAE, a latent frame (4 pictures)", "stream with TAE: pictures per second",
         "stream with VAE: pictures per second", "rolling stream with TAE: pictures per second",
         "  first picture after", "  chunk, p50", "  chunk, p99", "  device memory, most"]


class Bench(CliTest):
    def test_random_model(self):
        r = run("bench", *SMALL, "--chunks", "3", "--json")
        self.assertEqual(r.returncode, 0, r.stderr)
        found = json.loads(r.stdout)["bench"]
        for name in NAMES:
            values = [b["value"] for b in found if b["name"] == name]
            self.assertTrue(values and all(v > 0 for v in values), name)
        p50, p99 = ([b["value"] for b in found if b["name"] == "  chunk, p" + n] for n in ("50", "99"))
        self.assertTrue(len(p50) == len(p99) == 3 and all(a <= b for a, b in zip(p50, p99)))

    def test_for_people(self):
        r = run("bench", *SMALL, "--chunks", "1", "--dtype", "bf16")
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        self.assertIn(b"matmul 512^3, BF16", r.stdout)

    def test_refused(self):
        self.assert_refused(run("bench"), "--full", "--gpu")
        self.assert_refused(run("bench", "--full", "--gpu"), "--full", "--gpu")
        self.assert_refused(run("bench", "--gpu", "-m", TINY), "-m")
        self.assert_refused(run("bench", "--gpu", "--dim", "200"), "128")
        self.assert_refused(run("bench", "--full", TINY, "--layers", "3"), "--layers")
        self.assert_refused(run("bench", *SMALL, "-W", "63"), "63")
        self.assert_refused(run("bench", *SMALL, "--max-ram", "0.001"), "--max-ram", "diffusion weights")


if __name__ == "__main__":
    unittest.main()
