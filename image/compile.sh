#!/bin/sh
# compile.sh ARCHES OUTPUT: the program for a list of CUDA architectures ("75;86;120"), or for the CPU alone if it is empty.
set -eu
arches=$1 output=$2 build=${BUILD_FOLDER:-/build}
here=$(cd "$(dirname "$0")" && pwd)
set -- -DCMAKE_BUILD_TYPE=Release -DLUCEBOX_TESTS=OFF -DCMAKE_SKIP_RPATH=ON
if [ -n "$arches" ]; then
    set -- "$@" -DLUCEBOX_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$("$here/cuda-arches.sh" "$arches")"
fi
# For AMD's cards, "gfx1151;gfx1100"; a layout, see CMakeLists.txt.
if [ -n "${HIP_ARCHES:-}" ]; then set -- "$@" -DLUCEBOX_HIP=ON "-DCMAKE_HIP_ARCHITECTURES=$HIP_ARCHES"; fi
cmake -S "$here/.." -B "$build" -G Ninja "$@"
cmake --build "$build" --target lucebox
mkdir -p "$(dirname "$output")"
cp "$build/lucebox" "$output"
strip --strip-unneeded "$output"
