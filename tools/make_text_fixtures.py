#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/golden/text: what the field's own code says about names, cleaning and the text encoder.

  names_{dit,vae,text}.txt  original and diffusers name of every tensor of Wan 2.1 (diffusers' converters)
  spiece.model              a small sentencepiece unigram model with byte fallback, trained here
  encoder.safetensors       a random UMT5 encoder of odd sizes, Hugging Face names, BF16
  cases.safetensors         per prompt: ids (sentencepiece) and rows (transformers, f32, padded and masked)
  prompts.json              those prompts

Needs torch, transformers, diffusers, ftfy, sentencepiece, safetensors.
Run from the root: tools/make_text_fixtures.py
With --check DIR (a model folder) it prints nothing but writes DIR-check.safetensors in the same form for
the real encoder in that folder: tools/make_text_fixtures.py --check models OUT
"""
import json, pathlib, sys, tempfile
import sentencepiece as spm
import torch
from safetensors.torch import load_file, save_file
from transformers import UMT5Config, UMT5EncoderModel
from make_clean_fixtures import clean

OUT = pathlib.Path("tests/golden/text")
TEXT_LEN = 128


PROMPTS = [
    "a red ball bounces on the green meadow at noon", "A cat, running!", "snow",
    "two blue stars orbit over the sea at night &amp; the camera pans left \u2014 slowly",
    "</s> <pad> <s> is plain text", "\u4f60\u597d caf\u00e9 \u201cquoted\u201d \U0001f600",
    "a small cone spins in the rain, " * 3 + "then " + "the camera follows the ball over the hill " * 2,
    "the sea at night, " * 40,
]


def names():
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
    with torch.device("meta"):
        dit = WanTransformer3DModel(num_attention_heads=1, attention_head_dim=12, in_channels=36, text_dim=8, freq_dim=8, ffn_dim=8,
                                    num_layers=11, image_dim=8, added_kv_proj_dim=12, pos_embed_seq_len=514)
        vae = AutoencoderKLWan()
        text = UMT5EncoderModel(UMT5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=11, num_heads=2))
    layer = [f"{a}.{m}.{p}" for a in ("self_attn", "cross_attn") for m in "qkvo" for p in ("weight", "bias")]
    layer += [f"{a}.norm_{m}.weight" for a in ("self_attn", "cross_attn") for m in "qk"]
    layer += [f"cross_attn.{m}.{p}" for m in ("k_img", "v_img") for p in ("weight", "bias")] + ["cross_attn.norm_k_img.weight"]
    layer += [f"{m}.{p}" for m in ("norm3", "ffn.0", "ffn.2") for p in ("weight", "bias")] + ["modulation"]
    dit_names = [f"blocks.{n}.{k}" for n in range(11) for k in layer]
    dit_names += [f"{m}.{p}" for m in ("patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2",
                                       "time_projection.1", "head.head", "img_emb.proj.0", "img_emb.proj.1", "img_emb.proj.3", "img_emb.proj.4")
                  for p in ("weight", "bias")] + ["head.modulation"]
    pairs = {k: next(iter(convert_wan_transformer_to_diffusers({k: 0}))) for k in dit_names}
    pairs["img_emb.emb_pos"] = "condition_embedder.image_embedder.pos_embed"  # not in the converter's table
    write_names("dit", pairs, dit.state_dict())

    res = ["residual.0.gamma", "residual.2.weight", "residual.2.bias", "residual.3.gamma", "residual.6.weight", "residual.6.bias"]
    wb = ("weight", "bias")
    v = [f"{m}.{p}" for m in ("conv1", "conv2", "encoder.conv1", "decoder.conv1", "encoder.head.2", "decoder.head.2") for p in wb]
    v += ["encoder.head.0.gamma", "decoder.head.0.gamma"]
    v += [f"{s}.middle.{i}.{k}" for s in ("encoder", "decoder") for i in (0, 2) for k in res]
    v += [f"{s}.middle.1.{k}" for s in ("encoder", "decoder") for k in ("norm.gamma", "to_qkv.weight", "to_qkv.bias", "proj.weight", "proj.bias")]
    v += [f"encoder.downsamples.{i}.{k}" for i in (0, 1, 3, 4, 6, 7, 9, 10) for k in res]
    v += [f"encoder.downsamples.{i}.shortcut.{p}" for i in (3, 6) for p in wb]
    v += [f"encoder.downsamples.{i}.resample.1.{p}" for i in (2, 5, 8) for p in wb]
    v += [f"encoder.downsamples.{i}.time_conv.{p}" for i in (5, 8) for p in wb]
    v += [f"decoder.upsamples.{i}.{k}" for i in (0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14) for k in res]
    v += [f"decoder.upsamples.4.shortcut.{p}" for p in wb]
    v += [f"decoder.upsamples.{i}.resample.1.{p}" for i in (3, 7, 11) for p in wb]
    v += [f"decoder.upsamples.{i}.time_conv.{p}" for i in (3, 7) for p in wb]
    conv = convert_wan_vae_to_diffusers({k: k for k in v})
    write_names("vae", {o: d for d, o in conv.items()}, vae.state_dict())

    t = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
    for n in range(11):
        a, f = f"encoder.block.{n}.layer.0", f"encoder.block.{n}.layer.1"
        t[f"blocks.{n}.norm1.weight"] = f"{a}.layer_norm.weight"
        for m in "qkvo":
            t[f"blocks.{n}.attn.{m}.weight"] = f"{a}.SelfAttention.{m}.weight"
        t[f"blocks.{n}.pos_embedding.embedding.weight"] = f"{a}.SelfAttention.relative_attention_bias.weight"
        t[f"blocks.{n}.norm2.weight"] = f"{f}.layer_norm.weight"
        for o, h in (("gate.0", "wi_0"), ("fc1", "wi_1"), ("fc2", "wo")):
            t[f"blocks.{n}.ffn.{o}.weight"] = f"{f}.DenseReluDense.{h}.weight"
    state = {k: 0 for k in text.state_dict() if k != "encoder.embed_tokens.weight"}
    write_names("text", t, state)


def write_names(part, pairs, state):
    assert sorted(pairs.values()) == sorted(state), set(pairs.values()) ^ set(state)
    (OUT / f"names_{part}.txt").write_text("".join(f"{o} {d}\n" for o, d in pairs.items()))


def tokenizer(path):
    lines = ["a red ball bounces on the green meadow at noon", "two blue stars orbit over the sea at night",
             "snow falls on the city while the camera pans left", "a small cone spins, slowly, in the rain",
             "the camera follows a cat running over the hill; the sky is orange!"]
    with tempfile.TemporaryDirectory() as d:
        pathlib.Path(d, "c.txt").write_text("\n".join(lines * 4))
        spm.SentencePieceTrainer.train(input=f"{d}/c.txt", model_prefix=f"{d}/t", vocab_size=400, model_type="unigram", byte_fallback=True,
                                       pad_id=0, eos_id=1, bos_id=2, unk_id=3, hard_vocab_limit=False, character_coverage=1.0, num_threads=1)
        path.write_bytes(pathlib.Path(d, "t.model").read_bytes())


def encoder(vocab):
    torch.manual_seed(7)
    m = UMT5EncoderModel(UMT5Config(vocab_size=vocab, d_model=48, d_kv=20, d_ff=72, num_layers=3, num_heads=3, dropout_rate=0.0,
                                    feed_forward_proj="gated-gelu", tie_word_embeddings=False)).eval()
    with torch.no_grad():
        for k, p in m.named_parameters():
            if "relative_attention_bias" in k:
                p.copy_(torch.randn_like(p) * 1.5)
            elif "layer_norm" in k:
                p.copy_(1 + 0.3 * torch.randn_like(p))
            elif k == "shared.weight":
                p.copy_(torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (0.5 if ".SelfAttention." in k else 1.0) / p.shape[1] ** 0.5)
            p.copy_(p.bfloat16().float())  # stored as BF16 without loss
    return m


def cases(m, sp, prompts, text_len):
    out = {}
    for i, p in enumerate(prompts):
        ids = sp.encode(clean(p))[: text_len - 1] + [1]
        n = len(ids)
        padded = torch.tensor([ids + [0] * (text_len - n)])
        mask = torch.tensor([[1] * n + [0] * (text_len - n)])
        with torch.no_grad():
            rows = m(padded, attention_mask=mask).last_hidden_state[0, :n]
            alone = m(torch.tensor([ids])).last_hidden_state[0]
        assert torch.allclose(rows, alone, atol=2e-4 * float(rows.abs().max())), "padding leaks"
        out[f"ids.{i}"] = torch.tensor(ids, dtype=torch.int32)
        out[f"rows.{i}"] = rows.float().contiguous()
    return out


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    names()
    tokenizer(OUT / "spiece.model")
    sp = spm.SentencePieceProcessor(model_file=str(OUT / "spiece.model"))
    m = encoder(sp.get_piece_size())
    state = {k: v.bfloat16().contiguous() for k, v in m.state_dict().items() if k != "encoder.embed_tokens.weight"}
    save_file(state, OUT / "encoder.safetensors")
    (OUT / "prompts.json").write_text(json.dumps(PROMPTS, indent=0) + "\n")
    save_file(cases(m, sp, PROMPTS, TEXT_LEN), OUT / "cases.safetensors")


def check(folder, out):
    """The same cases for a real model folder."""
    folder = pathlib.Path(folder)
    sp = spm.SentencePieceProcessor(model_file=str(folder / "tokenizer/spiece.model"))
    m = UMT5EncoderModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32).eval()
    save_file(cases(m, sp, PROMPTS, 64), out)


if __name__ == "__main__":
    check(*sys.argv[2:4]) if sys.argv[1:2] == ["--check"] else main()
