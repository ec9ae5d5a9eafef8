#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/golden/tokenizer: two small vocabularies in the three forms people have, and ids of nasty strings.

  bytes.model, rules.model     sentencepiece: byte fallback, no normalizer / no byte fallback, some rules of nmt_nfkc
  *.json                       what transformers makes of them (T5 converter, 10 extra ids): tokenizer.json
  *.gguf                       the same as GGUF metadata, keys and token types as llama.cpp writes them
  ids.json                     [[string, {"<form>": [ids without </s>]}]]: forms "bytes" and "rules" by sentencepiece,
                               "bytes.json" and "rules.json" by tokenizers where that differs

Ids are umt5's: pad 0, </s> 1, <s> 2, <unk> 3. Needs sentencepiece, transformers, tokenizers, gguf, ftfy from PyPI.
Run from the root: tools/make_tokenizer_fixtures.py
"""
import io, json, logging, pathlib, tempfile, unicodedata, warnings
import gguf
import sentencepiece as spm
from transformers import T5Tokenizer
from transformers.convert_slow_tokenizer import convert_slow_tokenizer
from make_clean_fixtures import CORNERS, NASTY, SENTENCES, clean

OUT = pathlib.Path("tests/golden/tokenizer")
EXTRA = 10
ENGLISH = [
    "a red ball bounces on the green meadow at noon", "two blue stars orbit over the sea at night", "the camera pans left, slowly",
    "A cinematic shot of a cat on a skateboard", "snow falls on the city; it's cold!", "the quick brown fox jumps over the lazy dog",
]
MORE = [
    "<extra_id_0> walks", "No se <extra_id_1>.", "a <extra_id_0><extra_id_9> b <extra_id_10>", "<extra_id_3>", "x<extra_id_2>y", "<extra_id_0> ",
    "</s>", "a </s> b", "<pad><s><unk>", "<0x41>", "a <0x0A> b", "\u2581", "a\u2581b", "\u2581\u2581 a", "a\u200bb", "a \u200b b", "\u200ba", "a\u200b", "\u00adx",
    "\u0e01\u0e33", "\u0e33", "\ufdfa", "1\ufe0f\u20e3", "\u2488 \u2460 \u33a1", "\ufb01", "x\u0301\u0302\u0303", "\u0915\u094d\u0937\u093f", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001d54f\U0001d56a", "a" * 200, "\u4e00" * 50, "\U0001f600" * 20, "." * 60, "\u00bd\u00bd", "\u1100\u1161\u11a8", "e\u0301te\u0301", "\u3042\u3099 \u30ab\u3099", "\u0344x", "q\u0307\u0323",
    "the the the", "THE", "tHe", "ball,ball.ball", "it's", "\u2126 \u212b", "\uff21\uff22", "\u2003a\u2003b", "naive\u0301", "\U000e0067\U000e0062", "\ud7a3", "\ufffd", "\x7f", "0123456789" * 3,
]
SCRIPTS = [  # "a red ball" or something as innocent
    "\u056f\u0561\u0580\u0574\u056b\u0580 \u0563\u0576\u0564\u0561\u056f", "\u10ec\u10d8\u10d7\u10d4\u10da\u10d8 \u10d1\u10e3\u10e0\u10d7\u10d8", "\u1240\u12ed \u12b3\u1235",
    "\u09b2\u09be\u09b2 \u09ac\u09b2", "\u0a32\u0a3e\u0a32 \u0a17\u0a47\u0a02\u0a26", "\u0aa6\u0aa1\u0acb", "\u0b32\u0b3e\u0b32", "\u0c0e\u0c30\u0c41\u0c2a\u0c41 \u0c2c\u0c02\u0c24\u0c3f", "\u0c95\u0cc6\u0c82\u0caa\u0cc1",
    "\u0d1a\u0d41\u0d35\u0d28\u0d4d\u0d28", "\u0dbb\u0dad\u0dd4", "\u0e9a\u0eb2\u0e99\u0eaa\u0eb5\u0ec1\u0e94\u0e87", "\u0f51\u0f58\u0f62\u0f0b\u0f54\u0f7c", "\u1021\u1014\u102e", "\u1794\u17b6\u179b\u17cb", "\u182a\u1825\u182e",
    "\u13a0\u13e3\u13b3", "\u1403\u14c4\u1483", "\u16a0\u16a2\u16a6", "\U00010330\U00010331", "\U00012000\U00012001", "\U00013000", "\u0710\u0712", "\u0780\u0787\u07a6", "\u2c00\u2c01", "\u2d30\u2d31", "\ua000\ua001",
    "1\u20e3 #\ufe0f\u20e3", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001d7d8\U0001d504", "z\u0334\u0341a\u0335l\u0336g\u0337o\u0338", "\u202bab\u202c \u2067c\u2069",
    "caf\u00e9 na\u00efve co\u00f6perate", "na\u200dme", "a\u00a0b", "100\u00b0C", "\u20bf \u20ac \u00a5", "\u2192\u2190\u2194", "\u4e00\u4e8c\u4e09", "\uff08\uff09\u3010\u3011", "\u3131\u314f", "\U00020000\U0002a6d6", "x^2 + y^2 = z^2", "C:\\dir\\file.txt",
    "https://example.org/?q=a&b=c#d", "user@example.org", "#hashtag @name", "a--b---c", "...!!!???", "\"\"''``", "snake_case camelCase", "\u0130\u0131", "\u00dfS\u1e9e", "\u03c2\u03c3", "\u0149", "\u01c6", "3.14159", "1,000,000", "12:34:56",
]


def rules():
    """Some hundred rules of NFKC: compatibility forms to plain ones, pairs to composed ones, invisible ones away."""
    rows = {}
    for c in [*range(0xa0, 0x180), *range(0x2000, 0x2070), *range(0x2100, 0x2140), *range(0x2460, 0x24a0), *range(0x3300, 0x33b0, 7), *range(0xff01, 0xff20), 0xe33, 0xfb01, 0xfdfa, 0x1d54f]:
        s, t = chr(c), unicodedata.normalize("NFKC", chr(c))
        if t != s:
            rows[s] = t
        d = unicodedata.normalize("NFD", s)
        if d != s and len(d) > 1:
            rows[d] = t
    rows.update({"\u200b": " ", "\u00ad": "", "\u3042\u3099": "\u3042", "\u30ab\u3099": "\u30ac"})
    hexed = lambda s: " ".join(f"{ord(c):X}" for c in s)
    return "".join(f"{hexed(a)}\t{hexed(b)}\n" for a, b in rows.items())


def train(name, vocab, **more):
    buf = io.BytesIO()
    lines = [clean(s) for s in ENGLISH * 4 + SENTENCES[:12] * 2]
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=buf, vocab_size=vocab, model_type="unigram", pad_id=0, eos_id=1, bos_id=2,
                                   unk_id=3, hard_vocab_limit=False, num_threads=1, minloglevel=2, required_chars="".join(map(chr, range(33, 127))), **more)
    (OUT / f"{name}.model").write_bytes(buf.getvalue())
    return buf.getvalue()


def write_json(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slow = T5Tokenizer(str(OUT / f"{name}.model"), extra_ids=EXTRA, legacy=True)
        fast = convert_slow_tokenizer(slow)
    fast.add_special_tokens([t for _, t in sorted(slow.added_tokens_decoder.items())])
    fast.save(str(OUT / f"{name}.json"), pretty=False)
    return fast


def write_gguf(name, proto):
    from sentencepiece import sentencepiece_model_pb2 as pb
    m = pb.ModelProto()
    m.ParseFromString(proto)
    w = gguf.GGUFWriter(OUT / f"{name}.gguf", "t5encoder")
    extra = [f"<extra_id_{i}>" for i in range(EXTRA - 1, -1, -1)]
    pad = ["[PAD%d]" % (len(m.pieces) + EXTRA + i) for i in range(6)]
    w.add_tokenizer_model("t5")
    w.add_tokenizer_pre("default")
    w.add_token_list([p.piece.encode() for p in m.pieces] + [s.encode() for s in extra + pad])
    w.add_token_scores([p.score for p in m.pieces] + [-1000.0] * EXTRA + [-10000.0] * 6)
    w.add_token_types([p.type for p in m.pieces] + [4] * EXTRA + [5] * 6)
    w.add_add_space_prefix(m.normalizer_spec.add_dummy_prefix)
    w.add_remove_extra_whitespaces(m.normalizer_spec.remove_extra_whitespaces)
    if m.normalizer_spec.precompiled_charsmap:
        w.add_precompiled_charsmap(m.normalizer_spec.precompiled_charsmap)
    w.add_eos_token_id(1)
    w.add_unk_token_id(3)
    w.add_pad_token_id(0)
    w.add_add_bos_token(False)
    w.add_add_eos_token(True)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def main():
    logging.disable(logging.WARNING)
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as f:
        f.write(rules())
        f.flush()
        models = {"bytes": train("bytes", 480, byte_fallback=True, normalization_rule_name="identity"),
                  "rules": train("rules", 300, byte_fallback=False, character_coverage=0.98, normalization_rule_tsv=f.name)}
    strings = [s for s in dict.fromkeys(clean(s) for s in ENGLISH + MORE + SCRIPTS + SENTENCES + NASTY + CORNERS) if s]
    table = {s: {} for s in strings}
    for name, proto in models.items():
        sp = spm.SentencePieceProcessor(model_proto=proto)
        fast = write_json(name)
        write_gguf(name, proto)
        for s in strings:
            table[s][name] = sp.encode(s)
            hf = fast.encode(s).ids
            assert hf.pop() == 1
            if hf != table[s][name]:
                table[s][f"{name}.json"] = hf
    (OUT / "ids.json").write_text("[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in table.items()) + "\n]\n")
    print(len(table), "strings; tokenizers differs on", sum(len(v) > 2 for v in table.values()))


if __name__ == "__main__":
    main()
