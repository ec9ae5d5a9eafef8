"""Stage 3: train the DiT and the text encoder by flow matching.   python train/dit.py --minutes 60

Maths    x_t = (1-sigma) x0 + sigma eps, target v = eps - x0, t = 1000 sigma; sigma = s u / (1 + (s-1) u), half of the u
         drawn at the four steps of inference (1, .75, .5, .25, with jitter), half anywhere.
         The loss counts the latents around the object eight times: they are few, and its colour and shape are what is
         asked for.  A linear reading of every fact from the mean of the text rows is trained along (weight 0.2), so that
         synonyms fall together early; it is not exported.
Batches  first   chunk 0 alone from text
         chunks  one pass over clean copies at t = 0 (anchor A, s0, s1, s2; a little noise on them, so that the model
                 forgives its own errors) and noisy copies (s1', s2', s3', and s0' when the stretch follows A at once);
                 every chunk sees [A | last two chunks | itself] at the slot positions 0, 3, 6, 9, exactly as the engine
         rolling a window of 2 to 4 chunks denoised jointly, noise rising in time, context [A | one or two clean chunks], or no
                 context and the window at the start of the stream (warm-up)
         Anchors are left out in a tenth of the batches, text in 7 % of the samples.
Output   $LONGTAKE_WORK/dit.pt (weights, EMA, optimizer; resumes by itself), dit.jsonl.
Guide    with --guide (train/distill.py) the target is the guided flow of a teacher, see there.
Pitfalls no masks anywhere: the plan lists which chunk sees which.  The EMA is what is exported.
"""
import argparse
import copy
import json
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import captions
import encode
import world
from common import DEVICE, RANK, Clock, Log, Muon, autocast, save_atomic, start, sync, work
from ditnet import UMT5, WanDiT
from reference import Stream

LEVELS = (1., .75, .5, .25)
FACTS = dict(colour=world.COLOUR_NAMES, place=world.PLACES, time=world.TIMES, shape=world.SHAPES, motion=world.MOTIONS, weather=world.WEATHERS, camera=world.CAMERAS)


class Data:
    """Normalised latents in memory, [n,6 chunks,3,16,12,20]; grows when new shards appear."""

    def __init__(self, seed):
        self.rng, self.have, self.t = np.random.default_rng(seed), {}, 0
        st = json.load(open(work("stats.json")))
        self.mean, self.std = (torch.tensor(st[k]).view(1, 1, 16, 1, 1) for k in ("mean", "std"))
        self.reload()

    def reload(self):
        if time.time() - self.t < 60:
            return
        self.t = time.time()
        self.z, self.specs = self.read("lat", 18)
        anc, specs = self.read("anc", 3)
        self.first = torch.cat([self.z[:, :1], anc]) if len(specs) else self.z[:, :1]
        self.first_specs, self.n = self.specs + specs, len(self.specs)
        self.contig = np.array([i for i, s in enumerate(self.specs) if s["contiguous"]])
        print("clips:", self.n, "first chunks:", len(self.first_specs), flush=True)

    def read(self, kind, t):
        old = self.have.setdefault(kind, [torch.zeros(0, t // 3, 3, 17, 12, 20, dtype=torch.float16), []])
        lat, specs = encode.load_all(kind=kind)
        n = len(old[1])
        if len(lat) > n:
            new = torch.stack([((torch.from_numpy(np.array(z)).float() - self.mean[0]) / self.std[0]).half() for z in lat[n:]])
            at = [list(range(3)) + [q.get("start", 3) + i for i in range(t - 3)] for q in specs[n:]]
            w = np.stack([object_weight(q, a) for q, a in zip(specs[n:], at)])
            new = torch.cat([new, torch.from_numpy(w)[:, :, None]], 2)
            old[0], old[1] = torch.cat([old[0], new.unflatten(1, (t // 3, 3))]), specs[:len(lat)]
        return old

    def batch(self, b, contiguous=False, first=False):
        z, specs = (self.first, self.first_specs) if first else (self.z, self.specs)
        i = self.rng.choice(self.contig, b) if contiguous else self.rng.integers(0, len(specs), b)
        text = [captions.caption(specs[k], self.rng) if self.rng.random() > .07 else "" for k in i]
        self.facts = torch.tensor([[v.index(specs[k][f]) for f, v in FACTS.items()] for k in i], device=DEVICE)
        return z[torch.from_numpy(i)].to(DEVICE).float(), text


def object_weight(spec, frames):
    """[len(frames),12,20]: 8 around the object (or the second one), else 1; latent n shows pictures 4n-3 .. 4n."""
    y, x = np.mgrid[0:12, 0:20] * 8. + 3.5
    out = np.ones((len(frames), 12, 20), np.float16)
    r = world.SIZES[spec["size"]]
    for i, n in enumerate(frames):
        for q in ({0} if n == 0 else {4 * n - 3, 4 * n}):
            cx, cy, _, _, _, sc = world._pose(spec, q / world.FPS, r)
            out[i][(abs(x - cx) < r * sc + 4) & (abs(y - cy) < r * sc + 4)] = 8
    return out


def warp(u, shift):
    return shift * u / (1 + (shift - 1) * u)


def draw_u(b, n, share=(1., 1., 1., 1.)):
    """u per sample and chunk: half at the steps of inference."""
    lev = torch.tensor(LEVELS)[torch.multinomial(torch.tensor(share), b * n, True)].view(b, n) + .06 * torch.randn(b, n) * (torch.rand(b, n) < .7)
    return torch.where(torch.rand(b, n) < .5, lev, torch.rand(b, n)).clamp(.02, 1).to(DEVICE)


class Model(torch.nn.Module):
    """DiT + text encoder + tokenizer."""

    def __init__(self, tok, **kw):
        super().__init__()
        self.tok = tok
        self.text = UMT5(tok.sp.vocab_size())
        self.dit = WanDiT(text_dim=self.text.cfg["d_model"], **kw)
        self.aux = torch.nn.ModuleList(torch.nn.Linear(self.text.cfg["d_model"], len(v)) for v in FACTS.values())

    def context(self, texts, aux=None):
        ids = self.tok(texts).to(DEVICE)
        rows = self.text(ids)
        if aux is not None:
            mean = rows.sum(1) / (ids != 0).sum(1, keepdim=True)
            aux.append([a(mean).float() for a in self.aux])
        return self.dit.text(F.pad(rows, (0, 0, 0, 64 - rows.shape[1])))


def noisy(x, sig):
    """Latents with their weights as a 17th channel -> x_t, v, weights."""
    x, w = x[:, :, :, :16], x[:, :, :, 16:]
    eps = torch.randn_like(x)
    s = sig.view(*sig.shape, 1, 1, 1, 1)
    return (1 - s) * x + s * eps, eps - x, w


def clean(x):
    """A clean copy with the errors of a generator on it: a little noise, a little blur."""
    x = x[:, :, :, :16]
    s = torch.rand(x.shape[0], 1, 1, 1, 1, 1, device=x.device) * .12 * (torch.rand(x.shape[0], 1, 1, 1, 1, 1, device=x.device) < .7)
    return (1 - s) * x + s * torch.randn_like(x)


def build(kind, data, size, shift):
    """-> x [B,C,...], t [B,C], targets, ids of the noisy chunks, plan, texts"""
    rng = data.rng
    if kind == "first":
        x0, text = data.batch(size * 4, first=True)
        sig = warp(draw_u(x0.shape[0], 1, (3., 3., 3., 1.)), shift)
        x, v, w = noisy(x0, sig)
        return x, 1000 * sig, v, w, [0], [([0], [])], text
    drop = rng.random() < .1
    if kind == "chunks":
        cont = rng.random() < .3
        z, text = data.batch(size, cont)
        o = 1 if cont else int(rng.integers(1, 3))
        anchor, s = z[:, :1], z[:, o:o + 4]
        c = clean(torch.cat([anchor, s[:, :3]], 1))                # 0 A, 1 s0, 2 s1, 3 s2
        x0 = s if cont and not drop else s[:, 1:]
        A = [] if drop else [0]
        plan = [([0], []), ([1], A), ([2], A + [1]), ([3], A + [1, 2])]
        if x0.shape[1] == 4:
            plan += [([4], A)]
        k = 4 + x0.shape[1] - 3
        plan += [([k], A + [1]), ([k + 1], A + [1, 2]), ([k + 2], A + ([2, 3] if rng.random() < .75 else [1, 2, 3]))]
        u = draw_u(size, x0.shape[1])
    else:
        r, n = rng.random(), int(rng.integers(2, 5))
        u0 = .25 * torch.arange(1, 5)
        if r < .3:                                                # warm-up: the window begins the stream
            z, text = data.batch(size, True)
            c, x0, plan = z[:, :0, :, :16], z[:, :n], [(list(range(n)), [])]
        elif r < .45:                                             # the window follows the anchor
            z, text = data.batch(size, True)
            c, x0, plan = clean(z[:, :1]), z[:, 1:1 + n], [([0], []), (list(range(1, n + 1)), [0])]
        else:
            z, text = data.batch(size)
            k = 1 if n == 4 else 2                                # finished chunks in front of the window
            o = int(rng.integers(1, 7 - n - k))
            c, x0 = clean(torch.cat([z[:, :1], z[:, o:o + k]], 1)), z[:, o + k:o + k + n]
            A = [] if drop else [0]
            plan = [([0], [])] + [([i], A + list(range(1, i))) for i in range(1, k + 1)] + [(list(range(k + 1, n + k + 1)), A + list(range(1, k + 1)))]
        u = u0[4 - n:] if r < .3 or rng.random() < .3 else u0[:n]
        u = (u[None] + .06 * torch.randn(size, n) * (torch.rand(size, 1) < .6)).clamp(.02, 1).to(DEVICE)
    sig = warp(u, shift)
    x, v, w = noisy(x0, sig)
    ids = list(range(c.shape[1], c.shape[1] + x0.shape[1]))
    return torch.cat([c, x], 1), torch.cat([torch.zeros_like(c[:, :, 0, 0, 0, 0]), 1000 * sig], 1), v, w, ids, plan, text


@torch.no_grad()
def self_rollout(model, data, size, shift):
    """Context and inputs of the model's own making, targets of the true world (which goes on deterministically).

    From the true A and s0 the model makes s1, s2, s3 in its four steps through its own cache; then one ordinary pass
    trains s1', s2', s3' at the four sigmas of inference, noisy inputs re-noised from its own estimate of the step before,
    context its own s1, s2."""
    z, text = data.batch(size)
    z, w = z[:, :, :, :16], z[:, :, :, 16:]
    o = 1 if data.rng.random() < .5 else 2
    truth = z[:, o + 1:o + 4]
    sig = warp(torch.tensor(LEVELS), shift).tolist()
    pick = torch.randint(0, 4, (size, 3), device=DEVICE)
    with autocast():
        ckv = model.context(text)
        st = Stream(model.dit, ckv)
        st.commit(0, z[:, 0], [])
        st.commit(1, z[:, o], [0])
        made, xs = [], []
        for b in (2, 3, 4):
            x, ctx = torch.randn_like(z[:, 0]), st.context(b, 2)
            inp = []
            for i, s in enumerate(sig):
                inp.append(x)
                x0 = x - s * st.run([x], [1000 * s], ctx)[:, 0].float()
                if i < 3:
                    x = (1 - sig[i + 1]) * x0 + sig[i + 1] * torch.randn_like(x0)
            xs.append(torch.stack(inp, 1)[torch.arange(size), pick[:, b - 2]])
            made.append(x0)
            if b < 4:
                st.commit(b, x0, ctx)
    s = torch.tensor(sig, device=DEVICE)[pick]
    x = torch.stack(xs, 1)
    v = (x - truth) / s.view(size, 3, 1, 1, 1, 1)
    c = torch.stack([z[:, 0], z[:, o], made[0], made[1]], 1)
    plan = [([0], []), ([1], [0]), ([2], [0, 1]), ([3], [0, 1, 2]), ([4], [0, 1]), ([5], [0, 1, 2]), ([6], [0, 2, 3])]
    return torch.cat([c, x], 1), torch.cat([torch.zeros(size, 4, device=DEVICE), 1000 * s], 1), v, w[:, o + 1:o + 4], [4, 5, 6], plan, text


def load_teacher(model, path):
    teacher = copy.deepcopy(model).requires_grad_(False).eval()
    teacher.load_state_dict(torch.load(path, map_location=DEVICE)["ema"])
    return teacher


@torch.no_grad()
def guided(teacher, x, t, v, ids, plan, text, scale, own):
    """The target of a pass with classifier-free guidance baked in: vu + scale (vc - vu) of the teacher, so that the student
    needs one pass where guidance needs two.  Inputs of the model's own making (own) keep the true continuation as target
    and only gain (scale - 1) (vc - vu).  Samples without text keep their target: they are the unguided model."""
    with autocast():
        vc = teacher.dit(x, t, teacher.context(text), plan)[:, ids]
        vu = teacher.dit(x, t, teacher.context([""] * len(text)), plan)[:, ids]
    has = torch.tensor([bool(s) for s in text], device=x.device).view(-1, 1, 1, 1, 1, 1)
    return torch.where(has, v + (scale - 1) * (vc - vu) if own else vu + scale * (vc - vu), v)


def optimizers(model, lr):
    mats = [p for n, p in model.named_parameters() if p.ndim == 2 and ".block" in n and "relative" not in n and "modulation" not in n]
    ids = {id(p) for p in mats}
    rest = [p for p in model.parameters() if id(p) not in ids]
    return [Muon(mats, lr, weight_decay=.01), torch.optim.AdamW(rest, lr, betas=(.9, .97), weight_decay=0.)]


def set_lr(opts, lr, k):
    for o in opts:
        for g in o.param_groups:
            g["lr"] = lr * k


@torch.no_grad()
def ema_update(ema, model, step, top=.998):
    d = min(top, (1 + step) / (10 + step))
    for a, b in zip(ema.parameters(), model.parameters()):
        a.lerp_(b, 1 - d)


def main(stage="dit", minutes=60, lr=2e-3, mix=".4,.4,.2,0", hold=.35, guide=0.):
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=minutes)
    ap.add_argument("--dim", type=int, default=192)
    ap.add_argument("--layers", type=int, default=8)
    ap.add_argument("--batch", type=int, default=64 if DEVICE.type == "cuda" else 8)
    ap.add_argument("--shift", type=float, default=3.)
    ap.add_argument("--lr", type=float, default=lr)
    ap.add_argument("--hold", type=float, default=hold, help="share of the time at full learning rate")
    ap.add_argument("--mix", default=mix, help="shares of first, chunks, rolling, self")
    ap.add_argument("--guide", type=float, default=guide, help="distil classifier-free guidance of this scale from --teacher (0: plain flow matching)")
    ap.add_argument("--teacher", default="", help="checkpoint whose moving average guides; default dit.pt")
    ap.add_argument("--seed", type=int, default=3)
    args = ap.parse_args()
    start()
    torch.manual_seed(args.seed)
    if not os.path.exists(work("spiece.model")):
        captions.train_tokenizer(work("spiece.model"))
    tok = captions.Tokenizer()
    model = Model(tok, dim=args.dim, layers=args.layers, heads=args.dim // 64, ffn=4 * args.dim).to(DEVICE)
    ema = copy.deepcopy(model).requires_grad_(False)
    opts, step, spent, ck = optimizers(model, args.lr), 0, 0., work(stage + ".pt")
    src = ck if os.path.exists(ck) else work("dit.pt")
    if os.path.exists(src):
        st = torch.load(src, map_location=DEVICE)
        model.load_state_dict(st["model"], strict=False)
        ema.load_state_dict(st["ema"], strict=False)
        step, spent = st["step"], st["spent"] if src == ck else 0.
        for o, s in zip(opts, st["opts"]):
            if len(s["param_groups"][0]["params"]) == len(o.param_groups[0]["params"]):
                o.load_state_dict(s)
    teacher = load_teacher(model, args.teacher or work("dit.pt")) if args.guide else None
    if teacher is not None and src != ck:
        model.load_state_dict(teacher.state_dict())
        ema.load_state_dict(teacher.state_dict())
    data, kinds = Data(args.seed + 1000 * step + RANK), np.random.default_rng(step)
    torch.manual_seed(args.seed + 100 * step + RANK)
    clock, log, t_ck, acc = Clock(args.minutes, spent), Log(work(stage + ".jsonl")), time.time(), {}
    mix = np.array([float(v) for v in args.mix.split(",")])

    def save():
        save_atomic(dict(model=model.state_dict(), ema=ema.state_dict(), step=step, spent=clock.seconds(), cfg=model.dit.cfg,
                         tcfg=model.text.cfg, shift=args.shift, opts=[o.state_dict() for o in opts]), ck)

    t0 = time.time()
    prog = clock.progress()
    while prog < 1:
        kind = str(kinds.choice(["first", "chunks", "rolling", "self"], p=mix / mix.sum()))
        x, t, v, w, ids, plan, text = self_rollout(model, data, args.batch, args.shift) if kind == "self" else build(kind, data, args.batch, args.shift)
        if teacher is not None:
            v = guided(teacher, x, t, v, ids, plan, text, args.guide, kind == "self")
        with autocast():
            out = model.dit(x, t, model.context(text, aux := []), plan)
        loss = (w * (out[:, ids] - v).square()).mean() / w.mean()
        ce = sum(F.cross_entropy(a, f) for a, f in zip(aux[0], data.facts.unbind(1))) / len(FACTS)
        (loss + .2 * ce).backward()
        prog = sync(model.parameters(), clock.progress())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        set_lr(opts, args.lr, clock.lr(prog, warm=.01, floor=.03, hold=args.hold))
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        step += 1
        ema_update(ema, model, step)
        acc.setdefault(kind, []).append(loss.item())
        acc.setdefault("facts", []).append(ce.item())
        if step % 25 == 0:
            log(step=step, sec=clock.seconds(), per_step=(time.time() - t0) / 25, clips=data.n, firsts=len(data.first_specs), **{k: float(np.mean(a)) for k, a in acc.items()})
            acc, t0 = {}, time.time()
            data.reload()
        if time.time() - t_ck > 90:
            t_ck = time.time()
            save()
    save()


if __name__ == "__main__":
    main()
