/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/dnn.h - the part of oneDNN's C API we use, the same for 2.x and 3.x.
 *
 * 2.x describes memory by value and makes primitives through an operation descriptor; 3.x has
 * opaque memory descriptors and one create function per primitive. All differences are here. */
#ifndef LT_BACKEND_CPU_DNN_H
#define LT_BACKEND_CPU_DNN_H
#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stdlib.h>

#define DNN_DIMS 5

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t dnn_cmd;
typedef dnnl_memory_desc_t dnn_md; /* owned */
static inline dnnl_status_t dnn_md_make(dnn_md *md, int n, const int64_t *dims, dnnl_data_type_t t,
                                        dnnl_format_tag_t tag) {
    dnnl_dims_t d = {0};
    for (int i = 0; i < n; i++) d[i] = dims[i];
    return dnnl_memory_desc_create_with_tag(md, n, d, t, tag);
}
static inline dnnl_status_t dnn_md_copy(dnn_md *md, dnn_cmd from) {
    return dnnl_memory_desc_clone(md, from);
}
static inline dnn_cmd dnn_md_ref(const dnn_md *md) { return *md; }
static inline void dnn_md_free(dnn_md *md) {
    if (*md) dnnl_memory_desc_destroy(*md);
    *md = NULL;
}
#else
typedef const dnnl_memory_desc_t *dnn_cmd;
typedef dnnl_memory_desc_t dnn_md;
static inline dnnl_status_t dnn_md_make(dnn_md *md, int n, const int64_t *dims, dnnl_data_type_t t,
                                        dnnl_format_tag_t tag) {
    dnnl_dims_t d = {0};
    for (int i = 0; i < n; i++) d[i] = dims[i];
    return dnnl_memory_desc_init_by_tag(md, n, d, t, tag);
}
static inline dnnl_status_t dnn_md_copy(dnn_md *md, dnn_cmd from) {
    *md = *from;
    return dnnl_success;
}
static inline dnn_cmd dnn_md_ref(const dnn_md *md) { return md; }
static inline void dnn_md_free(dnn_md *md) { (void)md; }
#endif

/* dst = post_ops(src x weights + bias); bias may be NULL */
static inline dnnl_status_t dnn_matmul(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnn_cmd src,
                                       dnn_cmd w, dnn_cmd bias, dnn_cmd dst,
                                       const_dnnl_primitive_attr_t attr) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(pd, e, src, w, bias, dst, attr);
#else
    dnnl_matmul_desc_t d;
    dnnl_status_t s = dnnl_matmul_desc_init(&d, src, w, bias, dst);
    return s ? s : dnnl_primitive_desc_create(pd, &d, attr, e, NULL);
#endif
}

static inline dnnl_status_t dnn_conv(dnnl_primitive_desc_t *pd, dnnl_engine_t e, dnn_cmd src,
                                     dnn_cmd w, dnn_cmd bias, dnn_cmd dst, const int64_t *stride,
                                     const int64_t *pad_l, const int64_t *pad_r,
                                     const_dnnl_primitive_attr_t attr) {
    dnnl_dims_t st = {0}, dil = {0}, pl = {0}, pr = {0};
    for (int i = 0; i < 3; i++) {
        st[i] = stride[i];
        pl[i] = pad_l[i];
        pr[i] = pad_r[i];
    }
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(pd, e, dnnl_forward_inference,
                                                          dnnl_convolution_direct, src, w, bias,
                                                          dst, st, dil, pl, pr, attr);
#else
    dnnl_convolution_desc_t d;
    dnnl_status_t s = dnnl_dilated_convolution_forward_desc_init(
        &d, dnnl_forward_inference, dnnl_convolution_direct, src, w, bias, dst, st, dil, pl, pr);
    return s ? s : dnnl_primitive_desc_create(pd, &d, attr, e, NULL);
#endif
}

static inline dnnl_status_t dnn_append_eltwise(dnnl_post_ops_t po, dnnl_alg_kind_t alg, float a) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_eltwise(po, alg, a, 0.0f);
#else
    return dnnl_post_ops_append_eltwise(po, 1.0f, alg, a, 0.0f);
#endif
}
static inline dnnl_status_t dnn_append_sum(dnnl_post_ops_t po) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_sum(po, 1.0f, 0, dnnl_data_type_undef);
#else
    return dnnl_post_ops_append_sum(po, 1.0f);
#endif
}
#endif
