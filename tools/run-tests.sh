#!/usr/bin/env bash
# run-tests.sh JOBS STAGE...: runs stages of the tests, all of them even if one fails; the summary at the end says what
# each found and how long it took. Builds go on where an interrupted one stopped.
#
#   release   everything, and every test
#   asan      clang, address and undefined-behaviour sanitizers: what reads untrusted bytes, and what serves
#   fuzz      each fuzzer for FUZZ_SECONDS (60) under the same sanitizers
#   tsan      what runs on several threads, under the thread sanitizer
set -uo pipefail
cd "$(dirname "$0")/.." || exit 70
jobs=$1
shift
export CTEST_OUTPUT_ON_FAILURE=1
# A leak is a bug of ours except in what never ends; detection needs ptrace, which containers may lack.
export UBSAN_OPTIONS=print_stacktrace=1

summary=()
failed=0

# stage NAME SECONDS-SO-FAR RESULT TEXT
note() { summary+=("$(printf '  %-8s %-6s %5d s  %s' "$1" "$3" "$2" "$4")"); [ "$3" = ok ] || failed=1; }

# The line of a ctest log that counts, and the tests that were skipped with their number.
counts() {
    local log=$1 skipped
    skipped=$(grep -c '\*\*\*Skipped' "$log")
    sed -n 's/^\([0-9]*% tests passed, .*\)$/\1/p' "$log" | tail -1 | tr -d '\n'
    [ "$skipped" -eq 0 ] || printf ', %s skipped' "$skipped"
}

# ctest_stage NAME BUILD-FOLDER CTEST-ARGUMENTS...
run_ctest() {
    local name=$1 folder=$2 log=build/$1-tests.log
    shift 2
    echo "==> testing $name"
    ctest --test-dir "$folder" -j "$jobs" "$@" 2>&1 | tee "$log" |
        awk '/Test +#[0-9]+:.*Passed/ { if (++passed % 100 == 0) { print "    " passed " passed"; fflush() } next }
             /^ +Start / { next } { print; fflush() }'
    return "${PIPESTATUS[0]}"
}

for stage in "$@"; do
    begin=$SECONDS
    case $stage in
    release)
        if tools/build.sh release "$jobs"; then
            run_ctest release build/release && result=ok || result=FAILED
            note release $((SECONDS - begin)) "$result" "$(counts build/release-tests.log)"
        else
            note release $((SECONDS - begin)) FAILED "does not build"
        fi
        ;;
    asan)
        if tools/build.sh asan "$jobs" sanitized_tests fuzzers; then
            run_ctest asan build/asan -L sanitized && result=ok || result=FAILED
            note asan $((SECONDS - begin)) "$result" "$(counts build/asan-tests.log)"
        else
            note asan $((SECONDS - begin)) FAILED "does not build"
        fi
        ;;
    fuzz)
        # More at a time than cores: the sum of the minutes is what is kept within bounds. The same inputs each time, so that
        # a change is not blamed for what was there before; `make fuzz` looks for new ones.
        FUZZ_SEED=1 tools/run-fuzzers.sh "${FUZZ_SECONDS:-60}" $((2 * jobs)) 2>&1 | tee build/fuzz.log
        [ "${PIPESTATUS[0]}" -eq 0 ] && result=ok || result=FAILED
        found=$(sed -n 's/^  \([a-z_]*\): FAILED$/\1/p' build/fuzz.log | paste -sd' ')
        note fuzz $((SECONDS - begin)) "$result" "$(grep -c 'nothing found' build/fuzz.log) of $(find tests/fuzz -name '*_fuzz.cpp' | wc -l) fuzzers found nothing${found:+; found something: $found}"
        ;;
    tsan)
        if tools/build.sh tsan "$jobs" threaded_tests; then
            run_ctest tsan build/tsan -L threaded && result=ok || result=FAILED
            note tsan $((SECONDS - begin)) "$result" "$(counts build/tsan-tests.log)"
        else
            note tsan $((SECONDS - begin)) FAILED "does not build"
        fi
        ;;
    esac
done

# Only the logs of the stages that ran; the failures again, behind the long list: of some logs only the end is kept.
logs=()
for stage in "$@"; do [ ! -f "build/$stage-tests.log" ] || logs+=("build/$stage-tests.log"); done
if [ ${#logs[@]} -gt 0 ]; then
    if grep -hE '\*\*\*Skipped|skipped: ' "${logs[@]}" | sort -u | grep .; then
        echo "==> what is listed above was skipped, not passed"
    fi
    sed -n '/^The following tests FAILED/,/^Errors while running/p' "${logs[@]}"
fi
[[ " $* " != *" fuzz "* ]] || sed -n '/^  [a-z_]*: FAILED$/,/the input and the log are in/p' build/fuzz.log
echo "==> summary ($SECONDS s, $jobs jobs)"
printf '%s\n' "${summary[@]}"
if [ $failed -eq 0 ]; then echo "==> all tests passed"; else echo "==> some tests FAILED; logs are in build/*-tests.log"; fi
exit $failed
