# SPDX-License-Identifier: Apache-2.0
"""longtake metrics: the table, the JSON of the contract, baselines, pictures, what is refused."""
import json
import math
import os
import signal
import struct
import subprocess
import unittest
import zlib

from rig import LONGTAKE, SOURCE, CliTest, run

NO_REF = """flicker luma contrast saturation clip_lo clip_hi sharpness si ti hist_first hist_prev motion
    warp_error smooth boundary loop""".split()
REF = ["psnr", "ssim", "ms_ssim"]
STATS = ["mean", "first", "last", "drift", "slope"]


def y4m(path, n=40, w=64, h=48, luma=lambda t: 100, chroma=lambda t: (128, 128), fps="8:1"):
    """A texture that moves by one pixel a frame, around the given brightness and colour."""
    with open(path, "wb") as f:
        f.write(b"YUV4MPEG2 W%d H%d F%s Ip C420jpeg\n" % (w, h, fps.encode()))
        for t in range(n):
            rows = [bytes(max(16, min(235, round(luma(t)) + (7 * (x + t) ^ 13 * y) % 23 - 11)) for x in range(w))
                    for y in range(h)]
            f.write(b"FRAME\n" + b"".join(rows))
            for c in chroma(t):
                f.write(bytes([max(16, min(240, round(c)))]) * ((w // 2) * (h // 2)))
    return path


def load(path):
    with open(path) as f:
        return json.load(f)


def png_size(path):
    """Width and height of a PNG whose rows are all there."""
    with open(path, "rb") as f:
        data = f.read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, size = 8, b"", None
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        part = data[at + 8:at + 8 + n]
        assert zlib.crc32(kind + part) == struct.unpack(">I", data[at + 8 + n:at + 12 + n])[0]
        if kind == b"IHDR":
            size = struct.unpack(">IIBB", part[:10])
        if kind == b"IDAT":
            body += part
        at += 12 + n
    assert size[2:] == (8, 2) and len(zlib.decompress(body)) == size[1] * (1 + 3 * size[0])
    return size[:2]


class MetricsTest(CliTest):
    def good(self, name="good.y4m", **kw):
        return y4m(self.path(name), **kw)

    def drifting(self, name="bad.y4m"):
        return y4m(self.path(name), luma=lambda t: 100 + t, chroma=lambda t: (128 + 1.5 * t, 128))

    def text(self, name, what):
        with open(self.path(name), "w") as f:
            f.write(what if isinstance(what, str) else json.dumps(what))
        return self.path(name)

    def measure(self, *args):
        r = run("metrics", "--json", "--quiet", *args)
        self.assert_done(r)
        return json.loads(r.stdout, parse_constant=lambda c: self.fail("JSON with " + c))

    def assert_contract(self, o, names, frames):
        """contract.md, Metrics JSON."""
        self.assertEqual(list(o), ["file", "width", "height", "fps", "frames", "series", "summary", "ref"])
        self.assertEqual(o["frames"], frames)
        self.assertEqual(list(o["series"]), names)
        self.assertEqual(list(o["summary"]), names)
        for name in names:
            series, s = o["series"][name], o["summary"][name]
            self.assertEqual(len(series), frames, name)
            self.assertEqual(list(s), STATS, name)
            there = [v for v in series if v is not None]
            if not there:
                self.assertEqual(set(s.values()), {None}, name)
                continue
            if name != "boundary":  # its mean takes the median of the whole video
                self.assertAlmostEqual(s["mean"], sum(there) / len(there), delta=1e-6 * max(1, abs(s["mean"])))
            if s["drift"] is not None:
                self.assertAlmostEqual(s["drift"], s["last"] - s["first"], delta=1e-6 * max(1, abs(s["last"])))


class Output(MetricsTest):
    def test_json(self):
        path = self.good()
        o = self.measure(path)
        self.assert_contract(o, NO_REF, 40)
        self.assertEqual((o["file"], o["width"], o["height"], o["fps"], o["ref"]), (path, 64, 48, 8, {}))
        self.assertIsNone(o["series"]["flicker"][0])
        self.assertEqual(set(o["series"]["boundary"]), {None})
        # 15 % of 40 frames are 6
        for name in ("luma", "contrast", "si"):
            v, s = o["series"][name], o["summary"][name]
            self.assertAlmostEqual(s["first"], sum(v[:6]) / 6, places=5)
            self.assertAlmostEqual(s["last"], sum(v[-6:]) / 6, places=5)

    def test_slope_and_drift(self):
        o = self.measure(self.drifting(), "--only", "luma,saturation")
        self.assert_contract(o, ["luma", "saturation"], 40)
        # one level a frame, eight frames a second
        self.assertAlmostEqual(o["summary"]["luma"]["slope"], 8, delta=0.1)
        self.assertAlmostEqual(o["summary"]["luma"]["drift"], 34, delta=0.5)
        self.assertAlmostEqual(o["summary"]["saturation"]["slope"], 12, delta=0.2)

    def test_chunks(self):
        # the brightness jumps at every join and nowhere else
        path = self.good(luma=lambda t: 60 + 8 * (0 if t < 9 else 1 + (t - 9) // 12))
        o = self.measure(path, "--chunk", "12", "--first-chunk", "9")
        series = o["series"]["boundary"]
        self.assertEqual([t for t, v in enumerate(series) if v is not None], [9, 21, 33])
        self.assertGreater(o["summary"]["boundary"]["mean"], 1.2)
        r = run("metrics", path, "--chunk", "12")
        self.assert_done(r)
        self.assertIn("chunks of 12 frames", r.stdout.decode())

    def test_ref(self):
        a = self.good()
        noisy = y4m(self.path("b.y4m"), luma=lambda t: 100 if t != 7 else 108)
        o = self.measure(noisy, "--ref", a)
        self.assert_contract(o, NO_REF + REF, 40)
        self.assertEqual((o["ref"]["file"], o["ref"]["frames"]), (a, 40))
        for name in REF:
            self.assertEqual(o["ref"][name]["min"], min(o["series"][name]))
            self.assertEqual(o["ref"][name]["mean"], o["summary"][name]["mean"])
            self.assertEqual(o["series"][name].index(o["ref"][name]["min"]), 7)
        # all of luma off by 8: 2/3 of the samples
        self.assertAlmostEqual(o["ref"]["psnr"]["min"], 10 * math.log10(255 ** 2 / (64 * 2 / 3)), places=2)
        self.assertEqual(self.measure(a, "--ref", a, "--only", "psnr,ms_ssim")["ref"]["psnr"],
                         {"mean": 100, "min": 100})

    def test_ref_of_other_length(self):
        a, b = self.good(), self.good("short.y4m", n=30)
        self.assert_refused(run("metrics", a, "--ref", b), "40", "30")
        self.assertEqual(self.measure(a, "--ref", b, "--shortest")["ref"]["frames"], 30)

    def test_table(self):
        r = run("metrics", self.drifting())
        self.assert_done(r)
        said = r.stdout.decode()
        self.assertEqual(r.stderr, b"")
        self.assertTrue(said.startswith("bad.y4m: 64x48, 40 frames at 8 fps, 5.00 s\n"))
        for name in NO_REF:
            self.assertRegex(said, r"(?m)^%s +[-0-9]" % name)
        self.assertRegex(said, r"(?m)^luma .* levels$")
        self.assertRegex(said, r"(?m)^boundary .*needs --chunk$")
        self.assertRegex(said, r"(?m)^bad.y4m: drifts; most of all \w+, from [0-9.]+ to .* \(score [1-9]")
        self.assertLessEqual(max(map(len, said.splitlines())), 105)
        quiet = run("metrics", self.path("bad.y4m"), "--quiet")
        self.assertEqual((quiet.returncode, quiet.stdout, quiet.stderr), (0, b"", b""))
        loud = run("metrics", self.path("bad.y4m"), "-v", "--only", "luma")
        self.assertIn(b"rawvideo", loud.stderr)
        lines = run("metrics", self.path("bad.y4m"), "-v", "--json", "--only", "luma").stderr.decode().splitlines()
        self.assertEqual({json.loads(line)["event"] for line in lines}, {"progress"})

    def test_holds(self):
        said = run("metrics", self.good(), "--only", "luma,contrast,saturation,sharpness,hist_first").stdout.decode()
        self.assertRegex(said, r"(?m)^good.y4m: holds; most of all ")
        said = run("metrics", self.path("good.y4m"), "--only", "si").stdout.decode()
        self.assertIn("of these metrics none tells drift", said)
        said = run("metrics", self.good("two.y4m", n=2)).stdout.decode()
        self.assertIn("too short to tell drift", said)

    def test_several(self):
        files = [self.good(), self.drifting()] + [self.good("c%d.y4m" % i, n=3) for i in range(4)]
        o = self.measure(*files, "--only", "luma,ti")
        self.assertEqual(list(o), ["files"])
        self.assertEqual([f["file"] for f in o["files"]], files)
        for f, n in zip(o["files"], [40, 40, 3, 3, 3, 3]):
            self.assert_contract(f, ["luma", "ti"], n)
        r = run("metrics", *files)
        self.assert_done(r)
        said = r.stdout.decode()
        self.assertEqual(len([s for s in said.splitlines() if s.startswith("luma ")]), 2)  # two blocks
        for f in files:
            self.assertIn(os.path.basename(f), said)
        self.assertRegex(said, r"good.y4m: holds.*\n.*bad.y4m: drifts")

    def test_names(self):
        os.mkdir(self.path("x"))
        a, b = self.good(n=3), self.good("x/good.y4m", n=3)
        said = run("metrics", a, b).stdout.decode()
        self.assertIn(a, said)  # the folder tells them apart
        self.assertIn(b, said)
        odd = self.good("a\nb\xff.y4m".encode("latin-1").decode("utf-8", "surrogateescape"), n=3)
        r = run("metrics", odd)
        self.assert_done(r)
        self.assertTrue(r.stdout.decode().startswith("a b\ufffd.y4m: 64x48"))
        self.assertEqual(self.measure(odd)["file"].split("/")[-1], "a\nb\ufffd.y4m")

    def test_one_frame(self):
        o = self.measure(self.good(n=1))
        self.assert_contract(o, NO_REF, 1)
        self.assertEqual(o["series"]["ti"], [None])
        self.assertRegex(run("metrics", self.path("good.y4m")).stdout.decode(), r"(?m)^ti +- +-")

    def test_cut_file(self):
        path = self.good()
        with open(path, "r+b") as f:
            f.truncate(os.path.getsize(path) - 100)
        self.assert_refused(run("metrics", path), "good.y4m")
        r = run("metrics", path, "--accept-cut", "--json")
        self.assert_done(r)
        self.assertEqual(json.loads(r.stdout)["frames"], 39)
        self.assertIn("end is missing", r.stderr.decode())

    def test_progress_is_json(self):
        r = run("metrics", "--json", self.good())
        self.assert_done(r)
        events = [json.loads(line) for line in r.stderr.splitlines()]
        self.assertEqual({e["event"] for e in events}, {"progress"})
        self.assertEqual(events[0]["frame"], 1)

    def test_interrupted(self):
        path = self.good(n=60)
        p = subprocess.Popen([LONGTAKE, "metrics", *[path] * 64, "--json"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        p.stderr.readline()
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, out), (130, b""))
        self.assertIn("interrupted", json.loads(err.splitlines()[-1])["message"])

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            r = subprocess.run([LONGTAKE, "metrics", self.good(n=3)], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"standard output", r.stderr)


class Pictures(MetricsTest):
    def test_written(self):
        files = [self.good(), self.drifting()]
        plot, sheet = self.path("plot.png"), self.path("sheet.png")
        self.assert_done(run("metrics", *files, "--plot", plot, "--contact", sheet))
        w, h = png_size(plot)
        self.assertTrue(640 <= w <= 8192 and 360 <= h <= 8192, (w, h))
        both = png_size(sheet)
        self.assert_done(run("metrics", files[0], "--only", "luma", "--plot", plot, "--contact", sheet, "--tiles", "4"))
        self.assertLess(png_size(plot)[1], h)  # one panel
        self.assertNotEqual(png_size(sheet), both)
        self.assert_done(run("metrics", files[0], "--contact", self.path("same.png"), "--tiles", "4"))
        with open(sheet, "rb") as a, open(self.path("same.png"), "rb") as b:
            self.assertEqual(a.read(), b.read())  # the metrics asked for do not matter
        os.remove(self.path("same.png"))
        self.assertEqual(sorted(os.listdir(self.dir)), ["bad.y4m", "good.y4m", "plot.png", "sheet.png"])

    def test_refused(self):
        path = self.good(n=3)
        m = lambda *a: run("metrics", path, *a)
        for o in ("--plot", "--contact", "--write-baseline"):
            self.assert_refused(m(o, self.path("none/x.png")), o, "No such file")
            self.assert_refused(m(o, self.dir), o, "no file")
            self.assert_refused(m(o, path), o, "read and written")
            self.assert_refused(m(o, self.dir + "/"), o, "file name")
        self.assert_refused(m("--plot", self.path("a.png"), "--contact", self.path("a.png")), "both")
        self.assert_refused(m("--plot", self.path("a.png"), "--contact", self.path("./a.png")), "both")
        self.assert_refused(m("--contact", self.path("a.png"), "--write-baseline", self.path("a.png")), "both")
        self.assert_refused(m("--tiles", "4"), "--contact")
        self.assert_refused(run("metrics", *[path] * 9, "--plot", self.path("a.png")), "8 videos")
        one = self.good("one.y4m", n=1)
        self.assert_refused(run("metrics", one, "--only", "ti", "--plot", self.path("a.png")), "none of these")
        self.assertEqual(sorted(os.listdir(self.dir)), ["good.y4m", "one.y4m"])

    def test_full_disk(self):
        path, out = self.good(n=3), self.path("a.png")
        self.assert_refused(run("metrics", path, "--plot", out, limit=100), "a.png", code=1)
        self.assertEqual(os.listdir(self.dir), ["good.y4m"])


class Baseline(MetricsTest):
    def setUp(self):
        super().setUp()
        self.base = self.path("base.json")
        self.assert_done(run("metrics", self.good(), "--chunk", "10", "--write-baseline", self.base, "--quiet"))

    def check(self, path, *args, code=0):
        r = run("metrics", path, "--baseline", self.base, "--chunk", "10", *args)
        self.assertEqual(r.returncode, code, r.stderr.decode())
        return r

    def test_file(self):
        with open(self.base) as f:
            text = f.read()
        o = json.loads(text)
        self.assertEqual((o["file"], o["frames"], o["fps"], o["ref"]), ("good.y4m", 40, 8, {}))
        self.assertEqual(list(o["summary"]), NO_REF)
        self.assertEqual(list(o["summary"]["luma"]), STATS + ["min", "max"])
        self.assertNotIn("series", o)
        self.assertLess(len(text), 8192)
        self.assertEqual(sorted(os.listdir(self.dir)), ["base.json", "good.y4m"])

    def test_holds(self):
        r = self.check(self.path("good.y4m"))
        self.assertTrue(r.stdout.decode().endswith("good.y4m: baseline %s: holds\n" % self.base))
        self.assertEqual(r.stderr, b"")
        # the object of --json will do too
        self.text("base.json", self.measure(self.path("good.y4m"), "--chunk", "10"))
        self.check(self.path("good.y4m"))

    def test_violated(self):
        r = self.check(self.drifting(), "--quiet", code=1)
        self.assertEqual(r.stdout, b"")
        lines = r.stderr.decode().splitlines()
        for stat in ("mean", "last", "drift"):
            line = [s for s in lines if s.startswith("longtake: bad.y4m: luma %s is " % stat)]
            self.assertEqual(len(line), 1, lines)
            self.assertRegex(line[0], r"is -?[\d.]+, allowed -?[\d.]+ to -?[\d.]+ \(baseline -?[\d.]+\)$")
        r = self.check(self.path("bad.y4m"), "--json", "--only", "luma", code=1)
        self.assert_contract(json.loads(r.stdout), ["luma"], 40)
        events = [json.loads(s) for s in r.stderr.splitlines()]
        bad = [e for e in events if e["event"] == "baseline"]
        self.assertEqual([e["message"].split(" is ")[0] for e in bad], ["luma mean", "luma last", "luma drift"])
        # of several files the good one holds
        r = self.check(self.path("good.y4m"), self.path("bad.y4m"), code=1)
        self.assertRegex(r.stdout.decode(), r"good.y4m: baseline .*: holds\nbad.y4m: baseline .*: \d+ outside\n$")

    def test_only(self):
        self.check(self.drifting(), "--only", "clip_lo")
        self.check(self.path("bad.y4m"), "--only", "clip_lo,luma", code=1)

    def test_tolerance(self):
        bad = self.drifting()
        only = ["--only", "luma"]
        o = self.measure(bad)["summary"]["luma"]
        base = load(self.base)["summary"]["luma"]
        off = {s: o[s] - base[s] for s in ("mean", "last", "drift")}
        for band, code in (({"luma": 50}, 0), ({"luma": None}, 0), ({"luma": "50%"}, 0), ({"luma": "5%"}, 1),
                           ({"luma": -1}, 0), ({"luma": "-1"}, 0), ({"luma": "+1"}, 1), ({"luma": "+50"}, 0),
                           ({"luma": {s: v + 0.01 for s, v in off.items()}}, 0),
                           ({"luma": {**off, "drift": off["drift"] - 0.01}}, 1),
                           ({"luma": {"mean": 50, "last": 50, "drift": 50, "max": 1}}, 1),
                           ({"luma": {"mean": 50, "last": 50, "drift": 50, "slope": "+9"}}, 0)):
            with self.subTest(band=band):
                self.check(bad, *only, "--tolerance", self.text("tol.json", band), code=code)

    def test_length_and_size(self):
        said = self.check(self.good("short.y4m", n=30), "--only", "luma", code=1).stderr.decode()
        self.assertIn("number of frames is 30, allowed 36 to 44 (baseline 40)", said)
        self.check(self.path("short.y4m"), "--only", "luma", "--tolerance", self.text("t.json", {"frames": "50%"}))
        said = self.check(self.good("small.y4m", w=32), code=1).stderr.decode()
        self.assertRegex(said, r"^longtake: small.y4m: size is 32x48, the baseline's 64x48: not comparable[^\n]*\n$")
        said = self.check(self.good("fast.y4m", fps="25:1"), code=1).stderr.decode()
        self.assertRegex(said, r"^longtake: fast.y4m: 25 frames per second, the baseline has 8[^\n]*\n$")

    def test_values_that_are_not_there(self):
        good = self.path("good.y4m")
        r = run("metrics", good, "--baseline", self.base)  # without --chunk
        self.assertEqual(r.returncode, 1)
        self.assertRegex(r.stderr.decode(), r"^longtake: good.y4m: boundary has no value here[^\n]*--chunk[^\n]*\n$")
        o = load(self.base)
        del o["summary"]["motion"]
        self.text("base.json", o)
        self.check(good)  # a baseline of an older version
        self.assertIn("motion is not checked", self.check(good, "--only", "motion", code=1).stderr.decode())
        tol = self.text("t.json", {"motion": 1})
        self.assert_refused(run("metrics", good, "--baseline", self.base, "--tolerance", tol), "t.json", "motion",
                            "--write-baseline")

    def test_ref(self):
        a, b = self.path("good.y4m"), y4m(self.path("b.y4m"), luma=lambda t: 103)
        self.assert_done(run("metrics", b, "--ref", a, "--write-baseline", self.base))
        self.assertEqual(load(self.base)["ref"]["file"], "good.y4m")
        self.check(b, "--only", "psnr", "--ref", a)
        self.check(a, "--only", "psnr", "--ref", a)  # better is no fault
        worse = y4m(self.path("c.y4m"), luma=lambda t: 103 if t != 20 else 140)
        said = self.check(worse, "--ref", a, "--only", "psnr,ssim", code=1).stderr.decode()
        self.assertRegex(said, r"psnr min is [\d.]+, allowed [\d.]+ or more \(baseline [\d.]+\)")
        self.assertNotIn("psnr mean", said)

    def test_refused(self):
        good = self.path("good.y4m")
        whole = load(self.base)
        for text, word in (("", "empty"), ("{", "not valid json"), ("[]", "summary"), ("{}", "summary"),
                           ('{"summary": 3}', "summary"), ('{"files": []}', "several"),
                           ('{"summary": {"luma": 3}}', "summary.luma"),
                           ('{"summary": {"luma": {"mean": "x"}}}', "summary.luma.mean"),
                           ('{"summary": {"luma": {"mean": 1e999}}}', "summary.luma.mean"),
                           ('{"summary": {}, "fps": []}', "fps"), ("[" * 5000, "not valid json"),
                           (" " * (4 << 20) + "{}", "4194304")):
            with self.subTest(text=text[:40]):
                r = run("metrics", good, "--baseline", self.text("x.json", text))
                self.assert_refused(r, "x.json: baseline: ", word)
        for text, word in (("", "empty"), ("[]", "object"), ("{", "not valid json"), ('{"lumen": 1}', "lumen"),
                           ('{"luma": {"avg": 1}}', "luma.avg"), ('{"luma": "many"}', "many"),
                           ('{"luma": "1e3"}', "1e3"), ('{"luma": true}', "true"), ('{"luma": 1e999}', "luma"),
                           ('{"psnr": 1}', "psnr"), ('{"luma": {"mean": "--1"}}', "luma.mean"),
                           ('{"frames": "all"}', "frames"), (" " * (64 << 10) + "{}", "65536")):
            with self.subTest(text=text[:40]):
                r = run("metrics", good, "--baseline", self.base, "--tolerance", self.text("x.json", text))
                self.assert_refused(r, "x.json: tolerance: ", word)
        m = lambda *a: run("metrics", good, *a)
        self.assert_refused(m("--baseline", self.path("none.json")), "none.json", "No such file")
        self.assert_refused(m("--baseline", self.dir), "directory")
        self.assert_refused(m("--baseline", self.base, "--tolerance", "none.json"), "none.json")
        self.assert_refused(m("--tolerance", self.base), "--baseline")
        self.assert_refused(m("--baseline", self.base, "--plot", self.base), "read and written")
        self.assert_refused(m("--baseline", self.base, "--write-baseline", self.base), "only one")
        self.assert_refused(m(good, "--write-baseline", self.path("y.json")), "one video")
        self.assertEqual(load(self.base), whole)

    def test_full_disk(self):
        with open(self.base) as f:
            before = f.read()
        r = run("metrics", self.path("good.y4m"), "--write-baseline", self.base, limit=100)
        self.assert_refused(r, "base.json", code=1)
        with open(self.base) as f:
            self.assertEqual(f.read(), before)
        self.assertEqual(sorted(os.listdir(self.dir)), ["base.json", "good.y4m"])


class Refused(MetricsTest):
    def test_options(self):
        path = self.good(n=3)
        m = lambda *a: run("metrics", path, *a)
        self.assert_refused(run("metrics"), "no file", "FILE")
        self.assert_refused(m("--only", "luma,brightness"), "brightness", "saturation")
        for word in ("", ",", "luma,", "luma,,ti", "LUMA", "x" * 300):
            self.assert_refused(m("--only", word), "--only")
        self.assert_refused(m("--only", "psnr"), "psnr", "--ref")
        self.assert_refused(m("--shortest"), "--ref")
        self.assert_refused(m("--first-chunk", "9"), "--chunk")
        for o, values in {"--chunk": ["0", "-1", "x", "1.5"], "--first-chunk": ["0"], "--tiles": ["0", "101"],
                          "--threads": ["0", "65"]}.items():
            for v in values:
                self.assert_refused(m(o, v), o, "whole number")
        self.assert_refused(run("metrics", *[path] * 65), "at most 64 files")
        self.assert_refused(m("--model", "x"), "--model", "unknown option")
        self.assert_refused(run("generate", "-p", "a", "--plot", "x"), "--plot", "unknown option")

    def test_files(self):
        path = self.good(n=3)
        text = self.text("notes.txt", "hello\n")
        self.assert_refused(run("metrics", self.path("none.mp4")), "none.mp4", "No such file")
        self.assert_refused(run("metrics", text), "notes.txt", "not a video")
        self.assert_refused(run("metrics", self.dir), "folder")
        self.assert_refused(run("metrics", path, text), "notes.txt", "not a video")
        self.assert_refused(run("metrics", path, "--ref", self.path("none.mp4")), "none.mp4", "No such file")
        self.assert_refused(run("metrics", path, "--ref", text), "notes.txt", "not a video")
        other = self.good("other.y4m", n=3, w=32)
        self.assert_refused(run("metrics", path, "--ref", other), "64x48", "32x48")
        rate = self.good("rate.y4m", n=3, fps="13:1")
        self.assert_refused(run("metrics", path, "--ref", rate), "13")
        with open(self.path("empty.mp4"), "wb"):
            pass
        self.assert_refused(run("metrics", self.path("empty.mp4")), "empty.mp4")

    def test_help(self):
        said = run("metrics", "--help").stdout.decode()
        for name in NO_REF + REF:
            self.assertRegex(said, r"(?m)^  %s +\S.* [\d.]+( \S+)?( or \d+ %%)?$" % name)
        self.assertLessEqual(max(map(len, said.splitlines())), 105)


class Example(MetricsTest):
    """examples/ci as its workflow runs it."""

    def setUp(self):
        super().setUp()
        self.ci = os.path.join(SOURCE, "examples", "ci")
        subprocess.run(["cp", "-r", self.ci, self.path("ci")], check=True)
        with open(os.path.join(self.ci, "drift.yml")) as f:
            self.workflow = f.read()

    def step(self, name, **env):
        """The `run:` line of one step, in a repository that has the folder ci/."""
        rest = self.workflow.split("- name: %s\n" % name)[1].split("- name:")[0]
        line = [s.split("run:", 1)[1].strip() for s in rest.splitlines() if s.strip().startswith("run:")]
        self.assertEqual(len(line), 1, rest)
        return subprocess.run(["bash", "-e", "-c", line[0]], cwd=self.dir, capture_output=True, timeout=120,
                              env={**os.environ, "LONGTAKE": LONGTAKE, **env})

    def test_good_and_bad(self):
        r = self.step("Make the video")
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        r = self.step("Check it")
        self.assertEqual(r.returncode, 0, r.stdout.decode() + r.stderr.decode())
        self.assertIn("holds", r.stdout.decode())
        r = self.step("Make the video", DRIFT="true")
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        r = self.step("Check it")
        self.assertEqual(r.returncode, 1, r.stdout.decode() + r.stderr.decode())
        self.assertIn("saturation drift is", r.stderr.decode())
        for name in ("plot.png", "sheet.png"):
            png_size(self.path("ci/out/" + name))
        self.assertIn("ci/out", self.workflow.split("upload-artifact")[1])

    def test_try_it(self):
        r = subprocess.run([self.path("ci/try")], capture_output=True, timeout=120, cwd=self.dir,
                           env={**os.environ, "LONGTAKE": LONGTAKE})
        self.assertEqual(r.returncode, 0, r.stdout.decode() + r.stderr.decode())


if __name__ == "__main__":
    unittest.main()
