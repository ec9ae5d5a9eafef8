# SPDX-License-Identifier: Apache-2.0
"""Bad models, prompts and outputs: one clear line, exit 2 (1 once running), nothing claimed or lost."""
import os
import shutil
import struct
import subprocess
import unittest

from rig import LONGTAKE, TINY, CliTest, probe, run

PARTS = ("transformer", "text_encoder", "vae", "tokenizer")


class Model(CliTest):
    def setUp(self):
        super().setUp()
        self.model = self.path("model")
        shutil.copytree(TINY, self.model)
        self.out = self.path("x.mp4")

    def refuse(self, *words):
        r = run("generate", "-m", self.model, "-p", "a", "--frames", "1", "-o", self.out)
        self.assert_refused(r, *words)
        self.assertFalse(os.path.exists(self.out))

    def weights(self, part):
        folder = os.path.join(self.model, part)
        name = [f for f in os.listdir(folder) if f.endswith((".safetensors", ".model"))][0]
        return os.path.join(folder, name)

    def test_missing_folder(self):
        self.model = self.path("nowhere")
        self.refuse(self.model)

    def test_empty_folder(self):
        self.model = self.path("empty")
        os.mkdir(self.model)
        self.refuse(self.model)

    def test_missing_part(self):
        for part in PARTS:
            with self.subTest(part=part):
                shutil.move(os.path.join(self.model, part), self.path("aside"))
                self.refuse(part)
                shutil.move(self.path("aside"), os.path.join(self.model, part))

    def test_damaged_weights(self):
        for part in PARTS:
            path = self.weights(part)
            with open(path, "rb") as f:
                good = f.read()
            harm = {
                "half": good[:len(good) // 2], "empty": b"", "seven": good[:7],
                "noise": b"\xff" * 4096, "huge": struct.pack("<Q", 2**63) + good[8:],
            }
            for what, data in harm.items():
                with self.subTest(part=part, what=what):
                    with open(path, "wb") as f:
                        f.write(data)
                    self.refuse(os.path.basename(path))
            with open(path, "wb") as f:
                f.write(good)

    def test_damaged_json(self):
        with open(os.path.join(self.model, "longtake.json"), "w") as f:
            f.write('{"chunk": 3,')
        self.refuse("longtake.json")

    def test_component_file(self):
        r = self.generate("--frames", "1", "-o", "null", "--vae", self.path("no.safetensors"))
        self.assert_refused(r, "no.safetensors")
        r = self.generate("--frames", "1", "-o", "null", "--vae", self.weights("transformer"))
        self.assert_refused(r)
        self.assert_done(self.generate("--frames", "1", "-o", "null", "--vae", self.weights("vae")))

    def test_info(self):
        self.assert_refused(run("info", self.path("nowhere")), "nowhere")
        with open(self.weights("vae"), "wb") as f:
            f.write(b"\xff" * 64)
        self.assert_refused(run("info", self.weights("vae")))


class Prompt(CliTest):
    def refuse(self, *args, words=(), **kw):
        r = run("generate", "-m", TINY, "--frames", "1", "-o", self.path("x.mp4"), *args, **kw)
        self.assert_refused(r, *words)
        self.assertEqual([n for n in os.listdir(self.dir) if n.endswith("mp4")], [])

    def test_empty(self):
        for text in ("", " ", "\n\t "):
            self.refuse("-p", text, words=["empty"])
        self.refuse("--prompt-file", "-", stdin=b"", words=["empty"])
        self.refuse("--prompt-file", os.devnull, words=["empty"])

    def test_not_utf8(self):
        for text in (b"\xff", b"ball \xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"):
            self.refuse("-p", text, words=["UTF-8"])

    def test_file(self):
        self.refuse("--prompt-file", self.path("no.txt"), words=["no.txt"])
        self.refuse("--prompt-file", self.dir, words=[self.dir])
        self.refuse("--prompt-file", "-", stdin=b"a\0b")
        self.refuse("--prompt-file", "-", stdin=b"x" * (2 << 20))


class Output(CliTest):
    def test_sizes(self):
        for size in (["-W", "33"], ["-H", "20"], ["-W", "1"], ["-W", "16384", "-H", "16384"]):
            with self.subTest(size=size):
                out = self.path("x.mp4")
                r = self.generate("--frames", "1", "-o", out, *size)
                self.assertIn(r.returncode, (1, 2) if size[1] == "16384" else (2,))
                self.assert_refused(r, code=r.returncode)
                self.assertFalse(os.path.exists(out))

    def test_paths(self):
        for out, word in (("no/x.mp4", "no/x.mp4"), ("x.avi", ".mp4"), ("%s%n.png", "%06d"),
                          ("%d%d.png", "%06d"), ("", "empty"), ("no/%d.png", "no/")):
            with self.subTest(out=out):
                path = self.path(out) if out else ""
                self.assert_refused(self.generate("--frames", "1", "-o", path), word)
        self.assertEqual(os.listdir(self.dir), [])

    def test_codec(self):
        out = self.path("x.mp4")
        self.assert_refused(self.generate("--frames", "1", "-o", out, "--codec", "nosuch"), "nosuch")
        self.assertFalse(os.path.exists(out))

    def test_old_file_survives_a_bad_run(self):
        out = self.path("x.mp4")
        with open(out, "w") as f:
            f.write("precious")
        self.assert_refused(self.generate("-o", out, "--codec", "nosuch"), "nosuch")
        self.assert_refused(self.generate("-o", out, "-W", "33"))
        with open(out) as f:
            self.assertEqual(f.read(), "precious")

    def test_full_disk(self):
        out = self.path("x.mp4")
        r = self.generate("--frames", "4000", "-s", "1", "-o", out, limit=60000)
        self.assert_refused(r, "x.mp4", "too large", "frames are kept", code=1)
        v = probe(out)
        self.assertGreaterEqual(v["frames"], 9)
        self.assertEqual(v["errors"], 0)
        self.assertIn("first %d frames are kept" % v["frames"], r.stderr.decode())
        self.assertEqual(v["tags"]["seed"], "1")

    def test_dev_full(self):
        for name in ("x.mp4", "x.mkv", "x.y4m"):
            os.symlink("/dev/full", self.path(name))
            r = self.generate("--frames", "100", "-o", self.path(name))
            self.assert_refused(r, "No space left", code=1)
        with open("/dev/full", "wb") as full:
            p = subprocess.run([LONGTAKE, "generate", "-m", TINY, "-p", "a", "--frames", "5", "-o", "-"],
                               stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"No space left", p.stderr)

    def test_broken_pipe(self):
        p = subprocess.Popen([LONGTAKE, "generate", "-m", TINY, "-p", "a", "--duration", "1h", "-o", "-"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdout.read(10000)
        p.stdout.close()
        said = p.stderr.read()
        p.stderr.close()
        self.assertEqual(p.wait(), 1)
        self.assertIn(b"Broken pipe", said)
        self.assertEqual(said.count(b"\n"), 1)


if __name__ == "__main__":
    unittest.main()
