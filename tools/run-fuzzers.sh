#!/usr/bin/env bash
# run-fuzzers.sh SECONDS JOBS [TARGET...]: runs fuzzers of build/asan, JOBS at a time, SECONDS each. What they learn is
# kept in build/asan/found and used by the next run. Fails, naming the input, when one finds something. FUZZ_SEED=1 makes the
# same inputs every time, as far as the clock allows.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 70
seconds=$1 jobs=$2
shift 2
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in tests/fuzz/*_fuzz.cpp; do targets+=("$(basename "$source" _fuzz.cpp)"); done
fi

fuzz_one() {
    local name=$1 seconds=$2 found=build/asan/found/$1
    mkdir -p "$found/corpus"
    build/asan/tests/fuzz/fuzz_"$name" -max_total_time="$seconds" -seed="${FUZZ_SEED:-0}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$found/" "$found/corpus" "tests/fuzz/corpus/$name" >"$found/log" 2>&1
    local code=$?
    local runs
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log")
    if [ $code -eq 0 ]; then
        echo "  $name: ${runs:-0} inputs in $seconds s, nothing found"
    else
        echo "  $name: FAILED"
        grep -vE '^#[0-9]+\s' "$found/log" | tail -40
        echo "  the input and the log are in $found; copy the input to tests/fuzz/corpus/$name with the fix"
    fi
    return $code
}
export -f fuzz_one

echo "==> fuzzing ${targets[*]}, $seconds s each, $jobs at a time"
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'fuzz_one {} '"$seconds"
