#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/golden/text: what the field's own code says about names, cleaning and the text encoder.

  names_{dit,vae,text}.txt  original and diffusers name of every tensor of Wan 2.1 (diffusers' converters)
  clean.json                nasty prompts, cleaned by ftfy + html.unescape as Wan does
  spiece.model              a small sentencepiece unigram model with byte fallback, trained here
  encoder.safetensors       a random UMT5 encoder of odd sizes, Hugging Face names, BF16
  cases.safetensors         per prompt: ids (sentencepiece) and rows (transformers, f32, padded and masked)
  prompts.json              those prompts

Needs torch, transformers, diffusers, ftfy, sentencepiece, safetensors.
Run from the root: tools/make_text_fixtures.py
With --check DIR (a model folder) it prints nothing but writes DIR-check.safetensors in the same form for
the real encoder in that folder: tools/make_text_fixtures.py --check models OUT
"""
import html, json, pathlib, re, sys, tempfile
import ftfy
import sentencepiece as spm
import torch
from safetensors.torch import load_file, save_file
from transformers import UMT5Config, UMT5EncoderModel

OUT = pathlib.Path("tests/golden/text")
TEXT_LEN = 128


def clean(s):
    s = ftfy.fix_text(s)
    s = html.unescape(html.unescape(s)).strip()
    return re.sub(r"\s+", " ", s).strip()


NASTY = [
    "", "a cat running", "  two   spaces \t and\ttabs  ", "line one\nline two\r\nline three\rline four",
    "\u201ccurly\u201d and \u2018single\u2019 quotes, \u201alow\u201e", "don\u02bct \u201bodd\u201f",
    "\uff21\uff22\uff23\uff01\uff5e full width\u3000space", "\uff76\uff9e\uff77\uff9f half width katakana \uff71\uff72\uff73",
    "".join(chr(c) for c in range(0xff01, 0xff5f)), "".join(chr(c) for c in range(0xff5f, 0xfff0)),
    "\ufb01ne \ufb02oor o\ufb03ce ba\ufb04e \ufb00 \ufb05 \ufb06", "\u0132sselmeer \u0133s \u0149 \u01c4\u01c5\u01c6 \u01c7\u01c8\u01c9 \u01ca\u01cb\u01cc \u01f1\u01f2\u01f3",
    "Tom &amp; Jerry", "&lt;b&gt;bold&lt;/b&gt;", "&amp;amp;amp;amp; nested", "&amp;lt;script&amp;gt;",
    "<b>bold</b> &amp; not", "a &lt; b\n<i>x</i> &EACUTE;\n&EACUTE;", "&EACUTE;cole &NTILDE; &SZLIG; &HELLIP;", "caf&eacute; na&iuml;ve",
    "&copy2024 &notit; &notin; &not", "&amp without semicolon &ltx &gt", "&nosuchentity; &; & &#; &#x; &#xg; &#12ab;",
    "&#65;&#x42;&#X43; &#0; &#13; &#128; &#150; &#55296; &#1114112; &#99999999999999999999; &#1; &#xfffe; &#59; &#x3b",
    "&CounterClockwiseContourIntegral; &ThickSpace;| &NotEqualTilde; &fjlig; &Tab;&NewLine;x",
    "&hArr;&harr;&HARR; &nbsp;x&nbsp;", "&amp;#38;#38;amp;", "a&zwj;b &zwnj; &shy;x",
    "e\u0301 a\u0308 n\u0303 A\u030a o\u0302\u0301 \u1e9b\u0323", "\u212b \u2126 \u212a", "\u1100\u1161\u11a8 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "q\u0307\u0323 q\u0323\u0307 \u0958", "\u0344 \u0340\u0341 \u0374 \u037e \u0387",
    "zero\u200bwidth joiner\u200d nonjoiner\u200c mark\u200e bom\ufeff word\u2060joiner", "\ufeffbom first",
    "control \x01\x02\x08\x0b\x0c\x0e\x1f\x7f end", "\x1b[31mred\x1b[0m \x1b[1;32;4mgreen\x1b[m \x1b[ \x1b[12 \x1b]",
    "\x1cfile\x1dgroup\x1erecord\x1funit", "next\x85line", "c1 \x80 \x91quoted\x92 \x93double\x94 \x97", "u+2028\u2028u+2029\u2029end",
    "spaces:\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000.",
    "interlinear \ufff9a\ufffab\ufffb object \ufffc replacement \ufffd", "deprecated \u206a\u206b\u206c\u206d\u206e\u206f",
    "emoji \U0001f600 family \U0001f468\u200d\U0001f469\u200d\U0001f467 flag \U0001f1fa\U0001f1f3 \u2764\ufe0f",
    "\u4f60\u597d\u4e16\u754c\u3000\uff0c\u3002", "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u202eabc\u202c",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440", "\U000e0067\U000e0062 tag", "math \u2260 =\u0338 \u226e <\u0338",
    "</s> <pad> <unk> <s> <extra_id_0>", "100% \"quoted\" 'single' \\back\\slash /slash", "\u2026 \u2013 \u2014 \u2022 \u2122 \u00ae",
    "\n\n\n", " \u3000 \u00a0 ", "A" * 300, "&" * 50, "&amp;" * 20, "\uffe3 \uffe0 \uffe1 \uffe6 \uffe8 \uff3e",
    "x\ty\u000bz\u000cw", "\r\r\n\n\r", "&#x1F600; &#128512;", "&lbrace;&quot;&apos;&rbrace; &comma;&semi;&period;",
    "\ufdfa \u3231 \u2460 \u00bd \u00b2", "a\u0315\u0300\u05ae\u0062", "\u1e0a\u0323 \u1e0c\u0307",
]

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
    (OUT / "clean.json").write_text(json.dumps([[s, clean(s)] for s in NASTY], indent=0) + "\n")
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
