# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share: running it, the one-line rule, tiny safetensors.

From the environment: LONGTAKE and PROBE (programs), SOURCE (the tree). Python's own library only."""
import json
import os
import pty
import resource
import shutil
import struct
import subprocess
import tempfile
import unittest

LONGTAKE = os.environ["LONGTAKE"]
PROBE = os.environ["PROBE"]
SOURCE = os.environ["SOURCE"]
TINY = os.path.join(SOURCE, "tests", "tiny")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # many short runs beside each other must not spin


def run(*args, stdin=None, limit=None, env=None, timeout=120):
    """limit: the largest file the program may write, in bytes: a full disk."""
    def prepare():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.run([LONGTAKE, *args], input=stdin, capture_output=True, timeout=timeout,
                          preexec_fn=prepare, env={**os.environ, **(env or {})})


def on_terminal(*args, env=None):
    """What a run says on stderr when that is a terminal."""
    parent, child = pty.openpty()
    p = subprocess.Popen([LONGTAKE, *args], stderr=child, stdout=subprocess.DEVNULL,
                         env={**os.environ, "TERM": "xterm", **(env or {})})
    os.close(child)
    text = b""
    try:
        while True:
            text += os.read(parent, 4096)
    except OSError:
        pass
    os.close(parent)
    if p.wait() != 0:
        raise AssertionError(text)
    return text


def probe(path):
    r = subprocess.run([PROBE, path], capture_output=True, timeout=120)
    if r.returncode != 0:
        raise AssertionError(r.stderr.decode())
    return json.loads(r.stdout)


def write_safetensors(path, tensors):
    """tensors: name -> (shape, floats)."""
    head, body = {}, b""
    for name, (shape, values) in tensors.items():
        data = struct.pack("<%df" % len(values), *values)
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)


def read_safetensors(path):
    """name -> (dtype, shape, numbers)."""
    with open(path, "rb") as f:
        data = f.read()
    size = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, t in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        a, b = t["data_offsets"]
        raw = data[8 + size + a:8 + size + b]
        code = {"F32": "f", "I32": "i"}[t["dtype"]]
        out[name] = (t["dtype"], t["shape"], struct.unpack("<%d%s" % (len(raw) // 4, code), raw))
    return out


class CliTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="lt_cli_")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def assert_refused(self, r, *words, code=2):
        """The one-line rule: nothing on stdout, one line on stderr that says what is wrong."""
        said = r.stderr.decode("utf-8")  # must be valid, whatever the input was
        self.assertEqual(r.returncode, code, said)
        self.assertEqual(r.stdout, b"")
        self.assertEqual(said.count("\n"), 1, said)
        self.assertTrue(said.startswith("longtake: ") and said.endswith("\n"), said)
        for w in words:
            self.assertIn(w, said)

    def generate(self, *args, **kw):
        return run("generate", "-m", TINY, "-p", "a red ball", *args, **kw)

    def assert_done(self, r):
        self.assertEqual(r.returncode, 0, r.stderr.decode("utf-8", "replace"))
