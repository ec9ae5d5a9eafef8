"""The inverse of export.py: make work-folder checkpoints from a model folder.   python train/resume.py --from models

Role     a machine that has only the repository can go on training: vae.pt, stats.json, spiece.model and dit.pt are written
         to $LONGTAKE_WORK, then `encode.py`, `dit.py` and `distill.py` start from them. Optimizer state and moving average are not in
         the folder: they begin anew, from 16-bit matrices.
Pitfalls never overwrites a checkpoint that is there; dit.pt starts its clock at zero.
"""
import argparse
import glob
import json
import os
import shutil

import torch
from safetensors.torch import load_file

import captions
from common import work
from dit import Model


def part(folder):
    out = {}
    for f in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        out.update({k: v.float() for k, v in load_file(f).items()})
    return out, json.load(open(os.path.join(folder, "config.json")))


def fresh(name):
    path = work(name)
    if os.path.exists(path):
        print("kept:", path)
        return None
    print("written:", path)
    return path


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--from", dest="src", default="models")
    src = ap.parse_args().src
    vae, vcfg = part(os.path.join(src, "vae"))
    if path := fresh("vae.pt"):
        torch.save(dict(net=vae, step=0, spent=1e9, opts=[]), path)
    if path := fresh("stats.json"):
        json.dump(dict(mean=vcfg["latents_mean"], std=vcfg["latents_std"]), open(path, "w"))
    if path := fresh("spiece.model"):
        shutil.copy(os.path.join(src, "tokenizer", "spiece.model"), path)
    dit, cfg = part(os.path.join(src, "transformer"))
    text, _ = part(os.path.join(src, "text_encoder"))
    shift = json.load(open(os.path.join(src, "longtake.json")))["flow_shift"]
    heads = cfg["num_attention_heads"]
    model = Model(captions.Tokenizer(), dim=heads * cfg["attention_head_dim"], layers=cfg["num_layers"], heads=heads, ffn=cfg["ffn_dim"])
    sd = {**{"dit." + k: v for k, v in dit.items()}, **{"text." + k: v for k, v in text.items()}}
    missing, unexpected = model.load_state_dict(sd, strict=False)
    assert not unexpected and all(k.startswith("aux.") for k in missing), (missing, unexpected)
    if path := fresh("dit.pt"):
        sd = model.state_dict()
        torch.save(dict(model=sd, ema=sd, step=0, spent=0., cfg=model.dit.cfg, tcfg=model.text.cfg, shift=shift, opts=[]), path)


if __name__ == "__main__":
    main()
