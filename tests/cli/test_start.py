# SPDX-License-Identifier: Apache-2.0
"""longtake generate -i and --extend, on the tiny model."""
import json
import os
import shutil
import struct
import unittest
import zlib

from rig import TINY, CliTest, probe, run


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, w, h, rgb):
    rows = b"".join(b"\0" + rgb * w for _ in range(h))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def y4m(path, w, h, n, fps="16:1"):
    with open(path, "wb") as f:
        f.write(b"YUV4MPEG2 W%d H%d F%s Ip C420mpeg2\n" % (w, h, fps.encode()))
        for i in range(n):
            f.write(b"FRAME\n" + bytes([40 + i % 100]) * (w * h) + b"\x80" * (w * h // 2))


SIZE = 32 * 32 * 3


class Picture(CliTest):
    def frames(self, *args):
        out = self.path("o.rgb")
        r = self.generate(*args, "-s", "3", "-o", out)
        self.assert_done(r)
        with open(out, "rb") as f:
            data = f.read()
        self.assertEqual(len(data) % SIZE, 0)
        return [data[i:i + SIZE] for i in range(0, len(data), SIZE)], r.stderr.decode()

    def test_hold_begins_with_the_picture(self):
        png(self.path("a.png"), 32, 32, b"\xc0\x40\x20")
        v, said = self.frames("-i", self.path("a.png"), "--frames", "20")
        self.assertEqual(len(v), 20)
        self.assertEqual(v[0], b"\xc0\x40\x20" * 1024)
        self.assertNotIn("warning", said)
        plain, _ = self.frames("--frames", "20")
        self.assertNotEqual(v[1:], plain[1:])

    def test_clamp(self):
        png(self.path("a.png"), 32, 32, b"\xc0\x40\x20")
        png(self.path("b.png"), 32, 32, b"\x20\x40\xc0")
        seen = [self.frames("-i", self.path(n), "--init-mode", "clamp", "--frames", "20")[0]
                for n in ("a.png", "b.png", "a.png")]
        self.assertEqual(len(seen[0]), 20)
        self.assertEqual(seen[0], seen[2])
        for f in range(20):
            self.assertNotEqual(seen[0][f], seen[1][f])

    def test_model_says_how(self):
        """init_mode of a preset or of the folder's longtake.json; --init-mode goes before both."""
        picture, folder = self.path("a.png"), self.path("model")
        png(picture, 32, 32, b"\xc0\x40\x20")
        for word in ("clamp", "prefill"):
            with open(self.path(word + ".json"), "w") as f:
                json.dump({"init_mode": word}, f)
        shutil.copytree(TINY, folder)
        with open(os.path.join(folder, "longtake.json")) as f:
            settings = json.load(f)
        with open(os.path.join(folder, "longtake.json"), "w") as f:
            json.dump({**settings, "init_mode": "clamp"}, f)
        clamp, prefill = ["--preset", self.path("clamp.json")], ["--preset", self.path("prefill.json")]
        hold, _ = self.frames("-i", picture, "--frames", "20")
        clamped, _ = self.frames("-i", picture, "--frames", "20", "--init-mode", "clamp")
        self.assertNotEqual(hold, clamped)
        for want, args in ((clamped, clamp), (hold, prefill), (hold, [*clamp, "--init-mode", "hold"]),
                           (clamped, [*prefill, "--init-mode", "clamp"]), (clamped, ["-m", folder]),
                           (hold, ["-m", folder, *prefill]), (hold, ["-m", folder, "--init-mode", "hold"])):
            self.assertEqual(self.frames("-i", picture, "--frames", "20", *args)[0], want, args)
        for want, args in (("clamp", clamp), ("prefill", [*clamp, "--chunk", "1"]), ("prefill", prefill), ("prefill", [])):
            r = self.generate("-i", picture, "--dry-run", "--json", *args)
            self.assertEqual(json.loads(r.stdout)["init_mode"], want, args)
        old = self.path("old.y4m")
        y4m(old, 32, 32, 30)  # a video is a past, whatever the preset says
        r = self.generate("--extend", old, "--frames", "5", "--dry-run", "--json", *clamp)
        self.assertEqual(json.loads(r.stdout)["init_mode"], "prefill")
        self.assertEqual(json.loads(run("info", folder, "--json").stdout)["defaults"]["init_mode"], "clamp")

    def test_model_says_nonsense(self):
        path = self.path("bad.json")
        for bad in ('"hold"', '""', "3", "[]", "{}", "true", '"' + "x" * 5000 + '"', '"\\ud800"'):
            with open(path, "w") as f:
                f.write('{"init_mode": %s}' % bad)
            words = ["bad.json"] if "ud800" in bad else ["bad.json", "init_mode"]  # no json at all, or a wrong value
            self.assert_refused(self.generate("--preset", path, "-o", "null"), *words)

    def test_rolling_and_chunk_of_one(self):
        png(self.path("a.png"), 32, 32, b"\xc0\x40\x20")
        for args in (["--mode", "rolling"], ["--mode", "rolling", "--init-mode", "clamp"], ["--chunk", "1"]):
            v, _ = self.frames("-i", self.path("a.png"), "--frames", "18", *args)
            self.assertEqual(len(v), 18)

    def test_other_size_is_cropped_and_told(self):
        png(self.path("big.png"), 100, 50, b"\x10\x80\xf0")
        v, said = self.frames("-i", self.path("big.png"), "--frames", "2")
        self.assertIn("100x50", said)
        self.assertIn("32x32", said)
        self.assertTrue(max(abs(a - b) for a, b in zip(v[0], b"\x10\x80\xf0" * 1024)) <= 2)
        r = self.generate("-i", self.path("big.png"), "-W", "64", "-H", "48", "--frames", "2", "-o", self.path("w.y4m"))
        self.assert_done(r)
        self.assertEqual(probe(self.path("w.y4m"))["width"], 64)

    def test_tae_encodes_too(self):
        png(self.path("a.png"), 32, 32, b"\xc0\x40\x20")
        tae = os.path.join(os.path.dirname(TINY), "golden", "tae", "tiny.safetensors")
        v, _ = self.frames("-i", self.path("a.png"), "--frames", "20", "--tae", tae)
        self.assertEqual(len(v), 20)

    def test_refused(self):
        path = self.path("a.png")
        self.assert_refused(self.generate("-i", path), "a.png", "No such file")
        with open(path, "wb") as f:
            f.write(b"no picture at all")
        self.assert_refused(self.generate("-i", path), "not a video", ".png")
        png(path, 32, 32, b"abc")
        with open(path, "r+b") as f:
            f.truncate(50)
        self.assert_refused(self.generate("-i", path), "damaged PNG")
        png(path, 32, 32, b"abc")
        self.assert_refused(self.generate("-i", path, "--extend", path), "only one")
        self.assert_refused(self.generate("--init-mode", "hold"), "--init-mode", "-i")
        self.assert_refused(self.generate("-i", path, "--init-mode", "clamp", "--chunk", "1"), "nothing to make")
        self.assert_refused(self.generate("-i", path, "-o", path), "read and written")
        self.assertEqual(os.listdir(self.dir), ["a.png"])


class Extend(CliTest):
    def video(self, name="a.mp4", *args):
        self.assert_done(self.generate("--frames", "30", "-s", "1", "-o", self.path(name), *args))
        return self.path(name)

    def test_old_and_new(self):
        old, out = self.video(), self.path("b.mp4")
        r = run("generate", "-m", TINY, "--extend", old, "--duration", "1s", "-s", "2", "-o", out, "--json")
        self.assert_done(r)
        j = json.loads(r.stdout)
        self.assertEqual((j["frames"], j["old_frames"], j["pictures_seen"], j["prompt"]), (46, 30, 21, "a red ball"))
        v = probe(out)
        self.assertEqual((v["frames"], v["errors"], v["tags"]["prompt"], v["tags"]["seed"]),
                         (46, 0, "a red ball", "2"))

    def test_lossless_in_front(self):
        old = self.video("a.mkv", "--codec", "ffv1")
        for name, args in (("all.rgb", []), ("new.rgb", ["--only-new"])):
            r = run("generate", "-m", TINY, "--extend", old, "--frames", "7", "-s", "2", "-o", self.path(name), *args)
            self.assert_done(r)
        with open(self.path("all.rgb"), "rb") as a, open(self.path("new.rgb"), "rb") as b:
            both, new = a.read(), b.read()
        self.assertEqual((len(both), len(new)), (37 * SIZE, 7 * SIZE))
        self.assertEqual(both[30 * SIZE:], new)

    def test_seen_is_what_fits(self):
        for n, args, seen in ((9, [], 9), (20, [], 9), (21, [], 21), (400, [], 33), (400, ["--window", "0"], 9),
                              (400, ["--sink-policy", "none"], 21), (30, ["--chunk", "2"], 29), (2, ["--chunk", "1"], 1)):
            with self.subTest(n=n, args=args):
                path = self.path("in.y4m")
                y4m(path, 32, 32, n)
                r = self.generate("--extend", path, "--frames", "1", "--dry-run", "--json", "-o", "null", *args)
                self.assert_done(r)
                self.assertEqual(json.loads(r.stdout)["pictures_seen"], seen)

    def test_prompt_of_the_last_scene(self):
        text = self.path("p.txt")
        with open(text, "w", encoding="utf-8") as f:
            f.write("0s: a red ball\n1s: two blue stars\n")
        out = self.path("a.mp4")
        self.assert_done(run("generate", "-m", TINY, "--prompt-file", text, "--frames", "30", "-o", out))
        r = run("generate", "-m", TINY, "--extend", out, "--frames", "1", "--dry-run", "--json", "-o", "null")
        self.assertEqual(json.loads(r.stdout)["prompt"], "two blue stars")
        r = run("generate", "-m", TINY, "--extend", out, "-p", "snow", "--frames", "1", "--dry-run", "--json",
                "-o", "null")
        self.assertEqual(json.loads(r.stdout)["prompt"], "snow")

    def test_frame_rate(self):
        path = self.path("in.y4m")
        y4m(path, 32, 32, 12, "30000:1001")
        r = self.generate("--extend", path, "--duration", "1s", "-o", self.path("o.mp4"))
        self.assert_done(r)
        self.assertIn("1.9 times as fast", r.stderr.decode())
        self.assertEqual(probe(self.path("o.mp4"))["frames"], 42)

    def test_cut_file_goes_on(self):
        path = self.path("in.y4m")
        y4m(path, 32, 32, 20)
        with open(path, "r+b") as f:
            f.truncate(os.path.getsize(path) - 100)
        r = self.generate("--extend", path, "--frames", "2", "-o", self.path("o.rgb"))
        self.assert_done(r)
        self.assertIn("end is missing", r.stderr.decode())
        self.assertEqual(os.path.getsize(self.path("o.rgb")), 21 * SIZE)

    def test_refused(self):
        path, few = self.path("in.y4m"), self.path("few.y4m")
        y4m(path, 32, 32, 12)
        y4m(few, 32, 32, 8)
        odd, out = self.path("odd.y4m"), self.path("o.mp4")
        y4m(odd, 40, 36, 12)
        png(self.path("p.png"), 32, 32, b"abc")
        with open(self.path("text"), "w") as f:
            f.write("hello\n")
        g = lambda *a: self.generate("-o", out, *a)
        self.assert_refused(g("--extend", self.path("none.mp4")), "No such file")
        self.assert_refused(g("--extend", self.dir), "folder")
        self.assert_refused(g("--extend", self.path("text")), "not a video")
        self.assert_refused(g("--extend", few), "8 frames", "needs 9")
        self.assert_refused(g("--extend", odd), "40x36", "divide by 16", "32x32")
        self.assert_refused(g("--extend", self.path("p.png")), "-i")
        self.assert_refused(g("--extend", path, "-W", "32"), "-W")
        self.assert_refused(g("--extend", path, "--fps", "8"), "--fps")
        self.assert_refused(g("--only-new"), "--extend")
        self.assert_refused(self.generate("--extend", path, "-o", path), "read and written")
        self.assert_refused(run("generate", "-m", TINY, "--extend", path, "-o", out), "no prompt", "metadata")
        self.assertFalse(os.path.exists(out))


if __name__ == "__main__":
    unittest.main()
