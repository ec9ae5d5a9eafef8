/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/fake_cudnn.cpp - cuDNN's graph interface as its manual describes it, on host memory.
 *
 * It knows the descriptors that backend/cuda uses, and refuses what the manual forbids: attributes
 * of another type or number of elements than documented, descriptors used before they are finalised
 * or changed after, ids given twice, shapes that do not fit, tensors that overlap themselves,
 * virtual tensors nobody makes, pointers that are missing, misaligned, or of the wrong memory.
 * Graphs are run operation by operation in f32; a virtual tensor of bf16 is rounded to it.
 *
 * What the real one may do and would hurt, it does: it writes all over its workspace, reads values
 * behind the given length to the end of a tile, and takes scalars by their pointers as it runs. */
#include "fake_cudnn_int.h"
#include "dlfcn.h"
#include <algorithm>
#include <cstdio>
#include <set>
#include <string>

lti_fake_cudnn_state lti_fake_cudnn;

using namespace fake_cudnn;

namespace {

enum { FALLBACK_ENGINE = 100, GRAPH_OF_CONFIG = 0 /* a place of our own */ };
std::string last_words;

} // namespace

int fake_cudnn::refuse(int status, const char *why) {
    lti_fake_cudnn.n_refused++;
    snprintf(lti_fake_cudnn.refused, sizeof lti_fake_cudnn.refused, "%s", why);
    last_words = why;
    return status;
}

void fake_cudnn::tensors_of(const Desc *op, std::vector<const Desc *> *in,
                            std::vector<const Desc *> *out) {
    static const int outputs[] = {LTI_DNN_OP_CONVOLUTION_Y, LTI_DNN_OP_POINTWISE_Y,
                                  LTI_DNN_OP_MATMUL_C,      LTI_DNN_OP_REDUCTION_Y,
                                  LTI_DNN_OP_SDPA_O,        LTI_DNN_OP_SDPA_STATS};
    for (const auto &v : op->value) {
        if (v.second.type != LTI_DNN_T_DESCRIPTOR) continue;
        const Desc *t = op->desc(v.first);
        if (t->type != LTI_DNN_TENSOR) continue;
        const bool made =
            std::find(std::begin(outputs), std::end(outputs), v.first) != std::end(outputs);
        (made ? out : in)->push_back(t);
    }
}

namespace {

/* ---- descriptors ----------------------------------------------------------------------------- */

/* What a descriptor may be told. */
struct Rule {
    int desc, name, type;
    int64_t least, most;
    bool needed;
};
const int ONE_OR_MORE = 64;
const Rule rules[] = {
    {LTI_DNN_TENSOR, LTI_DNN_TENSOR_ID, LTI_DNN_T_INT64, 1, 1, true},
    {LTI_DNN_TENSOR, LTI_DNN_TENSOR_TYPE, LTI_DNN_T_DATA_TYPE, 1, 1, true},
    {LTI_DNN_TENSOR, LTI_DNN_TENSOR_DIMS, LTI_DNN_T_INT64, 1, 8, true},
    {LTI_DNN_TENSOR, LTI_DNN_TENSOR_STRIDES, LTI_DNN_T_INT64, 1, 8, true},
    {LTI_DNN_TENSOR, LTI_DNN_TENSOR_ALIGNMENT, LTI_DNN_T_INT64, 1, 1, true},
    {LTI_DNN_TENSOR, LTI_DNN_TENSOR_VIRTUAL, LTI_DNN_T_BOOLEAN, 1, 1, false},
    {LTI_DNN_TENSOR, LTI_DNN_TENSOR_BY_VALUE, LTI_DNN_T_BOOLEAN, 1, 1, false},
    {LTI_DNN_POINTWISE, LTI_DNN_POINTWISE_MODE, LTI_DNN_T_POINTWISE_MODE, 1, 1, true},
    {LTI_DNN_POINTWISE, LTI_DNN_POINTWISE_PRECISION, LTI_DNN_T_DATA_TYPE, 1, 1, true},
    {LTI_DNN_CONVOLUTION, LTI_DNN_CONVOLUTION_PRECISION, LTI_DNN_T_DATA_TYPE, 1, 1, true},
    {LTI_DNN_CONVOLUTION, LTI_DNN_CONVOLUTION_MODE, LTI_DNN_T_CONVOLUTION_MODE, 1, 1, true},
    {LTI_DNN_CONVOLUTION, LTI_DNN_CONVOLUTION_DIMS, LTI_DNN_T_INT64, 1, 1, true},
    {LTI_DNN_CONVOLUTION, LTI_DNN_CONVOLUTION_DILATIONS, LTI_DNN_T_INT64, 1, 6, true},
    {LTI_DNN_CONVOLUTION, LTI_DNN_CONVOLUTION_STRIDES, LTI_DNN_T_INT64, 1, 6, true},
    {LTI_DNN_CONVOLUTION, LTI_DNN_CONVOLUTION_PAD_BEFORE, LTI_DNN_T_INT64, 1, 6, true},
    {LTI_DNN_CONVOLUTION, LTI_DNN_CONVOLUTION_PAD_AFTER, LTI_DNN_T_INT64, 1, 6, true},
    {LTI_DNN_MATMUL, LTI_DNN_MATMUL_PRECISION, LTI_DNN_T_DATA_TYPE, 1, 1, true},
    {LTI_DNN_REDUCTION, LTI_DNN_REDUCTION_MODE, LTI_DNN_T_REDUCTION_MODE, 1, 1, true},
    {LTI_DNN_REDUCTION, LTI_DNN_REDUCTION_PRECISION, LTI_DNN_T_DATA_TYPE, 1, 1, true},
    {LTI_DNN_OP_CONVOLUTION, LTI_DNN_OP_CONVOLUTION_ALPHA, LTI_DNN_T_FLOAT, 1, 1, true},
    {LTI_DNN_OP_CONVOLUTION, LTI_DNN_OP_CONVOLUTION_BETA, LTI_DNN_T_FLOAT, 1, 1, true},
    {LTI_DNN_OP_CONVOLUTION, LTI_DNN_OP_CONVOLUTION_DESC, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_CONVOLUTION, LTI_DNN_OP_CONVOLUTION_W, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_CONVOLUTION, LTI_DNN_OP_CONVOLUTION_X, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_CONVOLUTION, LTI_DNN_OP_CONVOLUTION_Y, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_POINTWISE, LTI_DNN_OP_POINTWISE_DESC, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_POINTWISE, LTI_DNN_OP_POINTWISE_X, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_POINTWISE, LTI_DNN_OP_POINTWISE_B, LTI_DNN_T_DESCRIPTOR, 1, 1, false},
    {LTI_DNN_OP_POINTWISE, LTI_DNN_OP_POINTWISE_Y, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_MATMUL, LTI_DNN_OP_MATMUL_A, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_MATMUL, LTI_DNN_OP_MATMUL_B, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_MATMUL, LTI_DNN_OP_MATMUL_C, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_MATMUL, LTI_DNN_OP_MATMUL_DESC, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_REDUCTION, LTI_DNN_OP_REDUCTION_X, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_REDUCTION, LTI_DNN_OP_REDUCTION_Y, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_REDUCTION, LTI_DNN_OP_REDUCTION_DESC, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_SDPA, LTI_DNN_OP_SDPA_Q, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_SDPA, LTI_DNN_OP_SDPA_K, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_SDPA, LTI_DNN_OP_SDPA_V, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_SDPA, LTI_DNN_OP_SDPA_O, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_OP_SDPA, LTI_DNN_OP_SDPA_STATS, LTI_DNN_T_DESCRIPTOR, 1, 1, false},
    {LTI_DNN_OP_SDPA, LTI_DNN_OP_SDPA_SCALE, LTI_DNN_T_DESCRIPTOR, 1, 1, false},
    {LTI_DNN_OP_SDPA, LTI_DNN_OP_SDPA_LENGTH_Q, LTI_DNN_T_DESCRIPTOR, 1, 1, false},
    {LTI_DNN_OP_SDPA, LTI_DNN_OP_SDPA_LENGTH_KV, LTI_DNN_T_DESCRIPTOR, 1, 1, false},
    {LTI_DNN_GRAPH, LTI_DNN_GRAPH_HANDLE, LTI_DNN_T_HANDLE, 1, 1, true},
    {LTI_DNN_GRAPH, LTI_DNN_GRAPH_OPS, LTI_DNN_T_DESCRIPTOR, 1, ONE_OR_MORE, true},
    {LTI_DNN_HEURISTIC, LTI_DNN_HEURISTIC_GRAPH, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_HEURISTIC, LTI_DNN_HEURISTIC_MODE, LTI_DNN_T_HEURISTIC_MODE, 1, 1, true},
    {LTI_DNN_PLAN, LTI_DNN_PLAN_HANDLE, LTI_DNN_T_HANDLE, 1, 1, true},
    {LTI_DNN_PLAN, LTI_DNN_PLAN_CONFIG, LTI_DNN_T_DESCRIPTOR, 1, 1, true},
    {LTI_DNN_VARIANT_PACK, LTI_DNN_PACK_IDS, LTI_DNN_T_INT64, 1, ONE_OR_MORE, true},
    {LTI_DNN_VARIANT_PACK, LTI_DNN_PACK_POINTERS, LTI_DNN_T_POINTER, 1, ONE_OR_MORE, true},
    {LTI_DNN_VARIANT_PACK, LTI_DNN_PACK_WORKSPACE, LTI_DNN_T_POINTER, 1, 1, true},
};

std::set<Desc *> alive;
int handle;

bool is_desc(const void *p, int type) {
    return alive.count((Desc *)p) != 0 && (type < 0 || ((const Desc *)p)->type == type);
}
bool is_final(const void *p, int type) { return is_desc(p, type) && ((const Desc *)p)->final; }

size_t size_of(int type) {
    switch (type) {
    case LTI_DNN_T_HANDLE:
    case LTI_DNN_T_INT64:
    case LTI_DNN_T_POINTER:
    case LTI_DNN_T_DESCRIPTOR:
        return 8;
    case LTI_DNN_T_BOOLEAN:
        return sizeof(bool);
    default:
        return 4; /* enums, float */
    }
}

int desc_create(int type, void **out) {
    bool known = type == LTI_DNN_CONFIG || type == LTI_DNN_ENGINE;
    for (const Rule &r : rules) known = known || r.desc == type;
    if (type == LTI_DNN_OP_SDPA && lti_fake_cudnn.version < 91301) known = false;
    if (!known || !out) return refuse(BAD, "a descriptor of this type");
    Desc *d = new Desc{type, false, {}, -1};
    alive.insert(d);
    lti_fake_cudnn.n_live++;
    *out = d;
    return OK;
}

int desc_destroy(void *p) {
    if (!is_desc(p, -1)) return refuse(BAD, "destroy of what is no descriptor");
    alive.erase((Desc *)p);
    lti_fake_cudnn.n_live--;
    delete (Desc *)p;
    return OK;
}

int desc_set(void *p, int name, int type, int64_t n, const void *values) {
    if (!is_desc(p, -1)) return refuse(BAD, "set: no descriptor");
    Desc *d = (Desc *)p;
    if (d->final) return refuse(BAD, "set after finalize");
    for (const Rule &r : rules) {
        if (r.desc != d->type || r.name != name) continue;
        if (type != r.type) return refuse(WRONG_TYPE, "set: type of an attribute");
        if (n < r.least || n > r.most || !values) return refuse(BAD, "set: number of elements");
        const unsigned char *from = (const unsigned char *)values;
        d->value[name] = {type, n, {from, from + (size_t)n * size_of(type)}};
        return OK;
    }
    return refuse(BAD, "set: no such attribute");
}

/* ---- tensors --------------------------------------------------------------------------------- */

size_t bytes_of(int data_type) { return data_type == LTI_DNN_BF16 ? 2 : 4; }

int finish_tensor(Desc *t) {
    const Dims dim = dims_of(t), stride = dims_of(t, LTI_DNN_TENSOR_STRIDES);
    const int type = t->number(LTI_DNN_TENSOR_TYPE);
    const int64_t alignment = t->integer(LTI_DNN_TENSOR_ALIGNMENT);
    if (dim.size() != stride.size()) return refuse(MISFIT, "tensor: dims and strides");
    if (type != LTI_DNN_F32 && type != LTI_DNN_BF16 && type != LTI_DNN_I32)
        return refuse(BAD, "tensor: type");
    if (alignment < (int64_t)bytes_of(type) || (alignment & (alignment - 1)))
        return refuse(BAD, "tensor: alignment");
    if (t->flag(LTI_DNN_TENSOR_VIRTUAL) && t->flag(LTI_DNN_TENSOR_BY_VALUE))
        return refuse(BAD, "tensor: virtual and a value");
    std::vector<std::pair<int64_t, int64_t>> order;
    for (size_t i = 0; i < dim.size(); i++) {
        if (dim[i] < 1 || stride[i] < 1) return refuse(BAD, "tensor: a dim or stride below 1");
        if (dim[i] > 1) order.push_back({stride[i], dim[i]});
    }
    std::sort(order.begin(), order.end());
    for (size_t i = 1; i < order.size(); i++)
        if (order[i].first < order[i - 1].first * order[i - 1].second)
            return refuse(BAD, "tensor: it overlaps itself");
    return OK;
}

bool spreads(const Dims &from, const Dims &to) {
    if (from.size() != to.size()) return false;
    for (size_t i = 0; i < to.size(); i++)
        if (from[i] != to[i] && from[i] != 1) return false;
    return true;
}

/* ---- operations: do their shapes fit --------------------------------------------------------- */

bool unary(int mode) { return mode == LTI_DNN_EXP || mode == LTI_DNN_LOG || mode == LTI_DNN_RELU; }

int finish_pointwise(const Desc *op) {
    const Desc *desc = op->desc(LTI_DNN_OP_POINTWISE_DESC);
    if (!is_final(desc, LTI_DNN_POINTWISE)) return refuse(NOT_FINAL, "pointwise: its descriptor");
    const Dims y = dims_of(op->desc(LTI_DNN_OP_POINTWISE_Y));
    if (unary(desc->number(LTI_DNN_POINTWISE_MODE)) == op->has(LTI_DNN_OP_POINTWISE_B))
        return refuse(BAD, "pointwise: number of operands");
    if (!spreads(dims_of(op->desc(LTI_DNN_OP_POINTWISE_X)), y) ||
        (op->has(LTI_DNN_OP_POINTWISE_B) && !spreads(dims_of(op->desc(LTI_DNN_OP_POINTWISE_B)), y)))
        return refuse(MISFIT, "pointwise: shapes");
    return OK;
}

int finish_matmul(const Desc *op) {
    if (!is_final(op->desc(LTI_DNN_OP_MATMUL_DESC), LTI_DNN_MATMUL))
        return refuse(NOT_FINAL, "matmul: its descriptor");
    const Dims a = dims_of(op->desc(LTI_DNN_OP_MATMUL_A)),
               b = dims_of(op->desc(LTI_DNN_OP_MATMUL_B));
    const Dims c = dims_of(op->desc(LTI_DNN_OP_MATMUL_C));
    const size_t n = a.size();
    bool fit = n >= 3 && b.size() == n && c.size() == n;
    for (size_t i = 0; fit && i + 2 < n; i++) fit = a[i] == b[i] && a[i] == c[i];
    if (!fit || a[n - 1] != b[n - 2] || c[n - 2] != a[n - 2] || c[n - 1] != b[n - 1])
        return refuse(MISFIT, "matmul: shapes");
    return OK;
}

int finish_reduction(const Desc *op) {
    if (!is_final(op->desc(LTI_DNN_OP_REDUCTION_DESC), LTI_DNN_REDUCTION))
        return refuse(NOT_FINAL, "reduction: its descriptor");
    if (!spreads(dims_of(op->desc(LTI_DNN_OP_REDUCTION_Y)),
                 dims_of(op->desc(LTI_DNN_OP_REDUCTION_X))))
        return refuse(MISFIT, "reduction: shapes");
    return OK;
}

int finish_convolution(const Desc *op) {
    const Desc *c = op->desc(LTI_DNN_OP_CONVOLUTION_DESC);
    if (!is_final(c, LTI_DNN_CONVOLUTION)) return refuse(NOT_FINAL, "convolution: its descriptor");
    const Dims x = dims_of(op->desc(LTI_DNN_OP_CONVOLUTION_X));
    const Dims w = dims_of(op->desc(LTI_DNN_OP_CONVOLUTION_W));
    const Dims y = dims_of(op->desc(LTI_DNN_OP_CONVOLUTION_Y));
    const int64_t n = c->integer(LTI_DNN_CONVOLUTION_DIMS);
    if ((int64_t)x.size() != n + 2 || w.size() != x.size() || y.size() != x.size() ||
        x[0] != y[0] || x[1] != w[1] || y[1] != w[0])
        return refuse(MISFIT, "convolution: shapes");
    for (int64_t i = 0; i < n; i++) {
        const int64_t wide = x[(size_t)i + 2] + c->integer(LTI_DNN_CONVOLUTION_PAD_BEFORE, i) +
                             c->integer(LTI_DNN_CONVOLUTION_PAD_AFTER, i);
        const int64_t reach =
            (w[(size_t)i + 2] - 1) * c->integer(LTI_DNN_CONVOLUTION_DILATIONS, i) + 1;
        if (wide < reach ||
            y[(size_t)i + 2] != (wide - reach) / c->integer(LTI_DNN_CONVOLUTION_STRIDES, i) + 1)
            return refuse(MISFIT, "convolution: extent of the result");
    }
    if (op->get<float>(LTI_DNN_OP_CONVOLUTION_ALPHA) != 1 ||
        op->get<float>(LTI_DNN_OP_CONVOLUTION_BETA) != 0)
        return refuse(UNSUPPORTED, "convolution: alpha and beta");
    return OK;
}

bool is_scalar(const Desc *t, int type, bool by_value) {
    return numel(dims_of(t)) == 1 && t->number(LTI_DNN_TENSOR_TYPE) == type &&
           t->flag(LTI_DNN_TENSOR_BY_VALUE) == by_value;
}

int finish_sdpa(const Desc *op) {
    const Desc *t[4];
    for (int i = 0; i < 4; i++) {
        t[i] = op->desc(LTI_DNN_OP_SDPA_Q + i);
        const Dims d = dims_of(t[i]), stride = dims_of(t[i], LTI_DNN_TENSOR_STRIDES);
        if (d.size() != 4 || stride[3] != 1) return refuse(MISFIT, "sdpa: layout");
        if (t[i]->number(LTI_DNN_TENSOR_TYPE) != LTI_DNN_BF16 || d[3] % 8)
            return refuse(UNSUPPORTED, "sdpa: type or head_dim");
    }
    const Dims q = dims_of(t[0]), k = dims_of(t[1]), v = dims_of(t[2]), o = dims_of(t[3]);
    if (k[1] != q[1] || v[1] != q[1] || k[2] != v[2] || k[3] != q[3] ||
        o != Dims{q[0], q[1], q[2], v[3]} || k[0] != q[0] || v[0] != q[0])
        return refuse(MISFIT, "sdpa: shapes");
    if (op->has(LTI_DNN_OP_SDPA_STATS)) {
        const Desc *s = op->desc(LTI_DNN_OP_SDPA_STATS);
        if (dims_of(s) != Dims{q[0], q[1], q[2], 1} ||
            s->number(LTI_DNN_TENSOR_TYPE) != LTI_DNN_F32)
            return refuse(MISFIT, "sdpa: statistics");
    }
    if (op->has(LTI_DNN_OP_SDPA_SCALE) &&
        !is_scalar(op->desc(LTI_DNN_OP_SDPA_SCALE), LTI_DNN_F32, true))
        return refuse(MISFIT, "sdpa: scale");
    const bool length = op->has(LTI_DNN_OP_SDPA_LENGTH_KV);
    if (length != op->has(LTI_DNN_OP_SDPA_LENGTH_Q)) return refuse(BAD, "sdpa: one length");
    if (!length) return OK;
    if (lti_fake_cudnn.version < 91500) return refuse(UNSUPPORTED, "sdpa: lengths are of 9.15");
    if (!is_scalar(op->desc(LTI_DNN_OP_SDPA_LENGTH_Q), LTI_DNN_I32, false) ||
        !is_scalar(op->desc(LTI_DNN_OP_SDPA_LENGTH_KV), LTI_DNN_I32, false))
        return refuse(MISFIT, "sdpa: lengths");
    return OK;
}

/* ---- graphs ---------------------------------------------------------------------------------- */

int finish_op(const Desc *op) {
    for (const auto &v : op->value)
        if (v.second.type == LTI_DNN_T_DESCRIPTOR && !is_final(op->desc(v.first), -1))
            return refuse(NOT_FINAL, "operation: a tensor or descriptor");
    return op->type == LTI_DNN_OP_POINTWISE     ? finish_pointwise(op)
           : op->type == LTI_DNN_OP_MATMUL      ? finish_matmul(op)
           : op->type == LTI_DNN_OP_REDUCTION   ? finish_reduction(op)
           : op->type == LTI_DNN_OP_CONVOLUTION ? finish_convolution(op)
                                                : finish_sdpa(op);
}

bool is_op(int type) {
    return type == LTI_DNN_OP_POINTWISE || type == LTI_DNN_OP_MATMUL ||
           type == LTI_DNN_OP_REDUCTION || type == LTI_DNN_OP_CONVOLUTION ||
           type == LTI_DNN_OP_SDPA;
}

int finish_graph(const Desc *g) {
    if (lti_fake_cudnn.no_graph) return last_words = "no graph today", UNSUPPORTED;
    if (g->get<void *>(LTI_DNN_GRAPH_HANDLE) != &handle) return refuse(BAD, "graph: handle");
    std::map<int64_t, const Desc *> id;
    std::set<const Desc *> made;
    for (int64_t i = 0; i < g->count(LTI_DNN_GRAPH_OPS); i++) {
        const Desc *op = g->desc(LTI_DNN_GRAPH_OPS, i);
        if (!is_final(op, -1) || !is_op(op->type)) return refuse(NOT_FINAL, "graph: an operation");
        std::vector<const Desc *> in, out;
        tensors_of(op, &in, &out);
        for (const Desc *t : in)
            if (t->flag(LTI_DNN_TENSOR_VIRTUAL) && !made.count(t))
                return refuse(BAD, "graph: a virtual tensor that nobody has made yet");
        for (const Desc *t : out)
            if (!made.insert(t).second) return refuse(TWICE, "graph: a tensor made twice");
        in.insert(in.end(), out.begin(), out.end());
        for (const Desc *t : in) {
            const auto known = id.insert({t->integer(LTI_DNN_TENSOR_ID), t});
            if (known.first->second != t) return refuse(TWICE, "graph: an id given twice");
        }
    }
    return OK;
}

/* ---- engines and plans ----------------------------------------------------------------------- */

int finish_plan(Desc *p) {
    Desc *config = p->desc(LTI_DNN_PLAN_CONFIG);
    if (p->get<void *>(LTI_DNN_PLAN_HANDLE) != &handle) return refuse(BAD, "plan: handle");
    if (!is_final(config, LTI_DNN_CONFIG)) return refuse(NOT_FINAL, "plan: its engine");
    if (config->engine < lti_fake_cudnn.first_good)
        return last_words = "this engine does not run here", UNSUPPORTED;
    p->engine = config->engine;
    lti_fake_cudnn.n_plan++;
    return OK;
}

int finish_pack(const Desc *p) {
    std::set<int64_t> seen;
    if (p->count(LTI_DNN_PACK_IDS) != p->count(LTI_DNN_PACK_POINTERS))
        return refuse(BAD, "pack: ids and pointers");
    for (int64_t i = 0; i < p->count(LTI_DNN_PACK_IDS); i++)
        if (!seen.insert(p->integer(LTI_DNN_PACK_IDS, i)).second)
            return refuse(TWICE, "pack: an id given twice");
    return OK;
}

int finish_convolution_desc(const Desc *c) {
    static const int lists[] = {LTI_DNN_CONVOLUTION_DILATIONS, LTI_DNN_CONVOLUTION_STRIDES,
                                LTI_DNN_CONVOLUTION_PAD_BEFORE, LTI_DNN_CONVOLUTION_PAD_AFTER};
    const int64_t n = c->integer(LTI_DNN_CONVOLUTION_DIMS);
    for (int name : lists)
        if (c->count(name) != n) return refuse(BAD, "convolution: number of dims");
    if (c->number(LTI_DNN_CONVOLUTION_MODE) != LTI_DNN_CROSS_CORRELATION)
        return refuse(UNSUPPORTED, "convolution: mode");
    return OK;
}

int desc_finalize(void *p) {
    if (!is_desc(p, -1)) return refuse(BAD, "finalize: no descriptor");
    Desc *d = (Desc *)p;
    if (d->final) return refuse(BAD, "finalize twice");
    for (const Rule &r : rules)
        if (r.desc == d->type && r.needed && !d->has(r.name))
            return refuse(BAD, "finalize: an attribute is missing");
    int rc = OK;
    if (d->type == LTI_DNN_TENSOR) rc = finish_tensor(d);
    else if (d->type == LTI_DNN_CONVOLUTION) rc = finish_convolution_desc(d);
    else if (is_op(d->type)) rc = finish_op(d);
    else if (d->type == LTI_DNN_GRAPH) rc = finish_graph(d);
    else if (d->type == LTI_DNN_HEURISTIC &&
             !is_final(d->desc(LTI_DNN_HEURISTIC_GRAPH), LTI_DNN_GRAPH))
        rc = refuse(NOT_FINAL, "heuristic: its graph");
    else if (d->type == LTI_DNN_PLAN) rc = finish_plan(d);
    else if (d->type == LTI_DNN_VARIANT_PACK) rc = finish_pack(d);
    d->final = rc == OK;
    return rc;
}

/* Engines of a list into the caller's configs. */
int list_engines(Desc *h, int64_t room, int64_t *n, void *values) {
    Desc *graph = h->desc(LTI_DNN_HEURISTIC_GRAPH);
    const bool a = h->number(LTI_DNN_HEURISTIC_MODE) == LTI_DNN_MODE_A;
    const bool sdpa = graph->desc(LTI_DNN_GRAPH_OPS)->type == LTI_DNN_OP_SDPA;
    int64_t have = a ? lti_fake_cudnn.engines : !lti_fake_cudnn.no_fallback;
    if (sdpa && lti_fake_cudnn.no_sdpa) have = 0;
    *n = have < room ? have : room;
    for (int64_t i = 0; i < *n; i++) {
        Desc *config = ((Desc **)values)[i];
        if (!is_desc(config, LTI_DNN_CONFIG) || config->final)
            return refuse(BAD, "heuristic: results go to fresh configs");
        config->final = true;
        config->engine = a ? (int)i : FALLBACK_ENGINE;
        config->value[GRAPH_OF_CONFIG] = {LTI_DNN_T_DESCRIPTOR, 1, {}};
        const unsigned char *from = (const unsigned char *)&graph;
        config->value[GRAPH_OF_CONFIG].bytes.assign(from, from + sizeof graph);
    }
    return OK;
}

int desc_get(void *p, int name, int type, int64_t room, int64_t *n, void *values) {
    if (!is_final(p, -1)) return refuse(NOT_FINAL, "get before finalize");
    Desc *d = (Desc *)p;
    if (d->type == LTI_DNN_HEURISTIC && name == LTI_DNN_HEURISTIC_RESULTS &&
        type == LTI_DNN_T_DESCRIPTOR)
        return list_engines(d, room, n, values);
    if (d->type == LTI_DNN_CONFIG && name == LTI_DNN_CONFIG_ENGINE &&
        type == LTI_DNN_T_DESCRIPTOR) {
        Desc *engine = *(Desc **)values;
        if (room != 1 || !is_desc(engine, LTI_DNN_ENGINE)) return refuse(BAD, "get: an engine");
        engine->final = true;
        engine->engine = d->engine;
        return *n = 1, OK;
    }
    if (d->type == LTI_DNN_ENGINE && name == LTI_DNN_ENGINE_NOTES &&
        type == LTI_DNN_T_NUMERICAL_NOTE) {
        *n = d->engine == 0 && lti_fake_cudnn.note >= 0 && room > 0;
        if (*n) *(int *)values = lti_fake_cudnn.note;
        return OK;
    }
    if (d->type == LTI_DNN_PLAN && name == LTI_DNN_PLAN_WORKSPACE && type == LTI_DNN_T_INT64 &&
        room == 1) {
        *(int64_t *)values = (int64_t)lti_fake_cudnn.workspace;
        return *n = 1, OK;
    }
    return refuse(WRONG_TYPE, "get: no such attribute");
}

int execute(void *h, void *plan, void *pack) {
    if (h != &handle || !is_final(plan, LTI_DNN_PLAN) || !is_final(pack, LTI_DNN_VARIANT_PACK))
        return refuse(NOT_FINAL, "execute: handle, plan or pack");
    if (lti_fake_cudnn.execute_status) {
        const int rc = lti_fake_cudnn.execute_status;
        lti_fake_cudnn.execute_status = 0;
        return last_words = "as it was told", rc;
    }
    const Desc *config = ((Desc *)plan)->desc(LTI_DNN_PLAN_CONFIG);
    if (!is_final(config, LTI_DNN_CONFIG) ||
        !is_final(config->desc(GRAPH_OF_CONFIG), LTI_DNN_GRAPH))
        return refuse(BAD, "execute: what the plan is made of is gone");
    const int rc = run(config->desc(GRAPH_OF_CONFIG), (const Desc *)pack);
    if (rc) return rc;
    lti_fake_cudnn.n_execute++;
    lti_fake_cudnn.engine = ((Desc *)plan)->engine;
    return OK;
}

/* ---- the library ----------------------------------------------------------------------------- */

size_t get_version() { return lti_fake_cudnn.version; }
const char *error_string(int status) {
    return status >= 5000                    ? "CUDNN_STATUS_EXECUTION_FAILED"
           : status >= LTI_DNN_NOT_SUPPORTED ? "CUDNN_STATUS_NOT_SUPPORTED"
           : status >= BAD                   ? "CUDNN_STATUS_BAD_PARAM"
           : status                          ? "CUDNN_STATUS_NOT_INITIALIZED"
                                             : "CUDNN_STATUS_SUCCESS";
}
void last_error(char *text, size_t size) {
    snprintf(text, size, "%s", last_words.c_str());
    last_words.clear();
}
int create(void **out) {
    if (lti_fake_cudnn.create_status) return lti_fake_cudnn.create_status;
    lti_fake_cudnn.n_live++;
    *out = &handle;
    return OK;
}
int destroy(void *h) {
    if (h != &handle) return refuse(BAD, "destroy: handle");
    lti_fake_cudnn.n_live--;
    return OK;
}
int set_stream(void *h, cudaStream_t) { return h == &handle ? OK : refuse(BAD, "stream: handle"); }

void *find(const char *symbol) {
    static const struct {
        const char *name;
        void *f;
    } table[] = {
        {"cudnnGetVersion", (void *)get_version},
        {"cudnnGetErrorString", (void *)error_string},
        {"cudnnGetLastErrorString", (void *)last_error},
        {"cudnnCreate", (void *)create},
        {"cudnnDestroy", (void *)destroy},
        {"cudnnSetStream", (void *)set_stream},
        {"cudnnBackendCreateDescriptor", (void *)desc_create},
        {"cudnnBackendDestroyDescriptor", (void *)desc_destroy},
        {"cudnnBackendSetAttribute", (void *)desc_set},
        {"cudnnBackendGetAttribute", (void *)desc_get},
        {"cudnnBackendFinalize", (void *)desc_finalize},
        {"cudnnBackendExecute", (void *)execute},
    };
    if (lti_fake_cudnn.missing && !strcmp(symbol, lti_fake_cudnn.missing)) return nullptr;
    for (const auto &t : table)
        if (!strcmp(symbol, t.name)) return t.f;
    return nullptr;
}

} // namespace

void lti_fake_cudnn_install(const char *path) {
    lti_fake_cudnn = {};
    lti_fake_cudnn.version = 91900;
    lti_fake_cudnn.engines = 3;
    lti_fake_cudnn.note = -1;
    lti_shim_library(path, find);
}
