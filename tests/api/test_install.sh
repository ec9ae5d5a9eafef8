#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make install, as somebody who builds against it sees it: files in place, an example compiles with
# pkg-config and with find_package, the installed binary finds the model in the box, and the shared
# library exports lt_* and nothing else.   test_install.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
src=$1 build=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "test_install: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$dir/usr" > "$dir/log"
for f in bin/longtake include/longtake/longtake.h include/longtake/encode.h include/longtake/status.h \
    share/longtake/models/longtake.json; do
    [ -f "$dir/usr/$f" ] || fail "$f was not installed"
done
so=$(find "$dir/usr" -name liblongtake.so)
lib=$(dirname "$so")
foreign=$(nm -D --defined-only "$so" | awk '$2 ~ /[A-Z]/ {print $3}' | grep -v '^lt_' | grep -v '^_' || true)
[ -z "$foreign" ] || fail "exports that are not lt_*: $foreign"
[ "$(nm -D --defined-only "$so" | grep -c ' T lt_')" -ge 20 ] || fail "too few exports"

export PKG_CONFIG_PATH=$lib/pkgconfig LD_LIBRARY_PATH=$lib
# shellcheck disable=SC2046 # a list of flags
cc -std=c11 "$src/examples/01_one_clip.c" $(pkg-config --cflags --libs longtake) -o "$dir/by_pc"
mkdir "$dir/proj"
cat > "$dir/proj/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.24)
project(user C)
find_package(longtake REQUIRED)
add_executable(by_cmake $src/examples/01_one_clip.c)
target_link_libraries(by_cmake longtake::longtake)
CMAKE
cmake -S "$dir/proj" -B "$dir/proj/b" -DCMAKE_PREFIX_PATH="$dir/usr" > "$dir/log" 2>&1 || { cat "$dir/log"; fail "find_package"; }
cmake --build "$dir/proj/b" > "$dir/log" 2>&1 || { cat "$dir/log"; fail "build with find_package"; }

cd "$dir"
"$dir/usr/bin/longtake" generate -p "a blue star" --frames 9 -o clip.mp4 --quiet > "$dir/log" 2>&1 || { cat "$dir/log"; fail "the installed binary"; }
[ -s clip.mp4 ] || fail "no clip.mp4"
echo "installed: $(find "$dir/usr" -type f | wc -l) files"
