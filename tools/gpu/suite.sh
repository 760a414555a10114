#!/usr/bin/env bash
# Builds on a GPU machine what tools/gpu/pack.sh packed, runs every check that needs a GPU, and writes report.md.
# Run in the packed folder. Parts can be chosen: tests sanitizer older bench; all if none is named.
#   tree/tools/gpu/suite.sh [PART]... ; MODEL=file.gguf adds a benchmark of that model; BUILD=folder keeps builds elsewhere.
# OLDER="75 80 89" are the older architectures; FILTER chooses among the tests, as GoogleTest's does.
# A kernel that never ends costs its test a time limit, not the run: each test suite is a process of its own.
set -uo pipefail
here=$PWD
build=${BUILD:-/tmp/lucebox-gpu}
report=${REPORT:-$here/report.md}
jobs=$(nproc)
limit=${LIMIT:-150} # seconds for a suite
[ -d "$here/tree/src" ] || { echo "error: run this in the folder that tools/gpu/pack.sh made" >&2; exit 64; }
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(tests sanitizer older bench)
failed=0

say() { echo "$*" | tee -a "$report"; }
# check NAME COMMAND...: runs it, notes whether it passed, and shows the end of its output if not.
check() {
    local name=$1 log=$build/log
    shift
    local begin=$SECONDS
    if "$@" >"$log" 2>&1; then
        say "| $name | passed | $((SECONDS - begin)) s |"
    else
        failed=1
        say "| $name | **failed** | $((SECONDS - begin)) s |"
        tail -25 "$log" >&2
    fi
}
wanted() { [[ " ${parts[*]} " == *" $1 "* ]]; }

# build_for NAME ARCHITECTURES TARGETS...
build_for() {
    local name=$1 architectures=$2
    shift 2
    cmake -G Ninja -S "$here/tree" -B "$build/$name" -DCMAKE_BUILD_TYPE=Release -DLUCEBOX_CUDA=ON \
        -DCMAKE_CUDA_ARCHITECTURES="$architectures" -DLUCEBOX_SERVER=OFF -DLUCEBOX_HEADERS="$here/headers" \
        -DCMAKE_PREFIX_PATH="$here/gtest" -DGTEST_ROOT="$here/gtest" &&
        cmake --build "$build/$name" -j "$jobs" --target "$@"
}
# suite BUILD PROGRAM SUITE FILTER: one row of the report. What skips because it saw no GPU has failed.
suite() {
    local program=$build/$1/tests/$2 log=$build/logs/$1-${3//\//_} begin=$SECONDS status=0 verdict=passed
    (cd "$here/tree" && timeout -k 5 "$limit" "$program" --gtest_filter="$4") >"$log" 2>&1 || status=$?
    local passed wrong
    passed=$(grep -c '^\[       OK' "$log")
    wrong=$(grep -o '^\[  FAILED  \] [A-Za-z][^ ,]*' "$log" | awk '{print $4}' | sort -u | tr '\n' ' ')
    if [ $status -ne 0 ]; then
        verdict="**failed**: ${wrong:-exit $status}"
        [ $status -lt 124 ] || verdict="**ended by signal or time limit ($status) in $(grep '^\[ RUN' "$log" | tail -1 | awk '{print $4}')** $wrong"
    elif grep -q 'no GPU' "$log"; then
        verdict='**skipped: no GPU**'
    elif [ "$passed" -eq 0 ]; then
        verdict='**ran no test**'
    fi
    echo "| $1: $2 $3 | $verdict | $passed passed, $((SECONDS - begin)) s |"
}
# tests_of BUILD: the operations and the models, on the GPU alone; several suites at once.
tests_of() {
    local program filter=${FILTER:-*cuda*:*Cuda*} names waiting=()
    mkdir -p "$build/logs"
    for program in test_compute test_model test_decode test_engine; do
        names=$(cd "$here/tree" && "$build/$1/tests/$program" --gtest_list_tests --gtest_filter="$filter" | awk '
            /^[^ ].*\.$/ { suite = $1; next }
            /^  / { key = suite; if (match($1, /\/(llama|qwen|gemma|heads)[a-z0-9_]*$/)) key = suite substr($1, RSTART)
                    tests[key] = tests[key] ":" suite $1 }
            END { for (key in tests) print key, substr(tests[key], 2) }')
        while read -r name which; do
            [ -n "$name" ] && waiting+=("$program" "$name" "$which")
        done <<<"$names"
    done
    printf '%s\0' "${waiting[@]}" | xargs -0 -n 3 -P 6 bash -c 'suite "$0" "$@"' "$1" >"$build/rows"
    tee -a "$report" <"$build/rows"
    ! grep -q '\*\*' "$build/rows" || failed=1
}
export -f suite
export build here limit
sanitize() {
    (cd "$here/tree" && timeout -k 5 400 compute-sanitizer --tool "$1" --error-exitcode 9 "$build/native/tests/test_model" --gtest_filter="$2")
}

mkdir -p "$build"
card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1)
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
native=$capability-real
[ "$capability" = 90 ] && native=90a-real
: > "$report"
say "# GPU suite: commit $(cat "$here/commit"), $card, $(nvcc --version | grep -o 'release [0-9.]*'), $(date -u +%F)"
say ""
say "| check | result | time |"
say "| --- | --- | --- |"
check "build ($native)" build_for native "$native" lucebox test_compute test_model test_decode test_engine bench_cuda_matmul bench_cuda_delta_net

if wanted tests; then
    [ -n "${FILTER:-}" ] || check "products of every type and shape" timeout -k 5 "$limit" "$build/native/bench/bench_cuda_matmul" check
    tests_of native
fi
if wanted sanitizer; then
    # One model of each kind: sliding windows, grouped queries, the recurrent state; trees and accepted paths.
    for tool in memcheck initcheck synccheck; do
        check "compute-sanitizer $tool" sanitize "$tool" '*AnAccepted*cuda:*GreedyText*llama_cuda:*GreedyText*qwen2_cuda'
    done
    check "compute-sanitizer racecheck" sanitize racecheck '*UncommittedRows*llama_cuda:*UncommittedRows*gemma3_cuda:*UncommittedRows*qwen35_cuda'
fi
if wanted older; then
    # PTX of one older architecture alone: the driver compiles it for this card, and it runs that card's code.
    for architecture in ${OLDER:-75 80 89}; do
        check "build (PTX of sm_$architecture)" build_for "ptx$architecture" "$architecture-virtual" test_compute test_model test_decode test_engine
        tests_of "ptx$architecture"
    done
fi
if wanted bench && [ -n "${MODEL:-}" ]; then
    say ""
    say '```'
    "$build/native/lucebox" bench --device cuda --model "$MODEL" --prompts 2048,8192 --contexts 8192 --rows 1,2,4,8,16,24,32,48,64 2>/dev/null | tee -a "$report"
    say '```'
fi
[ $failed -eq 0 ] && echo "all passed; the report is $report" || echo "something failed; the report is $report"
exit $failed
