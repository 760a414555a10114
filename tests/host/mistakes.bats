# Every mistake of mistakes.table gets one clear message and the way out of it.
load machine

@test "each common mistake is answered with its cause and the way out" {
    local prepare typed code message way count=0 wrong=0
    while IFS= read -r line; do
        [[ $line != '#'* && -n $line ]] || continue
        IFS='|' read -r prepare typed code message way <<<"$line"
        count=$((count + 1))
        if ! (mistake "$prepare" "$typed" "$code" "$message" "$way"); then
            wrong=$((wrong + 1))
            echo "  ... in: $line"
        fi
    done <"$SUITE/mistakes.table"
    echo "$count mistakes, $wrong answered badly"
    [ "$count" -ge 40 ]
    [ "$wrong" -eq 0 ]
}

mistake() {
    BATS_TEST_TMPDIR=$(mktemp -d "$BATS_TEST_TMPDIR/XXXXXX")
    new_machine
    a_model
    eval "$1"
    local status=0 output
    # shellcheck disable=SC2086 # words are meant
    output=$(PATH="$MACHINE_PATH" timeout 20 "$LUCEBOX" $2 2>&1 </dev/null) || status=$?
    [ -z "${LISTENER:-}" ] || listener_stop
    [ "$status" -eq "$((code))" ] || { echo "exit code $status instead of $code: $output"; return 1; }
    local text
    for text in "$4" "$5"; do
        text=${text# } text=${text% }
        [[ $output == *"$text"* ]] || { echo "not said: $text, but: $output"; return 1; }
    done
    [ "$(grep -c '^\[ERROR\]' <<<"$output")" -eq 1 ] || { echo "not one error: $output"; return 1; }
}
