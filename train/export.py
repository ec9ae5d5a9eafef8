"""Write the model folder.   python train/export.py --out models

Layout   the diffusers layout with original Wan names: longtake.json, transformer/, vae/, text_encoder/, tokenizer/.
         Matrices and kernels 16 bit (bf16; the VAE f16), vectors (norms, biases, modulation, sinks, registers) f32.
         Files stay below 15 MiB: larger parts are sharded with the usual index.
"""
import argparse
import json
import os
import shutil

import torch
from safetensors.torch import save_file

import captions
import encode
from common import work
from dit import Model

SHARD = 15 * 2 ** 20


def write(folder, name, tensors, config):
    os.makedirs(folder, exist_ok=True)
    for f in os.listdir(folder):
        if f.endswith((".safetensors", ".index.json")):
            os.remove(os.path.join(folder, f))
    parts, size = [{}], 0
    for k, v in tensors.items():
        n = v.numel() * v.element_size()
        if size + n > SHARD:
            parts, size = parts + [{}], 0
        parts[-1][k] = v.contiguous()
        size += n
    names = [f"{name}.safetensors"] if len(parts) == 1 else [f"{name}-{i + 1:05d}-of-{len(parts):05d}.safetensors" for i in range(len(parts))]
    for f, p in zip(names, parts):
        save_file(p, os.path.join(folder, f), {"format": "pt"})
        os.chmod(os.path.join(folder, f), 0o644)
    if len(parts) > 1:
        total = sum(v.numel() * v.element_size() for v in tensors.values())
        idx = dict(metadata=dict(total_size=total), weight_map={k: f for f, p in zip(names, parts) for k in p})
        json.dump(idx, open(os.path.join(folder, f"{name}.safetensors.index.json"), "w"), indent=1)
    json.dump(config, open(os.path.join(folder, "config.json"), "w"), indent=2)


def small(sd, kind):
    keep = lambda k, v: v.ndim < 2 or "gamma" in k or "modulation" in k or "register" in k or "norm" in k and v.ndim == 1
    return {k: v.float().cpu() if keep(k, v) else v.to(kind).cpu() for k, v in sd.items()}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="models")
    ap.add_argument("--dit", default="")
    ap.add_argument("--raw", action="store_true", help="the weights as they are instead of their moving average")
    ap.add_argument("--first", default="", help="steps of the first chunk, e.g. 1000,750,500,250")
    ap.add_argument("--dim", type=int, default=192, help="width of a random DiT when there is no dit.pt yet")
    args = ap.parse_args()
    path = args.dit or work("dit.pt")
    tok = captions.Tokenizer()
    if os.path.exists(path):
        st = torch.load(path, map_location="cpu")
        sd, cfg, tcfg, shift = st["model" if args.raw else "ema"], st["cfg"], st["tcfg"], st["shift"]
    else:
        torch.manual_seed(0)
        m = Model(tok, dim=args.dim, heads=args.dim // 64, ffn=4 * args.dim)
        sd, cfg, tcfg, shift = m.state_dict(), m.dit.cfg, m.text.cfg, 3.
        torch.nn.init.normal_(sd["dit.head.head.weight"], std=.02)
    heads = cfg["heads"]
    write(os.path.join(args.out, "transformer"), "diffusion_pytorch_model", small({k[4:]: v for k, v in sd.items() if k.startswith("dit.")}, torch.bfloat16), dict(
        _class_name="WanTransformer3DModel", attention_head_dim=cfg["dim"] // heads, num_attention_heads=heads, num_layers=cfg["layers"], ffn_dim=cfg["ffn"],
        freq_dim=cfg["freq_dim"], in_channels=16, out_channels=16, text_dim=cfg["text_dim"], text_len=64, patch_size=[1, 2, 2], cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", eps=1e-6, register_count=cfg["registers"]))
    write(os.path.join(args.out, "text_encoder"), "model", small({k[5:]: v for k, v in sd.items() if k.startswith("text.")}, torch.bfloat16), dict(
        tcfg, architectures=["UMT5EncoderModel"], model_type="umt5", relative_attention_num_buckets=32, relative_attention_max_distance=128, layer_norm_epsilon=1e-6,
        feed_forward_proj="gated-gelu", dense_act_fn="gelu_new", is_gated_act=True, pad_token_id=0, eos_token_id=1))
    net = encode.load_vae()
    stats = work("stats.json")
    st = json.load(open(stats)) if os.path.exists(stats) else dict(mean=[0.] * 16, std=[1.] * 16)
    write(os.path.join(args.out, "vae"), "diffusion_pytorch_model", small(net.state_dict(), torch.float16), dict(
        _class_name="AutoencoderKLWan", base_dim=net.encoder.conv1.out_channels, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1, attn_scales=[],
        temperal_downsample=[False, True, True], latents_mean=st["mean"], latents_std=st["std"]))
    os.makedirs(os.path.join(args.out, "tokenizer"), exist_ok=True)
    shutil.copy(work("spiece.model"), os.path.join(args.out, "tokenizer", "spiece.model"))
    lt = dict(format=1, name="longtake-box", width=160, height=96, fps=16, mode="chunk", chunk=3, window=6, sink=3, sink_policy="slot",
              timesteps=[1000, 750, 500, 250], flow_shift=shift, text_len=64)
    if args.first:
        lt["timesteps_first"] = [float(v) for v in args.first.split(",")]
    json.dump(lt, open(os.path.join(args.out, "longtake.json"), "w"), indent=2)
    total = 0
    for d, _, fs in os.walk(args.out):
        for f in fs:
            n = os.path.getsize(os.path.join(d, f))
            total += n
            if f.endswith((".safetensors", ".model")):
                print(f"{n / 2 ** 20:7.2f} MiB  {os.path.join(d, f)}")
    print(f"{total / 2 ** 20:7.2f} MiB  in all")


if __name__ == "__main__":
    main()
