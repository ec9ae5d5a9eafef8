# SPDX-License-Identifier: Apache-2.0
"""--max-ram and the table of --dry-run; what is promised there against the process's own memory."""
import json
import os
import subprocess
import unittest

from rig import LONGTAKE, SOURCE, TINY, CliTest, run

PARTS = ("dit", "text", "vae", "cache", "activations", "vae_state", "frames")
MIB = 1 << 20
BESIDE = 60  # MiB: program, libraries, scratch of the backend


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

    def test_bad_limits(self):
        for bad in ("-1", "nan", "inf", "1e99", "x", "", "0x10", "2G", "-0.5"):
            self.assert_refused(self.generate("--max-ram=" + bad), "--max-ram")
        self.assert_refused(self.generate("--max-vram", "8"), "CUDA", "not in this version")

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
