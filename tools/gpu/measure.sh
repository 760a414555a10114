#!/usr/bin/env bash
# Runs what tools/gpu/pack-binaries.sh packed, in a checkout (the tests read its tests/data). Each part has a time limit: a kernel that
# hangs must not cost the rest.
#   measure.sh [PART]...   tests    every operation, oracle, step and what engines promise on the GPU
#                          bench    MODEL=file.gguf: decoding, steps of several rows, prompts
#                          cycle    MODEL=file.gguf DRAFT=file.gguf: what speculative steps consist of
#                          profile  MODEL=file.gguf: time of each kernel of some tokens, by ncu
#                          stalls   MODEL=file.gguf: where the step kernel's warps wait, instruction by instruction, by ncu: stalls.csv
#                          sanitize tests of three models under compute-sanitizer
# LOGS: where logs go (default: logs). A build with LUCEBOX_STEP_TRACE prints the step kernel's clocks at the end of bench.
set -uo pipefail
packed=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xJf "$packed/programs.tar.xz" || exit 70
bin=$work/bin
export LD_LIBRARY_PATH=$bin
logs=${LOGS:-logs}
mkdir -p "$logs"
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(tests)
failed=0

# limited SECONDS NAME COMMAND...
limited() {
    local limit=$1 name=$2 begin=$SECONDS
    shift 2
    timeout -k 2 "$limit" "$@" >"$logs/$name.log" 2>&1
    local code=$?
    [ $code -eq 0 ] || failed=1
    echo "$name: exit $code, $((SECONDS - begin)) s"
    grep -hE '^\[  (PASSED|FAILED|SKIPPED) ' "$logs/$name.log" | sort -u | head -20
    return $code
}
model() { [ -f "${MODEL:-}" ] || { echo "error: MODEL must name a GGUF file" >&2; exit 66; }; }

nvidia-smi --query-gpu=name,driver_version,clocks.sm --format=csv,noheader
echo "commit $(cat "$packed/commit")"
for part in "${parts[@]}"; do
    case $part in
    tests)
        limited 60 products "$bin/bench_cuda_matmul" check # of every type and shape, against the file's weights
        tail -1 "$logs/products.log"
        limited 60 operations "$bin/test_compute" --gtest_filter='*Cuda*' --gtest_brief=1
        limited 90 models "$bin/test_model" --gtest_filter='*cuda*' --gtest_brief=1
        limited 60 decode "$bin/test_decode" --gtest_filter='*Cuda*' --gtest_brief=1
        limited 60 engine "$bin/test_engine" --gtest_filter='*cuda*:*Cuda*' --gtest_brief=1
        ;;
    bench)
        model
        limited 120 bench "$bin/lucebox" bench --device cuda --model "$MODEL" --prompt-tokens "${PROMPT:-512}" --prompts "${PROMPTS:-2048,8192}" \
            --decode-tokens 64 --repetitions 3 --rows "${ROWS:-1,8,16,32,64}"
        grep -v '^bench ' "$logs/bench.log"
        ;;
    cycle)
        model
        limited 120 cycle "$bin/lucebox" bench cycle --device cuda --model "$MODEL" --draft "${DRAFT:-none}" --prompt-tokens "${PROMPT:-512}" \
            --repetitions 5 ${ROWS:+--rows "$ROWS"}
        cat "$logs/cycle.log"
        ;;
    stalls)
        model
        limited 120 stalls ncu -f -o "$work/stalls" --graph-profiling node --clock-control none --cache-control none --section SourceCounters \
            --section WarpStateStats --kernel-name-base demangled --kernel-name regex:StepSegment --launch-skip 60 --launch-count 1 \
            "$bin/lucebox" bench --device cuda --model "$MODEL" --prompt-tokens 64 --decode-tokens 8 --repetitions 1 --rows 1
        ncu -i "$work/stalls.ncu-rep" --page source --csv --print-source sass > "$logs/stalls.csv"
        ;;
    profile)
        model
        limited 90 profile ncu --graph-profiling node --clock-control none --cache-control none --metrics gpu__time_duration.sum \
            --launch-skip 3000 --launch-count 320 --csv --log-file "$logs/kernels.csv" \
            "$bin/lucebox" bench --device cuda --model "$MODEL" --prompt-tokens 64 --decode-tokens 8 --repetitions 1
        python3 - "$logs/kernels.csv" <<'PYTHON'
import csv, sys
rows = [row for row in csv.reader(open(sys.argv[1])) if len(row) > 10]
name, value = rows[0].index("Kernel Name"), rows[0].index("Metric Value")
kernels = {}
for row in rows[1:]:
    kernels.setdefault(row[name][:70], []).append(float(row[value].replace(",", "")) / 1e3)
for kernel, times in sorted(kernels.items(), key=lambda item: -sum(item[1])):
    print(f"{len(times):5d} launches {sum(times):10.1f} us  mean {sum(times) / len(times):8.2f} us  {kernel}")
PYTHON
        ;;
    sanitize)
        for tool in memcheck synccheck initcheck; do
            limited 60 "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 "$bin/test_model" \
                --gtest_filter='*UncommittedRows*llama_cuda:*UncommittedRows*gemma3_cuda:*UncommittedRows*qwen35_r3_cuda'
        done
        ;;
    *) echo "error: no part is called $part" >&2; exit 64 ;;
    esac
done
exit $failed
