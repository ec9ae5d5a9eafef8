"""Shared by every training stage: device, Muon, the loss log, time boxes, safetensors export helpers.

Maths    Muon (Jordan et al. 2024) in Moonlight's scaling: G -> momentum -> five Newton-Schulz steps towards the nearest
         semi-orthogonal matrix, times 0.2 sqrt(max(rows, cols)), so that a learning rate means what it means for AdamW.
Pitfalls learning rates follow the clock (`progress` 0..1 of the time box), not a step count: a slower machine makes
         fewer steps of the same schedule.
"""
import json
import math
import os
import time

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WORK = os.environ.get("LONGTAKE_WORK", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "train"))


def work(*parts):
    """A path in the work folder (LONGTAKE_WORK, default build/train), whose parent folder exists afterwards."""
    p = os.path.join(WORK, *parts)
    os.makedirs(os.path.dirname(p), exist_ok=True)
    return p


RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def start():
    """Several processes (python -m torch.distributed.run --nproc_per_node 2 train/x.py ...): on a CPU that is shared with
    other work, one single-threaded process a core is faster than one process with two threads."""
    if WORLD > 1:
        torch.distributed.init_process_group("gloo")
        torch.set_num_threads(1)


def sync(params, value=0.):
    """Average the gradients over the processes; returns the average of `value` (a clock that all agree on)."""
    if WORLD == 1:
        return value
    params = [p for p in params if p.requires_grad]
    flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in params] + [torch.tensor([value])])
    torch.distributed.all_reduce(flat)
    flat /= WORLD
    o = 0
    for p in params:
        p.grad = flat[o:o + p.numel()].view_as(p)
        o += p.numel()
    return float(flat[-1])


def autocast():
    return torch.autocast(DEVICE.type, torch.bfloat16)


def orthogonalise(g, steps=5):
    """Newton-Schulz: g [.., r, c] -> about U V^T."""
    x = g.bfloat16()
    flip = x.shape[-2] > x.shape[-1]
    x = x.mT if flip else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if flip else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for matrices (conv kernels are flattened to out x rest)."""

    def __init__(self, params, lr=2e-3, momentum=.95, weight_decay=0.):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for gr in self.param_groups:
            shapes = {}
            for p in gr["params"]:
                if p.grad is None:
                    continue
                buf = self.state[p].setdefault("m", torch.zeros_like(p.grad))
                buf.lerp_(p.grad, 1 - gr["momentum"])
                g = p.grad.lerp(buf, gr["momentum"]).flatten(1)
                shapes.setdefault(tuple(g.shape), []).append((p, g))
            for shape, pg in shapes.items():                      # equal shapes together: few large products
                u = orthogonalise(torch.stack([g for _, g in pg])) * (.2 * math.sqrt(max(shape)))
                for (p, _), q in zip(pg, u):
                    p.mul_(1 - gr["lr"] * gr["weight_decay"]).add_(q.view_as(p), alpha=-gr["lr"])


class Clock:
    """A time box that survives a restart: progress counts the minutes already spent."""

    def __init__(self, minutes, spent=0.):
        self.total, self.spent, self.t0 = minutes * 60, spent, time.time()

    def seconds(self):
        return self.spent + time.time() - self.t0

    def progress(self):
        return min(1., self.seconds() / self.total)

    def lr(self, p, warm=.02, floor=.02, hold=.0):
        """Warm-up, an optional flat part, cosine to `floor`, at progress p."""
        if p < warm:
            return p / warm + .01
        p = max(0., (p - hold) / (1 - hold)) if hold else (p - warm) / (1 - warm)
        return floor + (1 - floor) * .5 * (1 + math.cos(math.pi * p))


class Log:
    """One JSON object a line."""

    def __init__(self, path):
        self.f = open(path, "a")

    def __call__(self, /, **kw):
        line = json.dumps({k: (round(v, 5) if isinstance(v, float) else v) for k, v in kw.items()})
        if RANK == 0:
            self.f.write(line + "\n")
            self.f.flush()
            print(line, flush=True)


def save_atomic(obj, path):
    if RANK:
        return
    torch.save(obj, path + ".tmp")
    os.replace(path + ".tmp", path)
