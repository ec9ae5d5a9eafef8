#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make tests/golden/rollout: noise in, denoised latents out, for every streaming mode and sink policy.

Usage    python tools/make_rollout_fixtures.py DIT_DIR OUT_DIR      (after make_dit_fixtures.py; no network)
Maths    the loops of Self Forcing (chunk) and Rolling Forcing (rolling) on wan_reference.py in f64. Every pass rebuilds what it
         sees from the list of all finished frames, with the positions of the policy; nothing is evicted, rotated in place or cached.
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file

from wan_reference import Reference, load

FOUR, TWO, SHIFT = [1000, 750, 500, 250], [1000, 500], 5.0
# name: mode, policy, sink, window, chunk, frames, timesteps, registers
CASES = {
    "chunk_none": ("chunk", "none", 0, 6, 3, 15, FOUR, False),
    "chunk_absolute": ("chunk", "absolute", 3, 6, 3, 15, FOUR, False),
    "chunk_slot": ("chunk", "slot", 3, 6, 3, 15, FOUR, True),
    "chunk_realign": ("chunk", "realign", 3, 6, 3, 15, FOUR, True),
    "chunk_odd": ("chunk", "absolute", 2, 5, 3, 15, TWO, True),
    "chunk_one": ("chunk", "slot", 1, 2, 1, 7, TWO, False),
    "rolling_slot": ("rolling", "slot", 3, 3, 3, 21, FOUR, True),
    "rolling_realign": ("rolling", "realign", 3, 3, 3, 21, FOUR, False),
    "rolling_absolute": ("rolling", "absolute", 2, 4, 3, 21, FOUR, True),
    "rolling_short": ("rolling", "slot", 3, 3, 3, 6, FOUR, False),
}


def view(policy, sink, most_window, c, n):
    """Past frames seen by frames c .. c+n, their positions, and the positions of c .. c+n."""
    sink = 0 if policy == "none" else sink
    anchors, window = list(range(min(c, sink))), list(range(sink, c))
    window = window[max(0, len(window) - most_window):]
    own = list(range(c, c + n))
    if policy == "slot":
        p = list(range(len(anchors) + len(window) + n))
        return anchors + window, p[:-n], p[-n:]
    first = c - len(window) - len(anchors) if policy == "realign" else 0
    return anchors + window, [first + i for i in range(len(anchors))] + window, own


def rollout(ref, mode, policy, sink, window, chunk, frames, timesteps, noise, renoise):
    u = torch.tensor(timesteps, dtype=torch.float64) / 1000
    sigma = (SHIFT * u / (1 + (SHIFT - 1) * u)).tolist()
    steps, chunks, done, out = len(sigma), frames // chunk, [], {}
    flight = chunk if mode == "chunk" else chunk * steps

    def run(x, t, c):
        see, past_pos, pos = view(policy, sink, window + flight - len(x), c, len(x))
        return ref.forward(x, t, pos, [done[f] for f in see], past_pos)

    def finish(x0, c):
        out[c] = x0
        done.extend(run(x0, [0.0] * chunk, c)[1])

    def again(x0, s, c):
        return (1 - sigma[s + 1]) * x0 + sigma[s + 1] * renoise[s, c:c + chunk]

    if mode == "chunk":
        for c in range(0, frames, chunk):
            x = noise[c:c + chunk]
            for s in range(steps):
                x0 = x - sigma[s] * run(x, [1000 * sigma[s]] * chunk, c)[0]
                x = again(x0, s, c) if s + 1 < steps else x0
            finish(x, c)
    else:
        x, level = {}, {}
        for w in range(chunks + steps - 1):
            if w < chunks:
                x[w], level[w] = noise[w * chunk:(w + 1) * chunk], 0
            live = sorted(x)
            t = [1000 * sigma[level[b]] for b in live for _ in range(chunk)]
            joint, c = torch.cat([x[b] for b in live]), live[0] * chunk
            flow = run(joint, t, c)[0]
            for j, b in enumerate(live):
                x0 = x[b] - sigma[level[b]] * flow[j * chunk:(j + 1) * chunk]
                if level[b] + 1 < steps:
                    x[b], level[b] = again(x0, level[b], b * chunk), level[b] + 1
                else:
                    assert j == 0
                    last = x0
            if level[live[0]] == steps - 1 and w - live[0] == steps - 1:
                del x[live[0]]
                finish(last, c)
    return torch.cat([out[c] for c in sorted(out)])


def main():
    dit, out = map(pathlib.Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    model, sinks = load(dit)
    dim_text, channels = model.config.text_dim, model.config.in_channels
    torch.manual_seed(10)
    text = torch.randn(11, dim_text)
    text[5:] = 0
    frames = max(c[5] for c in CASES.values())
    noise = torch.randn(frames, channels, 4, 6).bfloat16()
    renoise = torch.randn(3, frames, channels, 4, 6).bfloat16()
    io = {"text": text, "noise": noise, "renoise": renoise}
    for name, (mode, policy, sink, window, chunk, n, timesteps, registers) in CASES.items():
        ref = Reference(model, text, sinks if registers else None)
        io[name] = rollout(ref, mode, policy, sink, window, chunk, n, timesteps, noise.double(), renoise.double()).float().contiguous()
        print(name, tuple(io[name].shape), f"{io[name].std().item():.3f}")
    save_file(io, out / "io.safetensors")


main()
