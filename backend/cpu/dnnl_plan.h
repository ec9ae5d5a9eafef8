/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/dnnl_plan.h - cached oneDNN primitives and packed weights, between dnnl_*.c. */
#ifndef LT_BACKEND_CPU_DNNL_PLAN_H
#define LT_BACKEND_CPU_DNNL_PLAN_H
#include "backend/cpu/cpu.h"
#include "backend/cpu/dnn.h"

enum { LTI_PLAN_LINEAR, LTI_PLAN_CONV };

/* All that a primitive depends on; compared byte by byte, so zero it first. */
typedef struct lti_cpu_plan_key {
    int32_t kind, act;
    int32_t compute, xt, ot; /* dtypes: weights, primitive's source, primitive's destination */
    int32_t bias, add;
    int32_t pad_;
    int64_t n[20]; /* linear: M, K, N; conv: x, w, out extents, strides, pads */
} lti_cpu_plan_key;

typedef struct lti_cpu_plan {
    lti_cpu_plan_key key;
    dnnl_primitive_t prim;
    dnn_md weights;              /* the layout it wants */
    dnnl_memory_t src, dst, tmp; /* re-pointed at every call */
    size_t tmp_bytes;
    int team; /* threads it was made for */
} lti_cpu_plan;

/* The primitive for a key, made on first use; NULL and a sticky error if oneDNN refuses. */
lti_cpu_plan *lti_cpu_plan_get(lti_dev *d, const lti_cpu_plan_key *key);
/* Make sure w exists in the plan's layout. */
bool lti_cpu_plan_weights(lti_dev *d, const lti_cpu_plan *p, const lti_packed *w);
void lti_cpu_plan_run(lti_dev *d, lti_cpu_plan *p, const lti_packed *w, const void *x, void *out,
                      void *tmp);
#endif
