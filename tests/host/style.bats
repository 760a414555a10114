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
@test "bash completes commands and settings" {
    new_machine
    eval "$(lucebox_stdout completion bash)"
    COMP_WORDS=(lucebox pri) COMP_CWORD=1; _lucebox; [ "${COMPREPLY[*]}" = print-run ]
    COMP_WORDS=(lucebox config po) COMP_CWORD=2; _lucebox; [ "${COMPREPLY[*]}" = port ]
    lucebox completion tcsh; exits 1; lucebox completion; exits 2
}
