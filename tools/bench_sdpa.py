#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's CPU scaled_dot_product_attention at bench_ops' sizes, to stand beside its table.

    tools/bench_sdpa.py [--threads N] [--seconds S] [--dtype bfloat16|float32] [--jsonl FILE]

Same definition of work (2 M N H hd multiply-adds), same clocks (best wall, best CPU time), and the
same yardstick: one 4096^3 matmul of that dtype in the same run (PyTorch calls oneDNN for it).
Layout [1, H, M, hd] contiguous, which is what its flash kernel likes best."""
import argparse
import json
import time

import torch
import torch.nn.functional as F

SIZES = [(m, n, 12, 128) for m in (1560, 4680) for n in (4680, 9360, 18720)] + [(180, 720, 4, 64)]


def best(fn, seconds):
    fn()
    wall = cpu = float("inf")
    start, runs = time.perf_counter(), 0
    while runs < 2 or time.perf_counter() - start < seconds:
        w, c = time.perf_counter(), time.process_time()
        fn()
        wall = min(wall, time.perf_counter() - w)
        cpu = min(cpu, time.process_time() - c)
        runs += 1
    return wall, cpu


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--threads", type=int, default=0, help="0: PyTorch's default")
    ap.add_argument("--seconds", type=float, default=0.3)
    ap.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    ap.add_argument("--jsonl", help="append one JSON line per case")
    args = ap.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    rows = []
    with torch.inference_mode():
        a, b = torch.randn(4096, 4096).to(dtype), torch.randn(4096, 4096).to(dtype)
        cases = [("torch matmul 4096^3", 4096.0**3, lambda: a @ b)]
        for m, n, h, hd in SIZES:
            q = torch.randn(1, h, m, hd).to(dtype)
            k, v = (torch.randn(1, h, n, hd).to(dtype) for _ in range(2))
            cases.append((f"torch sdpa {m} q, {n} kv, {h} x {hd}", 2.0 * m * n * h * hd,
                          lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v)))
        print(f"torch {torch.__version__}, threads {torch.get_num_threads()}, {args.dtype}")
        print(f"{'case':44} {'time':>13} {'wall':>8} {'cpu':>8} {'ratio':>6} {'cpu r.':>6}")
        for name, macs, fn in cases:
            wall, cpu = best(fn, args.seconds)
            rows.append({"bench": "sdpa", "case": name, "ms": wall * 1e3, "cpu_ms": cpu * 1e3,
                         "gmac_s": macs / wall / 1e9, "gmac_cpu_s": macs / cpu / 1e9})
            r, first = rows[-1], rows[0]
            r["ratio"] = r["gmac_s"] / first["gmac_s"]
            r["cpu_ratio"] = r["gmac_cpu_s"] / first["gmac_cpu_s"]
            print(f"{name:44} {r['ms']:10.3f} ms {r['gmac_s']:8.1f} {r['gmac_cpu_s']:8.1f} "
                  f"{r['ratio']:6.2f} {r['cpu_ratio']:6.2f}", flush=True)
    if args.jsonl:
        with open(args.jsonl, "a", encoding="utf-8") as f:
            f.writelines(json.dumps(r) + "\n" for r in rows)


if __name__ == "__main__":
    main()
