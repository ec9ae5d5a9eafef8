#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a source file includes what its layer may not know (docs/ARCHITECTURE.md).

    tools/check_layers.py [ROOT]

Reads every #include of the C, C++ and CUDA files. An edge may skip layers, never go up or sideways.
Headers of outside libraries may be included only in the folder that wraps them."""
import os
import re
import sys

LOW = ("longtake", "base", "tensor")
MODEL = LOW + ("backend", "rope", "cache", "weights")

# folder -> the folders whose headers it may include, beside its own. "longtake": the public headers.
# "backend" is backend/*.h; what lies in backend/ref, backend/cpu is private to that folder.
ALLOWED = {
    "include": ("longtake",),
    "base": ("longtake",),
    "tensor": ("longtake", "base"),
    "backend": LOW,
    "backend/ref": LOW + ("backend",),
    "backend/cpu": LOW + ("backend",),
    "backend/cuda": LOW + ("backend",),
    "rope": LOW + ("backend",),
    "weights": LOW + ("backend", "rope"),
    "cache": LOW + ("backend", "rope"),
    "scheduler": MODEL,
    "text": MODEL,
    "dit": MODEL,
    "vae": MODEL,
    "pipeline": MODEL + ("scheduler", "text", "dit", "vae"),
    "encode": ("longtake", "base"),
    "metrics": ("longtake", "base"),
    "cli": ("longtake",),
    "examples": ("longtake",),
    "bench": LOW + ("backend",),  # bench/ops.c times single ops; the rest uses the public headers
    "tests": None,  # anything
}

# Headers of outside libraries -> the folders that may include them (and tests).
OUTSIDE = (
    (r"(oneapi/)?dnnl", ("backend/cpu",)),
    (r"cuda|cublas|cudnn|nvrtc|curand", ("backend/cuda",)),
    (r"lib(av|sw)[a-z]+/", ("encode",)),
    (r"png\.h", ("encode",)),
    (r"sentencepiece", ("text",)),
)

SOURCES = (".c", ".h", ".cc", ".cpp", ".cu", ".cuh", ".inc")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def layer_of(path):
    """The most specific folder of the table that holds a path, or None."""
    parts = path.split("/")
    for name in ("/".join(parts[:2]), parts[0]):
        if name in ALLOWED and len(parts) > name.count("/") + 1:
            return name
    return None


def sources(root):
    for folder in sorted({name.split("/")[0] for name in ALLOWED}):
        for at, dirs, files in os.walk(os.path.join(root, folder)):
            dirs.sort()
            for name in sorted(files):
                if name.endswith(SOURCES):
                    yield os.path.relpath(os.path.join(at, name), root).replace(os.sep, "/")


def complaint(root, path, quote, header):
    """Why this include is wrong, or None."""
    layer = layer_of(path)
    if ALLOWED[layer] is None:
        return None
    if header.startswith("longtake/"):
        ok = layer == "include" or "longtake" in ALLOWED[layer]
        return None if ok else "the public headers"
    for pattern, folders in OUTSIDE:
        if re.match(pattern, header) and layer not in folders:
            return "an outside library that only %s may use" % ", ".join(folders)
    if quote == "<":
        return None
    beside = os.path.join(root, os.path.dirname(path), header)
    if "/" not in header and os.path.exists(beside):
        return None
    if ".." in header.split("/"):
        return "a path with '..'; write it from the root"
    if not os.path.exists(os.path.join(root, header)):
        return None  # the compiler complains better
    target = layer_of(header)
    if target is None or (target != layer and target not in ALLOWED[layer]):
        allowed = ", ".join(ALLOWED[layer]) or "nothing"
        return "%s, which %s may not know (it may include: %s)" % (target, layer, allowed)
    return None


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    bad = checked = 0
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                checked += 1
                why = complaint(root, path, match.group(1), match.group(2))
                if why:
                    bad += 1
                    print("%s:%d: includes %s: %s" % (path, number, match.group(2), why))
    if not checked:
        print("check_layers: no sources under %s" % root)
        return 2
    print("check_layers: %d includes, %d wrong" % (checked, bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
