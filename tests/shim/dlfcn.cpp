/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/dlfcn.cpp - a loader that knows what tests install, see dlfcn.h. */
#include "dlfcn.h"
#include "fake_cublaslt.h"
#include "fake_cudnn.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

struct Library {
    const char *path;
    void *(*find)(const char *);
};
enum { MOST = 8 };
Library library[MOST];
int n_library;
char error[256];

} // namespace

void lti_shim_library(const char *path, void *(*find)(const char *)) {
    if (!path) n_library = 0;
    else if (n_library < MOST) library[n_library++] = Library{path, find};
    else abort();
}

/* LT_SHIM_LIBRARIES in the environment: cuBLASLt and cuDNN are installed, without a word of the test. */
static void install_once() {
    static bool done;
    if (done || !getenv("LT_SHIM_LIBRARIES")) return;
    done = true;
    lti_fake_cublas_install("libcublasLt.so.13");
    lti_fake_cudnn_install("libcudnn.so.9");
}

void *lti_shim_dlopen(const char *path, int) {
    install_once();
    for (int i = 0; i < n_library; i++) {
        if (strcmp(path, library[i].path) != 0) continue;
        if (library[i].find) return &library[i];
        snprintf(error, sizeof error, "%s: wrong ELF class: ELFCLASS32", path);
        return nullptr;
    }
    snprintf(error, sizeof error, "%s: cannot open shared object file: No such file or directory",
             path);
    return nullptr;
}

void *lti_shim_dlsym(void *of, const char *symbol) { return ((Library *)of)->find(symbol); }

const char *lti_shim_dlerror() { return error; }

int lti_shim_dladdr(const void *, Dl_info *info) {
    info->dli_fname = "/shim/lib/libcudart.so";
    return 1;
}
