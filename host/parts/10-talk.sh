# --- What is said to a person -------------------------------------------------------------------------------------------

setup_colours() {
    BOLD='' DIM='' RED='' GREEN='' YELLOW='' PLAIN=''
    if [ -z "${NO_COLOR:-}" ] && [ -t 2 ]; then
        BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' PLAIN=$'\e[0m'
    fi
}

info() { printf '%s[INFO]%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; }
ok() { printf '%s[OK]%s %s\n' "$GREEN" "$PLAIN" "$*" >&2; }
warn() { printf '%s[WARN]%s %s\n' "$YELLOW" "$PLAIN" "$*" >&2; }
error() { printf '%s[ERROR]%s %s\n' "$RED" "$PLAIN" "$*" >&2; }
hint() { printf '       %s%s%s\n' "$DIM" "$*" "$PLAIN" >&2; }

# die MESSAGE [HINT...]: the one way to give up; every message says the way out.
die() {
    error "$1"
    shift
    local line
    for line in "$@"; do hint "$line"; done
    exit 1
}

usage_error() {
    error "$1"
    shift
    local line
    for line in "$@"; do hint "$line"; done
    exit "$EXIT_USAGE"
}

have() { command -v "$1" >/dev/null 2>&1; }

# Text as the inside of a JSON string.
json_text() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    text=${text//$'\t'/\\t}
    text=${text//[[:cntrl:]]/ }
    printf '"%s"' "$text"
}

# nearest WORD CANDIDATE...: the candidate a person most likely meant (edit distance at most 2), or nothing.
nearest() {
    printf '%s\n' "$@" | awk '
        function least(a, b, c) { return a < b ? (a < c ? a : c) : (b < c ? b : c) }
        function distance(s, t,    i, j, n, m, d) {
            n = length(s); m = length(t)
            for (i = 0; i <= n; i++) d[i, 0] = i
            for (j = 0; j <= m; j++) d[0, j] = j
            for (i = 1; i <= n; i++) for (j = 1; j <= m; j++)
                d[i, j] = least(d[i-1, j] + 1, d[i, j-1] + 1, d[i-1, j-1] + (substr(s, i, 1) != substr(t, j, 1)))
            return d[n, m]
        }
        NR == 1 { word = $0; best = 3; next }
        { d = distance(word, $0); if (d < best && d < length(word)) { best = d; name = $0 } }
        END { if (name != "") print name }'
}
