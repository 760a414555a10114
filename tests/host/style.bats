# What holds for the scripts themselves.
load machine

@test "shellcheck finds nothing in the scripts and in what is installed" {
    "$REPOSITORY/host/bundle.sh" "$BATS_TEST_TMPDIR/bundle"
    shellcheck "$REPOSITORY/host/lucebox" "$REPOSITORY/host/install.sh" "$REPOSITORY/host/bundle.sh" "$BATS_TEST_TMPDIR/bundle/lucebox" \
        "$REPOSITORY"/image/*.sh "$REPOSITORY"/tools/*.sh
}
@test "SHA256SUMS is that of the parts (host/bundle.sh --sums)" { cd "$REPOSITORY/host"; diff SHA256SUMS <(sha256sum install.sh parts/*.sh); }
@test "the wrapper has the program's version" { [ "$(sed -n 's/^VERSION=//p' "$REPOSITORY/host/parts/00-head.sh")" = "$(sed -n 's/^project(lucebox VERSION \([0-9.]*\).*/\1/p' "$REPOSITORY/CMakeLists.txt")" ]; }
@test "every command is in help and in all completions" {
    new_machine
    local help command shell text
    help=$(lucebox_stdout help)
    for command in $(sed -n "s/^COMMANDS='\(.*\)'/\1/p" "$REPOSITORY/host/parts/86-completion.sh"); do
        [[ $help == *"$command"* ]] || { echo "not in help: $command"; return 1; }
        for shell in bash zsh fish; do
            text=$(lucebox_stdout completion $shell)
            [[ $text == *"$command"* ]] || { echo "not in $shell: $command"; return 1; }
        done
    done
}
@test "the wrapper and the program draw the same borders between cards" {
    local border
    for border in SMALL_CARD_GB LARGE_CARD_GB; do
        grep -q "least_gb = $(sed -n "s/^$border=\([0-9]*\).*/\1/p" "$REPOSITORY/host/parts/40-check.sh")," "$REPOSITORY/src/hub/tiers.cpp"
    done
}
@test "the wrapper's check and the program's have the same limits" {
    local pair
    for pair in MIN_DRIVER:oldest_driver MIN_DRIVER_BLACKWELL:oldest_blackwell_driver FULL_DRIVER:full_driver SMALL_CARD_GB:small_card_gb LARGE_CARD_GB:large_card_gb; do
        grep -qE "${pair#*:} = $(sed -n "s/^${pair%:*}=\([0-9]*\).*/\1/p" "$REPOSITORY/host/parts/40-check.sh")[,;]" "$REPOSITORY/src/app/serving/check_machine.cpp"
    done
}
@test "zsh and fish read their completions" {
    new_machine
    local shell found=''
    for shell in zsh fish; do
        lucebox_stdout completion $shell >"$BATS_TEST_TMPDIR/completion.$shell"
        command -v $shell >/dev/null || continue
        found=1
        $shell -n "$BATS_TEST_TMPDIR/completion.$shell"
    done
    [ -n "$found" ] || skip 'neither zsh nor fish is installed'
}
@test "completions know the program's actions and clients" {
    new_machine
    local word shell
    for word in $(sed -n 's/.*"\(list, fetch.*\) are known".*/\1/p' "$REPOSITORY/src/app/serving/models_actions.cpp" | tr -d ',' | sed 's/ and / /; s/ fetch / /'); do
        for shell in bash zsh fish; do lucebox_stdout completion $shell | grep -qw -- "$word" || { echo "$shell lacks $word"; return 1; }; done
    done
}
@test "bash completes commands and settings" {
    new_machine
    eval "$(lucebox_stdout completion bash)"
    COMP_WORDS=(lucebox pri) COMP_CWORD=1; _lucebox; [ "${COMPREPLY[*]}" = print-run ]
    COMP_WORDS=(lucebox config po) COMP_CWORD=2; _lucebox; [ "${COMPREPLY[*]}" = port ]
    COMP_WORDS=(lucebox models ver) COMP_CWORD=2; _lucebox; [ "${COMPREPLY[*]}" = verify ]
    [[ $(complete -p lucebox) == *'-o default'* ]] # else no file could be completed
    COMP_WORDS=(lucebox models import ./m) COMP_CWORD=3; _lucebox || true; [ "${#COMPREPLY[@]}" -eq 0 ]
    lucebox completion tcsh; exits 1; lucebox completion; exits 2
}
