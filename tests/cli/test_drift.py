# SPDX-License-Identifier: Apache-2.0
"""generate --drift: what is measured, where it ends up, and what it does to the video."""
import json
import re
import unittest

from rig import TINY, CliTest, on_terminal, probe, run

ARGS = ("generate", "-m", TINY, "-p", "a red ball", "-s", "5", "--frames", "153")  # chunks of 9, 12, 12 ..


def generate(*more):
    return run(*ARGS, *more)


def result(r):
    assert r.returncode == 0, r.stderr.decode()
    return json.loads(r.stdout)


class Drift(CliTest):
    def test_measuring_changes_no_frame(self):
        plain = result(generate("-o", "md5", "--json", "--quiet"))
        shown = result(generate("-o", "md5", "--json", "--quiet", "--drift"))
        self.assertEqual(plain["md5"], shown["md5"])
        self.assertNotIn("drift", plain)
        self.assertEqual(set(shown["drift"]), {"score", "metric", "first", "now"})
        self.assertIn(shown["drift"]["metric"], shown["metrics"])
        for name in ("luma", "contrast", "saturation", "sharpness", "hist_first", "flicker", "boundary"):
            self.assertEqual(set(shown["metrics"][name]), {"mean", "first", "last", "drift", "slope"})

    def test_the_same_as_metrics_of_the_file(self):
        """H.264 moves luma by less than a level."""
        out = self.path("a.mkv")
        live = result(generate("-o", out, "--codec", "ffv1", "--json", "--quiet", "--drift"))
        r = run("metrics", out, "--json", "--quiet")
        self.assertEqual(r.returncode, 0, r.stderr)
        later = json.loads(r.stdout)["summary"]
        for name in ("luma", "contrast", "saturation", "boundary"):
            for key in ("mean", "drift"):
                self.assertAlmostEqual(live["metrics"][name][key], later[name][key], delta=0.05 + 0.01 * abs(later[name][key]),
                                       msg=name + " " + key)

    def test_metadata(self):
        for name in ("a.mp4", "b.mkv"):
            out = self.path(name)
            got = result(generate("-o", out, "--json", "--quiet", "--drift"))
            meta = {k.lower(): v for k, v in probe(out)["tags"].items()}
            self.assertEqual((meta["chunk_frames"], meta["first_chunk_frames"]), ("12", "9"), name)
            kept = json.loads(meta["metrics"])
            self.assertAlmostEqual(kept["luma"]["mean"], got["metrics"]["luma"]["mean"], places=3)
            self.assertIn(got["drift"]["metric"] + " went from", meta["drift"])

    def test_nowhere_to_keep_it_is_no_error(self):
        r = generate("-o", self.path("a.y4m"), "--drift")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn(b"drift: ", r.stderr)

    def test_progress_lines(self):
        r = generate("-o", "null", "--json", "--drift")
        events = [json.loads(line) for line in r.stderr.decode().splitlines()]
        last = [e for e in events if e["event"] == "progress"][-1]
        self.assertGreaterEqual(last["drift"], 0)

    def test_warn(self):
        r = generate("-o", "md5", "--drift-threshold", "0.01")
        warned = [line for line in r.stderr.decode().splitlines() if "warning: drift at frame" in line]
        self.assertEqual((r.returncode, len(warned)), (0, 1), r.stderr)
        self.assertEqual(r.stdout, generate("-o", "md5").stdout)
        calm = generate("-o", "md5", "--on-drift", "warn", "--drift-threshold", "100")
        self.assertNotIn(b"warning", calm.stderr)

    def test_stop_finishes_the_file(self):
        out = self.path("a.mp4")
        r = result(generate("-o", out, "--on-drift", "stop", "--drift-threshold", "0.01", "--json", "--quiet"))
        self.assertTrue(r["drift"]["stopped"])
        self.assertFalse(r["interrupted"])
        self.assertLess(r["frames"], 153)
        self.assertEqual((r["frames"] - 9) % 12, 0)
        self.assertEqual(probe(out)["frames"], r["frames"])

    def test_reanchor_is_repeatable(self):
        args = ("-o", "md5", "--on-drift", "reanchor", "--drift-threshold", "0.01", "--json", "--quiet")
        for mode in ("chunk", "rolling"):
            one = result(generate(*args, "--mode", mode, "-t", "1"))
            two = result(generate(*args, "--mode", mode, "-t", "2"))
            self.assertEqual(one["md5"], two["md5"])
            self.assertGreaterEqual(one["drift"]["acted"], 1)
            plain = result(generate("-o", "md5", "--json", "--quiet", "--mode", mode))
            self.assertNotEqual(one["md5"], plain["md5"])

    def test_a_warning_is_a_line_of_its_own(self):
        said = on_terminal(*ARGS, "-o", "null", "--drift-threshold", "0.01")
        self.assertRegex(said, rb"\x1b\[Klongtake: warning: drift at frame \d+: [^\r]*\r\n")

    def test_frames_are_those_of_the_file(self):
        """Behind 69 old frames, of which the model sees fewer; the next wish comes as soon as without them."""
        old = self.path("old.mkv")
        result(run("generate", "-m", TINY, "-p", "a red ball", "-s", "5", "--frames", "69", "-o", old, "--json", "--quiet"))
        args = ("generate", "-m", TINY, "--extend", old, "-s", "5", "--frames", "300", "--on-drift", "reanchor",
                "--drift-threshold", "0.01", "-o", self.path("new.mkv"), "--json")
        r = run(*args)
        events = [json.loads(line) for line in r.stderr.decode().splitlines()]
        warned = [e["message"] for e in events if e["event"] == "warning" and "drift" in e["message"]]
        at = [[int(n) for n in re.findall(r"frame (\d+)", w)] for w in warned]
        self.assertEqual(at[0][0], result(r)["drift"]["first_acted_frame"])
        for here, jump in at:  # the last frame of a chunk; the first of another
            self.assertEqual(((here + 1 - 69) % 12, (jump - 69) % 12), (0, 0), warned)
            self.assertEqual(jump - here - 1, 4 * 12)
        self.assertGreaterEqual(at[0][0], 69 + 32)  # two seconds of what is new, and more
        self.assertLessEqual(at[1][0] - at[0][1], 4 * 12)

    def test_too_late(self):
        """What comes behind the end is not announced: a wish at frame 44 comes true at 93."""
        r = generate("--frames", "93", "-o", "null", "--on-drift", "reanchor", "--drift-threshold", "0.01")
        self.assertEqual((r.returncode, b"goes on" in r.stderr), (0, False), r.stderr)
        self.assertIn(b"went from", r.stderr)
        r = generate("--frames", "30", "-o", "null", "--drift")
        self.assertIn(b"drift: too short to tell", r.stderr)

    def test_bad_values(self):
        self.assert_refused(generate("--on-drift", "panic"), "--on-drift", "warn|stop|reanchor")
        self.assert_refused(generate("--drift-threshold", "0"), "--drift-threshold")
        self.assert_refused(run("metrics", "x.mp4", "--drift"), "--drift")


if __name__ == "__main__":
    unittest.main()
