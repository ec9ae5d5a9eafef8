# SPDX-License-Identifier: Apache-2.0
"""longtake metrics against the definitions, computed by numpy on the same decoded frames, and against
FFmpeg's siti and signalstats.

The videos are lossless, so that FFmpeg's rawvideo has exactly the samples that longtake decodes: RGB
in H.264 for what is defined on RGB, 4:2:0 and 4:4:4, limited and full range, for what is defined on Y,
U and V. Nothing here is shared with the C code."""
import json
import re
import subprocess
import unittest

import numpy as np

from rig import CliTest, run

W, H, FRAMES, FPS = 122, 70, 45, 16
CHUNK, FIRST = 12, 9


def ffmpeg(*args, data=None):
    r = subprocess.run(["ffmpeg", "-hide_banner", "-nostdin", "-y", *args] if data is None else
                       ["ffmpeg", "-hide_banner", "-y", *args], input=data, capture_output=True, timeout=120)
    if r.returncode:
        raise AssertionError(r.stderr.decode()[-500:])
    return r


def scene(seed):
    """[FRAMES, H, W, 3] 8-bit: moving shapes, growing brighter and more violet, steps at chunk joins, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:H, :W].astype(float)
    frames = []
    for t in range(FRAMES):
        step = 6 * (0 if t < FIRST else 1 + (t - FIRST) // CHUNK)
        f = np.stack([110 + (60 + t) * np.sin(x * 0.11 + t * 0.2 + c) * np.cos(y * 0.13 - t * 0.1 * c) +
                      (0.8 * t if c != 1 else -0.5 * t) + step for c in range(3)], -1)
        frames.append(f + rng.normal(0, 5, f.shape))
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def encode(path, samples, pixels, *options):
    ffmpeg("-f", "rawvideo", "-pix_fmt", pixels, "-s", "%dx%d" % (W, H), "-r", str(FPS), "-i", "-", *options, path,
           data=samples.tobytes())


def decode(path, pixels):
    out = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", pixels, "-").stdout
    return np.frombuffer(out, np.uint8)


def measured(path, *options):
    r = run("metrics", path, "--json", "--quiet", "--chunk", str(CHUNK), "--first-chunk", str(FIRST), *options)
    if r.returncode:
        raise AssertionError(r.stderr.decode())
    return json.loads(r.stdout)


def nan(values):
    return np.array([np.nan if v is None else v for v in values])


def stretched(y, full):
    y = y.astype(int)
    return y if full else np.clip(y - 16, 0, 219) * 255 // 219


class NumpyTest(CliTest):
    def same(self, name, got, want, bound=1e-6):
        got, want = nan(got), np.asarray(want, float)
        self.assertEqual(got.shape, want.shape, name)
        self.assertEqual(list(np.isnan(got)), list(np.isnan(want)), name)
        off = np.nanmax(np.abs(got - want))
        self.assertLessEqual(off, bound, "%s: %g off" % (name, off))

    # -- R, G, B

    def rgb_video(self):
        path = self.path("rgb.mkv")
        encode(path, scene(1), "rgb24", "-c:v", "libx264rgb", "-qp", "0")
        rgb = decode(path, "rgb24").reshape(FRAMES, H, W, 3)
        self.assertTrue(np.array_equal(rgb, scene(1)))
        return path, rgb.astype(float)

    def test_flicker_is_vbench(self):
        path, rgb = self.rgb_video()
        j = measured(path)
        change = np.abs(np.diff(rgb, axis=0)).mean((1, 2, 3))
        self.same("flicker", j["series"]["flicker"][1:], 1 - change / 255)
        self.assertIsNone(j["series"]["flicker"][0])
        # VBench: the mean absolute differences of all pairs, their mean, (255 - that) / 255
        self.assertAlmostEqual(j["summary"]["flicker"]["mean"], (255 - change.mean()) / 255, delta=1e-6)

    def test_summary(self):
        path, rgb = self.rgb_video()
        j = measured(path)
        v = 1 - np.abs(np.diff(rgb, axis=0)).mean((1, 2, 3)) / 255
        v = np.concatenate([[np.nan], v])
        share = round(0.15 * FRAMES)
        s = j["summary"]["flicker"]
        self.assertAlmostEqual(s["first"], np.nanmean(v[:share]), delta=1e-6)
        self.assertAlmostEqual(s["last"], v[-share:].mean(), delta=1e-6)
        self.assertAlmostEqual(s["drift"], v[-share:].mean() - np.nanmean(v[:share]), delta=1e-6)
        self.assertAlmostEqual(s["slope"], np.polyfit(np.arange(1, FRAMES) / FPS, v[1:], 1)[0], delta=1e-6)

    def test_boundary(self):
        path, rgb = self.rgb_video()
        j = measured(path)
        change = np.concatenate([[np.nan], np.abs(np.diff(rgb, axis=0)).mean((1, 2, 3))])
        joins = list(range(FIRST, FRAMES, CHUNK))
        inside = [t for t in range(1, FRAMES) if t not in joins]
        want = np.full(FRAMES, np.nan)
        for t in joins:
            want[t] = change[t] / np.median(change[[i for i in inside if i < t]])
        self.same("boundary", j["series"]["boundary"], want, 6e-4 * np.nanmax(want))
        mean = change[joins].mean() / np.median(change[inside])
        self.assertAlmostEqual(j["summary"]["boundary"]["mean"], mean, delta=6e-4 * mean)
        self.assertGreater(mean, 1.05)

    def test_histograms(self):
        path, rgb = self.rgb_video()
        j = measured(path)
        bins = np.stack([[np.histogram(f[..., c], 32, (0, 256))[0] for c in range(3)] for f in rgb]) / (W * H)
        chunk = np.array([0 if t < FIRST else 1 + (t - FIRST) // CHUNK for t in range(FRAMES)])

        def emd(a, b):  # cumulative sums, 8 levels a bin, mean of the channels
            return (np.abs(np.cumsum(a - b, -1)) * 8).sum(-1).mean()
        mean = [bins[chunk == c].mean(0) for c in range(chunk[-1] + 1)]
        first = [emd(bins[t], bins[:t + 1].mean(0) if chunk[t] == 0 else mean[0]) for t in range(FRAMES)]
        prev = [emd(bins[t], mean[chunk[t] - 1]) if chunk[t] else np.nan for t in range(FRAMES)]
        self.same("hist_first", j["series"]["hist_first"], first)
        self.same("hist_prev", j["series"]["hist_prev"], prev)
        self.assertGreater(first[-1], 10)

    # -- Y, U, V

    def yuv_video(self, pixels, full):
        """Planes drawn as such: luma and chroma over the whole of 0..255, also where limited range ends."""
        path = self.path("%s%d.mkv" % (pixels, full))
        y, u, v = (scene(k)[..., 1] for k in (2, 3, 4))
        y = np.clip(y.astype(int) * 1.8 - 90, 0, 255).astype(np.uint8)
        if pixels == "yuv420p":
            u, v = u[:, ::2, ::2], v[:, ::2, ::2]
        samples = np.concatenate([np.concatenate([p[t].ravel() for p in (y, u, v)]) for t in range(FRAMES)])
        encode(path, samples, pixels, "-c:v", "libx264", "-qp", "0", "-bsf:v",
               "h264_metadata=video_full_range_flag=%d" % full)
        again = decode(path, pixels if not full else pixels.replace("yuv", "yuvj"))
        self.assertTrue(np.array_equal(samples, again))
        return path, y, u, v

    def one_kind(self, pixels, full):
        path, y, u, v = self.yuv_video(pixels, full)
        j = measured(path)["series"]
        f = y.astype(float)
        lap = f[:, :-2, 1:-1] + f[:, 2:, 1:-1] + f[:, 1:-1, :-2] + f[:, 1:-1, 2:] - 4 * f[:, 1:-1, 1:-1]
        s = stretched(y, full)
        self.same("luma", j["luma"], f.mean((1, 2)))
        self.same("contrast", j["contrast"], f.std((1, 2)))
        self.same("clip_lo", j["clip_lo"], 100 * (s <= 2).mean((1, 2)))
        self.same("clip_hi", j["clip_hi"], 100 * (s >= 253).mean((1, 2)))
        self.assertGreater(min(j["clip_lo"][0], j["clip_hi"][-1]), 0)
        self.same("sharpness", np.array(j["sharpness"]) / 1000, lap.var((1, 2)) / 1000)  # 9 digits are printed
        sat = np.hypot(u.astype(float) - 128, v.astype(float) - 128).mean((1, 2))
        self.same("saturation", j["saturation"], sat)
        # signalstats cuts each pixel to an integer: ours is up to 1 above it
        cut = np.floor(np.hypot(u.astype(float) - 128, v.astype(float) - 128)).mean((1, 2))
        self.same("cut saturation", cut, self.filtered(path, "signalstats", "signalstats.SATAVG"), 0.001)
        self.same("SATAVG", j["saturation"], cut + 0.5, 0.5)
        self.same("YAVG", j["luma"], self.filtered(path, "signalstats", "signalstats.YAVG"), 0.001)
        self.siti(path, j)

    def filtered(self, path, name, key):
        out = ffmpeg("-i", path, "-vf", name + ",metadata=print:file=-", "-f", "null", "-").stdout.decode()
        return [float(x) for x in re.findall(r"lavfi\.%s=([-0-9.e]+)" % key, out)]

    def siti(self, path, j):
        self.same("si", j["si"], self.filtered(path, "siti", "siti.si"), 0.00501)  # two decimals are printed
        self.same("ti", j["ti"][1:], self.filtered(path, "siti", "siti.ti")[1:], 0.00501)
        self.assertIsNone(j["ti"][0])
        out = ffmpeg("-i", path, "-vf", "siti=print_summary=1", "-f", "null", "-")
        summary = out.stderr.decode()
        si, ti = (re.search(r"%s Information:\s*Average: ([0-9.]+)\s*Max: ([0-9.]+)" % k, summary).groups()
                  for k in ("Spatial", "Temporal"))
        self.assertAlmostEqual(np.mean(j["si"]), float(si[0]), delta=1e-4)
        self.assertAlmostEqual(max(j["si"]), float(si[1]), delta=1e-4)
        self.assertAlmostEqual(sum(j["ti"][1:]) / FRAMES, float(ti[0]), delta=1e-4)  # it counts frame 0 as 0
        self.assertAlmostEqual(max(j["ti"][1:]), float(ti[1]), delta=1e-4)

    def test_limited(self):
        self.one_kind("yuv420p", 0)

    def test_full_range(self):
        self.one_kind("yuv420p", 1)

    def test_444(self):
        self.one_kind("yuv444p", 0)


if __name__ == "__main__":
    unittest.main()
