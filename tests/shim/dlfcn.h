/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/dlfcn.h - the loader as backend/cuda/lib.cu sees it on the host: only libraries that a
 * test has installed can be opened, so that no real one of the machine ever is. */
#ifndef LT_TESTS_SHIM_DLFCN_H
#define LT_TESTS_SHIM_DLFCN_H

enum { RTLD_NOW = 2, RTLD_LOCAL = 0 };
typedef struct {
    const char *dli_fname;
} Dl_info;

void *lti_shim_dlopen(const char *path, int flags);
void *lti_shim_dlsym(void *library, const char *symbol);
const char *lti_shim_dlerror();
int lti_shim_dladdr(const void *address, Dl_info *info); /* the runtime is /shim/lib/libcudart.so */
#define dlopen lti_shim_dlopen
#define dlsym lti_shim_dlsym
#define dlerror lti_shim_dlerror
#define dladdr lti_shim_dladdr

/* For tests: `path`, as it is asked for, is a library whose functions `find` gives by name; find
 * NULL: it is there and does not load; path NULL: forget all. Paths are not copied. */
void lti_shim_library(const char *path, void *(*find)(const char *symbol));

#endif
