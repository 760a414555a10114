#!/usr/bin/env bash
# Packs a finished CUDA build for a GPU machine: the program, the tests that use a GPU, and the libraries that the machine may
# lack. Where GPU time is short this is better than pack.sh, which builds there. Run the packed measure.sh on that machine, in a
# checkout: the tests read its tests/data.
#   tools/gpu/pack-binaries.sh BUILD FOLDER      e.g. build/cuda-dev /tmp/gpu
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: tools/gpu/pack-binaries.sh BUILD FOLDER" >&2; exit 64; }
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$1 out=$2
programs=(lucebox tests/test_compute tests/test_model tests/test_decode tests/test_engine bench/bench_cuda_matmul)
for program in "${programs[@]}"; do
    [ -x "$build/$program" ] || { echo "error: $build/$program is not built" >&2; exit 66; }
done
mkdir -p "$out/bin"
for program in "${programs[@]}"; do strip -o "$out/bin/$(basename "$program")" "$build/$program"; done
# All but what every Linux has: the C and C++ runtimes must be the machine's own.
ldd "${programs[@]/#/$build/}" | grep -oE '/[^ ]+\.so[^ ]*' | sort -u |
    grep -vE '/(ld-linux|libc|libm|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s)[-.]' |
    while read -r library; do cp -L "$library" "$out/bin/"; done
# The programs share most of their code: in one archive with a large window they are a third of their size.
tar -C "$out" -c bin | xz -9 > "$out/programs.tar.xz"
rm -r "${out:?}/bin"
cp "$root/tools/gpu/measure.sh" "$out/"
git -C "$root" rev-parse HEAD > "$out/commit" 2>/dev/null || echo unknown > "$out/commit"
echo "packed into $out: $(du -sh "$out" | cut -f1). On the GPU machine, in a checkout: $out/measure.sh tests; MODEL=file.gguf $out/measure.sh bench"
