#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fails when a C or C++ file is not formatted as .clang-format says.
#   tools/check_format.sh          check
#   tools/check_format.sh --fix    rewrite the files
# CLANG_FORMAT names the binary; its output differs between major versions, CI uses 14.
set -eu
cd "$(dirname "$0")/.."
tool=${CLANG_FORMAT:-clang-format}
if ! command -v "$tool" >/dev/null 2>&1; then
    echo "check_format: $tool not found; install clang-format or set CLANG_FORMAT" >&2
    exit 2
fi
mode="--dry-run -Werror"
if [ "${1:-}" = "--fix" ]; then mode="-i"; fi
dirs=""
for dir in include base tensor backend weights rope cache scheduler text dit vae pipeline encode \
    metrics cli examples tests bench; do
    if [ -d "$dir" ]; then dirs="$dirs $dir"; fi
done
# shellcheck disable=SC2086 # $dirs and $mode are lists
find $dirs -type f \( -name '*.c' -o -name '*.h' -o -name '*.cc' -o -name '*.inc' -o -name '*.cu' \) \
    -print0 | xargs -0 "$tool" --style=file $mode
