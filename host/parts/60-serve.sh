# --- lucebox serve and print-run -----------------------------------------------------------------------------------------------

# Our own options; the rest is the server's.
serve_options() {
    REST=()
    while [ $# -gt 0 ]; do
        case $1 in
        --lan) LAN=true ;;
        --cpu) DEVICE=cpu ;;
        --gpus | --port)
            [ $# -gt 1 ] || usage_error "$1 needs a value"
            set_option "$1" "$2"
            shift ;;
        --gpus=* | --port=*) set_option "${1%%=*}" "${1#*=}" ;;
        --host | --host=*) usage_error 'inside the container the server always listens everywhere' 'to open it to the network: --lan' ;;
        --)
            shift
            REST+=("$@")
            return ;;
        *) REST+=("$1") ;;
        esac
        shift
    done
}

set_option() {
    valid_setting "${1#--}" "$2" || usage_error "$1 $2: $PROBLEM"
    case $1 in
    --gpus) GPUS=$2 ;;
    --port) PORT=$((10#$2)) ;;
    esac
}

print_run_command() {
    local null=''
    if [ "${1:-}" = --null ]; then
        null=1
        shift
    fi
    load_settings
    serve_options "$@"
    probe_all
    # What a person will paste elsewhere needn't run here; a GPU is assumed unless told otherwise.
    if [ "$DEVICE" != cpu ] && [[ $HOST_HAS_CTK != runtime && $HOST_HAS_CTK != cdi ]]; then
        warn "this machine cannot run it yet: see lucebox check"
    fi
    if [ ! -d "$MODELS" ]; then warn "the models folder is not there yet: mkdir -p $(quoted "$MODELS")"; fi
    if [ "$LAN" = true ] && [ ! -s "$KEY_FILE" ]; then warn 'lucebox serve --lan would generate an API key first; this command has none'; fi
    server_argv "${REST[@]}"
    if [ -n "$null" ]; then printf '%s\0' "${ARGV[@]}"; else print_argv "${ARGV[@]}"; fi
}

serve_command() {
    load_settings
    serve_options "$@"
    # systemd sets INVOCATION_ID for what it starts; that one is the service itself.
    if [ -z "${INVOCATION_ID:-}" ] && unit_active; then
        die 'the service is already running' 'lucebox logs     what it says' 'lucebox restart  start it anew' 'lucebox stop     then serve here'
    fi
    [ -z "${INVOCATION_ID:-}" ] || wait_for_docker
    probe_all
    require_docker
    require_gpu
    local state
    state=$(container_state)
    case $state in
    absent) ;;
    running | restarting)
        die "a container $CONTAINER is already $state" "docker stop $CONTAINER" 'another one beside it: LUCEBOX_CONTAINER=name LUCEBOX_PORT=port lucebox serve' ;;
    *)
        info "removing the $state container $CONTAINER"
        docker rm -f "$CONTAINER" >/dev/null ;;
    esac
    if port_taken "$PORT"; then
        die "port $PORT is used by $(port_owner "$PORT")" "stop it, or: lucebox serve --port $((PORT < 65535 ? PORT + 1 : 8080))"
    fi
    ensure_api_key
    ensure_models_folder
    require_a_model
    server_argv "${REST[@]}"
    if [ "$LAN" = true ]; then warn "listening on all interfaces; docker's rules come before those of ufw and firewalld"; fi
    run_server
}

# At boot: a user's unit cannot be ordered behind docker.service, which belongs to the system.
wait_for_docker() {
    local waited=0
    while have docker && [ "$waited" -lt "${LUCEBOX_DOCKER_TIMEOUT:-60}" ] && ! timeout 5 docker info >/dev/null 2>&1; do
        [ "$waited" -gt 0 ] || info 'waiting for docker'
        sleep 1
        waited=$((waited + 1))
    done
}

# The server sees the folder read-only, so it could not fetch one itself. Starting again will not help: systemd should not.
require_a_model() {
    local word
    for word in "${REST[@]}"; do
        word=${word#--model=}
        if [[ $word == *.gguf && -f $word ]]; then return 0; fi # named, and shown to the container by itself
    done
    [ -z "$(find -L "$MODELS" -maxdepth 4 -name '*.gguf' -type f -print -quit 2>/dev/null)" ] || return 0
    error "there is no model in $MODELS"
    hint 'lucebox models download               fetches the default one'
    hint 'lucebox config set models_dir=/path   if yours are elsewhere'
    exit "$EXIT_CONFIG"
}

# docker is a child, so that a signal stops the container even where docker's own client would leave it running.
run_server() {
    local errors child status=0
    errors=$(mktemp)
    trap 'docker stop -t 10 "$CONTAINER" >/dev/null 2>&1 || true' HUP INT TERM
    "${ARGV[@]}" 2> >(tee "$errors" >&2) &
    child=$!
    announce_ready "$child" &
    local announcer=$!
    # wait returns early when a trap ran: go on until the child is gone.
    while true; do
        status=0
        wait "$child" || status=$?
        kill -0 "$child" 2>/dev/null || break
    done
    trap - HUP INT TERM
    kill "$announcer" 2>/dev/null || true
    wait "$announcer" 2>/dev/null || true
    if [ "$status" -ge 125 ] && [ "$status" -le 127 ]; then
        for _ in 1 2 3 4 5 6 7 8 9 10; do # tee may be behind
            [ ! -s "$errors" ] || break
            sleep 0.1
        done
        explain_docker_error "$(cat "$errors")"
        rm -f "$errors"
        error "$EXPLAINED"
        hint "$EXPLAINED_HINT"
    fi
    rm -f "$errors"
    return "$status"
}

announce_ready() {
    trap - HUP INT TERM
    while kill -0 "$1" 2>/dev/null; do
        if [ "$(http_status /ready)" = 200 ]; then
            ok "ready at http://localhost:$PORT"
            return
        fi
        sleep 0.5
    done
}
