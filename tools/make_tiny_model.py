#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/tiny: a whole model folder with random weights, small enough to commit.

The tests of the pipeline, the CLI and the API run on it: it has every part and every sink tensor, odd
sizes, diffusers names, and makes noise pictures of 32x32 in microseconds. Needs torch, diffusers,
transformers, sentencepiece, safetensors. Run from the root: tools/make_tiny_model.py
"""
import json, pathlib, tempfile
import sentencepiece as spm
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

OUT = pathlib.Path("tests/tiny")
HEADS, HEAD_DIM, LAYERS, TEXT_DIM, TEXT_LEN, REGISTERS = 3, 16, 2, 24, 12, 2


def save(part, tensors, config):
    (OUT / part).mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().to(torch.bfloat16).contiguous() for k, v in tensors.items()}
    save_file(tensors, OUT / part / "diffusion_pytorch_model.safetensors")
    (OUT / part / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def dit():
    dim = HEADS * HEAD_DIM
    m = WanTransformer3DModel(patch_size=(1, 2, 2), num_attention_heads=HEADS, attention_head_dim=HEAD_DIM,
                              in_channels=16, out_channels=16, text_dim=TEXT_DIM, freq_dim=32, ffn_dim=72,
                              num_layers=LAYERS, cross_attn_norm=True, qk_norm="rms_norm_across_heads")
    t = {k: v for k, v in m.state_dict().items()}
    for n in range(LAYERS):
        t[f"blocks.{n}.self_attn.register_k"] = torch.randn(REGISTERS, HEADS, HEAD_DIM)
        t[f"blocks.{n}.self_attn.register_v"] = torch.randn(REGISTERS, HEADS, HEAD_DIM) * 0.1
        t[f"blocks.{n}.self_attn.sinks"] = torch.randn(HEADS)
    t["register_tokens"] = torch.randn(1, REGISTERS, dim) * 0.5
    save("transformer", t, {"attention_head_dim": HEAD_DIM, "num_attention_heads": HEADS, "text_len": TEXT_LEN})


def vae():
    m = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1)
    t = dict(m.state_dict())
    t["decoder.conv_out.weight"] = t["decoder.conv_out.weight"] * 3
    save("vae", t, {"latents_mean": [0.1 * i for i in range(16)], "latents_std": [1.0 + 0.05 * i for i in range(16)]})


def text():
    lines = ["a red ball bounces on the green meadow at noon", "two blue stars orbit over the sea at night",
             "snow falls on the city while the camera pans left", "a small cone spins, slowly, in the rain"]
    with tempfile.TemporaryDirectory() as d:
        corpus = pathlib.Path(d, "c.txt")
        corpus.write_text("\n".join(lines * 4))
        spm.SentencePieceTrainer.train(input=str(corpus), model_prefix=f"{d}/t", vocab_size=360, model_type="unigram",
                                       byte_fallback=True, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
                                       hard_vocab_limit=False, character_coverage=1.0)
        (OUT / "tokenizer").mkdir(parents=True, exist_ok=True)
        (OUT / "tokenizer/spiece.model").write_bytes(pathlib.Path(d, "t.model").read_bytes())
    n = spm.SentencePieceProcessor(model_file=str(OUT / "tokenizer/spiece.model")).get_piece_size()
    c = UMT5Config(vocab_size=n, d_model=TEXT_DIM, d_kv=8, d_ff=40, num_layers=2, num_heads=3, dropout_rate=0.0,
                   feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    t = UMT5EncoderModel(c).state_dict()
    t.pop("encoder.embed_tokens.weight", None)
    save("text_encoder", t, {"d_model": TEXT_DIM})


def main():
    torch.manual_seed(1)
    dit(), vae(), text()
    (OUT / "longtake.json").write_text(json.dumps({
        "format": 1, "name": "tiny", "width": 32, "height": 32, "fps": 16, "mode": "chunk", "chunk": 3, "window": 6,
        "sink": 3, "sink_policy": "slot", "timesteps": [1000, 500], "flow_shift": 5}, indent=1) + "\n")


if __name__ == "__main__":
    main()
