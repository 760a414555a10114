# --- Settings: environment, then config.toml, then the default -----------------------------------------------------------
#
# Only what decides how the container is started lives here. Everything else in config.toml belongs to the program in
# the image, which reads the same file.

# key | place in config.toml | type | default | environment variable | meaning
SETTINGS='
image|image.registry|text||LUCEBOX_IMAGE|image without its tag
variant|image.variant|name|cuda12|LUCEBOX_VARIANT|tag of the image
port|runtime.port|port|8080|LUCEBOX_PORT|port on this machine
container_name|runtime.container_name|name|lucebox|LUCEBOX_CONTAINER|name of the container
lan|runtime.lan|bool|false|LUCEBOX_LAN|listen on all interfaces (an API key is then required)
gpus|runtime.gpus|gpus|all|LUCEBOX_GPUS|all, or indices or UUIDs separated by commas
device|runtime.device|device|auto|LUCEBOX_DEVICE|auto or cuda: a GPU is required; cpu: none is used
models_dir|paths.models|text||LUCEBOX_MODELS|folder with model files
'

settings_paths() {
    LUCEBOX_HOME=${LUCEBOX_HOME:-${HOME:?HOME is not set}/.lucebox}
    CONFIG_FILE=$LUCEBOX_HOME/config.toml
    KEY_FILE=$LUCEBOX_HOME/api-keys
    UNIT_NAME=lucebox.service
    UNIT_FILE=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user/$UNIT_NAME
}

# setting_row KEY: key, place, type, default, variable into ROW_*; fails if there is none.
setting_row() {
    local line
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        IFS='|' read -r ROW_KEY ROW_PLACE ROW_TYPE ROW_DEFAULT ROW_VARIABLE _ <<<"$line"
        if [ "$ROW_KEY" = "$1" ] || [ "$ROW_PLACE" = "$1" ]; then return 0; fi
    done <<<"$SETTINGS"
    return 1
}

setting_keys() { awk -F'|' 'NF { print $1 }' <<<"$SETTINGS"; }

# toml_get SECTION.KEY: the scalar, without quotes; fails if the file has none. A subset of TOML: one value on a line.
toml_get() {
    [ -r "$CONFIG_FILE" ] || return 1
    awk -v section="${1%.*}" -v key="${1##*.}" '
        /^[ \t]*\[/ { s = $0; gsub(/^[ \t]*\[[ \t]*|[ \t]*\].*$/, "", s); here = (s == section); next }
        here {
            line = $0; sub(/^[ \t]+/, "", line)
            i = index(line, "="); if (!i || line ~ /^#/) next
            k = substr(line, 1, i - 1); gsub(/[ \t"]/, "", k)
            if (k != key) next
            v = substr(line, i + 1); sub(/^[ \t]+/, "", v)
            if (v ~ /^"/) {
                out = ""
                for (j = 2; j <= length(v); j++) {
                    c = substr(v, j, 1)
                    if (c == "\\") { j++; out = out substr(v, j, 1) } else if (c == "\"") break; else out = out c
                }
                v = out
            } else if (v ~ /^\047/) { v = substr(v, 2); sub(/\047.*$/, "", v) }
            else { sub(/[ \t]*#.*$/, "", v); sub(/[ \t\r]+$/, "", v) }
            print v; found = 1; exit
        }
        END { exit !found }' "$CONFIG_FILE"
}

# toml_put SECTION.KEY LITERAL: writes one value, keeps every other line, replaces the file at once.
# An empty LITERAL takes the key out.
toml_put() {
    mkdir -p "$(dirname "$CONFIG_FILE")"
    local temporary target
    target=$(readlink -f "$CONFIG_FILE") # a link stays one
    temporary=$(mktemp "$target.XXXXXX") || die "$CONFIG_FILE cannot be written" 'is its folder yours, and is there room on its disk?'
    [ ! -e "$CONFIG_FILE" ] || chmod --reference="$CONFIG_FILE" "$temporary"
    if ! { [ ! -e "$CONFIG_FILE" ] || cat "$CONFIG_FILE"; } | section=${1%.*} key=${1##*.} literal=$2 awk '
        function put() { if (ENVIRON["literal"] != "" && !done) print ENVIRON["key"] " = " ENVIRON["literal"]; done = 1 }
        /^[ \t]*\[/ {
            s = $0; gsub(/^[ \t]*\[[ \t]*|[ \t]*\].*$/, "", s)
            if (here) { put() ; while (blank-- > 0) print ""; }
            blank = 0; here = (s == ENVIRON["section"]); seen = seen || here; print; next
        }
        here && /^[ \t\r]*$/ { blank++; next }
        here {
            while (blank > 0) { print ""; blank-- }
            k = $0; sub(/=.*/, "", k); gsub(/[ \t"]/, "", k)
            if (k == ENVIRON["key"] && $0 ~ /=/) { put(); next }
        }
        { print }
        END {
            if (here) put()
            else if (!seen && ENVIRON["literal"] != "") { if (NR) print ""; print "[" ENVIRON["section"] "]"; put() }
        }' >"$temporary"; then
        rm -f "$temporary"
        die "$CONFIG_FILE cannot be written" 'it is as it was; is there room on its disk?'
    fi
    mv -f "$temporary" "$target"
}

truth() {
    case ${1,,} in
    1 | true | yes | on) echo true ;;
    0 | false | no | off) echo false ;;
    *) return 1 ;;
    esac
}

# valid_setting TYPE VALUE: prints the value as it is used; fails with a sentence in PROBLEM.
valid_setting() {
    PROBLEM=
    case $1 in
    port)
        if ! [[ $2 =~ ^[0-9]{1,5}$ ]] || [ "$((10#$2))" -lt 1 ] || [ "$((10#$2))" -gt 65535 ]; then PROBLEM='a port is a number from 1 to 65535'; fi ;;
    bool) truth "$2" >/dev/null || PROBLEM='true or false is expected' ;;
    name) [[ $2 =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]] || PROBLEM='letters, digits, and _ . - are allowed' ;;
    gpus) [[ $2 =~ ^(all|[A-Za-z0-9-]+(,[A-Za-z0-9-]+)*)$ ]] || PROBLEM='all, or indices or UUIDs separated by commas, is expected' ;;
    device) [[ $2 =~ ^(auto|cuda|cpu)$ ]] || PROBLEM='auto, cuda or cpu is expected' ;;
    text) [[ $2 != *$'\n'* ]] || PROBLEM='one line is expected' ;;
    esac
    [ -z "$PROBLEM" ]
}

# setting KEY: the value in VALUE, where it came from in ORIGIN. Wrong values end the program and name their source.
setting() {
    setting_row "$1" || { error "no setting $1"; exit 1; }
    local variable=$ROW_VARIABLE
    if [ -n "${!variable:-}" ]; then
        VALUE=${!variable} ORIGIN=$variable
    elif VALUE=$(toml_get "$ROW_PLACE"); then
        ORIGIN=$CONFIG_FILE
    else
        VALUE=$ROW_DEFAULT ORIGIN=default
    fi
    if ! valid_setting "$ROW_TYPE" "$VALUE"; then
        error "$ORIGIN: $1 = $VALUE: $PROBLEM"
        if [ "$ORIGIN" = "$CONFIG_FILE" ]; then hint "lucebox config unset $1"; else hint "unset $ORIGIN, or correct it"; fi
        exit "$EXIT_CONFIG"
    fi
    if [ "$ROW_TYPE" = bool ]; then VALUE=$(truth "$VALUE"); fi
    if [ -z "$VALUE" ]; then
        case $1 in
        image) VALUE=$(default_image) ;;
        models_dir) VALUE=${XDG_DATA_HOME:-$HOME/.local/share}/lucebox/models ;;
        esac
    fi
    if [[ $VALUE == \~/* ]]; then VALUE=$HOME/${VALUE#\~/}; fi
}

# A wrapper from somebody's fork uses the images of that fork.
default_image() {
    local source=${LUCEBOX_INSTALL_URL:-$LUCEBOX_INSTALLED_FROM}
    if [[ $source =~ ^https://(raw\.githubusercontent\.com|github\.com)/([^/]+)/([^/]+)/ ]]; then
        printf 'ghcr.io/%s/%s\n' "${BASH_REMATCH[2],,}" "${BASH_REMATCH[3],,}"
    else
        echo ghcr.io/luce-org/lucebox-hub
    fi
}

load_settings() {
    settings_paths
    setting image && IMAGE=$VALUE
    setting variant && IMAGE=$IMAGE:$VALUE
    setting port && PORT=$((10#$VALUE))
    setting container_name && CONTAINER=$VALUE
    setting lan && LAN=$VALUE
    setting gpus && GPUS=$VALUE
    setting device && DEVICE=$VALUE
    setting models_dir && MODELS=$VALUE
    case $MODELS in /*) ;; *) MODELS=$PWD/$MODELS ;; esac
}

# --- lucebox config --------------------------------------------------------------------------------------------------------

config_command() {
    settings_paths
    local action=${1:-list}
    [ $# -eq 0 ] || shift
    case $action in
    path) printf '%s\n' "$CONFIG_FILE" ;;
    edit)
        mkdir -p "$LUCEBOX_HOME"
        local -a editor
        read -ra editor <<<"${VISUAL:-${EDITOR:-vi}}"
        have "${editor[0]}" || die "no editor: ${editor[0]} is not installed" "set EDITOR, or edit $CONFIG_FILE"
        "${editor[@]}" "$CONFIG_FILE"
        load_settings
        ok "$CONFIG_FILE is fine, as far as this wrapper reads it" ;;
    reset)
        [ -e "$CONFIG_FILE" ] || { ok 'there is no configuration file: defaults are used'; return; }
        mv -f "$CONFIG_FILE" "$CONFIG_FILE.previous"
        ok "defaults are used; the old file is $CONFIG_FILE.previous"
        hint 'lucebox config restore   brings it back' ;;
    restore) config_restore ;;
    list) config_list "$@" ;;
    get) if [ $# -eq 0 ]; then config_list; else config_get "$@"; fi ;;
    set) config_set "$@" ;;
    unset) config_unset "$@" ;;
    import) config_import "$@" ;;
    *) usage_error "config has no action $action" 'lucebox config [list|get KEY|set KEY=VALUE|unset KEY|import FILE|path|edit|reset|restore]' ;;
    esac
}

# What was there before the last sweep, reset or restore, and the other way round.
config_restore() {
    [ -e "$CONFIG_FILE.previous" ] || die 'there is no earlier configuration' 'a sweep and lucebox config reset leave one'
    local spare
    spare=$(mktemp "$CONFIG_FILE.XXXXXX")
    if [ -e "$CONFIG_FILE" ]; then cp -p "$CONFIG_FILE" "$spare"; else chmod --reference="$CONFIG_FILE.previous" "$spare"; fi
    cp -p "$CONFIG_FILE.previous" "$spare.now"
    mv -f "$spare.now" "$(readlink -f "$CONFIG_FILE")"
    mv -f "$spare" "$CONFIG_FILE.previous"
    ok "$CONFIG_FILE is what it was before; once more brings back what it was now"
    if unit_active; then hint 'lucebox restart makes the service use it'; fi
}

config_list() {
    local key
    printf '# how the container is started\n'
    for key in $(setting_keys); do
        setting "$key"
        printf '%-16s %-40s %s\n' "$key" "$VALUE" "$ORIGIN"
    done
    load_settings
    if have docker && image_present; then
        printf '# the server\n'
        run_in_image config "$@"
    fi
}

config_get() {
    if setting_row "$1"; then
        setting "$ROW_KEY"
        printf '%s (%s)\n' "$VALUE" "$ORIGIN"
    else
        forward_config get "$@"
    fi
}

config_set() {
    [ $# -gt 0 ] || usage_error 'config set needs KEY=VALUE' 'lucebox config set port=9000'
    local pair key value
    for pair in "$@"; do
        [[ $pair == *=* ]] || usage_error "config set needs KEY=VALUE, not $pair" "lucebox config set $pair=..."
        key=${pair%%=*} value=${pair#*=}
        if ! setting_row "$key"; then
            forward_config set "$pair"
            continue
        fi
        if [ -z "$value" ] || ! valid_setting "$ROW_TYPE" "$value"; then
            usage_error "$key = $value: ${PROBLEM:-a value is missing}" "to go back to the default: lucebox config unset $key"
        fi
        case $ROW_TYPE in
        port) toml_put "$ROW_PLACE" "$((10#$value))" ;;
        bool) toml_put "$ROW_PLACE" "$(truth "$value")" ;;
        *)
            value=${value//\\/\\\\}
            toml_put "$ROW_PLACE" "\"${value//\"/\\\"}\"" ;;
        esac
        setting "$ROW_KEY"
        ok "$key = $VALUE"
        if [ "$ORIGIN" != "$CONFIG_FILE" ]; then warn "$ORIGIN is set and outranks the file"; fi
    done
    if unit_active; then hint 'lucebox restart makes the service use it'; fi
}

config_unset() {
    [ $# -gt 0 ] || usage_error 'config unset needs a key' 'lucebox config unset port'
    local key
    for key in "$@"; do
        if setting_row "$key"; then
            [ ! -e "$CONFIG_FILE" ] || toml_put "$ROW_PLACE" ''
            ok "$key is the default again"
        else
            forward_config unset "$key"
        fi
    done
}

# The settings of an earlier version's config.env. The program reads it, and knows what became of each; here it is only made visible to it.
config_import() {
    local word file=
    local -a words=()
    for word in "$@"; do
        if [[ $word != --* ]]; then
            [ -z "$file" ] || usage_error 'config import needs one file' 'lucebox config import ~/.lucebox/config.env'
            [ -r "$word" ] || die "$word cannot be read" 'lucebox config import ~/.lucebox/config.env'
            word=$(readlink -f "$word") file=$word
        fi
        words+=("$word")
    done
    [ -n "$file" ] || usage_error 'config import needs one file' 'lucebox config import ~/.lucebox/config.env'
    run_in_image config import "${words[@]}"
    if unit_active; then hint 'lucebox restart makes the service use it'; fi
}

# Keys this wrapper doesn't know belong to the program in the image, which checks them.
forward_config() {
    local key=${2%%=*} near
    local -a known
    mapfile -t known < <(setting_keys)
    load_settings
    if ! have docker || ! image_present; then
        near=$(nearest "$key" "${known[@]}" runtime.port image.variant image.registry paths.models)
        usage_error "$key is no setting of this wrapper, and without the image nobody can check it" \
            "${near:+did you mean $near? }lucebox pull fetches the image"
    fi
    run_in_image config "$@"
}
