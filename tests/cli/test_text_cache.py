# SPDX-License-Identifier: Apache-2.0
"""--text-cache: the second film of a prompt reads its file instead of the text encoder; --keep-text."""
import os
import subprocess
import unittest

from rig import LONGTAKE, TINY, CliTest, run


class TextCache(CliTest):
    def video(self, name, *args):
        out = self.path(name)
        r = run("generate", "-m", TINY, "--frames", "9", "--seed", "3", "-p", "a red ball", "-o", out, "--quiet", *args)
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        with open(out, "rb") as f:
            return f.read()

    def test_same_film(self):
        cache = self.path("cache")
        plain = self.video("a.y4m")
        self.assertEqual(self.video("b.y4m", "--keep-text"), plain)
        self.assertEqual(self.video("c.y4m", "--text-cache", cache), plain)
        files = os.listdir(cache)
        self.assertEqual(len(files), 1)
        self.assertTrue(files[0].endswith(".safetensors"))
        before = os.stat(os.path.join(cache, files[0])).st_mtime_ns
        self.assertEqual(self.video("d.y4m", "--text-cache", cache), plain)
        self.assertEqual(os.stat(os.path.join(cache, files[0])).st_mtime_ns, before)  # read, not written
        with open(os.path.join(cache, files[0]), "r+b") as f:  # spoilt: made again
            f.seek(-200, os.SEEK_END)
            f.write(b"x" * 100)
        self.assertEqual(self.video("e.y4m", "--text-cache", cache), plain)

    def test_many_processes(self):
        cache = self.path("cache")
        jobs = [subprocess.Popen([LONGTAKE, "eval", "text", "-m", TINY, "-p", "snow %d" % (i % 2), "--text-cache", cache,
                                  "-t", "1", "--out", self.path("%d.safetensors" % i)], stderr=subprocess.PIPE) for i in range(6)]
        for j in jobs:
            self.assertEqual((j.communicate()[1], j.returncode), (b"", 0))
        self.assertEqual(len(os.listdir(cache)), 2)  # no temporary files are left
        for i in range(2, 6):
            with open(self.path("%d.safetensors" % i), "rb") as a, open(self.path("%d.safetensors" % (i % 2)), "rb") as b:
                self.assertEqual(a.read(), b.read())

    def test_bad_folder(self):
        with open(self.path("file"), "w"):
            pass
        for bad in (self.path("file"), self.path("no/such"), "/proc/x"):
            self.assert_refused(self.generate("-o", self.path("a.mp4"), "--text-cache", bad), bad, "text cache")


if __name__ == "__main__":
    unittest.main()
