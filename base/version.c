/* SPDX-License-Identifier: Apache-2.0
 * base/version.c - the one place that knows the version string (the build passes it in). */
#include "longtake/longtake.h"

const char *lt_version(void) { return LT_VERSION_STRING; }
