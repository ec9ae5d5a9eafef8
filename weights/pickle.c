/* SPDX-License-Identifier: Apache-2.0
 * weights/pickle.c - the pickle machine, as far as torch.save needs it, as an interpreter of data.
 *
 * A pickle is a program for a stack machine that can name any Python function and have it called.
 * Here the names are compared with a short list; what is not on it becomes None, and so does every
 * object made with it. No recursion: the machine's only state is a stack, a memo and the nodes.
 * Bounds: every opcode makes at most one node, and there are at most LIMIT of nodes, cells, memo
 * slots and stack places.
 * Reference: CPython's pickletools.py (opcodes), torch/serialization.py and torch/_utils.py.
 *
 * Pitfalls: MARKs lie on the same stack as values and must never become one. A memo entry may be
 * the container that is being filled (cycles). */
#include "weights/pickle.h"
#include "base/error.h"
#include "tensor/tensor.h"
#include <stdlib.h>
#include <string.h>

#define LIMIT 4000000 /* a checkpoint with optimizer state has some 100000 nodes */
#define WORD_MAX 512  /* bytes of a module or function name */

typedef struct machine {
    lti_pickle *p;
    const uint8_t *data;
    size_t size, at, op_at; /* op_at: where the current opcode is */
    const char *what;
    lt_error *err;
} machine;

typedef struct known {
    const char *module, *name;
    lti_pk_global global;
    int dtype;
} known;

static const known table[] = {
    {"torch._utils", "_rebuild_tensor_v2", LTI_PK_REBUILD_V2, -1},
    {"torch._utils", "_rebuild_tensor_v3", LTI_PK_REBUILD_V3, -1},
    {"torch._utils", "_rebuild_parameter", LTI_PK_REBUILD_PARAMETER, -1},
    {"torch._utils", "_rebuild_parameter_with_state", LTI_PK_REBUILD_PARAMETER, -1},
    {"collections", "OrderedDict", LTI_PK_ORDERED_DICT, -1},
    {"torch.storage", "UntypedStorage", LTI_PK_UNTYPED, -1},
    {"torch", "UntypedStorage", LTI_PK_UNTYPED, -1},
    {"torch", "FloatStorage", LTI_PK_STORAGE_TYPE, LTI_F32},
    {"torch", "BFloat16Storage", LTI_PK_STORAGE_TYPE, LTI_BF16},
    {"torch", "HalfStorage", LTI_PK_STORAGE_TYPE, LTI_F16},
    {"torch", "DoubleStorage", LTI_PK_STORAGE_TYPE, LTI_F64},
    {"torch", "LongStorage", LTI_PK_STORAGE_TYPE, LTI_I64},
    {"torch", "IntStorage", LTI_PK_STORAGE_TYPE, LTI_I32},
    {"torch", "ShortStorage", LTI_PK_STORAGE_TYPE, LTI_I16},
    {"torch", "CharStorage", LTI_PK_STORAGE_TYPE, LTI_I8},
    {"torch", "ByteStorage", LTI_PK_STORAGE_TYPE, LTI_U8},
    {"torch", "BoolStorage", LTI_PK_STORAGE_TYPE, LTI_BOOL},
    {"torch", "float32", LTI_PK_DTYPE, LTI_F32},
    {"torch", "bfloat16", LTI_PK_DTYPE, LTI_BF16},
    {"torch", "float16", LTI_PK_DTYPE, LTI_F16},
    {"torch", "float64", LTI_PK_DTYPE, LTI_F64},
    {"torch", "float8_e4m3fn", LTI_PK_DTYPE, LTI_F8_E4M3},
    {"torch", "float8_e5m2", LTI_PK_DTYPE, LTI_F8_E5M2},
    {"torch", "int64", LTI_PK_DTYPE, LTI_I64},
    {"torch", "int32", LTI_PK_DTYPE, LTI_I32},
    {"torch", "int16", LTI_PK_DTYPE, LTI_I16},
    {"torch", "int8", LTI_PK_DTYPE, LTI_I8},
    {"torch", "uint8", LTI_PK_DTYPE, LTI_U8},
    {"torch", "bool", LTI_PK_DTYPE, LTI_BOOL},
};

static lt_status bad(const machine *m, const char *how) {
    return lti_fail(m->err, LT_EFORMAT,
                    "%s: data.pkl, byte %zu: %s; the file is damaged or no torch checkpoint, "
                    "download it again",
                    m->what, m->op_at, how);
}

/* -- memory --------------------------------------------------------------------------------------- */

/* Room for `need` elements of `each` bytes at *a. */
static lt_status grow(const machine *m, void *a, int *cap, int need, size_t each) {
    if (need > LIMIT) return bad(m, "more objects than any checkpoint has");
    if (need <= *cap) return LT_OK;
    int to = *cap ? *cap : 256;
    while (to < need) to *= 2;
    void **slot = a;
    void *grown = realloc(*slot, each * (size_t)to);
    if (!grown) return lti_oom(m->err, each * (size_t)to);
    *slot = grown;
    *cap = to;
    return LT_OK;
}

static lt_status push(machine *m, int node) {
    lti_pickle *p = m->p;
    LT_TRY(grow(m, &p->stack, &p->cap_stack, p->n_stack + 1, sizeof *p->stack));
    p->stack[p->n_stack++] = node;
    return LT_OK;
}

static lt_status push_new(machine *m, lti_pk_node x) {
    lti_pickle *p = m->p;
    LT_TRY(grow(m, &p->node, &p->cap_node, p->n_node + 1, sizeof *p->node));
    p->node[p->n_node] = x;
    return push(m, p->n_node++);
}

static lt_status push_kind(machine *m, lti_pk_kind kind) {
    lti_pk_node x = {.kind = kind};
    if (kind >= LTI_PK_TUPLE) x.first = x.last = -1;
    return push_new(m, x);
}

static lt_status push_int(machine *m, int64_t i) {
    lti_pk_node x = {.kind = LTI_PK_INT};
    x.i = i;
    return push_new(m, x);
}

/* A value, not a mark. */
static lt_status pop(machine *m, int *node) {
    lti_pickle *p = m->p;
    if (p->n_stack == 0) return bad(m, "the stack is empty");
    *node = p->stack[--p->n_stack];
    return p->node[*node].kind == LTI_PK_MARK ? bad(m, "a mark where a value belongs") : LT_OK;
}

static lt_status top(const machine *m, int *node) {
    const lti_pickle *p = m->p;
    if (p->n_stack == 0) return bad(m, "the stack is empty");
    *node = p->stack[p->n_stack - 1];
    return p->node[*node].kind == LTI_PK_MARK ? bad(m, "a mark where a value belongs") : LT_OK;
}

/* Stack place just above the last mark. */
static lt_status find_mark(const machine *m, int *first) {
    const lti_pickle *p = m->p;
    for (int i = p->n_stack; i > 0; i--)
        if (p->node[p->stack[i - 1]].kind == LTI_PK_MARK) {
            *first = i;
            return LT_OK;
        }
    return bad(m, "there is no mark");
}

static lt_status append(machine *m, int container, int node) {
    lti_pickle *p = m->p;
    LT_TRY(grow(m, &p->cell, &p->cap_cell, p->n_cell + 1, sizeof *p->cell));
    lti_pk_node *c = &p->node[container];
    p->cell[p->n_cell] = (lti_pk_cell){node, -1};
    if (c->last < 0) c->first = p->n_cell;
    else p->cell[c->last].next = p->n_cell;
    c->last = p->n_cell++;
    c->count++;
    return LT_OK;
}

/* -- operands ------------------------------------------------------------------------------------- */

static lt_status take(machine *m, uint64_t n, const uint8_t **out) {
    *out = m->data + m->at;
    if (n > m->size - m->at) return bad(m, "it ends inside an operand");
    m->at += n;
    return LT_OK;
}

/* Little-endian, n of 1, 2, 4, 8 bytes. */
static lt_status take_uint(machine *m, int n, uint64_t *out) {
    const uint8_t *b;
    LT_TRY(take(m, (uint64_t)n, &b));
    *out = 0;
    for (int i = n - 1; i >= 0; i--) *out = *out << 8 | b[i];
    return LT_OK;
}

/* Bytes up to a newline. */
static lt_status take_line(machine *m, const char **s, size_t *n) {
    const uint8_t *from = m->data + m->at;
    size_t left = m->size - m->at;
    const uint8_t *end = memchr(from, '\n', left < WORD_MAX ? left : WORD_MAX);
    if (!end) return bad(m, "a name without an end");
    *s = (const char *)from;
    *n = (size_t)(end - from);
    m->at += *n + 1;
    return LT_OK;
}

/* A string whose length takes `width` bytes. kind: bytes objects are not strings. */
static lt_status take_string(machine *m, int width, lti_pk_kind kind) {
    uint64_t n;
    const uint8_t *b;
    LT_TRY(take_uint(m, width, &n));
    LT_TRY(take(m, n, &b));
    lti_pk_node x = {.kind = kind};
    if (kind == LTI_PK_STR) {
        x.s = (const char *)b;
        x.n = (size_t)n;
    }
    return push_new(m, x);
}

/* Two's complement, `width` bytes of length before it. Too large for us: None. */
static lt_status take_long(machine *m, int width) {
    uint64_t n, v = 0;
    const uint8_t *b;
    LT_TRY(take_uint(m, width, &n));
    LT_TRY(take(m, n, &b));
    if (n > 8) return push_kind(m, LTI_PK_NONE);
    for (uint64_t i = 0; i < n; i++) v |= (uint64_t)b[i] << (8 * i);
    if (n > 0 && n < 8 && b[n - 1] & 0x80) v |= UINT64_MAX << (8 * n);
    return push_int(m, (int64_t)v);
}

static lt_status skip_and_push(machine *m, uint64_t n) {
    const uint8_t *b;
    LT_TRY(take(m, n, &b));
    return push_kind(m, LTI_PK_NONE);
}

/* -- names and calls ------------------------------------------------------------------------------ */

static bool same(const char *s, size_t n, const char *word) {
    return n == strlen(word) && !memcmp(s, word, n);
}

static lt_status push_global(machine *m, const char *module, size_t nm, const char *name,
                             size_t nn) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const known *k = &table[i];
        if (!same(module, nm, k->module) || !same(name, nn, k->name)) continue;
        return push_new(
            m, (lti_pk_node){.kind = LTI_PK_GLOBAL, .global = k->global, .dtype = k->dtype});
    }
    if (same(module, nm, "torch") && nn > 7 && same(name + nn - 7, 7, "Storage"))
        return push_new(
            m, (lti_pk_node){.kind = LTI_PK_GLOBAL, .global = LTI_PK_STORAGE_TYPE, .dtype = -1});
    return push_kind(m, LTI_PK_NONE);
}

static lt_status op_global(machine *m) {
    const char *module, *name;
    size_t nm, nn;
    LT_TRY(take_line(m, &module, &nm));
    LT_TRY(take_line(m, &name, &nn));
    return push_global(m, module, nm, name, nn);
}

static lt_status op_stack_global(machine *m) {
    int name, module;
    LT_TRY(pop(m, &name));
    LT_TRY(pop(m, &module));
    const lti_pk_node *a = &m->p->node[module], *b = &m->p->node[name];
    if (a->kind != LTI_PK_STR || b->kind != LTI_PK_STR) return bad(m, "a name that is no string");
    return push_global(m, a->s, a->n, b->s, b->n);
}

/* A copy of a tuple's cells under another kind. */
static lt_status push_from(machine *m, lti_pk_kind kind, const lti_pk_node *tuple,
                           lti_pk_global global) {
    lti_pk_node x = *tuple;
    x.kind = kind;
    x.global = global;
    return push_new(m, x);
}

/* REDUCE, NEWOBJ: the call `f(*args)`; only what it would have made is noted. */
static lt_status op_call(machine *m) {
    int args, callee;
    LT_TRY(pop(m, &args));
    LT_TRY(pop(m, &callee));
    const lti_pickle *p = m->p;
    const lti_pk_node *f = &p->node[callee], *a = &p->node[args];
    if (f->kind != LTI_PK_GLOBAL) return push_kind(m, LTI_PK_NONE);
    if (a->kind != LTI_PK_TUPLE) return bad(m, "a call without a tuple of arguments");
    switch (f->global) {
    case LTI_PK_REBUILD_V2:
    case LTI_PK_REBUILD_V3:
        return push_from(m, LTI_PK_TENSOR, a, f->global);
    case LTI_PK_REBUILD_PARAMETER:
        if (a->count < 1) return bad(m, "a parameter without a tensor");
        return push(m, p->cell[a->first].node);
    case LTI_PK_ORDERED_DICT:
        return push_kind(m, LTI_PK_DICT);
    case LTI_PK_STORAGE_TYPE:
    case LTI_PK_UNTYPED:
    case LTI_PK_DTYPE:
        break;
    }
    return push_kind(m, LTI_PK_NONE);
}

static lt_status op_persid(machine *m) {
    int id;
    LT_TRY(pop(m, &id));
    const lti_pk_node *a = &m->p->node[id];
    if (a->kind != LTI_PK_TUPLE) return bad(m, "a storage that is no tuple");
    return push_from(m, LTI_PK_STORAGE, a, LTI_PK_UNTYPED);
}

/* -- containers ----------------------------------------------------------------------------------- */

/* The last n values become a tuple. */
static lt_status op_tuple(machine *m, int n) {
    int at[3];
    for (int i = n - 1; i >= 0; i--) LT_TRY(pop(m, &at[i]));
    LT_TRY(push_kind(m, LTI_PK_TUPLE));
    int tuple = m->p->stack[m->p->n_stack - 1];
    for (int i = 0; i < n; i++) LT_TRY(append(m, tuple, at[i]));
    return LT_OK;
}

/* Everything above the mark goes into `container`; the mark goes too. */
static lt_status take_marked(machine *m, int first, int container) {
    lti_pickle *p = m->p;
    if (container >= 0)
        for (int i = first; i < p->n_stack; i++) LT_TRY(append(m, container, p->stack[i]));
    p->n_stack = first - 1;
    return LT_OK;
}

/* A new container of what is above the mark. */
static lt_status op_collect(machine *m, lti_pk_kind kind) {
    lti_pickle *p = m->p;
    int first;
    LT_TRY(find_mark(m, &first));
    if (kind == LTI_PK_DICT && (p->n_stack - first) % 2) return bad(m, "a key without a value");
    LT_TRY(push_kind(m, kind));
    int container = p->stack[--p->n_stack];
    LT_TRY(take_marked(m, first, container));
    return push(m, container);
}

/* What is above the mark goes into the container below the mark. Unknown objects swallow it. */
static lt_status op_extend(machine *m, lti_pk_kind kind) {
    const lti_pickle *p = m->p;
    int first;
    LT_TRY(find_mark(m, &first));
    if (first < 2) return bad(m, "items for no container");
    int into = p->stack[first - 2];
    if (p->node[into].kind == LTI_PK_NONE) return take_marked(m, first, -1);
    if (p->node[into].kind != kind) return bad(m, "items for another kind of container");
    if (kind == LTI_PK_DICT && (p->n_stack - first) % 2) return bad(m, "a key without a value");
    return take_marked(m, first, into);
}

/* The last n values (1: APPEND, 2: SETITEM) go into the container below them. */
static lt_status op_add(machine *m, int n, lti_pk_kind kind) {
    int at[2], into;
    for (int i = n - 1; i >= 0; i--) LT_TRY(pop(m, &at[i]));
    LT_TRY(top(m, &into));
    if (m->p->node[into].kind == LTI_PK_NONE) return LT_OK;
    if (m->p->node[into].kind != kind) return bad(m, "an item for another kind of container");
    for (int i = 0; i < n; i++) LT_TRY(append(m, into, at[i]));
    return LT_OK;
}

/* -- memo ----------------------------------------------------------------------------------------- */

static lt_status op_put(machine *m, uint64_t slot) {
    lti_pickle *p = m->p;
    int node;
    LT_TRY(top(m, &node));
    if (slot >= LIMIT) return bad(m, "a memo number beyond all bounds");
    int before = p->cap_memo;
    LT_TRY(grow(m, &p->memo, &p->cap_memo, (int)slot + 1, sizeof *p->memo));
    for (int i = before; i < p->cap_memo; i++) p->memo[i] = -1;
    p->n_memo += p->memo[slot] < 0;
    p->memo[slot] = node;
    return LT_OK;
}

static lt_status op_get(machine *m, uint64_t slot) {
    const lti_pickle *p = m->p;
    if (slot >= (uint64_t)p->cap_memo || p->memo[slot] < 0)
        return bad(m, "a memo number that was never set");
    return push(m, p->memo[slot]);
}

/* -- the machine ---------------------------------------------------------------------------------- */

static lt_status op_discard(machine *m) {
    int node;
    return pop(m, &node);
}

static lt_status op_pop_mark(machine *m) {
    int first;
    LT_TRY(find_mark(m, &first));
    return take_marked(m, first, -1);
}

static lt_status op_dup(machine *m) {
    int node;
    LT_TRY(top(m, &node));
    return push(m, node);
}

/* NEWOBJ_EX has keyword arguments on top; then as NEWOBJ. */
static lt_status op_newobj_ex(machine *m) {
    LT_TRY(op_discard(m));
    return op_call(m);
}

/* Opcodes with an operand in the stream. *hit false: not one of them. */
static lt_status step_operand(machine *m, uint8_t op, bool *hit) {
    uint64_t v;
    const uint8_t *b;
    *hit = true;
    switch (op) {
    case 0x80: /* PROTO */
        LT_TRY(take_uint(m, 1, &v));
        return v > 5 ? bad(m, "a pickle protocol above 5") : LT_OK;
    case 0x95: /* FRAME: the length of what follows, which bounds nothing */
        return take(m, 8, &b);
    case 'K': /* BININT1 */
        LT_TRY(take_uint(m, 1, &v));
        return push_int(m, (int64_t)v);
    case 'M': /* BININT2 */
        LT_TRY(take_uint(m, 2, &v));
        return push_int(m, (int64_t)v);
    case 'J': /* BININT */
        LT_TRY(take_uint(m, 4, &v));
        return push_int(m, (int32_t)(uint32_t)v);
    case 0x8a: /* LONG1 */
        return take_long(m, 1);
    case 0x8b: /* LONG4 */
        return take_long(m, 4);
    case 'G': /* BINFLOAT */
        return skip_and_push(m, 8);
    case 0x8c: /* SHORT_BINUNICODE */
        return take_string(m, 1, LTI_PK_STR);
    case 'X': /* BINUNICODE */
        return take_string(m, 4, LTI_PK_STR);
    case 0x8d: /* BINUNICODE8 */
        return take_string(m, 8, LTI_PK_STR);
    case 'U': /* SHORT_BINSTRING: what Python 2 wrote */
        return take_string(m, 1, LTI_PK_STR);
    case 'T': /* BINSTRING */
        return take_string(m, 4, LTI_PK_STR);
    case 'C': /* SHORT_BINBYTES */
        return take_string(m, 1, LTI_PK_NONE);
    case 'B': /* BINBYTES */
        return take_string(m, 4, LTI_PK_NONE);
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        return take_string(m, 8, LTI_PK_NONE);
    case 'q': /* BINPUT */
        LT_TRY(take_uint(m, 1, &v));
        return op_put(m, v);
    case 'r': /* LONG_BINPUT */
        LT_TRY(take_uint(m, 4, &v));
        return op_put(m, v);
    case 'h': /* BINGET */
        LT_TRY(take_uint(m, 1, &v));
        return op_get(m, v);
    case 'j': /* LONG_BINGET */
        LT_TRY(take_uint(m, 4, &v));
        return op_get(m, v);
    case 'c': /* GLOBAL */
        return op_global(m);
    default:
        *hit = false;
        return LT_OK;
    }
}

static lt_status step(machine *m, uint8_t op) {
    switch (op) {
    case 'N':  /* NONE */
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */
    case 0x8f: /* EMPTY_SET */
        return push_kind(m, LTI_PK_NONE);
    case '}': /* EMPTY_DICT */
        return push_kind(m, LTI_PK_DICT);
    case ']': /* EMPTY_LIST */
        return push_kind(m, LTI_PK_LIST);
    case ')': /* EMPTY_TUPLE */
        return push_kind(m, LTI_PK_TUPLE);
    case '(': /* MARK */
        return push_kind(m, LTI_PK_MARK);
    case 0x85: /* TUPLE1, 2, 3 */
    case 0x86:
    case 0x87:
        return op_tuple(m, op - 0x84);
    case 't': /* TUPLE */
        return op_collect(m, LTI_PK_TUPLE);
    case 'l': /* LIST */
        return op_collect(m, LTI_PK_LIST);
    case 'd': /* DICT */
        return op_collect(m, LTI_PK_DICT);
    case 0x91: /* FROZENSET */
        LT_TRY(op_pop_mark(m));
        return push_kind(m, LTI_PK_NONE);
    case 's': /* SETITEM */
        return op_add(m, 2, LTI_PK_DICT);
    case 'u': /* SETITEMS */
        return op_extend(m, LTI_PK_DICT);
    case 'a': /* APPEND */
        return op_add(m, 1, LTI_PK_LIST);
    case 'e': /* APPENDS */
        return op_extend(m, LTI_PK_LIST);
    case 0x90: /* ADDITEMS: into a set */
        return op_extend(m, LTI_PK_NONE);
    case '0': /* POP */
    case 'b': /* BUILD: attributes of the object below; _metadata of a state dict */
        return op_discard(m);
    case '1': /* POP_MARK */
        return op_pop_mark(m);
    case '2': /* DUP */
        return op_dup(m);
    case 0x94: /* MEMOIZE */
        return op_put(m, (uint64_t)m->p->n_memo);
    case 0x93: /* STACK_GLOBAL */
        return op_stack_global(m);
    case 'R':  /* REDUCE */
    case 0x81: /* NEWOBJ */
        return op_call(m);
    case 0x92: /* NEWOBJ_EX */
        return op_newobj_ex(m);
    case 'Q': /* BINPERSID */
        return op_persid(m);
    default:
        return lti_fail(m->err, LT_EUNSUPPORTED,
                        "%s: data.pkl, byte %zu: pickle opcode 0x%02x, which torch.save does not "
                        "write; not a torch checkpoint, or damaged",
                        m->what, m->op_at, op);
    }
}

static lt_status execute(machine *m) {
    for (;;) {
        m->op_at = m->at;
        if (m->at == m->size) return bad(m, "it ends without STOP");
        uint8_t op = m->data[m->at++];
        if (op == '.') return pop(m, &m->p->root);
        bool hit;
        LT_TRY(step_operand(m, op, &hit));
        if (!hit) LT_TRY(step(m, op));
    }
}

lt_status lti_pickle_read(const uint8_t *data, size_t size, const char *what, lti_pickle *out,
                          lt_error *err) {
    *out = (lti_pickle){0};
    lt_error local = {0};
    machine m = {out, data, size, 0, 0, what, err ? err : &local};
    lt_status st = execute(&m);
    if (st != LT_OK) lti_pickle_free(out);
    return st;
}

void lti_pickle_free(lti_pickle *p) {
    free(p->node);
    free(p->cell);
    free(p->memo);
    free(p->stack);
    *p = (lti_pickle){0};
}

const lti_pk_node *lti_pk_item(const lti_pickle *p, const lti_pk_node *of, int k) {
    if (of->kind < LTI_PK_TUPLE || of->kind > LTI_PK_TENSOR || k < 0 || k >= of->count) return NULL;
    int c = of->first;
    for (; k > 0; k--) c = p->cell[c].next;
    return &p->node[p->cell[c].node];
}

const lti_pk_node *lti_pk_get(const lti_pickle *p, const lti_pk_node *dict, const char *key) {
    const lti_pk_node *found = NULL;
    if (dict->kind != LTI_PK_DICT) return NULL;
    for (int c = dict->first; c >= 0; c = p->cell[p->cell[c].next].next) {
        const lti_pk_node *k = &p->node[p->cell[c].node];
        if (k->kind == LTI_PK_STR && same(k->s, k->n, key))
            found = &p->node[p->cell[p->cell[c].next].node];
    }
    return found;
}
