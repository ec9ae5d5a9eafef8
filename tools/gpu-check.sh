#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/gpu-check.sh - everything that only a machine with an NVIDIA card can tell, in under nine minutes.
#
#   tools/gpu-check.sh [--build DIR] [--out DIR]   DIR: build-gpu, and results in it
#   tools/gpu-check.sh --pack                      elsewhere, with a network: fill build-pack/ (see below)
#   tools/gpu-check.sh --dry                       only print the steps
#   tools/gpu-check.sh --shim                      the same steps without a card: kernels on the host, small sizes
#   tools/gpu-check.sh --only configure,build,..   some of the steps
#
# Needs a CUDA toolkit, cmake, a C and C++ compiler, python3 (with PyTorch for the comparison). What is not there
# is left out of the build: oneDNN, FFmpeg, libpng. Four small libraries cannot be: cJSON, cmocka, utf8proc,
# sentencepiece. Where they are missing, run --pack on a Debian machine of the same age and take build-pack/ along.
#
# Each step has a time limit, and all together one; a step that fails stops nothing. Writes gpu-check.json and
# gpu-check.txt and a log of each step. Exit 0: all steps passed; 1: some did not; 2: usage.
set -uo pipefail
cd "$(dirname "$0")/.."

build=build-gpu out="" mode=gpu only="" pack=build-pack
DEADLINE=${DEADLINE:-520}
PYTHON=${PYTHON:-python3}
packages=(libcjson1 libcjson-dev libcmocka0 libcmocka-dev libutf8proc2 libutf8proc-dev
    libsentencepiece0 libsentencepiece-dev)

usage() {
    sed -n '3,19s/^# \{0,1\}//p' "$0"
    exit "$1"
}
while (($#)); do
    case $1 in
        --build | --out | --only)
            (($# > 1)) || usage 2 >&2
            declare "${1#--}=$2"
            shift
            ;;
        --pack | --dry | --shim) mode=${1#--} ;;
        -h | --help) usage 0 ;;
        *) usage 2 >&2 ;;
    esac
    shift
done
out=${out:-$build/results}

if [[ $mode == pack ]]; then
    set -e
    mkdir -p "$pack/debs" "$pack/root"
    (cd "$pack/debs" && apt-get download "${packages[@]}")
    for deb in "$pack"/debs/*.deb; do dpkg-deb -x "$deb" "$pack/root"; done
    rm -rf "$pack/debs" "$pack/root/usr/share"
    echo "gpu-check: $(du -sh "$pack" | cut -f1) in $pack/; tools/gpu-check.sh uses it when it lies in the source folder"
    exit 0
fi

# ---- steps ---------------------------------------------------------------------------------------------------

t0=$SECONDS
failed=()
if [[ $mode != dry ]]; then
    mkdir -p "$out"
    rm -f "$out"/*.out "$out"/*.log "$out"/gpu-check.* # of an earlier run
    : >"$out/steps.tsv"
fi

# step NAME LIMIT COMMAND..: with its log in $out/NAME.log; stdout also in $out/NAME.out
step() {
    local name=$1 limit=$2 left=$((DEADLINE - (SECONDS - t0))) rc=0 began=$SECONDS
    shift 2
    [[ -z $only || ,$only, == *,$name,* ]] || return 0
    if [[ $mode == dry ]]; then
        printf '%-12s at most %3d s: %s\n' "$name" "$limit" "$*"
        return 0
    fi
    ((limit < left)) || limit=$left
    if ((limit < 3)); then
        rc=125
        echo "no time left" >"$out/$name.log"
    else
        timeout -k 5 "$limit" "$@" >"$out/$name.out" 2>"$out/$name.log" </dev/null || rc=$?
    fi
    printf '%s\t%d\t%d\n' "$name" $rc $((SECONDS - began)) >>"$out/steps.tsv"
    if ((rc)); then
        failed+=("$name")
        printf '%-12s FAILED (%s) after %d s; the end of %s:\n' "$name" \
            "$( ((rc == 124 || rc == 137)) && echo "time limit" || echo "exit $rc")" $((SECONDS - began)) "$out/$name.log"
        tail -n 5 "$out/$name.out" "$out/$name.log" 2>/dev/null | cut -c 1-200 | sed 's/^/    /'
    else
        printf '%-12s ok, %d s\n' "$name" $((SECONDS - began))
    fi
}

# Every program, also after one that fails.
models() {
    local p rc=0
    for p in "$@"; do
        echo "== $p" >&2
        "$build/tests/$p" || rc=1
    done
    return $rc
}
export -f models

export OMP_WAIT_POLICY=passive build
read -ra args <<<"-DCMAKE_BUILD_TYPE=Release ${CMAKE_ARGS:-}"
if [[ -d $pack/root/usr ]]; then
    root=$PWD/$pack/root/usr
    args+=("-DCMAKE_PREFIX_PATH=$root" "-DCMAKE_LIBRARY_PATH=$root/lib/$(uname -m)-linux-gnu" "-DCMAKE_INCLUDE_PATH=$root/include")
fi
for nvcc in "$(command -v nvcc)" /usr/local/cuda/bin/nvcc; do
    [[ -x $nvcc ]] && export CUDACXX=$nvcc && break
done
tests=(test_dit test_rollout test_systems test_vae test_vae_encode test_tae test_text test_stream test_prompts
    test_reanchor test_given test_tae_stream test_vae_stream test_torch_model test_vram)
if [[ $mode == shim ]]; then
    checkops=checkops_shim
    tests=(test_dit_shim test_tae_shim)
    export LT_SHIM_STRICT=1
    args+=(-DLT_CUDA=OFF)
    small=(--dim 128 --layers 2 -W 64 -H 32 --chunks 3)
    host=(--backend auto "${small[@]}")
    torch=(--device cpu --dim 128 --layers 2 --width 64 --height 32 --chunks 3 --compile none)
    bench_ops=(--op cast)
else
    checkops=checkops
    args+=(-DLT_CUDA=ON)
    host=(--backend cuda)
    torch=(--device cuda)
    bench_ops=()
fi
export LT_BACKEND=cuda

step configure 60 cmake -S . -B "$build" "${args[@]}"
step build 260 cmake --build "$build" -j "$(nproc)" --target longtake "$checkops" "${tests[@]}"
step checkops 60 "$build/$checkops" --backend cuda $([[ $mode == shim ]] && echo --cases 3)
step models 90 bash -c 'models "$@"' models "${tests[@]}"
if [[ $mode == shim ]]; then
    step sanitizer 60 "$build/$checkops" --backend cuda --cases 1 --op linear
elif command -v compute-sanitizer >/dev/null || [[ -x /usr/local/cuda/bin/compute-sanitizer ]]; then
    sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
    step sanitizer 60 "$sanitizer" --tool memcheck --error-exitcode 9 "$build/$checkops" --backend cuda --cases 1
    step racecheck 40 "$sanitizer" --tool racecheck --error-exitcode 9 "$build/$checkops" --backend cuda --cases 1
else
    echo "sanitizer    left out: there is no compute-sanitizer"
fi
step bench 90 "$build/longtake" bench --gpu "${host[@]}"
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
if [[ $mode == dry ]] || ((${capability:-0} >= 89)); then
    step fp8 60 "$build/longtake" bench --gpu "${host[@]}" --dtype fp8
fi
step ops 60 "$build/$checkops" --bench --backend cuda ${bench_ops[@]+"${bench_ops[@]}"}
step torch 120 "$PYTHON" bench/torch/bench.py "${torch[@]}"
if [[ -n ${CUDACXX:-} ]]; then
    step archs 150 env LT_CUDA_ARCHS="80 90a" tools/check_cuda
fi
[[ $mode == dry ]] && exit 0

# ---- results -------------------------------------------------------------------------------------------------

gpu=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -n 1)
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
"$PYTHON" - "$out" "$mode" "${gpu:-none}" "$commit" <<'PY'
import json
import os
import re
import sys

out, mode, gpu, commit = sys.argv[1:]


def load(name):
    """The table, line by line: of a run that was cut off, what came before."""
    try:
        with open(os.path.join(out, name + ".out")) as f:
            found = [re.match(r"(.+?) +(-?\d+\.\d+) ?(\S*)$", line.rstrip("\n")) for line in f]
    except OSError:
        return []
    return [{"name": m[1], "value": float(m[2]), "unit": m[3]} for m in found if m]


with open(os.path.join(out, "steps.tsv")) as f:
    steps = [dict(zip(("name", "exit", "seconds"), (a, int(b), int(c)))) for a, b, c in
             (line.rstrip("\n").split("\t") for line in f)]
ours, fp8, torch = load("bench"), load("fp8"), load("torch")
with open(os.path.join(out, "gpu-check.json"), "w") as f:
    json.dump({"gpu": gpu, "commit": commit, "mode": mode, "steps": steps, "longtake": ours, "longtake_fp8": fp8, "torch": torch}, f, indent=1)

lines = ["gpu: %s   commit: %s   mode: %s" % (gpu, commit, mode), ""]
lines += ["%-44s %11s %11s %11s %7s" % ("", "longtake", "fp8", "PyTorch", "ratio")]
left = {"fp8": list(fp8), "torch": list(torch)}


def same(which, name):
    """The row of this name; names repeat, and all lists have one order."""
    for i, row in enumerate(left[which]):
        if row["name"] == name:
            left[which] = left[which][i + 1:]
            return row["value"]
    return None


for row in ours:
    small, other = same("fp8", row["name"]), same("torch", row["name"])
    cells = ["" if v is None else "%.3f" % v for v in (row["value"], small, other)]
    ratio = "%.2f" % (row["value"] / other) if other else ""
    lines.append("%-44s %11s %11s %11s %7s %s" % (row["name"], *cells, ratio, row["unit"]))
lines += [""] + ["%-12s %s, %d s" % (s["name"], "ok" if s["exit"] == 0 else "FAILED, exit %d" % s["exit"], s["seconds"]) for s in steps]
text = "\n".join(lines) + "\n"
with open(os.path.join(out, "gpu-check.txt"), "w") as f:
    f.write(text)
sys.stdout.write("\n" + text)
PY
echo
if ((${#failed[@]})); then
    echo "gpu-check: failed: ${failed[*]}; logs are in $out; $((SECONDS - t0)) s"
    exit 1
fi
echo "gpu-check: all steps passed in $((SECONDS - t0)) s; results are in $out"
