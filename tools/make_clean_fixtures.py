#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/golden/text: clean.json, nasty prompts, cleaned by ftfy + html.unescape as Wan does; badness.json, short
strings and whether ftfy takes them for mojibake, some for every alternative of its heuristic that no other one catches.

Half of them are mojibake: sentences of many languages whose UTF-8 was read in each encoding that ftfy knows, once
or twice, with no-break spaces turned to spaces or bytes lost on the way.
Needs ftfy 6 from PyPI. Run from the root: tools/make_clean_fixtures.py
"""
import html, json, pathlib, random, re
import ftfy
from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES, is_bad
from ftfy.chardata import CHARMAP_ENCODINGS


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

SENTENCES = [
    "Un caf\u00e9 \u00e0 la mode, d\u00e9j\u00e0 vu \u00e0 No\u00ebl", "Stra\u00dfe und B\u00e4ume, \u00fcber \u00d6l", "El ni\u00f1o so\u00f1\u00f3 \u00bfqu\u00e9?",
    "\u00c5ngstr\u00f6m och sm\u00f6rg\u00e5s", "Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144", "P\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148", "\u00c1rv\u00edzt\u0171r\u0151 t\u00fck\u00f6rf\u00far\u00f3g\u00e9p",
    "I\u015f\u0131k h\u0131zl\u0131 \u011f\u00fcne\u015f", "\u041a\u0440\u0430\u0441\u043d\u044b\u0439 \u043c\u044f\u0447 \u043d\u0430 \u043b\u0443\u0433\u0443", "\u039a\u03cc\u03ba\u03ba\u03b9\u03bd\u03b7 \u03bc\u03c0\u03ac\u03bb\u03b1", "\u05db\u05d3\u05d5\u05e8 \u05d0\u05d3\u05d5\u05dd", "\u0643\u0631\u0629 \u062d\u0645\u0631\u0627\u0621",
    "\u7ea2\u8272\u7684\u7403\u5728\u8349\u5730\u4e0a", "\u8d64\u3044\u30dc\u30fc\u30eb", "\ube68\uac04 \uacf5", "\u0932\u093e\u0932 \u0917\u0947\u0902\u0926", "\u0b9a\u0bbf\u0bb5\u0baa\u0bcd\u0baa\u0bc1", "\u0e25\u0e39\u0e01\u0e1a\u0e2d\u0e25\u0e2a\u0e35\u0e41\u0e14\u0e07",
    "Qu\u1ea3 b\u00f3ng m\u00e0u \u0111\u1ecf", "L\u0101\u010dpl\u0113sis un \u0137eizars", "\u201cquoted\u201d \u2018it\u2019s\u2019 \u2013 \u2014 \u2026 \u2022 \u2122 \u20ac 5", "\U0001f600 \u2764\ufe0f \U0001f44d\U0001f3fd", "\u00a9 2024 \u00ae 20\u00b0 \u00bd \u00a3", "a ball\u00a0and \u00c0 la carte",
]

# From bug reports and the corners of the heuristic: good text that must stay, and text with more than one fault.
CORNERS = [
    "voil\u00c3 le travail", "\u00c3 la mode, \u00c3 s tr\u00c3\u00aas, \u00c3 quele, \u00c3 quel point", "\u00e2\u20ac\u0153like this\u00e2\u20ac\ufffd", "\u00e2\u20ac\u2122s and caf\u00e9", "\u00c3\u0192\u00c2\u00a9t\u00c3\u0192\u00c2\u00a9",
    "sch\u00c3\u00b6n &amp; gut &Atilde;&sup3;", "a \u00c2 b", "\u00c2\u00a3 5 and \u00a3 5", "AHHH\u00a3\u00a2\u00a3", "(\u2261\u02c6\u00f8\u02c6\u2261) \u00af\\_(\u30c4)_/\u00af", "x\u00b2 \u00d7 y\u00b3 = 20\u00b0C \u00b1 5", "\u00d8\u00a7\u00d9\u201e\u00d8\u00b9\u00d8\u00b1\u00d8\u00a8",
    "\u00d0\u0178\u00d1\u20ac\u00d0\u00b8\u00d0\u00b2\u00d0\u00b5\u00d1\u201a", "\u0420\u045f\u0421\u0402\u0420\u0451\u0420\u0406\u0420\u00b5\u0421\u201a", "\u0432\u0402\u045ctest\u0432\u0402\u045c", "\u00ed\u00a0\u00bd\u00ed\u00b8\u20ac", "\u00c0\u20ac nul", "\u00ed ok \u00ed\u00a0 broken",
    "\u00ef\u00bb\u00bfbom", "\u00ef\u00bf\u00bd \ufffd\ufffd \u00ef\u00bf?", "\u00e2?? \u00c3? \u00c2? na\u00c3?ve", "\u00f0\u0178\u02dc\u20ac \u00f0\u0178\u02dc \u00f0\u0178", "\u201a\u00c4\u00f4 \u201a\u00c4\u00fa \u221a\u00a9", "\u0393\u00c7\u00d6 \u251c\u2310 \u251c\u00ab", "\u0153uvre \u0152uvre \u0153 x",
    "d\u00c3\u00a9j\u00c3  vu", "\u00e3\u0081\u0082 \u00e3\u0081", "caf\u00c3\u00a9 \u4f60\u597d na\u00c3\u00afve", "l\u00e2\u0080\u0099humanit\u00c3\u00a9", "\u0101\u20ac\u2122 \u03b2\u20ac\u2122", "<b>\u00c3\u00a9</b>", "\u00c3\u00a9\n\u00e9\n\u00c3\u00a9", "\u2591\u2592\u2593 \u2550\u2551 \u2588\u2584", "\u221e \u2260 \u2264 \u2211", "caf\u221a\u00a9 \u2013 na\u221a\u00d8ve",
]


def read_as(s, page):
    try:
        return s.encode().decode(page)
    except UnicodeError:
        return None


def mojibake():
    out = []
    for i, s in enumerate(SENTENCES):
        for k in range(4):  # each encoding comes up with every other sentence or so
            once = read_as(s, CHARMAP_ENCODINGS[(3 * i + k) % len(CHARMAP_ENCODINGS)])
            twice = once and read_as(once, CHARMAP_ENCODINGS[(i + k) % 2])
            spaced = once and once.replace("\u00a0", " ")
            lossy = once and once[:-3] + "\ufffd" + once[-2:]
            mixed = once and "sehr sch\u00f6n \u4f60 " + once
            out += [once, (twice, spaced, lossy, mixed)[k]]
    return [s for s in out if s]


def badness():
    rng = random.Random(1)
    rules = [re.compile(r, re.VERBOSE) for r in re.split(r"\n\s*\|\n", BADNESS_RE.pattern)]
    assert len(rules) > 35
    table = [chr(c) for c in range(0x2600) if any(re.match(f"[{k}]", chr(c)) for k in MOJIBAKE_CATEGORIES.values())]
    text = [c for c in dict.fromkeys(re.sub(r"#.*", "", BADNESS_RE.pattern)) if ord(c) > 127]
    plain = list("azAZ .,?!_0\n\u4f60\u00e9")
    rows, found = {}, [0] * len(rules)
    for r, rule in enumerate(rules):
        own = [c for c in dict.fromkeys(re.sub(r"#.*", "", rule.pattern)) if ord(c) > 127] + list("az AZ")
        for _ in range(200000):
            if found[r] == 6:
                break
            few = len(own) < 60
            n = rng.randint(1, 4) if r < len(rules) - 20 else rng.randint(1, 7)
            s = "".join(rng.choice(own if few and rng.random() < 0.8 else table) for _ in range(n))
            hits = [k for k, other in enumerate(rules) if other.search(s)]
            if hits == [r]:
                found[r] += 1
                rows[s] = 1
    # the five letters need luck that random strings do not have
    rows.update({s: int(is_bad(s)) for s in ("\u0413\u045e\u0412\u0402\u0412" + t for t in ("xa", "x ", "x1", "\na", "", "x"))})
    print("rules of the heuristic without an example of their own:", found.count(0))
    for _ in range(20000):
        s = "".join(rng.choice(rng.choice((table, text, plain))) for _ in range(rng.randint(1, 4)))
        if len(rows) < 900 and not is_bad(s):
            rows[s] = 0
    return list(map(list, rows.items()))


def main():
    pathlib.Path("tests/golden/text/badness.json").write_text(json.dumps(badness(), separators=(",", ":")) + "\n")
    rows = [[s, clean(s)] for s in dict.fromkeys(NASTY + CORNERS + mojibake())]
    pathlib.Path("tests/golden/text/clean.json").write_text(json.dumps(rows, indent=0) + "\n")
    print(len(rows), "prompts,", sum(clean(s) != s for s, _ in rows), "changed")


if __name__ == "__main__":
    main()
