/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_preset.c - any bytes as a preset: refused with one line, or settings in range. */
#include "base/error.h"
#include "tests/fuzz/fuzz.h"
#include "pipeline/defaults.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The reader takes a path: the bytes go through one file of this process. */
static const char *as_file(const uint8_t *data, size_t size) {
    static char path[64];
    if (!*path) snprintf(path, sizeof path, "/tmp/lt_fuzz_preset_%d.json", (int)getpid());
    FILE *f = fopen(path, "wb");
    if (!f) return NULL;
    const size_t n = size ? fwrite(data, 1, size, f) : 0;
    return fclose(f) == 0 && n == size ? path : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = as_file(data, size);
    char *json;
    lt_error err = {0};
    if (!path) return 0;
    if (lt_preset_json(path, &json, &err) == LT_OK) {
        lti_defaults d;
        lt_model_info m;
        cJSON *o = cJSON_Parse(json);
        LT_ASSERT(o);
        lti_defaults_init(&d, &m);
        LT_ASSERT(lti_defaults_read(&d, o, "again", &err) == LT_OK);
        LT_ASSERT(m.chunk >= 1 && m.window >= 0 && m.sink >= 0 && m.ema > 0 && m.ema < 1);
        LT_ASSERT(m.sink_policy >= LT_SINK_NONE && m.sink_policy <= LT_SINK_EMA);
        LT_ASSERT(m.prompt_switch >= LT_SWITCH_NONE && m.prompt_switch <= LT_SWITCH_LERP);
        LT_ASSERT(m.init_mode >= LT_INIT_DEFAULT && m.init_mode <= LT_INIT_PREFILL);
        LT_ASSERT(m.n_step >= 1 && m.n_step <= LTI_MAX_STEPS && m.flow_shift > 0);
        cJSON_Delete(o);
        lt_free(json);
    } else LT_ASSERT(!json && err.msg[0]);
    unlink(path);
    return 0;
}
