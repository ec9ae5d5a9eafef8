#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write text/html_entities.c: the named character references of HTML 5.

The list is the HTML standard's own, as Python's html.entities.html5 carries it, plus the all-capital
forms that ftfy also accepts (&EACUTE;). Usage: make_html_entities.py > text/html_entities.c
"""
import html
from html.entities import html5


def c_text(s):
    out = ""
    for ch in s:
        out += {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\", "?": "\\?"}.get(ch, ch)
    return out


def main():
    rows = {}
    for name, value in html5.items():
        if name.endswith(";"):
            rows[name[:-1]] = ("," if name[:-1] in html5 else ";", value)
            if name == name.lower() and html.unescape("&" + name.upper()) == "&" + name.upper():
                rows.setdefault(name.upper()[:-1], ("^", value.upper()))
    head = """/* SPDX-License-Identifier: Apache-2.0
 * text/html_entities.c - the named character references of HTML 5. Written by
 * tools/make_html_entities.py; do not edit.
 *
 * One row: name, kind, value (UTF-8), '\\n'; rows in strcmp order of their names. Kind: ';' must
 * end in a semicolon, ',' may stand without, '^' an all-capital form that only ftfy knows. The
 * value of &NewLine; is written as '\\v'. */
#include "text/text_int.h"

/* clang-format off */
const char lti_html_entities[] ="""
    print(head)
    line, lines = "", []
    for name in sorted(rows, key=lambda n: n.encode()):
        kind, value = rows[name]
        row = name + kind + c_text(value.replace("\n", "\v")).replace("\v", "\\v") + "\\n"
        if len(line) + len(row) > 92:
            lines.append(line)
            line = ""
        line += row
    lines.append(line)
    print("\n".join(f'    "{text}"' for text in lines) + ";")
    print("/* clang-format on */")
    print("const size_t lti_html_entities_size = sizeof lti_html_entities - 1;")


main()
