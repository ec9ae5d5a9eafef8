#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write text/mojibake_tables.c: which characters ftfy puts in which class, and ten single-byte encodings backwards.

Needs ftfy 6 from PyPI. Run from the root: tools/make_mojibake_tables.py
"""
import pathlib, re
import ftfy
from ftfy.badness import MOJIBAKE_CATEGORIES
from ftfy.chardata import CHARMAP_ENCODINGS, UTF8_CLUES, possible_encoding

# Bits of text/mojibake.h, in this order.
CLASSES = [MOJIBAKE_CATEGORIES[k] for k in ("common", "c1", "bad", "law", "currency", "start_punctuation", "end_punctuation", "numeric",
                                            "kaomoji", "upper_accented", "lower_accented", "upper_common", "lower_common", "box")]
CLASSES += [UTF8_CLUES[k] for k in ("utf8_first_of_2", "utf8_first_of_3", "utf8_first_of_4", "utf8_continuation", "utf8_continuation_strict")]

HEAD = """/* SPDX-License-Identifier: Apache-2.0
 * text/mojibake_tables.c - character classes of ftfy's badness heuristic and single-byte encodings,
 * from character to byte. Written by tools/make_mojibake_tables.py; do not edit. */
#include "text/mojibake.h"

/* clang-format off */
"""


def rows(items, per_line):
    return "".join("    " + " ".join(items[i:i + per_line]) + "\n" for i in range(0, len(items), per_line))


def main():
    patterns = [re.compile(f"[{c}]") for c in CLASSES]
    ranges = []
    for c in range(0x10000):
        mask = sum(1 << i for i, p in enumerate(patterns) if not 0xd800 <= c < 0xe000 and p.match(chr(c)))
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == mask:
            ranges[-1][1] = c
        elif mask:
            ranges.append([c, c, mask])
    assert not any(p.match(chr(c)) for p in patterns for c in range(0x10000, 0x110000))
    for a, b in ((14, 15), (15, 16), (14, 16)):
        assert not any(m >> a & m >> b & 1 for _, _, m in ranges), "first-byte classes overlap"
    out = HEAD + "const lti_char_class lti_mojibake_class[] = {\n"
    out += rows([f"{{0x{a:x},0x{b:x},0x{m:x}}}," for a, b, m in ranges], 3)
    out += "};\nconst int lti_mojibake_classes = sizeof lti_mojibake_class / sizeof *lti_mojibake_class;\n"
    out += "\nconst uint32_t lti_mojibake_page[LTI_PAGES][LTI_PAGE_CHARS] = {\n"
    for name in CHARMAP_ENCODINGS:
        pairs = []
        for byte in [0x1a, *range(0x80, 0x100)]:
            c = bytes([byte]).decode(name)
            assert possible_encoding(c, name) and c.encode(name) == bytes([byte])
            pairs.append(ord(c) << 8 | byte)
        out += f"    {{ /* {name} */\n" + rows([f"0x{v:x}," for v in sorted(pairs)], 9) + "    },\n"
    out += "};\n"
    pathlib.Path("text/mojibake_tables.c").write_text(out)


if __name__ == "__main__":
    main()
