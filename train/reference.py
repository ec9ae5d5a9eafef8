"""A compact streaming generator in PyTorch: the exact cache semantics of the engine, for tests and measurements.

Role     generate(model, rows, noise, renoise, ...) -> latent [T,16,12,20]; as a program it reads the safetensors of
         `longtake eval rollout` (noise, renoise, text) and writes `latent`.
Maths    x0 = x - sigma v; next x = (1 - sigma') x0 + sigma' renoise[s].  sigma = warp(step / 1000), t = 1000 sigma.
         A chunk is 3 latent frames.  Keys are cached before rotation, from one clean pass at t = 0 over the finished
         chunk with the same context, and rotated by slot (0, 3, 6, ... in the order of the list) each time they are read.

Chunk schedule.  Chunk b sees [anchor = chunk 0 | up to window/3 last chunks, never the anchor again | itself].
         Sink off: [up to window/3 last chunks | itself].

Rolling schedule, N = number of steps, tau[0..N-1] = the sigmas from clean to noisy, NB chunks, w = 0 .. NB+N-2:
         start = max(0, w-N+1), end = min(NB-1, w), L = end-start+1 chunks in flight, denoised in ONE pass in which they
         all see each other, chunk j of the window at
             warm-up (start = 0, L < N, w < N-1): tau[N-L+j]      otherwise (steady, drain): tau[j]
         The chunk that enters is pure noise.  Context of a pass over n chunks: [anchor | the last window/3 + N - n
         finished chunks, never the anchor again], none for start = 0; then the n chunks, all at consecutive slots
         (anchor 0..2, then 3.., ...).  So what is visible in all is constant: fewer in flight, more of the past.
         After the pass: chunks at tau[0] are final (only the first can be); every other chunk, at tau[i], is re-noised
         to tau[i-1] with renoise[N-1-i].  The final chunk gets its clean pass at t = 0, alone (n = 1 in the rule above),
         right behind its context.  No clean pass during warm-up.  Sink off: no anchor, slots begin at the past.
Pitfalls renoise is indexed by the step that was just made (0 = after the first, noisiest, pass).
         When w < N-1 but end = NB-1 already (NB < N), levels are those of warm-up until w = N-1: chunk b of the window
         is always at step w-b, that is tau[N-1-(w-b)].
"""
import argparse

import torch

from ditnet import CHUNK, WanDiT


def warp(steps, shift):
    u = [s / 1000 for s in steps]
    return [shift * v / (1 + (shift - 1) * v) for v in u]


class Stream:
    """Cache and passes over one batch of streams; x are chunks [B,3,16,12,20]."""

    def __init__(self, dit, ckv, sink=True, registers=True):
        self.dit, self.ckv, self.sink, self.reg, self.cache = dit, ckv, sink, registers, {}

    def run(self, xs, ts, ctx, collect=False):
        """Chunks xs (bidirectional among themselves) at times ts (one per chunk) behind the cached chunks ctx."""
        x = torch.stack(xs, 1)
        t = torch.tensor(ts, device=x.device, dtype=torch.float32).expand(x.shape[0], -1)
        ext = [[self.cache[c][i] for c in ctx] for i in range(len(self.dit.blocks))]
        plan = [(list(range(len(xs))), [-1 - i for i in range(len(ctx))])]
        return self.dit(x, t, self.ckv, plan, ext=ext, collect=collect, sink=self.reg)

    def commit(self, b, x0, ctx):
        """The clean pass: keys and values of chunk b."""
        _, kv = self.run([x0], [0.], ctx, collect=True)
        self.cache[b] = [(k[:, 0], v[:, 0]) for k, v in kv]

    def context(self, b, chunks):
        past = list(range(max(1 if self.sink else 0, b - chunks), b))
        return ([0] if self.sink and b > 0 else []) + past

    def forget(self, b):
        for i in [i for i in self.cache if i and i < b]:
            del self.cache[i]


def chunk_schedule(st, noise, renoise, sigmas, window, sigmas_first=None):
    """noise, renoise(s, b): callables giving chunk noise.  Yields x0 of each chunk for ever (noise(b) None ends)."""
    b = 0
    while (x := noise(b)) is not None:
        sg = sigmas_first if sigmas_first and b == 0 else sigmas
        ctx = st.context(b, window // CHUNK)
        for s, sig in enumerate(sg):
            x0 = x - sig * st.run([x], [1000 * sig], ctx)[:, 0]
            if s + 1 < len(sg):
                x = (1 - sg[s + 1]) * x0 + sg[s + 1] * renoise(s, b)
        st.commit(b, x0, ctx)
        st.forget(b - window // CHUNK)
        yield x0
        b += 1


def rolling_schedule(st, noise, renoise, sigmas, nb, window=6):
    n = len(sigmas)
    past = window // CHUNK + n
    flight = {}
    for w in range(nb + n - 1):
        start, end = max(0, w - n + 1), min(nb - 1, w)
        if w < nb:
            flight[w] = noise(w)
        ids = list(range(start, end + 1))
        sg = [sigmas[w - b] for b in ids]
        ctx = st.context(start, past - len(ids))
        v = st.run([flight[b] for b in ids], [1000 * s for s in sg], ctx)
        for j, b in enumerate(ids):
            x0 = flight[b] - sg[j] * v[:, j]
            s = w - b
            if s == n - 1:
                st.commit(b, x0, st.context(b, past - 1))
                st.forget(b - past)
                del flight[b]
                yield x0
            else:
                flight[b] = (1 - sigmas[s + 1]) * x0 + sigmas[s + 1] * renoise(s, b)


@torch.no_grad()
def generate(dit, rows, noise, renoise, steps=(1000, 750, 500, 250), shift=3., window=6, sink=True, mode="chunk", first=None, registers=True):
    """rows [B,64,D], noise [B,T,16,12,20], renoise [S,B,T,16,12,20] -> latent [B,T,16,12,20] (T a multiple of 3)."""
    st = Stream(dit, dit.text(rows), sink, registers)
    nb = noise.shape[1] // CHUNK
    cut = lambda z, b: z[:, b * CHUNK:(b + 1) * CHUNK]
    nz = lambda b: cut(noise, b) if b < nb else None
    rz = lambda s, b: cut(renoise[s], b)
    if mode == "chunk":
        out = chunk_schedule(st, nz, rz, warp(steps, shift), window, warp(first, shift) if first else None)
    else:
        out = rolling_schedule(st, nz, rz, warp(steps, shift), nb, window)
    return torch.cat(list(out), 1)


def load(folder):
    """The exported model folder -> (WanDiT, UMT5, config)."""
    import json
    import os

    from safetensors.torch import load_file

    from ditnet import UMT5

    def shards(part):
        d = os.path.join(folder, part)
        sd = {}
        for f in sorted(os.listdir(d)):
            if f.endswith(".safetensors"):
                sd.update(load_file(os.path.join(d, f)))
        return {k: v.float() for k, v in sd.items()}, json.load(open(os.path.join(d, "config.json")))

    sd, c = shards("transformer")
    dit = WanDiT(c["attention_head_dim"] * c["num_attention_heads"], c["num_layers"], c["num_attention_heads"], c["ffn_dim"], c["text_dim"], c["freq_dim"], c["in_channels"], c["register_count"])
    dit.load_state_dict(sd)
    sd, c = shards("text_encoder")
    text = UMT5(c["vocab_size"], c["d_model"], c["num_layers"], c["num_heads"], c["d_kv"], c["d_ff"])
    text.load_state_dict(sd)
    return dit.eval(), text.eval(), json.load(open(os.path.join(folder, "longtake.json")))


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("-m", default="models")
    ap.add_argument("--in", dest="src", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--mode", default="chunk")
    ap.add_argument("--no-sink", action="store_true")
    args = ap.parse_args()
    from safetensors.torch import load_file, save_file
    dit, _, cfg = load(args.m)
    z = load_file(args.src)
    lat = generate(dit, z["text"][None], z["noise"][None], z["renoise"][:, None], cfg["timesteps"], cfg["flow_shift"], cfg["window"], not args.no_sink, args.mode,
                   cfg.get("timesteps_first"))
    save_file({"latent": lat[0].contiguous()}, args.out)
