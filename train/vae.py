"""Stage 1: train the VAE on the rendered world.   python train/vae.py --minutes 30

Maths    L1 on pixels + L1 on their differences in x, y and t + small KL.  Muon on convolution kernels, AdamW on the rest,
         learning rate by the clock.  First single pictures (many per step), then clips of 17: a network trained on 9
         pictures went wrong on the tenth, so the clips are longer than what the convolutions remember well.  For the
         change to be smooth, residual branches begin small, past taps of the kernels at a tenth, and time_conv as a
         copy (down: mean of the two newest pictures; up: the same picture twice).
         --decoder goes on with the decoder alone, latents fixed: it may run after the DiT has been trained.
Output   $LONGTAKE_WORK/vae.pt (state with original Wan names), log vae.jsonl.  Resumes by itself.
"""
import argparse
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import world
from common import DEVICE, RANK, Clock, Log, Muon, autocast, save_atomic, start, sync, work
from vaenet import WanVAE


class Clips(torch.utils.data.IterableDataset):
    """Random crops of random clips: uint8 [B,3,T,h,w]."""

    def __init__(self, batch, frames, size, seed):
        self.b, self.t, self.s, self.seed = batch, frames, size, seed

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0])
        while True:
            out = []
            for _ in range(self.b):
                spec = world.sample_spec(rng)
                x = world.render(spec, rng.integers(0, 9600) + np.arange(self.t))
                i, j = rng.integers(0, world.H - self.s + 1), rng.integers(0, world.W - self.s + 1)
                out.append(x[:, i:i + self.s, j:j + self.s])
            yield torch.from_numpy(np.stack(out)).permute(0, 4, 1, 2, 3)


def diffs(x):
    if x.shape[2] == 1:
        return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :], x[:, :, 1:] - x[:, :, :-1]


def validate(net):
    """PSNR on whole clips at random times, dB."""
    rng, mse = np.random.default_rng(99), []
    for _ in range(8):
        x = world.render(world.sample_spec(rng), rng.integers(0, 9600) + np.arange(17))
        x = torch.from_numpy(x).permute(3, 0, 1, 2)[None].to(DEVICE).float() / 127.5 - 1
        with torch.no_grad(), autocast():
            y = net.decode(net.encode(x)[0]).clamp(-1, 1)
        mse.append(((x - y.float()) / 2).square().mean().item())
    return float(np.mean(-10 * np.log10(mse)))


@torch.no_grad()
def inflate(net):
    for n, p in net.named_parameters():
        if n.endswith("time_conv.weight"):
            eye = torch.eye(p.shape[1], device=p.device)[..., None, None]
            p.mul_(.1)
            if p.shape[0] == p.shape[1]:
                p[:, :, 1] += .5 * eye
                p[:, :, 2] += .5 * eye
            else:
                p[:, :, 2] += torch.cat([eye, eye])
        elif p.ndim == 5 and p.shape[2] == 3:
            p[:, :, :2] *= .1
            if n.endswith("residual.6.weight"):
                p.mul_(.2)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=30)
    ap.add_argument("--dim", type=int, default=16)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--kl", type=float, default=1e-4)
    ap.add_argument("--decoder", action="store_true", help="train only the decoder of an existing vae.pt")
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    start()
    torch.manual_seed(args.seed)
    gpu = DEVICE.type == "cuda"
    net = WanVAE(args.dim).to(DEVICE)
    inflate(net)
    mats = [p for n, p in net.named_parameters() if p.ndim > 2 and p[0].numel() > 1 and n not in ("encoder.conv1.weight", "decoder.head.2.weight")]
    ids = {id(p) for p in mats}
    if args.decoder:
        net.encoder.requires_grad_(False)
        net.conv1.requires_grad_(False)
        mats = [p for p in mats if p.requires_grad]
    opts = [Muon(mats, args.lr), torch.optim.AdamW([p for p in net.parameters() if p.requires_grad and id(p) not in ids], args.lr, betas=(.9, .95), weight_decay=0)]
    ck, step, spent = work("vae.pt"), 0, 0.
    if os.path.exists(ck):
        st = torch.load(ck, map_location=DEVICE)
        net.load_state_dict(st["net"])
        step, spent = st["step"], st["spent"]
        if args.decoder != (st.get("decoder", False)):
            spent = 0.
        else:
            for o, s in zip(opts, st["opts"]):
                o.load_state_dict(s)
    clock, log, t_ck = Clock(args.minutes, spent), Log(work("vae.jsonl")), time.time()
    torch.manual_seed(args.seed + 100 * step + RANK)
    mul = 4 if gpu else 1
    phases = [(0., 2 * mul, 17, 64), (.7, 1 * mul, 17, 96)] if args.decoder else [(0., 20 * mul, 1, 64), (.15, 2 * mul, 13, 64), (.82, 1 * mul, 25, 72)]
    acc, data, phase = [], None, -1
    prog = clock.progress()
    while prog < 1:
        want = max(i for i, p in enumerate(phases) if prog >= p[0])
        if want != phase:
            phase = want
            ds = Clips(*phases[phase][1:], args.seed + 7 * phase + 10 * step + 1000003 * RANK)
            data = iter(torch.utils.data.DataLoader(ds, batch_size=None, num_workers=12 if gpu else 1, prefetch_factor=4))
        x = next(data).to(DEVICE).float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last_3d)
        with autocast():
            with torch.set_grad_enabled(not args.decoder):
                mu, lv = net.encode(x)
            mu, lv = mu.float(), lv.float().clamp(-12, 6)
            y = net.decode(mu + torch.exp(.5 * lv) * torch.randn_like(mu)).float()
        kl = .5 * (mu.square() + lv.exp() - 1 - lv).mean()
        l1 = (x - y).abs().mean()
        gl = sum((a - b).abs().mean() for a, b in zip(diffs(x), diffs(y)))
        loss = l1 + .5 * gl + args.kl * kl
        loss.backward()
        prog = sync(net.parameters(), clock.progress())
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.)
        for o, base in zip(opts, (args.lr, args.lr * .5)):
            for g in o.param_groups:
                g["lr"] = base * clock.lr(prog)
            o.step()
            o.zero_grad(set_to_none=True)
        step += 1
        acc.append((l1.item(), gl.item(), kl.item(), (x - y).square().mean().item() / 4))
        if step % 50 == 0:
            a = np.mean(acc, 0)
            acc = []
            log(step=step, sec=clock.seconds(), l1=a[0], grad=a[1], kl=a[2], psnr=float(-10 * np.log10(a[3])),
                **({"val_psnr": validate(net)} if step % 250 == 0 else {}))
        if time.time() - t_ck > 60:
            t_ck = time.time()
            save_atomic(dict(net=net.state_dict(), step=step, spent=clock.seconds(), decoder=args.decoder, opts=[o.state_dict() for o in opts]), ck)
    log(step=step, sec=clock.seconds(), val_psnr=validate(net), done=1)
    save_atomic(dict(net=net.state_dict(), step=step, spent=clock.seconds(), decoder=args.decoder, opts=[o.state_dict() for o in opts]), ck)


if __name__ == "__main__":
    main()
