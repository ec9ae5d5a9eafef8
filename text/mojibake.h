/* SPDX-License-Identifier: Apache-2.0
 * text/mojibake.h - what mojibake.c, badness.c and the generated tables share. */
#ifndef LT_TEXT_MOJIBAKE_H
#define LT_TEXT_MOJIBAKE_H
#include "text/text_int.h"
#include <stdbool.h>

/* Classes of a character, by what it tends to be in text that was decoded wrongly. */
enum {
    LTI_COMMON = 1 << 0, /* dashes, no-break space: in all kinds of text */
    LTI_C1 = 1 << 1,     /* controls U+0080..U+009F */
    LTI_BAD = 1 << 2,    /* hardly ever meant */
    LTI_LAW = 1 << 3,
    LTI_CURRENCY = 1 << 4,
    LTI_START = 1 << 5, /* opening punctuation */
    LTI_END = 1 << 6,   /* closing punctuation */
    LTI_NUMERIC = 1 << 7,
    LTI_KAOMOJI = 1 << 8, /* accented letters that people draw faces with */
    LTI_UPPER = 1 << 9,   /* accented capitals */
    LTI_LOWER = 1 << 10,
    LTI_UPPER_COMMON = 1 << 11, /* capitals of Greek and Cyrillic */
    LTI_LOWER_COMMON = 1 << 12,
    LTI_BOX = 1 << 13,    /* box drawing */
    LTI_FIRST2 = 1 << 14, /* what the first byte of a UTF-8 pair looks like in some encoding */
    LTI_FIRST3 = 1 << 15,
    LTI_FIRST4 = 1 << 16,
    LTI_NEXT = 1 << 17,        /* a continuation byte, or the space that a no-break space became */
    LTI_NEXT_STRICT = 1 << 18, /* a continuation byte that means nothing by itself */
    /* the rest is not in the table */
    LTI_A_TO_Z = 1 << 19,
    LTI_CAPITAL = 1 << 20, /* A to Z */
    LTI_BLANK = 1 << 21,   /* white space */
    LTI_WORD = 1 << 22,    /* letter, number or underscore */
    LTI_NO_LATIN = 1 << 23 /* anything but a to z and A to Z */
};

typedef struct lti_char_class {
    uint16_t first, last;
    uint32_t mask;
} lti_char_class;
extern const lti_char_class lti_mojibake_class[]; /* sorted, disjoint */
extern const int lti_mojibake_classes;

/* Encodings in the order they are tried. Pages 1 to 6 are "sloppy": bytes without a character stand
 * for themselves, and U+FFFD is byte 0x1a. */
#define LTI_PAGES 10
#define LTI_PAGE_MAC 8
#define LTI_PAGE_CHARS 129
extern const uint32_t lti_mojibake_page[LTI_PAGES]
                                       [LTI_PAGE_CHARS]; /* character << 8 | byte, sorted */

uint32_t lti_mojibake_class_of(uint32_t c); /* bits of the table only */
/* True when the text has a sequence of characters that nobody writes. */
bool lti_looks_bad(const uint32_t *s, size_t n);
bool lti_white(uint32_t c); /* Python's str.isspace */

#endif
