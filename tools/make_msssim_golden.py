#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the MS-SSIM of formula-made picture pairs as pytorch_msssim computes it: the numbers in
test_other_program of tests/unit/test_compare.c. Needs: pip install torch pytorch_msssim (1.0.0).

    tools/make_msssim_golden.py"""
import torch
from pytorch_msssim import ms_ssim


def pair(w, h, s):
    """The two pictures [1, 1, h, w], by the formula of paint() in the test."""
    seed, a, b = 1, [], []
    for y in range(h):
        for x in range(w):
            wave = abs((5 * x + 3 * y) % 240 - 120) + (x * y // 16 + y) % 96
            seed = (seed * 1664525 + 1013904223) % 2**32
            a.append(wave)
            b.append(min(255, max(0, wave + (seed >> 16) % (2 * s + 1) - s)))
    return (torch.tensor(v, dtype=torch.float64).reshape(1, 1, h, w) for v in (a, b))


for width, height, noise in ((192, 176, 4), (192, 176, 32), (832, 480, 12), (832, 480, 128)):
    x, y = pair(width, height, noise)
    print(f"{{{width}, {height}, {noise}, {ms_ssim(x, y, data_range=255).item():.9f}}},")
