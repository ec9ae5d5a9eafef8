/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/fake_cublaslt.cpp - cuBLASLt's matmul as its manual describes it, on host memory.
 *
 * D = act(scale op(A) op(B) + bias), column-major with leading dimensions, f32 sums. It knows the
 * types, layouts and epilogues that backend/cuda uses, and answers as the manual says when it is
 * asked for what does not go together: types that are not in its table, sizes of attributes (these
 * were tried on the real library 13.1, which has descriptors without a card), dimensions that do not
 * fit, pointers less aligned than promised to the heuristic, an algorithm of another problem, too
 * little workspace. It is stricter than the library in one thing: leading dimensions must be
 * multiples of 16 bytes, which the backend promises to itself.
 *
 * What the real one may do and would hurt, it does: it writes all over its workspace, and when it is
 * allowed to add up a split sum in the type of the output, it does that. */
#include "fake_cublaslt.h"
#include "backend/cuda/lib.h"
#include "dlfcn.h"
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "tensor/tensor.h"

lti_fake_cublas_state lti_fake_cublas;

namespace {

enum { OK = 0, EXECUTION_FAILED = 13 };
enum { REDUCTION_INPLACE = 1, REDUCTION_OUTPUT_TYPE = 4 };
const size_t SPLIT_WORKSPACE = (size_t)1 << 20; /* asked for when K is split */
const uint64_t MAGIC = 0x66616b6563626c74u;

struct Desc {
    int32_t compute, scale, trans_a, trans_b, bias_type, a_mode, b_mode;
    uint32_t epilogue;
    const void *bias, *a_scale, *b_scale;
};
struct Layout {
    int32_t type;
    uint64_t rows, cols;
    int64_t ld;
};
struct Pref {
    uint64_t workspace;
    uint32_t reduction, align[4]; /* of A, B, C, D */
};
/* In lti_lt_algo: what it was chosen for. */
struct Algo {
    uint64_t magic, problem, workspace;
    uint32_t align[5]; /* of A, B, C, D, bias */
    uint32_t rounds;   /* partial sums take the output's type */
};
static_assert(sizeof(Algo) <= sizeof(lti_lt_algo), "fits");

int refuse(int status, const char *why) {
    lti_fake_cublas.refused = why;
    return status;
}

size_t size_of(int type) { return type == LTI_LT_R_32F ? 4 : type == LTI_LT_R_16BF ? 2 : 1; }

float element(const void *p, int type, int64_t i) {
    if (type == LTI_LT_R_32F) return ((const float *)p)[i];
    if (type == LTI_LT_R_16BF) return lti_bf16_to_f32(((const uint16_t *)p)[i]);
    return lti_f8e4m3_to_f32(((const uint8_t *)p)[i]);
}

float round_to(int type, float v) {
    return type == LTI_LT_R_16BF ? lti_bf16_to_f32(lti_f32_to_bf16(v)) : v;
}

/* ---- descriptors --------------------------------------------------------------------------------- */

template <class T> int make(void **out, const T &value) {
    *out = new T(value);
    lti_fake_cublas.n_live++;
    return OK;
}
template <class T> int destroy(void *p) {
    delete (T *)p;
    lti_fake_cublas.n_live--;
    return OK;
}

int desc_create(void **out, int compute, int scale) {
    return make(out, Desc{compute, scale, LTI_LT_OP_N, LTI_LT_OP_N, -1, 0, 0,
                          LTI_LT_EPILOGUE_DEFAULT, nullptr, nullptr, nullptr});
}
int layout_create(void **out, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    return make(out, Layout{type, rows, cols, ld});
}
int pref_create(void **out) { return make(out, Pref{0, 7, {256, 256, 256, 256}}); }

template <class T> int set(T *to, const void *value, size_t bytes) {
    if (!value || bytes != sizeof *to) return refuse(LTI_LT_INVALID_VALUE, "size of an attribute");
    memcpy(to, value, bytes);
    return OK;
}

int desc_set(void *p, int attribute, const void *value, size_t bytes) {
    Desc *d = (Desc *)p;
    switch (attribute) {
    case LTI_LT_DESC_TRANSA:
        return set(&d->trans_a, value, bytes);
    case LTI_LT_DESC_TRANSB:
        return set(&d->trans_b, value, bytes);
    case LTI_LT_DESC_EPILOGUE:
        return set(&d->epilogue, value, bytes);
    case LTI_LT_DESC_BIAS_POINTER:
        return set(&d->bias, value, bytes);
    case LTI_LT_DESC_BIAS_TYPE:
        return set(&d->bias_type, value, bytes);
    case LTI_LT_DESC_A_SCALE:
        return set(&d->a_scale, value, bytes);
    case LTI_LT_DESC_B_SCALE:
        return set(&d->b_scale, value, bytes);
    case LTI_LT_DESC_A_SCALE_MODE:
    case LTI_LT_DESC_B_SCALE_MODE:
        if (lti_fake_cublas.version < 120900) break;
        return set(attribute == LTI_LT_DESC_A_SCALE_MODE ? &d->a_mode : &d->b_mode, value, bytes);
    default:
        break;
    }
    return refuse(LTI_LT_INVALID_VALUE, "an attribute of the operation");
}

int pref_set(void *p, int attribute, const void *value, size_t bytes) {
    Pref *f = (Pref *)p;
    if (attribute == LTI_LT_PREF_WORKSPACE) return set(&f->workspace, value, bytes);
    if (attribute == LTI_LT_PREF_REDUCTION) return set(&f->reduction, value, bytes);
    if (attribute >= LTI_LT_PREF_ALIGN_A && attribute <= LTI_LT_PREF_ALIGN_D)
        return set(&f->align[attribute - LTI_LT_PREF_ALIGN_A], value, bytes);
    return refuse(LTI_LT_INVALID_VALUE, "an attribute of the preference");
}

/* ---- what goes together --------------------------------------------------------------------------- */

/* The rows of the manual's table for f32 sums that we use. The bias has D's type, except that 8-bit
 * floats go with a bf16 one. */
int check_types(const Desc &d, const Layout &a, const Layout &b, const Layout &c,
                const Layout &out) {
    if (d.compute != LTI_LT_COMPUTE_32F || d.scale != LTI_LT_R_32F || a.type != b.type ||
        c.type != out.type)
        return refuse(LTI_LT_NOT_SUPPORTED, "types of the operation");
    const bool f8 = a.type == LTI_LT_R_8F_E4M3, bf16 = a.type == LTI_LT_R_16BF;
    const bool to_bf16 = out.type == LTI_LT_R_16BF;
    if (!(f8 || bf16 || a.type == LTI_LT_R_32F) || !(to_bf16 || out.type == LTI_LT_R_32F) ||
        (to_bf16 && !(bf16 || f8)))
        return refuse(LTI_LT_NOT_SUPPORTED, "types of the matrices");
    const int bias = f8 ? (int)LTI_LT_R_16BF : out.type;
    if (d.epilogue & LTI_LT_EPILOGUE_BIAS && d.bias_type != -1 && d.bias_type != bias)
        return refuse(LTI_LT_NOT_SUPPORTED, "type of the bias");
    if (f8 && (d.trans_a != LTI_LT_OP_T || d.trans_b != LTI_LT_OP_N))
        return refuse(LTI_LT_NOT_SUPPORTED, "8-bit floats are TN only");
    if (f8 && (a.rows % 16 || a.cols % 16)) /* K and M of op(A) */
        return refuse(LTI_LT_NOT_SUPPORTED, "8-bit floats need multiples of 16");
    if (d.a_mode != d.b_mode || (d.a_mode && d.a_mode != LTI_LT_SCALE_OUTER_VECTOR))
        return refuse(LTI_LT_NOT_SUPPORTED, "scale modes that do not go together");
    if (d.a_mode && (!d.a_scale || !d.b_scale)) return refuse(LTI_LT_INVALID_VALUE, "no scales");
    if (!f8 && (d.a_scale || d.b_scale || d.a_mode))
        return refuse(LTI_LT_INVALID_VALUE, "scales are for 8-bit floats");
    return OK;
}

int check_layouts(const Desc &d, const Layout &a, const Layout &b, const Layout &c,
                  const Layout &out) {
    const bool ta = d.trans_a == LTI_LT_OP_T, tb = d.trans_b == LTI_LT_OP_T;
    const uint64_t m = ta ? a.cols : a.rows, k = ta ? a.rows : a.cols;
    const uint64_t n = tb ? b.rows : b.cols, kb = tb ? b.cols : b.rows;
    if (k != kb || out.rows != m || out.cols != n || c.rows != m || c.cols != n || c.ld != out.ld)
        return refuse(LTI_LT_INVALID_VALUE, "dimensions");
    for (const Layout *l : {&a, &b, &c, &out}) {
        if (l->ld < (int64_t)l->rows) return refuse(LTI_LT_INVALID_VALUE, "leading dimension");
        if ((size_t)l->ld * size_of(l->type) % 16)
            return refuse(LTI_LT_NOT_SUPPORTED, "leading dimension not a multiple of 16 bytes");
    }
    return OK;
}

int check_epilogue(const Desc &d) {
    const uint32_t act = d.epilogue & ~(uint32_t)LTI_LT_EPILOGUE_BIAS;
    const bool bias = d.epilogue & LTI_LT_EPILOGUE_BIAS;
    const bool known = act == LTI_LT_EPILOGUE_RELU || act == LTI_LT_EPILOGUE_GELU ||
                       (act == 0 && bias) || (act == LTI_LT_EPILOGUE_DEFAULT && !bias);
    if (!known) return refuse(LTI_LT_INVALID_VALUE, "epilogue");
    if (bias && !d.bias) return refuse(LTI_LT_INVALID_VALUE, "bias pointer");
    return OK;
}

int check(const Desc &d, const Layout &a, const Layout &b, const Layout &c, const Layout &out) {
    int rc = check_layouts(d, a, b, c, out);
    if (!rc) rc = check_types(d, a, b, c, out);
    return rc ? rc : check_epilogue(d);
}

uint64_t problem_of(const Desc &d, const Layout &a, const Layout &b, const Layout &out) {
    const uint64_t part[] = {a.rows,
                             a.cols,
                             (uint64_t)a.ld,
                             b.rows,
                             b.cols,
                             (uint64_t)b.ld,
                             out.rows,
                             out.cols,
                             (uint64_t)out.ld,
                             d.epilogue,
                             (uint64_t)d.trans_a,
                             (uint64_t)d.trans_b,
                             (uint64_t)a.type,
                             (uint64_t)out.type};
    uint64_t h = 14695981039346656037u;
    for (const uint64_t p : part) h = (h ^ p) * 1099511628211u;
    return h;
}

uint32_t alignment_of(const void *p) {
    uint32_t a = 256;
    while (a > 1 && (uintptr_t)p % a) a /= 2;
    return a;
}

/* ---- the heuristic and the product ------------------------------------------------------------------ */

int heuristic(void *, void *desc, void *a_, void *b_, void *c_, void *d_, void *pref, int most,
              lti_lt_choice *choice, int *found) {
    const Desc &d = *(const Desc *)desc;
    const Layout &a = *(const Layout *)a_, &b = *(const Layout *)b_, &c = *(const Layout *)c_,
                 &out = *(const Layout *)d_;
    const Pref &p = *(const Pref *)pref;
    *found = 0;
    lti_fake_cublas.n_heuristic++;
    if (most < 1) return refuse(LTI_LT_INVALID_VALUE, "number of algorithms");
    if (lti_fake_cublas.heuristic_status) return lti_fake_cublas.heuristic_status;
    const int rc = check(d, a, b, c, out);
    if (rc) return rc;
    if (d.epilogue & lti_fake_cublas.no_epilogue)
        return refuse(LTI_LT_NOT_SUPPORTED, "no such epilogue");
    const bool split = b.rows >= 64 && p.workspace >= SPLIT_WORKSPACE;
    Algo algo = {MAGIC, problem_of(d, a, b, out), split ? SPLIT_WORKSPACE : 0, {}, 0};
    memcpy(algo.align, p.align, sizeof p.align);
    algo.align[4] = alignment_of(d.bias);
    algo.rounds = (p.reduction & (REDUCTION_INPLACE | REDUCTION_OUTPUT_TYPE)) != 0;
    memset(choice, 0xff, (size_t)most * sizeof *choice);
    if (most > 1) choice++->state = LTI_LT_NOT_SUPPORTED; /* "the rest only counts when it is 0" */
    memcpy(&choice->algo, &algo, sizeof algo);
    choice->workspace = (size_t)algo.workspace;
    choice->state = OK;
    *found = most > 1 ? 2 : 1;
    return OK;
}

int check_call(const Algo &algo, const Desc &d, const Layout &a, const Layout &b, const Layout &out,
               const void *const *pointer, const void *workspace, size_t bytes) {
    if (algo.magic != MAGIC || algo.problem != problem_of(d, a, b, out))
        return refuse(LTI_LT_INVALID_VALUE, "an algorithm for another problem");
    for (int i = 0; i < 4; i++)
        if (!pointer[i] || (uintptr_t)pointer[i] % algo.align[i])
            return refuse(LTI_LT_INVALID_VALUE, "a pointer less aligned than promised");
    if (d.epilogue & LTI_LT_EPILOGUE_BIAS && (uintptr_t)d.bias % algo.align[4])
        return refuse(LTI_LT_INVALID_VALUE, "a bias less aligned than promised");
    if (algo.workspace > bytes || (algo.workspace && (!workspace || (uintptr_t)workspace % 256)))
        return refuse(LTI_LT_INVALID_VALUE, "workspace");
    return OK;
}

float activated(uint32_t epilogue, float v) {
    if (epilogue & LTI_LT_EPILOGUE_RELU) return v > 0 ? v : 0;
    if (epilogue & LTI_LT_EPILOGUE_GELU)
        return (float)(0.5 * v * (1 + tanh(0.7978845608028654 * (v + 0.044715 * v * v * v))));
    return v;
}

/* Row i of op(A) times column j of op(B). */
float product(const Desc &d, const void *A, const Layout &a, const void *B, const Layout &b,
              int64_t i, int64_t j, int round_type) {
    const bool ta = d.trans_a == LTI_LT_OP_T, tb = d.trans_b == LTI_LT_OP_T;
    const int64_t n = (int64_t)(ta ? a.rows : a.cols);
    double sum = 0;
    for (int64_t k = 0; k < n; k++) {
        sum += (double)element(A, a.type, ta ? k + i * a.ld : i + k * a.ld) *
               element(B, b.type, tb ? j + k * b.ld : k + j * b.ld);
        if (k % 4 == 3 && round_type >= 0) sum = round_to(round_type, (float)sum);
    }
    return (float)sum;
}

/* Of row i of op(A), or column i of op(B). */
float scale_at(const void *scale, int mode, int64_t i) {
    return scale ? ((const float *)scale)[mode ? i : 0] : 1.0f;
}

int matmul(void *, void *desc, const void *alpha, const void *A, void *a_, const void *B, void *b_,
           const void *beta, const void *C, void *c_, void *D, void *d_, const lti_lt_algo *chosen,
           void *workspace, size_t bytes, cudaStream_t stream) {
    const Desc &d = *(const Desc *)desc;
    const Layout &a = *(const Layout *)a_, &b = *(const Layout *)b_, &c = *(const Layout *)c_,
                 &out = *(const Layout *)d_;
    lti_fake_cublas.n_matmul++;
    if (lti_fake_cublas.matmul_fails && --lti_fake_cublas.matmul_fails == 0)
        return EXECUTION_FAILED;
    Algo algo;
    if (!chosen || !stream) return refuse(LTI_LT_INVALID_VALUE, "no algorithm or stream");
    memcpy(&algo, chosen, sizeof algo);
    const void *const pointer[] = {A, B, C, D};
    int rc = check(d, a, b, c, out);
    if (!rc) rc = check_call(algo, d, a, b, out, pointer, workspace, bytes);
    if (rc) return rc;
    if (*(const float *)beta != 0) return refuse(LTI_LT_NOT_SUPPORTED, "beta");
    const lti_shim_access access;
    memset(workspace, 0xff, (size_t)algo.workspace);
    const int bias_type = a.type == LTI_LT_R_8F_E4M3 ? (int)LTI_LT_R_16BF : out.type;
    for (int64_t j = 0; j < (int64_t)out.cols; j++)
        for (int64_t i = 0; i < (int64_t)out.rows; i++) {
            float v = *(const float *)alpha * scale_at(d.a_scale, d.a_mode, i) *
                      scale_at(d.b_scale, d.b_mode, j) *
                      product(d, A, a, B, b, i, j, algo.rounds ? out.type : -1);
            if (d.epilogue & LTI_LT_EPILOGUE_BIAS) v += element(d.bias, bias_type, i);
            v = activated(d.epilogue, v);
            if (out.type == LTI_LT_R_32F) ((float *)D)[i + j * out.ld] = v;
            else ((uint16_t *)D)[i + j * out.ld] = lti_f32_to_bf16(v);
        }
    return OK;
}

/* ---- as a library ----------------------------------------------------------------------------------- */

size_t get_version() { return lti_fake_cublas.version; }

const char *status_name(int status) {
    return status == LTI_LT_NOT_SUPPORTED   ? "CUBLAS_STATUS_NOT_SUPPORTED"
           : status == LTI_LT_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
           : status == EXECUTION_FAILED     ? "CUBLAS_STATUS_EXECUTION_FAILED"
           : status == 1                    ? "CUBLAS_STATUS_NOT_INITIALIZED"
                                            : "unknown status";
}

int create(void **handle) {
    if (lti_fake_cublas.create_status) return lti_fake_cublas.create_status;
    return make(handle, (int)1);
}

void *find(const char *symbol) {
    static const struct {
        const char *name;
        void *function;
    } all[] = {
        {"cublasLtGetVersion", (void *)&get_version},
        {"cublasLtGetStatusName", (void *)&status_name},
        {"cublasLtCreate", (void *)&create},
        {"cublasLtDestroy", (void *)&destroy<int>},
        {"cublasLtMatmulDescCreate", (void *)&desc_create},
        {"cublasLtMatmulDescDestroy", (void *)&destroy<Desc>},
        {"cublasLtMatmulDescSetAttribute", (void *)&desc_set},
        {"cublasLtMatrixLayoutCreate", (void *)&layout_create},
        {"cublasLtMatrixLayoutDestroy", (void *)&destroy<Layout>},
        {"cublasLtMatmulPreferenceCreate", (void *)&pref_create},
        {"cublasLtMatmulPreferenceDestroy", (void *)&destroy<Pref>},
        {"cublasLtMatmulPreferenceSetAttribute", (void *)&pref_set},
        {"cublasLtMatmulAlgoGetHeuristic", (void *)&heuristic},
        {"cublasLtMatmul", (void *)&matmul},
    };
    for (const auto &f : all)
        if (strcmp(f.name, symbol) == 0)
            return lti_fake_cublas.missing && strcmp(symbol, lti_fake_cublas.missing) == 0
                       ? nullptr
                       : f.function;
    return nullptr;
}

} // namespace

void lti_fake_cublas_install(const char *path) {
    lti_fake_cublas = lti_fake_cublas_state();
    lti_fake_cublas.version = 130100;
    lti_shim_library(path, find);
}
void lti_fake_broken_install(const char *path) { lti_shim_library(path, nullptr); }
void lti_fake_remove_all(void) { lti_shim_library(nullptr, nullptr); }
