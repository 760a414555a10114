# A machine of a test's own: fake docker, nvidia-smi and systemctl, and of the real tools only those that every Linux has.
# Nothing else is on PATH, so a test also proves that the wrapper needs nothing else.

bats_require_minimum_version 1.5.0

REAL_TOOLS='awk base64 basename bash cat chmod cp cut date df dirname env find grep gzip head id kill ln ls mkdir mktemp mv nproc od
    printf pwd readlink rm rmdir sed seq sh sha256sum sleep sort tail tar tee timeout touch tr true uname wc'
SUITE=$BATS_TEST_DIRNAME
REPOSITORY=$(cd "$SUITE/../.." && pwd)
LUCEBOX=$REPOSITORY/host/lucebox

# A healthy one: one RTX 3090, the toolkit wired, user systemd, an image.
new_machine() {
    FAKE=$BATS_TEST_TMPDIR/fake
    HOME=$BATS_TEST_TMPDIR/home
    LUCEBOX_PROBE_ROOT=$BATS_TEST_TMPDIR/root
    mkdir -p "$FAKE" "$HOME" "$BATS_TEST_TMPDIR/bin" "$LUCEBOX_PROBE_ROOT/proc" "$LUCEBOX_PROBE_ROOT/etc"
    local tool
    if [ ! -d "$BATS_FILE_TMPDIR/tools" ]; then
        mkdir "$BATS_FILE_TMPDIR/tools"
        for tool in $REAL_TOOLS; do ln -sf "$(type -P "$tool")" "$BATS_FILE_TMPDIR/tools/"; done
    fi
    for tool in docker nvidia-smi systemctl journalctl loginctl nvidia-ctk; do ln -sf "$SUITE/fakes/$tool" "$BATS_TEST_TMPDIR/bin/"; done
    echo '28.0.1|cgroupfs|Debian GNU/Linux 12|io.containerd.runc.v2 nvidia runc |/none|name=seccomp,profile=builtin ' >"$FAKE/docker.info"
    gpus '0, GPU-aaaa, 00000000:01:00.0, NVIDIA GeForce RTX 3090, 8.6, 24576, 350.00, 580.65.06, 300, [N/A], Disabled, [N/A]'
    echo 'PRETTY_NAME="Test Linux 1"' >"$LUCEBOX_PROBE_ROOT/etc/os-release"
    echo 'model name	: Test CPU' >"$LUCEBOX_PROBE_ROOT/proc/cpuinfo"
    echo 'MemTotal:       65831112 kB' >"$LUCEBOX_PROBE_ROOT/proc/meminfo"
    echo 'Linux version 6.1.0' >"$LUCEBOX_PROBE_ROOT/proc/version"
    local name
    for name in $(compgen -e | grep -E '^(LUCEBOX|DFLASH|LUCE|XDG|CUDA_VISIBLE|HF_|DOCKER|INVOCATION)' || true); do
        [ "$name" = LUCEBOX_PROBE_ROOT ] || unset "$name"
    done
    # A port of its own, so that what runs on the real machine doesn't matter; each suite has a thousand, for they run side by side.
    local suites=("$SUITE"/*.bats) nth=0
    until [ "${suites[nth]##*/}" = "${BATS_TEST_FILENAME##*/}" ]; do nth=$((nth + 1)); done
    LUCEBOX_PORT=$((20000 + nth * 1000 + ($$ + BATS_TEST_NUMBER * 97) % 1000))
    LUCEBOX_START_TIMEOUT=3
    export FAKE HOME LUCEBOX_PROBE_ROOT LUCEBOX_PORT LUCEBOX_START_TIMEOUT NO_COLOR=1
    MACHINE_PATH=$BATS_TEST_TMPDIR/bin:$BATS_FILE_TMPDIR/tools
}

a_model() { mkdir -p "${1:-$HOME/.local/share/lucebox/models}" && printf 'GGUF' >"${1:-$HOME/.local/share/lucebox/models}/m.gguf"; }
gpus() { printf '%s\n' "$@" >"$FAKE/gpus"; }
without() { local tool; for tool in "$@"; do rm -f "$BATS_TEST_TMPDIR/bin/$tool"; done; }
toolkit() { # none | unwired | cdi
    echo '28.0.1|cgroupfs|Debian GNU/Linux 12|io.containerd.runc.v2 runc |/none|name=seccomp,profile=builtin ' >"$FAKE/docker.info"
    case $1 in
    none) without nvidia-ctk ;;
    cdi) echo 'nvidia.com/gpu=0' >"$FAKE/cdi" ;;
    esac
}
wsl2() { echo 'Linux version 5.15.167.4-microsoft-standard-WSL2' >"$LUCEBOX_PROBE_ROOT/proc/version"; }
config() { mkdir -p "$HOME/.lucebox" && printf '%s\n' "$@" >"$HOME/.lucebox/config.toml"; }

# Runs the wrapper without a terminal; `status`, `output` (both streams), and stdout alone in $FAKE/stdout.
lucebox() { run env PATH="$MACHINE_PATH" "$LUCEBOX" "$@"; }
lucebox_stdout() { env PATH="$MACHINE_PATH" "$LUCEBOX" "$@" 2>/dev/null; }

# The words of docker's last `run`, one for each line of the array RUN.
docker_run() {
    RUN=()
    local word
    local -a words=()
    while IFS= read -r -d '' word; do
        if [ "$word" = $'\n' ]; then
            [ "${words[0]:-}" != run ] || RUN=("${words[@]}")
            words=()
        else
            words+=("$word")
        fi
    done <"$FAKE/docker.log"
}
has_words() { # WORD...: these stand in RUN, side by side
    local i j
    for ((i = 0; i + $# <= ${#RUN[@]}; i++)); do
        for ((j = 1; j <= $#; j++)); do [ "${RUN[i + j - 1]}" = "${!j}" ] || continue 2; done
        return 0
    done
    printf 'not in the command: %s\n' "$*" >&2
    printf '  %q' "${RUN[@]}" >&2
    return 1
}
has_no_word() { # PATTERN
    local word
    for word in "${RUN[@]}"; do
        # shellcheck disable=SC2053 # a pattern is meant
        if [[ $word == $1 ]]; then printf 'in the command: %s\n' "$word" >&2; return 1; fi
    done
}
eventually() { # COMMAND...: until it succeeds; a machine that does much else may take long
    local i
    for i in $(seq 600); do "$@" && return; sleep 0.05; done
    printf 'never came true: %s\n' "$*" >&2
    return 1
}
docker_was_asked() { grep -aq -- "$1" "$FAKE/docker.log" 2>/dev/null; } # WORD
says() { # a sentence of `output`
    [[ $output == *"$1"* ]] || { printf 'expected: %s\ngot (%s): %s\n' "$1" "$status" "$output" >&2; return 1; }
}
says_not() { [[ $output != *"$1"* ]] || { printf 'unexpected: %s\n%s\n' "$1" "$output" >&2; return 1; }; }
exits() { [ "$status" -eq "$1" ] || { printf 'exit code %s, expected %s: %s\n' "$status" "$1" "$output" >&2; return 1; }; }

two_gpus() { gpus '0, GPU-a, 01, NVIDIA H100, 9.0, 81559, 700.00, 580.65, 0, x, Disabled, x' '1, GPU-b, 02, NVIDIA H100, 9.0, 81559, 700.00, 580.65, 0, x, Disabled, x'; }
# Something that listens on the machine's port; stopped by `listener_stop`.
listener_start() { # [python code of the handler's answer]
    python3 "$SUITE/listener.py" "$LUCEBOX_PORT" "${1:-200}" >/dev/null 2>&1 3>&- &
    LISTENER=$!
    eventually listens
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$LUCEBOX_PORT") 2>/dev/null; }
listener_stop() { kill "$LISTENER"; wait "$LISTENER" 2>/dev/null || true; }
