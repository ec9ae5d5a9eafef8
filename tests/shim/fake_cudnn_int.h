/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/fake_cudnn_int.h - inside of the cuDNN on the host: fake_cudnn.cpp has its descriptors
 * and rules, fake_cudnn_run.cpp executes. */
#ifndef LT_TESTS_SHIM_FAKE_CUDNN_INT_H
#define LT_TESTS_SHIM_FAKE_CUDNN_INT_H
#include "fake_cudnn.h"
#include "backend/cuda/dnn.h"
#include <cstring>
#include <map>
#include <vector>

namespace fake_cudnn {

enum {
    OK = 0,
    BAD = 2000,
    MISALIGNED = 2003,
    NOT_FINAL = 2004,
    MISFIT = 2008,
    TWICE = 2009,
    WRONG_TYPE = 2010,
    UNSUPPORTED = 3000
};

struct Value {
    int type;
    int64_t n;
    std::vector<unsigned char> bytes;
};
struct Desc {
    int type;
    bool final;
    std::map<int, Value> value;
    int engine; /* of configs, engines and plans */

    bool has(int name) const { return value.count(name) != 0; }
    template <class T> T get(int name, int64_t i = 0) const {
        T v;
        memcpy(&v, value.at(name).bytes.data() + (size_t)i * sizeof v, sizeof v);
        return v;
    }
    int64_t integer(int name, int64_t i = 0) const { return get<int64_t>(name, i); }
    int number(int name) const { return get<int>(name); }
    bool flag(int name) const { return has(name) && get<bool>(name); }
    Desc *desc(int name, int64_t i = 0) const { return get<Desc *>(name, i); }
    int64_t count(int name) const { return has(name) ? value.at(name).n : 0; }
};

typedef std::vector<int64_t> Dims;

static inline Dims dims_of(const Desc *t, int name = LTI_DNN_TENSOR_DIMS) {
    Dims d;
    for (int64_t i = 0; i < t->count(name); i++) d.push_back(t->integer(name, i));
    return d;
}
static inline int64_t numel(const Dims &d) {
    int64_t n = 1;
    for (int64_t v : d) n *= v;
    return n;
}

/* Counts and notes what broke a rule; returns the status. */
int refuse(int status, const char *why);
/* Tensors that an operation reads and makes. */
void tensors_of(const Desc *op, std::vector<const Desc *> *in, std::vector<const Desc *> *out);
/* Runs a finalised graph with a finalised pack; a status. */
int run(const Desc *graph, const Desc *pack);

} // namespace fake_cudnn

#endif
