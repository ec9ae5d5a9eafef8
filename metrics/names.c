/* SPDX-License-Identifier: Apache-2.0
 * metrics/names.c - names, units and digits of the metrics, from the one list of metrics.h. */
#include "longtake/metrics.h"
#include <stdbool.h>
#include <string.h>

static const struct {
    const char *name, *unit;
    int32_t digits;
} table[LT_METRIC_COUNT] = {
#define ROW(NAME, name, unit, digits) {#name, unit, digits},
    LT_METRIC_MAP(ROW)
#undef ROW
};

static bool known(int32_t metric) { return metric >= 0 && metric < LT_METRIC_COUNT; }

const char *lt_metric_name(int32_t metric) { return known(metric) ? table[metric].name : NULL; }
const char *lt_metric_unit(int32_t metric) { return known(metric) ? table[metric].unit : NULL; }
int32_t lt_metric_digits(int32_t metric) { return known(metric) ? table[metric].digits : 0; }

int32_t lt_metric_by_name(const char *name) {
    for (int32_t i = 0; i < LT_METRIC_COUNT; i++)
        if (strcmp(table[i].name, name) == 0) return i;
    return -1;
}
