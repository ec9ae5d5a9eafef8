# SPDX-License-Identifier: Apache-2.0
"""Presets and prompts with times, from the command line."""
import json
import os
import shutil
import subprocess
import unittest

from rig import LONGTAKE, SOURCE, TINY, CliTest, run

os.chdir(SOURCE)  # models/presets is found from here, wherever the program was built
PRESETS = os.path.join(SOURCE, "models", "presets")
NAMES = sorted(f[:-5] for f in os.listdir(PRESETS) if f.endswith(".json"))
PUBLISHED = """self-forcing rolling-forcing longlive causal-forcing reward-forcing deep-forcing motionstream
    infinity-rope longtake""".split()


def preset(name):
    return os.path.join(PRESETS, name + ".json")


class Presets(CliTest):
    def test_list(self):
        r = run("info", "--presets")
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        for name in PUBLISHED:
            self.assertIn(name, NAMES)
        titles = [line for line in r.stdout.decode().splitlines() if not line.startswith(" ")]
        self.assertEqual(titles, sorted(NAMES, key=lambda n: n + ".json"))
        self.assertIn("Efficient-Large-Model/LongLive-1.3B: models/longlive_base.pt + models/lora.pt", r.stdout.decode())

    def test_list_json(self):
        r = run("info", "--presets", "--json")
        got = json.loads(r.stdout)
        self.assertEqual(sorted(p["name"] for p in got), sorted(NAMES))
        for p in got:
            for key in ("system", "source", "mode", "chunk", "window", "sink", "sink_policy", "timesteps", "flow_shift",
                        "prompt_switch", "path"):
                self.assertIn(key, p, p["name"])

    def test_list_shows_what_a_preset_asks_for_pictures(self):
        presets = self.path("models/presets")  # beside a program of its own
        os.makedirs(presets)
        shutil.copy(LONGTAKE, self.dir)
        for name, text in (("longtake", "{}"), ("still", '{"init_mode": "clamp"}')):
            with open(os.path.join(presets, name + ".json"), "w") as f:
                f.write(text)
        program = self.path(os.path.basename(LONGTAKE))
        r = subprocess.run([program, "info", "--presets"], capture_output=True, timeout=120)
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        plain, still = r.stdout.decode().split("still\n")
        self.assertIn("picture: clamp", still)
        self.assertNotIn("picture", plain)
        r = subprocess.run([program, "info", "--presets", "--json"], capture_output=True, timeout=120)
        self.assertEqual([p.get("init_mode") for p in json.loads(r.stdout)], [None, "clamp"])

    def test_every_preset_runs(self):
        digests = set()
        for name in NAMES:
            r = run("generate", "-m", TINY, "--preset", name, "-p", "a red ball", "--frames", "93", "-s", "1", "-o", "md5",
                    "--json", "--quiet")
            self.assertEqual((r.returncode, r.stderr), (0, b""), name)
            got = json.loads(r.stdout)
            with open(preset(name)) as f:
                want = json.load(f)
            self.assertEqual(got["preset"], name)
            for key in ("mode", "chunk", "window", "sink", "sink_policy", "timesteps", "flow_shift"):
                self.assertEqual(got[key], want[key], (name, key))
            digests.add(got["md5"])
        same = {"self-forcing", "causal-forcing"}  # one algorithm, two checkpoints
        self.assertEqual(len(digests), len(NAMES) - len(same) + 1)

    def test_path_and_flags(self):
        by_name = self.digest("--preset", "longlive")
        self.assertEqual(by_name, self.digest("--preset", preset("longlive")))
        self.assertEqual(by_name, self.digest("--sink-policy", "absolute", "--timesteps", "1000,750,500,250",
                                              "--window", "6", "--sink", "3"))
        self.assertNotEqual(by_name, self.digest("--preset", "longlive", "--window", "3"))
        self.assertNotEqual(self.digest("--preset", "deep-forcing"), self.digest("--preset", "deep-forcing", "--compat", "on"))

    def test_refused(self):
        self.assert_refused(run("generate", "-m", TINY, "-p", "a", "--preset", "nosuch"), "nosuch", "--presets")
        self.assert_refused(run("generate", "-m", TINY, "-p", "a", "--preset", "./nosuch.json"), "nosuch.json")
        bad = self.path("bad.json")
        with open(bad, "w") as f:
            f.write('{"sink_policy": "best"}')
        self.assert_refused(run("generate", "-m", TINY, "-p", "a", "--preset", bad), "bad.json", "sink_policy", "best")

    def digest(self, *args):
        r = run("generate", "-m", TINY, "-p", "a red ball", "--frames", "150", "-s", "1", "-o", "md5", "--json", "--quiet", *args)
        self.assertEqual((r.returncode, r.stderr), (0, b""), args)
        return json.loads(r.stdout)["md5"]


class Schedule(CliTest):
    def make(self, text, *args):
        path = self.path("prompts.txt")
        with open(path, "w") as f:
            f.write(text)
        return run("generate", "-m", TINY, "--prompt-file", path, "--frames", "57", "-s", "1", "-o", "md5", "--quiet", *args)

    def result(self, text, *args):
        r = self.make(text, "--json", *args)
        self.assertEqual((r.returncode, r.stderr), (0, b""), text)
        return json.loads(r.stdout)

    def test_plain_file_is_one_prompt(self):
        got = self.result("2001: a space odyssey\nwith apes\n")
        self.assertNotIn("later_prompts", got)
        self.assertEqual(got["prompt"], "2001: a space odyssey\nwith apes")

    def test_times(self):
        plain = self.result("a red ball")
        self.assertEqual(self.result("0s: a red ball")["md5"], plain["md5"])
        two = self.result("0s: a red ball\n1s: a blue cube\n100s: never\n")
        self.assertEqual((two["later_prompts"], two["prompt_switch"]), (1, "recache"))
        self.assertNotEqual(two["md5"], plain["md5"])
        self.assertEqual(self.result("0f: a red ball\n16f: a blue cube")["md5"], two["md5"])
        self.assertEqual(self.result("0s: a red ball\n0.5s: a blue cube", "--fps", "32")["md5"], two["md5"])
        cut = self.result("0s: a red ball\ncut 1s: a blue cube")
        self.assertNotEqual(cut["md5"], two["md5"])

    def test_switches(self):
        text = "0s: a red ball\n2.1s: a blue cube"
        args = ["--window", "4", "--sink", "1"]
        digests = {how: self.result(text, *args, "--prompt-switch", how)["md5"]
                   for how in ("recache", "recache-all", "flush", "lerp", "none")}
        self.assertEqual(len(set(digests.values())), 5)
        self.assertEqual(self.result(text, *args, "--prompt-switch", "lerp", "--prompt-fade", "1")["md5"], digests["none"])

    def test_refused(self):
        self.assert_refused(self.make("0s: a\nb"), "line 2", "TIME: TEXT")
        self.assert_refused(self.make("5s: a"), "line 1", "0s")
        self.assert_refused(self.make("0s: a\ncut 1s: b", "--sink-policy", "absolute"), "cut", "slot")
        self.assert_refused(self.make("0s: a\n1s: b", "--preset", "deep-forcing", "--prompt-switch", "flush"), "deep")
        self.assert_refused(self.make("0s: a\n1s: b", "--prompt-switch", "reset"), "--prompt-switch", "recache")


if __name__ == "__main__":
    unittest.main()
