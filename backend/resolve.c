/* SPDX-License-Identifier: Apache-2.0
 * backend/resolve.c - from a backend name to an open device with a complete table.
 *
 * The device gets its own copy of the backend's table. `disable` replaces entries by ref's (the
 * data is in host memory, so ref can compute on it). A fused entry that is NULL, or disabled, is
 * composed from the primitives of the resolved table. A missing primitive is a bug of the backend.
 */
#include "backend/backend.h"
#include "base/error.h"
#include "base/thread.h"
#include <stdlib.h>

enum { MAX_THREADS = 1024 };

/* Fastest first: "auto" takes the first one that opens. `host`: its tensors are in host memory;
 * else there may be several cards, "cuda:1" is the second. */
static const struct {
    const lti_ops *ops;
    bool host;
} backends[] = {
#ifdef LT_HAVE_CUDA
    {&lti_ops_cuda, false},
#endif
#ifdef LT_HAVE_CPU
    {&lti_ops_cpu, true},
#endif
    {&lti_ops_ref, true},
};
enum { N_BACKENDS = (int)(sizeof backends / sizeof backends[0]) };

const char *lti_backend_names(void) {
    return "ref"
#ifdef LT_HAVE_CPU
           ", cpu"
#endif
#ifdef LT_HAVE_CUDA
           ", cuda"
#endif
        ;
}

/* Every op that `disable` knows; all must be in a resolved table. */
/* clang-format off */
#define OP_NAMES(X)                                                                                \
    X(linear) X(conv) X(attention) X(norm_mod) X(layer_norm) X(rms_norm) X(chan_norm) X(rope)      \
    X(gated_add) X(unary) X(add) X(mul) X(embed_rows) X(patchify) X(unpatchify) X(upsample2x)      \
    X(time_unfold) X(lincomb) X(latent_to_map) X(randn) X(cast) X(to_rgb8) X(norm_rope)            \
    X(sum_rows) X(token_scores)
#define CONTROL_NAMES(X)                                                                           \
    X(open) X(close) X(alloc) X(free) X(put) X(get) X(copy) X(zero) X(sync) X(memory) X(pack_linear)\
    X(pack_conv) X(pack_free)
/* clang-format on */

static void norm_rope_composed(lti_dev *d, const lti_tensor *x, const float *w, float eps,
                               const float *table, const lti_tensor *out) {
    d->ops.rms_norm(d, x, w, eps, out);
    if (table) d->ops.rope(d, out, out->n[1] * out->n[2], table, out);
}

static bool is_name(const char *name, size_t len, const char *want) {
    return strlen(want) == len && memcmp(name, want, len) == 0;
}

/* Replace one op of the table by ref's; false: no such op. */
static bool take_from_ref(lti_ops *ops, const char *name, size_t len) {
    bool found = false;
#define TAKE(op)                                                                                   \
    if (is_name(name, len, #op)) {                                                                 \
        ops->op = lti_ops_ref.op;                                                                  \
        found = true;                                                                              \
    }
    OP_NAMES(TAKE)
#undef TAKE
    /* What belongs to an op goes with it: the packed layout, the plans. */
    if (is_name(name, len, "linear")) {
        ops->pack_linear = lti_ops_ref.pack_linear;
        ops->prepare_linear = lti_ops_ref.prepare_linear;
    } else if (is_name(name, len, "conv")) {
        ops->pack_conv = lti_ops_ref.pack_conv;
        ops->prepare_conv = lti_ops_ref.prepare_conv;
    } else if (is_name(name, len, "attention")) {
        ops->prepare_attention = lti_ops_ref.prepare_attention;
    } else if (is_name(name, len, "norm_rope")) {
        ops->norm_rope = NULL; /* fused: to be composed, so that its primitives can be bisected */
    }
    return found;
}

static lt_status disable_ops(lti_ops *ops, const char *list, bool host, lt_error *err) {
    while (list && *list) {
        const size_t len = strcspn(list, ",");
        if (len && !host)
            return lti_fail(err, LT_EINVAL,
                            "disable: backend \"%s\" keeps its data on the device, where ref "
                            "cannot compute; use backend cpu",
                            ops->name);
        if (len && !take_from_ref(ops, list, len)) {
#define LIST(op) " " #op
            return lti_fail(err, LT_EINVAL, "disable: no op \"%.*s\"; the ops are" OP_NAMES(LIST),
                            (int)(len < 64 ? len : 64), list);
#undef LIST
        }
        list += len + (list[len] == ',');
    }
    return LT_OK;
}

static void complete(lti_ops *ops) {
    if (!ops->norm_rope) ops->norm_rope = norm_rope_composed;
#define HAVE(op) LT_ASSERT(ops->op != NULL);
    CONTROL_NAMES(HAVE)
    OP_NAMES(HAVE)
#undef HAVE
}

/* The backend of a name, and the card behind its colon; -1: there is none. */
static int find_backend(const char *name, int *index) {
    const char *colon = strchr(name, ':');
    const size_t len = colon ? (size_t)(colon - name) : strlen(name);
    *index = 0;
    int b = 0;
    while (b < N_BACKENDS && !is_name(name, len, backends[b].ops->name)) b++;
    if (b == N_BACKENDS || !colon) return b == N_BACKENDS ? -1 : b;
    if (backends[b].host || colon[1] < '0' || colon[1] > '9' || colon[2]) return -1;
    *index = colon[1] - '0';
    return b;
}

static lt_status open_backend(int b, int index, int n_threads, const char *disable, lti_dev **out,
                              lt_error *err) {
    lti_dev *d = calloc(1, sizeof *d);
    if (!d) return lti_oom(err, sizeof *d);
    d->ops = *backends[b].ops;
    d->n_threads = n_threads ? n_threads : lti_cpu_count();
    d->index = index;
    d->host = backends[b].host;
    LT_ASSERT(d->ops.abi == LTI_BACKEND_ABI);
    lt_status st = disable_ops(&d->ops, disable, backends[b].host, err);
    if (st == LT_OK) {
        complete(&d->ops);
        st = d->ops.open(d, err);
    }
    if (st < 0) free(d);
    else *out = d;
    return st;
}

lt_status lti_dev_open(const char *name, int n_threads, const char *disable, lti_dev **out,
                       lt_error *err) {
    *out = NULL;
    if (n_threads < 0 || n_threads > MAX_THREADS)
        return lti_fail(err, LT_EINVAL, "threads: found %d, expected 0 (all cores) to %d",
                        n_threads, MAX_THREADS);
    int index = 0, b = 0;
    if (!name || !*name || strcmp(name, "auto") == 0) {
        /* a card that is not there, or ops to be taken from ref, are no errors here */
        for (; !backends[b].host; b++)
            if (open_backend(b, 0, n_threads, disable, out, NULL) == LT_OK) return LT_OK;
    } else if ((b = find_backend(name, &index)) < 0) {
        const bool card = strncmp(name, "cuda", 4) == 0;
        if ((card || strcmp(name, "cpu") == 0) &&
            !strstr(lti_backend_names(), card ? "cuda" : name))
            return lti_fail(err, LT_EUNSUPPORTED,
                            "backend: %.64s is not in this build, which has %s; build it again "
                            "where %s is found",
                            name, lti_backend_names(), card ? "nvcc" : "oneDNN");
        return lti_fail(err, LT_EINVAL, "backend: no \"%.64s\" in this build; there are auto, %s",
                        name, lti_backend_names());
    }
    return open_backend(b, index, n_threads, disable, out, err);
}

void lti_dev_close(lti_dev **d) {
    if (!*d) return;
    (*d)->ops.close(*d);
    free(*d);
    *d = NULL;
}
