/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/lib.cu - finds cuBLASLt and cuDNN on this machine and fills their tables.
 *
 * Where it looks, in order: the loader's own search (LD_LIBRARY_PATH, run path, ld.so.cache); the
 * folder of the CUDA runtime in use (our own when it is linked in) and the folders that pip puts
 * beside that one; the toolkit's usual places. No environment variable is read here, and no relative
 * path is opened. Names carry the version their interface is known for: that of our runtime first.
 *
 * A library that is not there is no error; one that is there and cannot be used is, unless another
 * one works: silently running ten times slower would be worse.
 *
 * Pitfall: they are never unloaded. They hold state of the CUDA context that outlives a device, and
 * the next open would read half a gigabyte again. */
#include "backend/cuda/lib.h"
#include "base/error.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__CUDACC__) && defined(__has_include)
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#define SAME(ours, theirs) static_assert((int)(ours) == (int)(theirs), #theirs)
SAME(LTI_LT_NOT_SUPPORTED, CUBLAS_STATUS_NOT_SUPPORTED);
SAME(LTI_LT_ARCH_MISMATCH, CUBLAS_STATUS_ARCH_MISMATCH);
SAME(LTI_LT_INVALID_VALUE, CUBLAS_STATUS_INVALID_VALUE);
SAME(LTI_LT_R_32F, CUDA_R_32F);
SAME(LTI_LT_R_16BF, CUDA_R_16BF);
SAME(LTI_LT_R_8F_E4M3, CUDA_R_8F_E4M3);
SAME(LTI_LT_COMPUTE_32F, CUBLAS_COMPUTE_32F);
SAME(LTI_LT_OP_N, CUBLAS_OP_N);
SAME(LTI_LT_OP_T, CUBLAS_OP_T);
SAME(LTI_LT_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(LTI_LT_DESC_TRANSB, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(LTI_LT_DESC_EPILOGUE, CUBLASLT_MATMUL_DESC_EPILOGUE);
SAME(LTI_LT_DESC_BIAS_POINTER, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
SAME(LTI_LT_DESC_A_SCALE, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
SAME(LTI_LT_DESC_B_SCALE, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
#if CUBLAS_VERSION >= 120900
SAME(LTI_LT_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_DESC_A_SCALE_MODE);
SAME(LTI_LT_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_DESC_B_SCALE_MODE);
SAME(LTI_LT_SCALE_OUTER_VECTOR, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
#endif
SAME(LTI_LT_DESC_BIAS_TYPE, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
SAME(LTI_LT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_DEFAULT);
SAME(LTI_LT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_RELU);
SAME(LTI_LT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_BIAS);
SAME(LTI_LT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU);
SAME(LTI_LT_EPILOGUE_GELU | LTI_LT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU_BIAS);
SAME(LTI_LT_EPILOGUE_RELU | LTI_LT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_RELU_BIAS);
SAME(LTI_LT_PREF_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(LTI_LT_PREF_REDUCTION, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
SAME(LTI_LT_PREF_ALIGN_A, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(LTI_LT_PREF_ALIGN_B, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
SAME(LTI_LT_PREF_ALIGN_C, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
SAME(LTI_LT_PREF_ALIGN_D, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
SAME(LTI_LT_REDUCTION_COMPUTE_TYPE, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
SAME(sizeof(lti_lt_algo), sizeof(cublasLtMatmulAlgo_t));
SAME(sizeof(lti_lt_choice), sizeof(cublasLtMatmulHeuristicResult_t));
SAME(offsetof(lti_lt_choice, workspace), offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
SAME(offsetof(lti_lt_choice, state), offsetof(cublasLtMatmulHeuristicResult_t, state));
#undef SAME
#endif
#endif

/* ---- finding ------------------------------------------------------------------------------------ */

/* Fill `table` from the open library and try it. False, and why in *err: it cannot be used. */
typedef bool (*Use)(void *library, const char *path, void *table, lt_error *err);

/* Folder i to look in, with a slash at its end; "" is the loader's own search. False: no more. */
static bool folder_of(int i, char *to, size_t room) {
    static const char *const beside[] = {"", "../../cublas/lib/", "../../cudnn/lib/"};
    static const char *const usual[] = {"/usr/local/cuda/lib64/", "/usr/local/cuda-13/lib64/",
                                        "/usr/local/cuda-12/lib64/", "/opt/cuda/lib64/"};
    const int n_beside = (int)(sizeof beside / sizeof *beside);
    const int n_usual = (int)(sizeof usual / sizeof *usual);
    to[0] = 0;
    if (i > n_beside + n_usual) return false;
    if (i > n_beside) snprintf(to, room, "%s", usual[i - n_beside - 1]);
    Dl_info of;
    if (i < 1 || i > n_beside || !dladdr((void *)&cudaGetDeviceCount, &of) || !of.dli_fname ||
        of.dli_fname[0] != '/')
        return true;
    const int folder = (int)(strrchr(of.dli_fname, '/') + 1 - of.dli_fname);
    if (snprintf(to, room, "%.*s%s", folder, of.dli_fname, beside[i - 1]) >= (int)room) to[0] = 0;
    return true;
}

/* The loader's words mean that `path` itself is not there: not that something it needs is not. */
static bool absent(const char *path, const char *why) {
    const size_t n = strlen(path);
    return strncmp(why, path, n) == 0 && why[n] == ':' && strstr(why, "No such file");
}

/* The first library of these names (a list ended by NULL) that can be used; *st as lib.h says. */
static void *find(const char *const *name, Use use, void *table, lt_status *st, lt_error *err) {
    char folder[512], path[600];
    lt_error first = {};
    for (; *name; name++)
        for (int i = 0; folder_of(i, folder, sizeof folder); i++) {
            snprintf(path, sizeof path, "%s%s", folder, *name);
            void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
            const char *why = library ? NULL : dlerror();
            if (why && !absent(path, why))
                lti_fail(&first, LT_EDEVICE, "backend cuda: %s cannot be loaded: %s", path, why);
            if (!library) continue;
            if (use(library, path, table, &first)) return *st = LT_OK, library;
            break; /* the same one in another folder would do no better */
        }
    *st = first.code < 0 ? lti_fail(err, first.code, "%s", first.msg) : LT_OK;
    return NULL;
}

typedef struct Symbol {
    size_t at; /* of the pointer in the table */
    const char *name;
} Symbol;

static bool fill(void *library, const char *path, void *table, const Symbol *s, size_t n,
                 lt_error *err) {
    for (size_t i = 0; i < n; i++) {
        void *f = dlsym(library, s[i].name);
        if (!f) {
            lti_fail(err, LT_EDEVICE, "backend cuda: %s: no function %s; install another version",
                     path, s[i].name);
            return false;
        }
        memcpy((char *)table + s[i].at, &f, sizeof f);
    }
    return true;
}

/* ---- cuBLASLt ------------------------------------------------------------------------------------- */

#define ENTRY(member, symbol)                                                                      \
    { offsetof(lti_cublas, member), symbol }
static const Symbol cublas_symbol[] = {
    ENTRY(get_version, "cublasLtGetVersion"),
    ENTRY(status_name, "cublasLtGetStatusName"),
    ENTRY(create, "cublasLtCreate"),
    ENTRY(destroy, "cublasLtDestroy"),
    ENTRY(desc_create, "cublasLtMatmulDescCreate"),
    ENTRY(desc_destroy, "cublasLtMatmulDescDestroy"),
    ENTRY(desc_set, "cublasLtMatmulDescSetAttribute"),
    ENTRY(layout_create, "cublasLtMatrixLayoutCreate"),
    ENTRY(layout_destroy, "cublasLtMatrixLayoutDestroy"),
    ENTRY(pref_create, "cublasLtMatmulPreferenceCreate"),
    ENTRY(pref_destroy, "cublasLtMatmulPreferenceDestroy"),
    ENTRY(pref_set, "cublasLtMatmulPreferenceSetAttribute"),
    ENTRY(heuristic, "cublasLtMatmulAlgoGetHeuristic"),
    ENTRY(matmul, "cublasLtMatmul"),
};
#undef ENTRY

static bool cublas_use(void *library, const char *path, void *table, lt_error *err) {
    lti_cublas *b = (lti_cublas *)table;
    if (!fill(library, path, b, cublas_symbol, sizeof cublas_symbol / sizeof *cublas_symbol, err))
        return false;
    b->version = b->get_version();
    if (b->version < 120000 || b->version >= 140000) {
        lti_fail(err, LT_EDEVICE, "backend cuda: %s: found version %zu, expected cuBLASLt 12 or 13",
                 path, b->version);
        return false;
    }
    const int rc = b->create(&b->handle);
    if (rc == 0) return true;
    lti_fail(err, LT_EDEVICE,
             "backend cuda: %s (version %zu) does not start: %s; its driver may be too old for it",
             path, b->version, b->status_name(rc));
    return false;
}

lt_status lti_cublas_open(lti_cublas **out, cudaStream_t stream, lt_error *err) {
    static const char *const names[] = {
#if defined(CUDART_VERSION) && CUDART_VERSION < 13000
        "libcublasLt.so.12",
        "libcublasLt.so.13",
#else
        "libcublasLt.so.13",
        "libcublasLt.so.12",
#endif
        "libcublasLt.so",
        NULL
    };
    *out = NULL;
    lti_cublas *b = (lti_cublas *)calloc(1, sizeof *b);
    if (!b) return lti_oom(err, sizeof *b);
    lt_status st;
    b->stream = stream;
    b->library = find(names, cublas_use, b, &st, err);
    if (b->library) *out = b;
    else free(b);
    return st;
}

void lti_cublas_close(lti_cublas **b) {
    if (*b) (*b)->destroy((*b)->handle);
    free(*b);
    *b = NULL;
}

/* ---- cuDNN ---------------------------------------------------------------------------------------- */

#define ENTRY(member, symbol)                                                                      \
    { offsetof(lti_cudnn, member), symbol }
static const Symbol cudnn_symbol[] = {
    ENTRY(get_version, "cudnnGetVersion"),
    ENTRY(error_string, "cudnnGetErrorString"),
    ENTRY(last_error, "cudnnGetLastErrorString"),
    ENTRY(create, "cudnnCreate"),
    ENTRY(destroy, "cudnnDestroy"),
    ENTRY(set_stream, "cudnnSetStream"),
    ENTRY(desc_create, "cudnnBackendCreateDescriptor"),
    ENTRY(desc_destroy, "cudnnBackendDestroyDescriptor"),
    ENTRY(desc_set, "cudnnBackendSetAttribute"),
    ENTRY(desc_get, "cudnnBackendGetAttribute"),
    ENTRY(desc_finalize, "cudnnBackendFinalize"),
    ENTRY(execute, "cudnnBackendExecute"),
};
#undef ENTRY

static bool cudnn_use(void *library, const char *path, void *table, lt_error *err) {
    lti_cudnn *n = (lti_cudnn *)table;
    if (!fill(library, path, n, cudnn_symbol, sizeof cudnn_symbol / sizeof *cudnn_symbol, err))
        return false;
    n->version = n->get_version();
    if (n->version < 90000 || n->version >= 100000) {
        lti_fail(err, LT_EDEVICE, "backend cuda: %s: found version %zu, expected cuDNN 9", path,
                 n->version);
        return false;
    }
    const int rc = n->create(&n->handle);
    if (rc == 0) return true;
    lti_fail(err, LT_EDEVICE,
             "backend cuda: %s (version %zu) does not start: %s; its driver may be too old for it",
             path, n->version, n->error_string(rc));
    return false;
}

lt_status lti_cudnn_open(lti_cudnn **out, cudaStream_t stream, lt_error *err) {
    static const char *const names[] = {"libcudnn.so.9", "libcudnn.so", NULL};
    *out = NULL;
    lti_cudnn *n = (lti_cudnn *)calloc(1, sizeof *n);
    if (!n) return lti_oom(err, sizeof *n);
    lt_status st;
    n->library = find(names, cudnn_use, n, &st, err);
    if (n->library && n->set_stream(n->handle, stream) == 0) return *out = n, LT_OK;
    if (n->library) {
        n->destroy(n->handle);
        st = lti_fail(err, LT_EDEVICE, "backend cuda: cuDNN %zu does not take our stream",
                      n->version);
    }
    free(n);
    return st;
}

void lti_cudnn_close(lti_cudnn **n) {
    if (*n) (*n)->destroy((*n)->handle);
    free(*n);
    *n = NULL;
}
