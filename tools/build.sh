#!/usr/bin/env bash
# build.sh PRESET JOBS [TARGET...]: configures and builds, with progress, and goes on where an earlier build stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1 jobs=$2
shift 2

echo "==> configuring $preset"
cmake --preset "$preset" >"/tmp/lucebox-configure.$$" 2>&1 || { cat "/tmp/lucebox-configure.$$" >&2; exit 1; }
rm -f "/tmp/lucebox-configure.$$"
echo "==> building $preset with $jobs jobs${*:+: $*}"
build=(cmake --build "build/$preset" -j "$jobs")
[ $# -eq 0 ] || build+=(--target "$@")
# On a terminal ninja redraws one line; elsewhere that would be hundreds of lines, so only every twentieth is shown,
# and everything once something fails.
build() {
    if [ -t 1 ]; then
        "${build[@]}"
    else
        "${build[@]}" |
            awk '/^\[[0-9]+\/[0-9]+\]/ { split($1, at, /[][\/]/); if (failed || at[2] % 20 == 0 || at[2] == at[3]) print; next }
                 /^FAILED/ { failed = 1 } { print } { fflush() }'
    fi
}
build && exit
grep -q '^CMAKE_UNITY_BUILD:.*=ON' "build/$preset/CMakeCache.txt" || exit 1
# Two files of a layer may share a name that is private to each; that is no error of theirs.
echo "==> several files at a time do not compile (names that must differ then: compiled_alone in CMakeLists.txt); one by one"
cmake --preset "$preset" -DCMAKE_UNITY_BUILD=OFF >/dev/null
build
