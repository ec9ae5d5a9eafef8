/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/fake_cudnn_run.cpp - executes graphs on host memory, see fake_cudnn.cpp. */
#include "fake_cudnn_int.h"
#include <algorithm>
#include <cmath>
#include <set>
#include "tensor/tensor.h"

using namespace fake_cudnn;

namespace {

enum { TILE = 128 }; /* values are read to a multiple of it */

/* All elements in the order of the dims. */
struct Dense {
    Dims dim;
    std::vector<float> v;
};

int64_t offset_of(const Dims &dim, const Dims &stride, int64_t i) {
    int64_t at = 0;
    for (size_t k = dim.size(); k-- > 0; i /= dim[k]) at += i % dim[k] * stride[k];
    return at;
}
/* Element i of a shape, in one that is 1 where it is spread. */
int64_t spread(const Dims &dim, const Dims &from, int64_t i) {
    int64_t at = 0, step = 1;
    for (size_t k = dim.size(); k-- > 0; i /= dim[k]) {
        if (from[k] > 1) at += i % dim[k] * step;
        step *= from[k];
    }
    return at;
}
float rounded(int type, float v) {
    return type == LTI_DNN_BF16 ? lti_bf16_to_f32(lti_f32_to_bf16(v)) : v;
}

Dense read(const Desc *t, const void *p) {
    const Dims dim = dims_of(t), stride = dims_of(t, LTI_DNN_TENSOR_STRIDES);
    const int type = t->number(LTI_DNN_TENSOR_TYPE);
    Dense out{dim, std::vector<float>((size_t)numel(dim))};
    for (int64_t i = 0; i < numel(dim); i++) {
        const int64_t at = offset_of(dim, stride, i);
        out.v[(size_t)i] = type == LTI_DNN_BF16  ? lti_bf16_to_f32(((const uint16_t *)p)[at])
                           : type == LTI_DNN_I32 ? (float)((const int32_t *)p)[at]
                                                 : ((const float *)p)[at];
    }
    return out;
}

void write(const Desc *t, void *p, const Dense &from) {
    const Dims stride = dims_of(t, LTI_DNN_TENSOR_STRIDES);
    for (int64_t i = 0; i < numel(from.dim); i++) {
        const int64_t at = offset_of(from.dim, stride, i);
        if (t->number(LTI_DNN_TENSOR_TYPE) == LTI_DNN_BF16)
            ((uint16_t *)p)[at] = lti_f32_to_bf16(from.v[(size_t)i]);
        else ((float *)p)[at] = from.v[(size_t)i];
    }
}

typedef std::map<const Desc *, Dense> Memory; /* what has been read or made */

float point(int mode, float x, float b) {
    switch (mode) {
    case LTI_DNN_ADD:
        return x + b;
    case LTI_DNN_MUL:
        return x * b;
    case LTI_DNN_DIV:
        return x / b;
    case LTI_DNN_SUB:
        return x - b;
    case LTI_DNN_EXP:
        return expf(x);
    case LTI_DNN_LOG:
        return logf(x);
    default:
        return x > 0 ? x : 0; /* RELU: also for NaN */
    }
}

Dense run_pointwise(const Desc *op, const Memory &m) {
    const Dense &x = m.at(op->desc(LTI_DNN_OP_POINTWISE_X));
    const Dense *b = op->has(LTI_DNN_OP_POINTWISE_B) ? &m.at(op->desc(LTI_DNN_OP_POINTWISE_B)) : &x;
    const int mode = op->desc(LTI_DNN_OP_POINTWISE_DESC)->number(LTI_DNN_POINTWISE_MODE);
    Dense y{dims_of(op->desc(LTI_DNN_OP_POINTWISE_Y)), {}};
    for (int64_t i = 0; i < numel(y.dim); i++)
        y.v.push_back(point(mode, x.v[(size_t)spread(y.dim, x.dim, i)],
                            b->v[(size_t)spread(y.dim, b->dim, i)]));
    return y;
}

Dense run_matmul(const Desc *op, const Memory &m) {
    const Dense &a = m.at(op->desc(LTI_DNN_OP_MATMUL_A)), &b = m.at(op->desc(LTI_DNN_OP_MATMUL_B));
    Dense c{dims_of(op->desc(LTI_DNN_OP_MATMUL_C)), {}};
    const size_t r = c.dim.size();
    const int64_t rows = c.dim[r - 2], cols = c.dim[r - 1], inner = a.dim[r - 1];
    for (int64_t i = 0; i < numel(c.dim); i++) {
        const int64_t batch = i / (rows * cols), row = i / cols % rows, col = i % cols;
        float sum = 0;
        for (int64_t k = 0; k < inner; k++)
            sum += a.v[(size_t)((batch * rows + row) * inner + k)] *
                   b.v[(size_t)((batch * inner + k) * cols + col)];
        c.v.push_back(sum);
    }
    return c;
}

Dense run_reduction(const Desc *op, const Memory &m) {
    const Dense &x = m.at(op->desc(LTI_DNN_OP_REDUCTION_X));
    const bool top =
        op->desc(LTI_DNN_OP_REDUCTION_DESC)->number(LTI_DNN_REDUCTION_MODE) == LTI_DNN_REDUCE_MAX;
    Dense y{dims_of(op->desc(LTI_DNN_OP_REDUCTION_Y)), {}};
    y.v.assign((size_t)numel(y.dim), top ? -INFINITY : 0.0f);
    for (int64_t i = 0; i < numel(x.dim); i++) {
        float &to = y.v[(size_t)spread(x.dim, y.dim, i)];
        to = top ? fmaxf(to, x.v[(size_t)i]) : to + x.v[(size_t)i];
    }
    return y;
}

struct Window { /* a convolution's, by direction */
    Dims stride, dilation, before;
};

/* The sum of one output: pictures and maps of any number of directions. */
float convolve(const Window &c, const Dense &x, const Dense &w, const Dims &at) {
    const size_t n = x.dim.size() - 2;
    const int64_t each = numel(w.dim) / w.dim[0];
    float sum = 0;
    for (int64_t i = 0; i < each; i++) { /* channel and tap */
        int64_t rest = i, from = 0, step = 1;
        bool in = true;
        for (size_t k = n; k-- > 0; rest /= w.dim[k + 2]) {
            const int64_t p =
                at[k + 2] * c.stride[k] + rest % w.dim[k + 2] * c.dilation[k] - c.before[k];
            in = in && p >= 0 && p < x.dim[k + 2];
            from += p * step;
            step *= x.dim[k + 2];
        }
        from += (at[0] * x.dim[1] + rest) * step;
        if (in) sum += x.v[(size_t)from] * w.v[(size_t)(at[1] * each + i)];
    }
    return sum;
}

Dense run_convolution(const Desc *op, const Memory &m) {
    const Dense &x = m.at(op->desc(LTI_DNN_OP_CONVOLUTION_X));
    const Dense &w = m.at(op->desc(LTI_DNN_OP_CONVOLUTION_W));
    const Desc *desc = op->desc(LTI_DNN_OP_CONVOLUTION_DESC);
    const Window c = {dims_of(desc, LTI_DNN_CONVOLUTION_STRIDES),
                      dims_of(desc, LTI_DNN_CONVOLUTION_DILATIONS),
                      dims_of(desc, LTI_DNN_CONVOLUTION_PAD_BEFORE)};
    Dense y{dims_of(op->desc(LTI_DNN_OP_CONVOLUTION_Y)), {}};
    Dims at(y.dim.size());
    for (int64_t i = 0; i < numel(y.dim); i++) {
        int64_t rest = i;
        for (size_t k = at.size(); k-- > 0; rest /= y.dim[k]) at[k] = rest % y.dim[k];
        y.v.push_back(convolve(c, x, w, at));
    }
    return y;
}

/* One query of one head: weights e^(s - top), their sum; out and statistics. */
void attend(const float *q, const float *k, const float *v, int64_t n, int64_t read_to, int64_t hd,
            int64_t wide, float scale, float *out, float *stats) {
    std::vector<float> weight((size_t)read_to, 0.0f);
    float top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < hd; c++) weight[(size_t)i] += q[c] * k[i * hd + c];
        weight[(size_t)i] *= scale;
        top = fmaxf(top, weight[(size_t)i]);
    }
    for (int64_t i = 0; i < n; i++) {
        weight[(size_t)i] = expf(weight[(size_t)i] - top);
        sum += weight[(size_t)i];
    }
    for (int64_t c = 0; c < wide; c++) {
        float o = 0;
        for (int64_t i = 0; i < read_to; i++) o += weight[(size_t)i] * v[i * wide + c];
        out[c] = o / sum;
    }
    *stats = top + logf(sum);
}

void run_sdpa(const Desc *op, Memory *m) {
    const Dense &q = m->at(op->desc(LTI_DNN_OP_SDPA_Q)), &k = m->at(op->desc(LTI_DNN_OP_SDPA_K));
    const Dense &v = m->at(op->desc(LTI_DNN_OP_SDPA_V));
    const int64_t heads = q.dim[0] * q.dim[1], rows = q.dim[2], hd = q.dim[3], room = k.dim[2];
    const int64_t wide = v.dim[3];
    const float scale =
        op->has(LTI_DNN_OP_SDPA_SCALE) ? m->at(op->desc(LTI_DNN_OP_SDPA_SCALE)).v[0] : 1.0f;
    int64_t n = room, n_q = rows;
    if (op->has(LTI_DNN_OP_SDPA_LENGTH_KV)) {
        n = (int64_t)m->at(op->desc(LTI_DNN_OP_SDPA_LENGTH_KV)).v[0];
        n_q = (int64_t)m->at(op->desc(LTI_DNN_OP_SDPA_LENGTH_Q)).v[0];
        lti_fake_cudnn.n_length++;
    }
    lti_fake_cudnn.n_sdpa++;
    const int64_t read_to = std::min(room, (n + TILE - 1) / TILE * TILE);
    Dense o{{q.dim[0], q.dim[1], rows, wide}, std::vector<float>((size_t)(heads * rows * wide))};
    Dense stats{{q.dim[0], q.dim[1], rows, 1}, std::vector<float>((size_t)(heads * rows))};
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < n_q; i++)
            attend(&q.v[(size_t)((h * rows + i) * hd)], &k.v[(size_t)(h * room * hd)],
                   &v.v[(size_t)(h * room * wide)], n, read_to, hd, wide, scale,
                   &o.v[(size_t)((h * rows + i) * wide)], &stats.v[(size_t)(h * rows + i)]);
    (*m)[op->desc(LTI_DNN_OP_SDPA_O)] = o;
    if (op->has(LTI_DNN_OP_SDPA_STATS)) (*m)[op->desc(LTI_DNN_OP_SDPA_STATS)] = stats;
}

void run_op(const Desc *op, Memory *m) {
    if (op->type == LTI_DNN_OP_SDPA) run_sdpa(op, m);
    else if (op->type == LTI_DNN_OP_POINTWISE)
        (*m)[op->desc(LTI_DNN_OP_POINTWISE_Y)] = run_pointwise(op, *m);
    else if (op->type == LTI_DNN_OP_MATMUL)
        (*m)[op->desc(LTI_DNN_OP_MATMUL_C)] = run_matmul(op, *m);
    else if (op->type == LTI_DNN_OP_REDUCTION)
        (*m)[op->desc(LTI_DNN_OP_REDUCTION_Y)] = run_reduction(op, *m);
    else (*m)[op->desc(LTI_DNN_OP_CONVOLUTION_Y)] = run_convolution(op, *m);
    std::vector<const Desc *> in, out;
    tensors_of(op, &in, &out);
    for (const Desc *t : out)
        for (float &v : (*m)[t].v) v = rounded(t->number(LTI_DNN_TENSOR_TYPE), v);
}

/* Each real tensor's pointer; a status. */
int find_pointers(const Desc *graph, const Desc *pack, std::map<const Desc *, void *> *at) {
    std::map<int64_t, void *> given;
    for (int64_t i = 0; i < pack->count(LTI_DNN_PACK_IDS); i++)
        given[pack->integer(LTI_DNN_PACK_IDS, i)] = pack->get<void *>(LTI_DNN_PACK_POINTERS, i);
    std::set<int64_t> used;
    for (int64_t i = 0; i < graph->count(LTI_DNN_GRAPH_OPS); i++) {
        std::vector<const Desc *> in, out;
        tensors_of(graph->desc(LTI_DNN_GRAPH_OPS, i), &in, &out);
        in.insert(in.end(), out.begin(), out.end());
        for (const Desc *t : in) {
            const int64_t id = t->integer(LTI_DNN_TENSOR_ID);
            if (t->flag(LTI_DNN_TENSOR_VIRTUAL)) continue;
            if (!given.count(id) || !given[id]) return refuse(BAD, "execute: a pointer is missing");
            const bool device = !t->flag(LTI_DNN_TENSOR_BY_VALUE);
            if (device && (uintptr_t)given[id] % (uintptr_t)t->integer(LTI_DNN_TENSOR_ALIGNMENT))
                return refuse(MISALIGNED, "execute: a pointer is not aligned");
            lti_shim_expect(given[id], device, "cudnnBackendExecute");
            (*at)[t] = given[id];
            used.insert(id);
        }
    }
    return used.size() == given.size() ? OK : refuse(BAD, "execute: an id of no tensor");
}

} // namespace

int fake_cudnn::run(const Desc *graph, const Desc *pack) {
    std::map<const Desc *, void *> at;
    const int rc = find_pointers(graph, pack, &at);
    if (rc) return rc;
    void *workspace = pack->get<void *>(LTI_DNN_PACK_WORKSPACE);
    const lti_shim_access access;
    if (lti_fake_cudnn.workspace) {
        if (!workspace) return refuse(BAD, "execute: no workspace");
        lti_shim_expect(workspace, true, "workspace");
        memset(workspace, 0xff, lti_fake_cudnn.workspace);
    }
    Memory m;
    std::set<const Desc *> made;
    for (int64_t i = 0; i < graph->count(LTI_DNN_GRAPH_OPS); i++) {
        const Desc *op = graph->desc(LTI_DNN_GRAPH_OPS, i);
        std::vector<const Desc *> in, out;
        tensors_of(op, &in, &out);
        for (const Desc *t : in)
            if (!m.count(t)) m[t] = read(t, at.at(t));
        run_op(op, &m);
        made.insert(out.begin(), out.end());
    }
    for (const Desc *t : made)
        if (!t->flag(LTI_DNN_TENSOR_VIRTUAL)) write(t, at.at(t), m[t]);
    return OK;
}
