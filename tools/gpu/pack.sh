#!/usr/bin/env bash
# Packs what a bare GPU machine needs to build and check the engine: sources, oracles, header-only libraries, GoogleTest.
# There: tools/gpu/suite.sh. The machine needs a C++ compiler, CMake, Ninja and nvcc, and no network.
#   tools/gpu/pack.sh FOLDER
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: tools/gpu/pack.sh FOLDER" >&2; exit 64; }
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$1
mkdir -p "$out/tree/tests" "$out/headers" "$out/gtest/include" "$out/gtest/lib"

cp -r "$root"/{CMakeLists.txt,CMakePresets.json,cmake,src,bench,tools} "$out/tree/"
cp -r "$root"/tests/{CMakeLists.txt,compute,compute_cuda,model,data} "$out/tree/tests/"
rm -rf "$out"/tree/tests/data/{templates,tokenizers} # text is the same everywhere
git -C "$root" rev-parse HEAD > "$out/commit" 2>/dev/null || echo unknown > "$out/commit"

for library in fmt nlohmann spdlog toml++ CLI; do cp -rL "/usr/include/$library" "$out/headers/"; done
cp -rL /usr/include/{gtest,gmock} "$out/gtest/include/"
for library in gtest gtest_main gmock gmock_main; do
    cp -L "$(find /usr/lib -name "lib$library.a" | head -1)" "$out/gtest/lib/"
done
echo "packed into $out: $(du -sh "$out" | cut -f1). On the GPU machine: cd $out && tree/tools/gpu/suite.sh"
