#!/usr/bin/env bash
# reproducible.sh [--against PROGRAM] [JOBS [CMAKE-OPTION...]]: builds the whole program twice, from copies of the source in folders of different
# names and without a compiler cache, and compares what comes out byte for byte. With --against: once, and compares with PROGRAM, which must be
# of the same source, compiler and options. Takes a full build or two; `tests/release/test_reproducible.py` tries a sample in seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
against=
if [ "${1:-}" = --against ]; then
    against=$(realpath "$2")
    shift 2
    # A copy of the source is no repository: the commit that is baked in comes from here.
    GIT_SHA=$("$against" version --json | sed -n 's/.*"git_sha": *"\([^"]*\)".*/\1/p')
    export GIT_SHA
fi
jobs=${1:-$(nproc)}
[ $# -eq 0 ] || shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CCACHE_DISABLE=1
unset CMAKE_CXX_COMPILER_LAUNCHER CMAKE_C_COMPILER_LAUNCHER CMAKE_CUDA_COMPILER_LAUNCHER

# build NAME CMAKE-OPTION...: the program of a copy of the source in $work/NAME, with what is baked in the same.
build() {
    local tree=$work/$1
    shift
    mkdir -p "$tree"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"
    cmake -S "$tree" -B "$tree/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLUCEBOX_TESTS=OFF "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    cmake --build "$tree/build" -j "$jobs" --target lucebox >"$work/log" 2>&1 || { tail -n 50 "$work/log" >&2; exit 1; }
    sha256sum <"$tree/build/lucebox" | cut -d' ' -f1
}

first=$(if [ -n "$against" ]; then sha256sum <"$against" | cut -d' ' -f1; else build one "$@"; fi)
echo "first:  $first"
second=$(build 'another, longer name' "$@")
echo "second: $second"
[ "$first" = "$second" ] || { echo 'error: the two programs differ' >&2; exit 1; }
echo '==> the same program, byte for byte'
