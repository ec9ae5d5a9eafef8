# SPDX-License-Identifier: Apache-2.0
"""The command line as typed: help, unknown and bad options, what is not there yet."""
import json
import re
import unittest

from rig import TINY, CliTest, run

# contract.md, section CLI
GENERATE = """--prompt --prompt-file --model --diffusion-model --t5xxl --vae --tae --tokenizer --lora
    --duration --frames --fps --seed --mode --steps --timesteps --flow-shift --chunk --window --sink
    --sink-policy --threads --backend --device --max-vram --dtype --init-img --codec --crf --dry-run --json --quiet
    --preset --prompt-switch --prompt-fade --compat --max-ram --max-vram""".split()
LETTERS = "p m W H s t o v h".split()


class Help(CliTest):
    def test_commands(self):
        r = run("--help")
        self.assertEqual(r.returncode, 0)
        for word in (b"generate", b"info", b"metrics", b"eval", b"convert"):
            self.assertIn(word, r.stdout)
        self.assertEqual(run("help").stdout, r.stdout)
        self.assertEqual(run("help", "eval").stdout, run("eval", "--help").stdout)

    def test_generate_lists_every_option(self):
        text = run("generate", "--help").stdout.decode()
        for name in GENERATE:
            self.assertRegex(text, re.escape(name) + r"\b", name)
        for letter in LETTERS:
            self.assertIn("-%s, --" % letter, text)
        self.assertIn("[0 to 51; default: 18]", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 105)

    def test_each_command(self):
        for command in ("generate", "info", "metrics", "eval", "convert"):
            r = run(command, "--help")
            self.assertEqual((r.returncode, r.stderr), (0, b""))
            self.assertTrue(r.stdout.startswith(b"usage: longtake " + command.encode()))

    def test_version(self):
        r = run("--version")
        self.assertEqual(r.returncode, 0)
        self.assertRegex(r.stdout.decode(), r"^(longtake )?0\.1\.0\b[^\n]*\n$")


class Refused(CliTest):
    def test_commands(self):
        self.assert_refused(run(), "no command")
        for word in ("frobnicate", "metric", "--nosuch", "-x", ""):
            self.assert_refused(run(word), "unknown command", "generate")

    def test_options(self):
        for args in (["--nosuch"], ["--nosuch=3"], ["-x"], ["-qx"], ["--pro", "a"], ["--dura=3"],
                     ["--no-json"], ["-"]):
            r = run("generate", "-p", "a", *args)
            self.assert_refused(r, args[0][:2])
        self.assert_refused(run("info", "--prompt", "a"), "--prompt", "unknown option")
        self.assert_refused(run("generate", "-p"), "-p", "missing")
        self.assert_refused(run("generate", "-p", "a", "--seed"), "--seed", "missing")
        self.assert_refused(run("generate", "-p", "a", "--json=1"), "--json")
        self.assert_refused(run("generate", "-p", "a", "stray"), "stray", "unexpected")

    def test_values(self):
        bad = {
            "--width": ["0", "-8", "abc", "16x", "1e3", "99999999999999999999", ""],
            "--height": ["3.5", " 8"],
            "--duration": ["0", "-1s", "5x", "s", "1m30s", "inf", "nan", "0x10", "9999h", "", "2 m"],
            "--frames": ["-1", "1.5", "many", "1000000001"],
            "--fps": ["0", "-16", "abc", "nan", "inf", "1001", "16fps"],
            "--seed": ["-2", "1.0", "abc", "18446744073709551616", "", "+5"],
            "--mode": ["", "chunks", "roll", "chunk|rolling"],
            "--steps": ["0", "17", "x"],
            "--timesteps": ["", "1000,", ",1000", "500,1000", "1000,1000", "1001", "0", "-5", "a,b",
                            ",".join(str(1000 - i) for i in range(17))],
            "--flow-shift": ["0", "-1", "x"],
            "--chunk": ["0", "-3"],
            "--window": ["-1", "x"],
            "--sink": ["-2"],
            "--sink-policy": ["abs", "NONE"],
            "--backend": ["gpu", "metal"],
            "--max-vram": ["-1", "x", "nan"],
            "--dtype": ["f16", "int8"],
            "--crf": ["-1", "52"],
            "--threads": ["-1", "x", "5000"],
            "--lora": ["", "x.safetensors:y", ":1", "x.safetensors:1,", "x.safetensors:inf"],
        }
        for option, values in bad.items():
            for v in values:
                with self.subTest(option=option, value=v):
                    self.assert_refused(run("generate", "-m", TINY, "-p", "a", option + "=" + v), option)

    def test_exclusive(self):
        g = ["generate", "-m", TINY, "-p", "a"]
        self.assert_refused(run(*g, "--frames", "5", "--duration", "1s"), "--frames", "--duration")
        self.assert_refused(run(*g, "--prompt-file", "x"), "--prompt-file")
        self.assert_refused(run(*g, "--steps", "2", "--timesteps", "1000"), "--timesteps")
        self.assert_refused(run(*g, "--sink", "2", "--sink-policy", "none"), "--sink")
        self.assert_refused(run("generate", "-m", TINY), "prompt")
        self.assert_refused(run("info", TINY, "-m", TINY), "only one")

    def test_not_in_this_version(self):
        later = [["-o", "x.m3u8"]]
        for args in later:
            with self.subTest(args=args):
                r = run("generate", "-m", TINY, "-p", "a", "--frames", "1", *args)
                self.assert_refused(r, "not in this version")

    def test_cards(self):
        g = ["generate", "-m", TINY, "-p", "a", "--frames", "1", "-o", "null"]
        self.assert_refused(run(*g, "--backend", "cpu", "--max-vram", "1"), "max_vram", "--max-ram")
        self.assert_refused(run(*g, "--backend", "cpu", "--device", "1"), "--device", "cpu")
        self.assert_refused(run(*g, "--device", "10"), "--device")
        # a build without CUDA, a machine without a card, or without a tenth one: one line each
        self.assert_refused(run(*g, "--backend", "cuda", "--device", "9"))

    def test_eval(self):
        e = ["eval", "-m", TINY]
        self.assert_refused(run(*e), "PART")
        self.assert_refused(run(*e, "nosuch"), "nosuch", "rollout")
        for part in ("tae-decode", "tae-encode"):
            self.assert_refused(run(*e, part, "--in", "x", "--out", "y"), part, "--tae")
        self.assert_refused(run(*e, "tae-decode", "--tae", "nosuch", "--in", "x", "--out", "y"), "nosuch")
        self.assert_refused(run(*e, "dit", "--out", "x"), "--in")
        self.assert_refused(run(*e, "dit", "--in", "x"), "--out")
        self.assert_refused(run(*e, "text", "--out", "x"), "--prompt")
        self.assert_refused(run(*e, "text", "-p", "a", "--in", "x", "--out", "y"), "--in")
        self.assert_refused(run(*e, "dit", "-p", "a", "--in", "x", "--out", "y"), "--prompt")

    def test_errors_are_json_with_json(self):
        for args in (["generate", "--nosuch", "--json"], ["generate", "--json", "--crf", "99"]):
            r = run(*args)
            self.assertEqual((r.returncode, r.stdout), (2, b""))
            line = json.loads(r.stderr)
            self.assertEqual(line["event"], "error")
            self.assertTrue(line["message"])


if __name__ == "__main__":
    unittest.main()
