# SPDX-License-Identifier: Apache-2.0
"""longtake metrics --ref against FFmpeg's psnr and ssim filters, frame by frame: the same numbers
to 1e-3 for what an encoder did to moving and still pictures, in every layout of the samples."""
import json
import math
import re
import subprocess
import unittest

from rig import CliTest, run

RATE = 16


def ffmpeg(*args):
    r = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *args], capture_output=True, timeout=120)
    if r.returncode != 0:
        raise AssertionError(f"{args}: {r.stderr.decode()}")


def printed(path, key):
    """The values of one key in what the metadata filter printed, one per frame."""
    with open(path) as f:
        return [float(v) for v in re.findall(rf"^{re.escape(key)}=(\S+)$", f.read(), re.M)]


class MetricsRefTest(CliTest):
    def video(self, name, source, *codec, pix="yuv420p", frames=9):
        """frames of a filter graph through an encoder."""
        path = self.path(name)
        ffmpeg("-f", "lavfi", "-i", f"{source},format={pix}", "-frames:v", str(frames), "-fps_mode", "passthrough",
               "-threads", "1", *codec, path)
        return path

    def filters(self, a, b, convert=""):
        """psnr_avg and the All of ssim per frame. The frames are counted, not timed: a filter that has
        two inputs takes what is there at the time, and Matroska's clock has whole milliseconds. And
        plain C: the SIMD form of ssim (seen in 5.1) leaves out the last window of a row of 4n + 1."""
        both = f"[0:v]settb=1/{RATE},setpts=N,split[a][c];[1:v]settb=1/{RATE},setpts=N{convert},split[b][d];"
        p, s = self.path("psnr.txt"), self.path("ssim.txt")
        ffmpeg("-cpuflags", "0", "-i", a, "-i", b, "-lavfi",
               f"{both}[a][b]psnr,metadata=print:file={p}[o];[c][d]ssim,metadata=print:file={s}[q]",
               "-map", "[o]", "-map", "[q]", "-f", "null", "-")
        return printed(p, "lavfi.psnr.psnr_avg"), printed(s, "lavfi.ssim.All")

    def measure(self, a, b):
        r = run("metrics", a, "--ref", b, "--only", "psnr,ssim,ms_ssim", "--json")
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        return json.loads(r.stdout)["series"]

    def assert_equal_to_filters(self, a, b, frames=9, tolerance=1e-3, convert=""):
        ours = self.measure(a, b)
        want_psnr, want_ssim = self.filters(a, b, convert)
        self.assertEqual((len(ours["psnr"]), len(want_psnr), len(want_ssim)), (frames,) * 3)
        for i in range(frames):
            what = f"frame {i} of {a} against {b}"
            self.assertAlmostEqual(ours["psnr"][i], min(100, want_psnr[i]), delta=tolerance, msg=what)
            if ours["ssim"][i] is not None and math.isfinite(want_ssim[i]):  # nan, inf: a plane below 8x8
                self.assertAlmostEqual(ours["ssim"][i], want_ssim[i], delta=tolerance, msg=what)
        return ours

    def pair(self, source, name_a, codec_a, name_b, codec_b, pix="yuv420p", frames=9):
        a = self.video(name_a, source, *codec_a, pix=pix, frames=frames)
        b = self.video(name_b, source, *codec_b, pix=pix, frames=frames)
        return self.assert_equal_to_filters(a, b, frames)

    def x264(self, crf):
        return ["-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf)]

    def test_compressed(self):
        sources = {"bars": f"testsrc2=s=208x120:r={RATE}", "fractal": f"mandelbrot=s=320x192:r={RATE}"}
        for name, source in sources.items():
            with self.subTest(name):
                s = self.pair(source, f"{name}.mp4", self.x264(18), f"{name}.mkv", self.x264(40))
                self.assertTrue(20 < min(s["psnr"]) and max(s["psnr"]) < 60)
                self.assertTrue(all(0.5 < v < 1 for v in s["ssim"] + s["ms_ssim"]))
                self.pair(source, f"{name}.y4m", [], f"{name}2.mp4", self.x264(30))

    def test_equal_files(self):
        s = self.pair(f"mandelbrot=s=96x80:r={RATE}", "a.mkv", ["-c:v", "ffv1"], "a.y4m", [])
        self.assertEqual(s, {"psnr": [100.0] * 9, "ssim": [1.0] * 9, "ms_ssim": [1.0] * 9})

    def test_layouts(self):
        noise = ",noise=alls=25:allf=t:all_seed=7"
        for pix in "yuv444p", "yuv422p", "yuv420p", "gray", "yuv411p", "yuvj420p":
            with self.subTest(pix):
                a = self.video("a.mkv", f"testsrc2=s=132x100:r={RATE}", "-c:v", "ffv1", pix=pix)
                b = self.video("b.mkv", f"testsrc2=s=132x100:r={RATE},format={pix}{noise}", "-c:v", "ffv1", pix=pix)
                s = self.assert_equal_to_filters(a, b)
                self.assertTrue(max(s["psnr"]) < 35)

    def test_odd_sizes(self):
        for size in "97x61", "33x10", "12x9", "16x15", "9x8", "3x40":
            with self.subTest(size):
                source = f"testsrc2=s=320x240:r={RATE},scale={size.replace('x', ':')}"
                a = self.video("a.mkv", source, "-c:v", "ffv1")
                b = self.video("b.mkv", source + ",format=yuv420p,noise=alls=30:all_seed=3", "-c:v", "ffv1")
                s = self.assert_equal_to_filters(a, b)
                small = min(int(v) for v in size.split("x"))
                self.assertEqual((s["ssim"][0] is None, s["ms_ssim"][0] is None), (small < 8, small < 11))

    def test_matroska_clock(self):
        """30 frames a second are 33 and 34 ms there: still frame to frame."""
        source = "mandelbrot=s=96x80:r=30"
        self.pair(source, "a.mkv", self.x264(20), "b.mp4", self.x264(35), frames=40)

    def test_chroma_of_the_reference_follows(self):
        """4:4:4 against 4:2:0. FFmpeg would resample with a cubic and put chroma in the middle of its
        cell across: it is told what H.264 means, chroma on the left, and the filter."""
        source = f"mandelbrot=s=208x120:r={RATE}"
        left = ",scale={}_h_chr_pos=0:{}_v_chr_pos=128:flags=bilinear+accurate_rnd,format={}"
        fine = self.video("fine.mkv", source, "-c:v", "ffv1", pix="yuv444p")
        coarse = self.video("coarse.mp4", source + left.format("out", "out", "yuv420p"), *self.x264(30))
        self.assert_equal_to_filters(fine, coarse, tolerance=0.02, convert=left.format("in", "in", "yuv444p"))
        self.assert_equal_to_filters(coarse, fine, tolerance=0.02, convert=left.format("out", "out", "yuv420p"))

    def test_refused(self):
        a = self.video("a.y4m", f"testsrc2=s=64x48:r={RATE}")
        b = self.video("b.y4m", f"testsrc2=s=64x50:r={RATE}")
        c = self.video("c.y4m", "testsrc2=s=64x48:r=25")
        self.assert_refused(run("metrics", a, "--ref", b), "64x48", "64x50")
        self.assert_refused(run("metrics", a, "--ref", c), "16", "25")
        self.assert_refused(run("metrics", a, "--ref", self.path("none.mp4")), "none.mp4")


if __name__ == "__main__":
    unittest.main()
