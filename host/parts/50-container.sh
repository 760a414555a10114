# --- The container: how it is started ------------------------------------------------------------------------------------------
#
# Secure unless asked otherwise: the caller's user and group, no capabilities, a read-only root, only the model folder
# (read-only) and the configuration folder (read-only) mounted, published on the loopback address. Every command line is an
# array from here to docker: a value may hold spaces, quotes and newlines.

CONTAINER_PORT=8080

container_state() { docker container inspect --format '{{.State.Status}}' "$CONTAINER" 2>/dev/null || echo absent; }

# A bind mount as docker's CSV wants it: a field with a comma or a quote is quoted.
mount_argument() { # SOURCE TARGET [readonly]
    printf 'type=bind,%s,%s%s' "$(csv_field "source=$1")" "$(csv_field "target=$2")" "${3:+,readonly}"
}

csv_field() {
    case $1 in
    *[,\"]*) printf '"%s"' "${1//\"/\"\"}" ;;
    *) printf '%s' "$1" ;;
    esac
}

gpu_arguments() {
    GPU_ARGUMENTS=()
    [ "$DEVICE" != cpu ] || return 0
    local gpus=$GPUS gpu
    # What the caller restricted himself to holds for the container too.
    if [ "$gpus" = all ] && [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then gpus=$CUDA_VISIBLE_DEVICES; fi
    if [ "$HOST_HAS_CTK" = cdi ]; then
        for gpu in ${gpus//,/ }; do GPU_ARGUMENTS+=(--device "nvidia.com/gpu=$gpu"); done
    elif [ "$gpus" = all ]; then
        GPU_ARGUMENTS=(--gpus all)
    else
        GPU_ARGUMENTS=(--gpus "\"device=$gpus\"")
    fi
}

# What every container of ours gets.
common_arguments() {
    COMMON=(--user "$(id -u):$(id -g)" --cap-drop ALL --security-opt no-new-privileges --read-only --tmpfs /tmp
        --ulimit memlock=-1)
    if have getenforce && [ "$(getenforce 2>/dev/null)" = Enforcing ]; then COMMON+=(--security-opt label=disable); fi
    if [ -d "$LUCEBOX_HOME" ]; then
        COMMON+=(--mount "$(mount_argument "$LUCEBOX_HOME" /config "${1-readonly}")")
        COMMON+=(-e LUCEBOX_HOME=/config)
    fi
    collect_facts
    local fact
    for fact in "${FACTS[@]}"; do COMMON+=(-e "$fact"); done
}

# The model folder, and the folders that links in it point to, at the paths the links name.
model_mounts() { # [readonly]
    MODEL_MOUNTS=(--mount "$(mount_argument "$MODELS" /models "${1:-}")")
    [ -d "$MODELS" ] || return 0
    local link target folder seen=$'\n'
    while IFS= read -r -d '' link; do
        target=$(readlink -f "$link" 2>/dev/null) || continue
        [ -e "$target" ] || continue
        folder=$(dirname "$target")
        [ ! -d "$target" ] || folder=$target
        case $folder/ in "$(readlink -f "$MODELS")"/*) continue ;; esac
        # A link into the home folder itself would mount all of it.
        if [ "$folder" = "$HOME" ] || [ "$folder" = / ]; then
            warn "$link points into $folder, which is not given to the container"
            hint "move the file into a folder of its own"
            continue
        fi
        case $seen in *$'\n'"$folder"$'\n'*) continue ;; esac
        seen+=$folder$'\n'
        MODEL_MOUNTS+=(--mount "$(mount_argument "$folder" "$folder" readonly)")
    done < <(find "$MODELS" -maxdepth 4 -type l -print0 2>/dev/null)
}

# What the words name on this machine is shown to the container: a file under its own name, read-only (all parts of a split
# model), one in the model folder as it is there. A file to be written goes to a folder that is made for it. Into WORDS, PATH_MOUNTS,
# OUTPUT and OUTPUT_FOLDER.
path_words() {
    WORDS=() PATH_MOUNTS=() OUTPUT='' OUTPUT_FOLDER=''
    local word flag value previous='' file
    for word in "$@"; do
        flag='' value=$word
        if [[ $word == --*=* ]]; then flag=${word%%=*}= value=${word#*=}; fi
        case ${flag:-$previous} in
        --report | --report= | --out | --out=)
            [ -w "$(dirname "$value")" ] || die "$value cannot be written" 'is its folder there, and yours?'
            OUTPUT=$value OUTPUT_FOLDER=$(mktemp -d)
            PATH_MOUNTS+=(--mount "$(mount_argument "$OUTPUT_FOLDER" /output)")
            value=/output/$(basename "$value") ;;
        *)
            if [[ $value == */* || $value == *.gguf ]] && [ -f "$value" ]; then
                file=$(readlink -f "$(dirname "$value")")/$(basename "$value")
                case $file in
                "$(readlink -f "$MODELS")"/*) value=/models/${file#"$(readlink -f "$MODELS")"/} ;;
                *)
                    value=$file
                    split_parts "$file"
                    for file in "${PARTS[@]}"; do PATH_MOUNTS+=(--mount "$(mount_argument "$file" "$file" readonly)"); done ;;
                esac
            fi ;;
        esac
        WORDS+=("$flag$value")
        previous=$word
    done
}

split_parts() { # FILE: it, or all parts of the split model that it belongs to, into PARTS
    PARTS=("$1")
    if [[ $1 =~ ^(.*)-[0-9]{5}-of-([0-9]{5})\.gguf$ ]]; then
        PARTS=("${BASH_REMATCH[1]}"-[0-9][0-9][0-9][0-9][0-9]-of-"${BASH_REMATCH[2]}".gguf)
    fi
}

# The whole command of the server into ARGV.
server_argv() { # [argument of the server...]
    path_words "$@"
    local publish=127.0.0.1:$PORT:$CONTAINER_PORT
    [ "$LAN" = false ] || publish=$PORT:$CONTAINER_PORT
    gpu_arguments
    common_arguments readonly
    model_mounts readonly
    ARGV=(docker run --rm --name "$CONTAINER" "${GPU_ARGUMENTS[@]}" -p "$publish" "${COMMON[@]}" "${MODEL_MOUNTS[@]}" "${PATH_MOUNTS[@]}")
    if [ "${HOST_GPU_COUNT:-0}" -gt 1 ] && [ "$DEVICE" != cpu ]; then ARGV+=(--shm-size 1g); fi
    if [ -s "$KEY_FILE" ]; then ARGV+=(-e LUCEBOX_API_KEY_FILE=/config/api-keys); fi
    if [ "$DEVICE" = cpu ]; then ARGV+=(-e LUCEBOX_DEVICE=cpu); fi
    # Inside, the port is always the same.
    ARGV+=(-e "LUCEBOX_SHOWN_URL=http://localhost:$PORT")
    dflash_variables
    ARGV+=("${FORWARDED[@]}" "$IMAGE" serve "${WORDS[@]}")
}

# Settings of the server that the caller has in his environment. Where it listens inside the container is not his to say.
dflash_variables() {
    FORWARDED=()
    local name
    for name in $(compgen -e | LC_ALL=C sort); do
        case $name in
        DFLASH_HOST | DFLASH_PORT | LUCE_HOST | LUCE_PORT) ;;
        DFLASH_* | DFLASH27B_* | PFLASH_* | LUCE_* | HF_ENDPOINT | NVIDIA_DISABLE_REQUIRE) FORWARDED+=(-e "$name=${!name}") ;;
        esac
    done
}

# Anybody on the network reaches a server on all interfaces, so it gets a key. The key is in a file, never in a command.
ensure_api_key() {
    [ "$LAN" = true ] || return 0
    [ ! -s "$KEY_FILE" ] || return 0
    mkdir -p "$LUCEBOX_HOME"
    (umask 077 && printf 'lk-%s\n' "$(od -An -N 24 -tx1 /dev/urandom | tr -d ' \n')" >"$KEY_FILE")
    info "an API key was generated, because the server will listen on all interfaces"
    hint "it is in $KEY_FILE"
}

# docker would make a missing folder itself, owned by root.
ensure_models_folder() {
    [ -d "$MODELS" ] || mkdir -p "$MODELS" 2>/dev/null || die "the models folder $MODELS cannot be made" 'another one: lucebox config set models_dir=/path'
}

require_docker() {
    case $DOCKER_STATE in
    missing) die 'docker is not installed' 'https://docs.docker.com/engine/install/' ;;
    unreachable)
        explain_docker_error "$DOCKER_ERROR"
        case $DOCKER_ERROR in
        *'permission denied'*) EXPLAINED='this user may not talk to docker' EXPLAINED_HINT="sudo usermod -aG docker $(id -un), then log in again" ;;
        *) EXPLAINED='docker does not answer' EXPLAINED_HINT='sudo systemctl start docker' ;;
        esac
        die "$EXPLAINED" "$EXPLAINED_HINT" ;;
    esac
}

require_gpu() {
    [ "$DEVICE" != cpu ] || return 0
    local without='without a GPU: lucebox serve --cpu'
    case $GPU_PROBLEM in
    missing) die 'nvidia-smi is missing, so there is no NVIDIA driver' 'lucebox check says what to install' "$without" ;;
    mismatch) die 'the NVIDIA kernel module and its libraries are of different versions' reboot ;;
    none) die 'the NVIDIA driver sees no GPU' 'lspci | grep -i nvidia tells whether the machine does' "$without" ;;
    nvml) die 'nvidia-smi cannot reach the driver' 'lucebox check says more' "$without" ;;
    esac
    if [ -n "$HOST_DRIVER_MAJOR" ] && [ "$HOST_DRIVER_MAJOR" -lt "$MIN_DRIVER" ]; then
        die "the NVIDIA driver $HOST_DRIVER_VERSION is too old; CUDA 12 needs $MIN_DRIVER or newer" 'update the driver' "$without"
    fi
    local gpu
    if [ "$GPUS" != all ]; then
        for gpu in ${GPUS//,/ }; do
            if [[ $gpu =~ ^[0-9]+$ ]] && [ "$gpu" -ge "$HOST_GPU_COUNT" ]; then
                die "there is no GPU $gpu: this machine has $HOST_GPU_COUNT, counted from 0" 'lucebox config unset gpus'
            fi
        done
    fi
    case $HOST_HAS_CTK in
    installed-unwired) die 'docker does not know the NVIDIA Container Toolkit' 'sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker' ;;
    none) die 'the NVIDIA Container Toolkit is not installed' 'https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html' "$without" ;;
    esac
}

# The command as one pastes it: a flag and its value on a line of their own, what the program gets on the last line.
print_argv() { # docker run ... IMAGE argument...
    local -a words=("$@")
    local i=2 count=$#
    printf 'docker run'
    while [ "$i" -lt "$count" ] && [[ ${words[i]} == -* ]]; do
        printf ' \\\n    %s' "${words[i]}"
        case ${words[i]} in
        --rm | --read-only) ;; # these have no value
        *)
            i=$((i + 1))
            printf ' %s' "$(quoted "${words[i]}")" ;;
        esac
        i=$((i + 1))
    done
    printf ' \\\n   '
    while [ "$i" -lt "$count" ]; do
        printf ' %s' "$(quoted "${words[i]}")"
        i=$((i + 1))
    done
    printf '\n'
}

quoted() {
    if [[ $1 =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]]; then
        printf '%s' "$1"
    elif [[ $1 == *[[:cntrl:]]* ]]; then
        printf '%q' "$1"
    else
        printf "'%s'" "${1//\'/\'\\\'\'}"
    fi
}
