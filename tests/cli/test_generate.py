# SPDX-License-Identifier: Apache-2.0
"""longtake generate, on the tiny model: every output, and that options do what they say."""
import json
import os
import unittest

from rig import SOURCE, TINY, CliTest, on_terminal, probe, run


class Files(CliTest):
    def test_mp4(self):
        out = self.path("a.mp4")
        r = self.generate("--duration", "2s", "-s", "42", "-o", out)
        self.assert_done(r)
        self.assertEqual(r.stdout, b"")
        said = r.stderr.decode()
        self.assertEqual(said.count("\n"), 1, said)
        for word in (out, "32 frames", "2.00 s", "seed 42", "32x32"):
            self.assertIn(word, said)
        v = probe(out)
        self.assertEqual((v["frames"], v["errors"], v["width"], v["height"]), (32, 0, 32, 32))
        self.assertAlmostEqual(v["seconds"], 2, delta=0.01)
        self.assertFalse(v["fragmented"])
        self.assertEqual(v["tags"]["seed"], "42")
        self.assertEqual(v["tags"]["prompt"], "a red ball")
        self.assertEqual(v["tags"]["model"], "tiny")
        self.assertIn("timesteps=1000,500", v["tags"]["settings"])
        self.assertEqual(os.listdir(self.dir), ["a.mp4"])

    def test_long_prompt_still_makes_a_classic_file(self):
        text, out = self.path("p.txt"), self.path("a.mp4")
        with open(text, "w", encoding="utf-8") as f:
            f.write("\u00e9t\u00e9 " * 9000)
        r = run("generate", "--prompt-file", text, "-m", TINY, "--frames", "5", "-o", out)
        self.assertEqual(r.returncode, 0, r.stderr)
        v = probe(out)
        self.assertFalse(v["fragmented"])
        self.assertTrue(4000 < len(v["tags"]["prompt"].encode()) <= 4096)

    def test_mkv_and_codec(self):
        out = self.path("a.mkv")
        self.assert_done(self.generate("--frames", "13", "--codec", "ffv1", "-o", out))
        v = probe(out)
        self.assertEqual((v["frames"], v["codec"], v["tags"]["model"]), (13, "ffv1", "tiny"))

    def test_png(self):
        self.assert_done(self.generate("--frames", "5", "-o", self.path("f%03d.png")))
        self.assertEqual(sorted(os.listdir(self.dir)), ["f%03d.png" % i for i in range(5)])

    def test_raw_agrees_with_y4m_and_stdout(self):
        args = ["--frames", "7", "-s", "1", "-o"]
        self.assert_done(self.generate(*args, self.path("a.rgb")))
        self.assertEqual(os.path.getsize(self.path("a.rgb")), 7 * 32 * 32 * 3)
        self.assert_done(self.generate(*args, self.path("a.y4m")))
        r = self.generate(*args, "-")
        self.assert_done(r)
        with open(self.path("a.y4m"), "rb") as f:
            self.assertEqual(f.read(), r.stdout)
        self.assertEqual(probe(self.path("a.y4m"))["frames"], 7)

    def test_default_name(self):
        here = os.getcwd()
        os.chdir(self.dir)
        try:
            self.assert_done(self.generate("--frames", "2"))
        finally:
            os.chdir(here)
        self.assertEqual(probe(self.path("out.mp4"))["frames"], 2)


class Same(CliTest):
    def digest(self, *args):
        r = self.generate("--frames", "61", "-o", "md5", *args)  # past the first window
        self.assert_done(r)
        self.assertRegex(r.stdout.decode(), r"^md5 [0-9a-f]{32}\n$")
        return r.stdout

    def test_seed_and_threads(self):
        first = self.digest("-s", "7")
        self.assertEqual(first, self.digest("--seed=7", "-t", "2"))
        self.assertEqual(first, self.digest("-s7", "-t1"))
        self.assertNotEqual(first, self.digest("-s", "8"))
        self.assertNotEqual(first, self.digest("-s", str(7 + 2**32)))

    def test_options_reach_the_engine(self):
        base = self.digest("-s", "7")
        for args in (["--steps", "1"], ["--timesteps", "1000,300"], ["--flow-shift", "2"],
                     ["--chunk", "1"], ["--window", "0"], ["--sink", "0"], ["--mode", "rolling"],
                     ["--sink-policy", "absolute"], ["--backend", "ref", "--dtype", "f32"],
                     ["--tae", os.path.join(SOURCE, "tests/golden/tae/tiny.safetensors")]):
            with self.subTest(args=args):
                self.assertNotEqual(base, self.digest("-s", "7", *args))
        self.assertEqual(base, self.digest("-s", "7", "--fps", "8"))  # only the file's tag

    def test_size(self):
        out = self.path("s.mp4")
        self.assert_done(self.generate("--frames", "3", "-W", "48", "-H", "32", "-o", out))
        v = probe(out)
        self.assertEqual((v["width"], v["height"]), (48, 32))

    def test_random_seed_can_be_used_again(self):
        r = self.generate("--frames", "9", "-o", "md5", "--json", "--seed", "-1")
        self.assert_done(r)
        one = json.loads(r.stdout)
        r = self.generate("--frames", "9", "-o", "md5", "--json", "-s", str(one["seed"]))
        self.assertEqual(one["md5"], json.loads(r.stdout)["md5"])
        other = json.loads(self.generate("--frames", "9", "-o", "md5", "--json").stdout)
        self.assertNotEqual(one["seed"], other["seed"])
        r = self.generate("--frames", "2", "-o", "null", "--quiet")
        self.assertRegex(r.stderr.decode(), r"^seed \d+\n$")
        self.assertEqual(self.generate("--frames", "2", "-o", "null", "--quiet", "-s", "5").stderr, b"")

    def test_large_seed_is_exact(self):
        big = 2**64 - 1
        r = self.generate("--frames", "1", "-o", "null", "--json", "-s", str(big))
        self.assertEqual(json.loads(r.stdout)["seed"], big)


class Length(CliTest):
    def frames(self, *args):
        r = self.generate("--dry-run", "--json", *args)
        self.assert_done(r)
        return json.loads(r.stdout)["frames"]

    def test_durations(self):
        for text, frames in (("60s", 960), ("2m", 1920), ("1.5h", 86400), ("10", 160), ("0.5s", 8)):
            self.assertEqual(self.frames("--duration", text), frames, text)
        self.assertEqual(self.frames("--duration", "10", "--fps", "24"), 240)
        self.assertEqual(self.frames(), 160)
        self.assertEqual(self.frames("--frames", "77"), 77)
        self.assert_refused(self.generate("--duration", "0.001s"), "frame")

    def test_fps_is_the_files(self):
        out = self.path("f.mp4")
        self.assert_done(self.generate("--frames", "24", "--fps", "24", "-o", out))
        self.assertAlmostEqual(probe(out)["seconds"], 1, delta=0.01)
        self.assert_done(self.generate("--frames", "24", "--fps", "23.976", "-o", out))
        self.assertAlmostEqual(probe(out)["seconds"], 1.001, delta=0.001)


class Said(CliTest):
    def test_json(self):
        out = self.path("a.mp4")
        r = self.generate("--frames", "20", "-s", "3", "--json", "-o", out)
        self.assert_done(r)
        self.assertEqual(r.stdout.count(b"\n"), 1)
        o = json.loads(r.stdout)
        self.assertEqual((o["file"], o["frames"], o["fps"], o["seed"]), (out, 20, 16, 3))
        self.assertEqual((o["width"], o["height"], o["model"]), (32, 32, "tiny"))
        self.assertEqual(o["seconds"], 1.25)
        self.assertEqual(o["prompt_tokens"], o["prompt_tokens_used"])
        self.assertGreater(o["first_frame_seconds"], 0)
        self.assertGreaterEqual(o["wall_seconds"], o["first_frame_seconds"])
        lines = [json.loads(x) for x in r.stderr.splitlines()]
        self.assertEqual(lines[0]["event"], "start")
        self.assertEqual(lines[0]["seed"], 3)
        self.assertEqual(lines[-1]["event"], "progress")
        self.assertEqual((lines[-1]["frame"], lines[-1]["frames"]), (20, 20))
        self.assertTrue({"fps", "speed", "eta"} <= set(lines[-1]))

    def test_json_with_video_on_stdout(self):
        r = self.generate("--frames", "2", "--json", "-o", "-")
        self.assert_done(r)
        self.assertTrue(r.stdout.startswith(b"YUV4MPEG2 "))
        self.assertEqual(json.loads(r.stderr.splitlines()[-1])["frames"], 2)

    def test_dry_run_makes_nothing(self):
        out = self.path("a.mp4")
        r = self.generate("--dry-run", "-o", out)
        self.assert_done(r)
        self.assertIn(b"timesteps", r.stdout)
        self.assertEqual(os.listdir(self.dir), [])
        o = json.loads(self.generate("--dry-run", "--json", "-o", out, "--chunk", "2").stdout)
        self.assertEqual((o["file"], o["chunk"], o["model"]), (out, 2, "tiny"))
        self.assert_refused(self.generate("--dry-run", "-o", self.path("no/a.mp4")), "no/a.mp4")
        self.assert_refused(self.generate("--dry-run", "-o", out, "-W", "33"), "33")

    def test_long_prompt_is_cut_with_a_warning(self):
        text = "a red ball " * 400
        r = run("generate", "-m", TINY, "-p", text, "--frames", "1", "-o", "null", "-s", "1")
        self.assert_done(r)
        lines = r.stderr.decode().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0], r"^longtake: warning: the prompt has \d+ tokens and the model reads \d+")
        r = run("generate", "-m", TINY, "-p", text, "--frames", "1", "-o", "null", "--json")
        o = json.loads(r.stdout)
        self.assertLess(o["prompt_tokens_used"], o["prompt_tokens"])
        self.assertIn("warning", [json.loads(x)["event"] for x in r.stderr.splitlines()])

    def test_prompt_file(self):
        with open(self.path("p.txt"), "w") as f:
            f.write("a red ball\n")
        g = ["generate", "-m", TINY, "--frames", "5", "-s", "1", "-o", "md5", "--prompt-file"]
        want = self.generate("--frames", "5", "-s", "1", "-o", "md5").stdout
        self.assertEqual(run(*g, self.path("p.txt")).stdout, want)
        self.assertEqual(run(*g, "-", stdin=b"a red ball\n").stdout, want)

    def test_no_bar_without_a_terminal(self):
        r = self.generate("--frames", "50", "-o", "null")
        self.assertNotIn(b"\r", r.stderr)
        self.assertNotIn(b"\033", r.stderr)


class Bar(CliTest):
    def bar(self, env):
        return on_terminal("generate", "-m", TINY, "-p", "a", "--frames", "40", "-o", "null", env=env)

    def test_bar(self):
        text = self.bar({"NO_COLOR": ""})
        self.assertRegex(text, rb"40/40 frames  [\d.]+ fps  [\d.]+x real time  0:00 left")
        self.assertIn(b"\033[32m", text)
        self.assertIn(b"seed", text)
        self.assertNotIn(b"\033[32m", self.bar({"NO_COLOR": "1"}))
        self.assertNotIn(b"frames  ", self.bar({"TERM": "dumb"}))


class Box(CliTest):
    def test_model_in_the_box_is_the_default(self):
        self.assertTrue(os.path.isdir(os.path.join(SOURCE, "models", "transformer")), "models/")
        out = self.path("box.mp4")
        here = os.getcwd()
        os.chdir(SOURCE)
        try:
            r = run("generate", "-p", "a red ball bouncing at night", "--frames", "24", "-o", out)
        finally:
            os.chdir(here)
        self.assert_done(r)
        self.assertEqual(probe(out)["frames"], 24)


if __name__ == "__main__":
    unittest.main()
