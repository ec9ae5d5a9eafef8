# SPDX-License-Identifier: Apache-2.0
"""Killed, interrupted, interrupted twice: the file plays and holds what was finished."""
import json
import os
import signal
import subprocess
import unittest

from rig import LONGTAKE, TINY, CliTest, probe


class Interrupt(CliTest):
    def start(self, out, *args, frames=60):
        """A run of an hour, once it has made some frames; the number of the last line seen."""
        p = subprocess.Popen([LONGTAKE, "generate", "-m", TINY, "-p", "a", "--duration", "1h", "--json",
                              "-s", "9", "-o", out, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(p.kill)
        seen = 0
        while seen < frames:
            line = p.stderr.readline()
            self.assertTrue(line, "ended too early")
            seen = json.loads(line).get("frame", 0)
        return p, seen

    def signals_blocked(self, pid):
        """From here on SIGINT and SIGTERM go to the program's own thread."""
        with open("/proc/%d/status" % pid) as f:
            mask = [int(x.split()[1], 16) for x in f if x.startswith("SigBlk:")][0]
        return mask & 0x4002 == 0x4002

    def end(self, p):
        out, err = p.communicate(timeout=60)
        return out, [json.loads(x) for x in err.splitlines()]

    def test_kill(self):
        for name in ("k.mp4", "k.mkv"):
            out = self.path(name)
            p, seen = self.start(out)
            p.send_signal(signal.SIGKILL)
            self.end(p)
            self.assertEqual(p.returncode, -signal.SIGKILL)
            v = probe(out)
            self.assertGreaterEqual(v["frames"], seen - 12)  # at most the chunk in flight
            self.assertEqual(v["errors"], 0)
            self.assertEqual(v["tags"]["seed"], "9")

    def test_interrupt_finishes_the_file(self):
        for sig in (signal.SIGINT, signal.SIGTERM):
            out = self.path("i.mp4")
            p, seen = self.start(out)
            p.send_signal(sig)
            said, events = self.end(p)
            self.assertEqual(p.returncode, 130)
            result = json.loads(said)
            self.assertTrue(result["interrupted"])
            v = probe(out)
            self.assertGreaterEqual(v["frames"], seen)
            self.assertEqual((v["frames"], v["errors"]), (result["frames"], 0))
            self.assertFalse(v["fragmented"])
            self.assertNotIn("error", [e["event"] for e in events])
            self.assertEqual(os.listdir(self.dir), ["i.mp4"])

    def test_endless_until_interrupted(self):
        out = self.path("e.mkv")
        p = subprocess.Popen([LONGTAKE, "generate", "-m", TINY, "-p", "a", "--frames", "0", "--json", "-o",
                              out], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(p.kill)
        while json.loads(p.stderr.readline()).get("frame", 0) < 200:
            pass
        p.send_signal(signal.SIGINT)
        said, _ = self.end(p)
        self.assertEqual(p.returncode, 130)
        self.assertEqual(probe(out)["frames"], json.loads(said)["frames"])

    def test_twice(self):
        out = self.path("t.mp4")
        p, seen = self.start(out)
        p.send_signal(signal.SIGINT)
        p.send_signal(signal.SIGINT)
        self.end(p)
        self.assertEqual(p.returncode, 130)
        v = probe(out)
        self.assertGreaterEqual(v["frames"], seen - 12)
        self.assertEqual(v["errors"], 0)

    def test_before_the_first_frame(self):
        out = self.path("b.mp4")
        p = subprocess.Popen([LONGTAKE, "generate", "-m", TINY, "--prompt-file", "-", "-o", out],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not self.signals_blocked(p.pid):
            self.assertIsNone(p.poll())
        p.send_signal(signal.SIGINT)
        said, err = p.communicate(b"a ball\n", timeout=60)
        self.assertEqual(p.returncode, 130, err)
        self.assertEqual(said, b"")
        self.assertEqual(err.count(b"\n"), 1)
        self.assertIn(b"no file was made", err)
        self.assertEqual(os.listdir(self.dir), [])


if __name__ == "__main__":
    unittest.main()
