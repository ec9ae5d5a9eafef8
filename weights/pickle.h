/* SPDX-License-Identifier: Apache-2.0
 * weights/pickle.h - what a pickle describes, as a graph of nodes; nothing in it is ever called.
 *
 * Nodes and cells are numbered; the graph may share nodes and may have cycles (memo), so walk it by
 * name and with a bound, never as a tree. Strings point into the pickle. */
#ifndef LT_WEIGHTS_PICKLE_H
#define LT_WEIGHTS_PICKLE_H
#include "longtake/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum lti_pk_kind {
    LTI_PK_NONE, /* None, numbers we never need, and every object that is not known here */
    LTI_PK_INT,  /* i */
    LTI_PK_STR,  /* s, n */
    LTI_PK_GLOBAL,
    LTI_PK_TUPLE, /* cells */
    LTI_PK_LIST,
    LTI_PK_DICT,    /* cells: key, value, key, value, .. */
    LTI_PK_STORAGE, /* cells of the persistent id: "storage", type, key, device, count */
    LTI_PK_TENSOR,  /* cells: the arguments of the rebuild function `global` */
    LTI_PK_MARK     /* on the stack only */
} lti_pk_kind;

/* The functions and types that mean something; all others are LTI_PK_NONE. */
typedef enum lti_pk_global {
    LTI_PK_REBUILD_V2, /* (storage, offset, size, stride, ..) */
    LTI_PK_REBUILD_V3, /* .. and the dtype as argument 6 */
    LTI_PK_REBUILD_PARAMETER,
    LTI_PK_ORDERED_DICT,
    LTI_PK_STORAGE_TYPE, /* dtype: an lti_dtype, -1 for one that is not read */
    LTI_PK_UNTYPED,      /* count is in bytes */
    LTI_PK_DTYPE         /* dtype */
} lti_pk_global;

typedef struct lti_pk_node {
    lti_pk_kind kind;
    lti_pk_global global; /* GLOBAL, TENSOR */
    int dtype;            /* GLOBAL */
    union {
        int64_t i;
        struct {
            const char *s;
            size_t n;
        };
        struct {
            int first, last, count; /* cells; first -1: none */
        };
    };
} lti_pk_node;

typedef struct lti_pk_cell {
    int node, next;
} lti_pk_cell;

typedef struct lti_pickle {
    lti_pk_node *node;
    lti_pk_cell *cell;
    int *memo;  /* node or -1 */
    int *stack; /* nodes */
    int n_node, cap_node, n_cell, cap_cell, cap_memo, n_memo, n_stack, cap_stack;
    int root;
} lti_pickle;

/* Errors name the byte. On failure *out is empty. */
lt_status lti_pickle_read(const uint8_t *data, size_t size, const char *what, lti_pickle *out,
                          lt_error *err);
void lti_pickle_free(lti_pickle *p); /* safe on a zeroed one */
/* Node of the k-th cell of a container, NULL: it has fewer. For small k. */
const lti_pk_node *lti_pk_item(const lti_pickle *p, const lti_pk_node *of, int k);
/* Value under a string key of a dict; the last of several. NULL: none. */
const lti_pk_node *lti_pk_get(const lti_pickle *p, const lti_pk_node *dict, const char *key);

#endif
