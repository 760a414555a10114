# --- lucebox check: is this machine ready ------------------------------------------------------------------------------------

CUDA12_ARCHS='75 80 86 89 90 120'
MIN_DRIVER=525           # the oldest that runs CUDA 12
MIN_DRIVER_BLACKWELL=570 # the oldest that knows sm_120
FULL_DRIVER=570          # CUDA 12.8's own; older ones rely on minor-version compatibility
MODEL_GB=20              # what the largest usual model file takes
SMALL_CARD_GB=12         # where the tiers of the program begin (src/hub/tiers.cpp): below, contexts of 4K,
LARGE_CARD_GB=22         # and below this one, of 32K

# row NAME ok|warn|fail TEXT [HINT...]
row() {
    local name=$1 state=$2 text=$3 glyph
    shift 3
    case $state in
    ok) glyph="$GREEN✓$PLAIN" ;;
    warn) glyph="$YELLOW!$PLAIN" CHECK_WARNINGS=$((CHECK_WARNINGS + 1)) ;;
    fail) glyph="$RED✗$PLAIN" CHECK_CROSSES=$((CHECK_CROSSES + 1)) ;;
    esac
    if [ -n "$CHECK_JSON" ]; then
        local line hints=''
        for line in "$@"; do hints+=${hints:+, }$(json_text "$line"); done
        CHECK_ROWS+=("{\"name\": $(json_text "$name"), \"state\": \"$state\", \"text\": $(json_text "$text"), \"hints\": [$hints]}")
        return
    fi
    printf '  %-22s %s %s\n' "$name" "$glyph" "$text"
    local line
    for line in "$@"; do printf '  %-22s   %s%s%s\n' '' "$DIM" "$line" "$PLAIN"; done
}

check_command() {
    CHECK_JSON='' CHECK_ROWS=() CHECK_WARNINGS=0 CHECK_CROSSES=0
    local deep=''
    # A file: what it is and whether it fits is told by the program.
    if [[ $# -gt 0 && $1 != -* ]]; then
        run_in_image check "$@"
        return
    fi
    while [ $# -gt 0 ]; do
        case $1 in
        --json) CHECK_JSON=1 ;;
        --deep) deep=1 ;;
        *) usage_error "check has no option $1" 'lucebox check [--json] [--deep]' ;;
        esac
        shift
    done
    load_settings
    [ -t 1 ] || { local BOLD='' DIM='' RED='' GREEN='' YELLOW='' PLAIN=''; }
    probe_all
    [ -n "$CHECK_JSON" ] || printf '%s[lucebox] host readiness report%s\n' "$BOLD" "$PLAIN"
    check_docker
    if [ "$DEVICE" != cpu ]; then
        check_toolkit
        check_driver
        check_gpu
    else
        row gpu ok 'not used: device = cpu'
    fi
    check_systemd
    check_image
    check_port
    check_models
    check_host
    [ -z "$deep" ] || check_deep
    if [ -n "$CHECK_JSON" ]; then
        printf '{"ok": %s, "rows": [\n' "$([ "$CHECK_CROSSES" -eq 0 ] && echo true || echo false)"
        local i
        for i in "${!CHECK_ROWS[@]}"; do
            printf '  %s%s\n' "${CHECK_ROWS[i]}" "$([ "$i" -eq $((${#CHECK_ROWS[@]} - 1)) ] || echo ,)"
        done
        printf ']}\n'
    fi
    [ "$CHECK_CROSSES" -eq 0 ]
}

check_docker() {
    case $DOCKER_STATE in
    missing) row 'docker daemon' fail 'docker is not installed' 'https://docs.docker.com/engine/install/' ;;
    unreachable)
        case $DOCKER_ERROR in
        *'permission denied'*) row 'docker daemon' fail 'this user may not talk to docker' "sudo usermod -aG docker $(id -un), then log in again" ;;
        *) row 'docker daemon' fail 'docker does not answer' 'sudo systemctl start docker' ;;
        esac ;;
    reachable)
        row 'docker daemon' ok "reachable, $HOST_DOCKER_VERSION"
        local path
        path=$(readlink -f "$(command -v docker)")
        if [[ $path == */snap/* || $DOCKER_ROOT == /var/snap/* ]]; then
            row 'docker package' warn 'docker is a snap, whose confinement hides the NVIDIA libraries' \
                'sudo snap remove docker, then https://docs.docker.com/engine/install/'
        fi
        if [[ $DOCKER_SYSTEM == *'Docker Desktop'* && $HOST_IS_WSL = 0 ]]; then
            row 'docker package' warn 'Docker Desktop on Linux runs in a virtual machine that has no GPU' 'use Docker Engine: docker context use default'
        fi
        if [[ $DOCKER_SECURITY == *rootless* ]]; then
            row 'docker mode' warn 'rootless: the toolkit needs no-cgroups' \
                'nvidia-ctk config --set nvidia-container-cli.no-cgroups --in-place, then restart docker'
        fi
        if [[ $DOCKER_CGROUP_DRIVER = systemd && $HOST_HAS_CTK = runtime && $DEVICE != cpu ]]; then
            row 'cgroup driver' warn 'systemd: containers lose the GPU when somebody runs systemctl daemon-reload' \
                'lucebox restart brings it back; CDI, or "native.cgroupdriver=cgroupfs" in /etc/docker/daemon.json, avoids it'
        fi ;;
    esac
}

check_toolkit() {
    case $HOST_HAS_CTK in
    runtime) row 'nvidia ctk' ok "runtime is wired${HOST_NVIDIA_CTK_VERSION:+, $HOST_NVIDIA_CTK_VERSION}" ;;
    cdi) row 'nvidia ctk' ok "CDI is wired${HOST_NVIDIA_CTK_VERSION:+, $HOST_NVIDIA_CTK_VERSION}" ;;
    installed-unwired)
        row 'nvidia ctk' warn 'installed, but docker does not know it' \
            'sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker' ;;
    none)
        if [ "$DOCKER_STATE" != reachable ]; then
            row 'nvidia ctk' fail 'unknown while docker does not answer' 'see the row above'
        else
            row 'nvidia ctk' fail 'the NVIDIA Container Toolkit is not installed' \
                'https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html'
        fi ;;
    esac
}

check_driver() {
    case $GPU_PROBLEM in
    missing)
        if [ "$HOST_IS_WSL" = 1 ]; then
            row 'nvidia driver' fail 'nvidia-smi is missing' 'on WSL the driver is installed in Windows; never install a Linux driver here'
        else
            row 'nvidia driver' fail 'nvidia-smi is missing' 'install the driver of your distribution; without a GPU: lucebox config set device=cpu'
        fi ;;
    mismatch) row 'nvidia driver' fail 'the kernel module and the libraries are of different versions' 'reboot' ;;
    none) row 'nvidia driver' fail 'the driver runs, but sees no GPU' 'lspci | grep -i nvidia tells whether the machine does' ;;
    nvml)
        if [ "$HOST_WSL_VERSION" = wsl1 ]; then
            row 'nvidia driver' fail 'WSL 1 has no GPU' 'wsl --set-version DISTRIBUTION 2'
        elif [ "$HOST_IS_WSL" = 1 ]; then
            row 'nvidia driver' fail 'nvidia-smi cannot reach the driver of Windows' 'update the NVIDIA driver in Windows, then: wsl --update && wsl --shutdown'
        else
            row 'nvidia driver' fail 'nvidia-smi cannot reach the driver' 'reboot; if that does not help, install the driver anew'
        fi ;;
    '')
        if [ -z "$HOST_DRIVER_MAJOR" ]; then
            row 'nvidia driver' warn "version $HOST_DRIVER_VERSION cannot be read"
        elif [ "$HOST_DRIVER_MAJOR" -lt "$MIN_DRIVER" ]; then
            row 'nvidia driver' fail "$HOST_DRIVER_VERSION is too old; CUDA 12 needs $MIN_DRIVER or newer" 'update the driver'
        elif [ "$HOST_GPU_SM" = 120 ] && [ "$HOST_DRIVER_MAJOR" -lt "$MIN_DRIVER_BLACKWELL" ]; then
            row 'nvidia driver' fail "$HOST_DRIVER_VERSION does not know this GPU; it needs $MIN_DRIVER_BLACKWELL or newer" 'update the driver'
        elif [ "$HOST_DRIVER_MAJOR" -lt "$FULL_DRIVER" ]; then
            row 'nvidia driver' warn "$HOST_DRIVER_VERSION is older than CUDA 12.8; the toolkit may refuse it (unsatisfied condition: cuda>=12.8)" \
                "update to $FULL_DRIVER or newer"
        else
            row 'nvidia driver' ok "$HOST_DRIVER_VERSION"
        fi ;;
    esac
}

check_gpu() {
    [ -z "$GPU_PROBLEM" ] || return 0
    row gpu ok "$HOST_GPU_NAME × $HOST_GPU_COUNT${HOST_GPU_SM:+, sm_$HOST_GPU_SM}${HOST_VRAM_GB:+, $HOST_VRAM_GB GB}"
    if [ -z "$HOST_GPU_SM" ]; then
        row 'cuda12 arch' warn 'the compute capability is not known'
    elif [[ " $CUDA12_ARCHS " == *" $HOST_GPU_SM "* ]]; then
        row 'cuda12 arch' ok "sm_$HOST_GPU_SM is in the image"
    elif [ "$HOST_GPU_SM" -lt 75 ]; then
        row 'cuda12 arch' warn "sm_$HOST_GPU_SM is older than the oldest card supported (sm_75)" 'CPU serving works: lucebox config set device=cpu'
    else
        row 'cuda12 arch' warn "sm_$HOST_GPU_SM is not among $CUDA12_ARCHS"
    fi
    if [ -n "$HOST_VRAM_GB" ] && [ "$HOST_VRAM_GB" -lt "$SMALL_CARD_GB" ]; then
        row vram warn "$HOST_VRAM_GB GB: only small models fit"
    elif [ -n "$HOST_VRAM_GB" ] && [ "$HOST_VRAM_GB" -lt "$LARGE_CARD_GB" ]; then
        row vram warn "$HOST_VRAM_GB GB: a 27B model does not fit; others get contexts of about 32K" 'lucebox autotune tells what a model gets'
    fi
    if [[ ${GPU_MIG,,} == enabled ]]; then row mig warn 'MIG is on: the figures above are of the whole card, a slice has less' 'choose slices by UUID: lucebox config set gpus=MIG-...'; fi
    if [[ ${GPU_ECC,,} == enabled ]]; then row ecc ok 'on: a sixteenth of the memory of a GDDR card goes to it'; fi
    if [[ ${GPU_DISPLAY,,} == enabled ]]; then
        row display warn "a desktop uses this GPU${GPU_USED_MB:+ ($GPU_USED_MB MiB taken)}" 'what it takes is missing for context'
    fi
    if [ "$HOST_GPU_COUNT" -gt 1 ] && [ "$GPUS" = all ]; then
        row 'gpu choice' ok "all $HOST_GPU_COUNT are given to the container; lucebox config set gpus=0 gives one"
    fi
    if [ "$HOST_IS_WSL" = 1 ]; then
        row 'wsl memory' warn 'Windows may move GPU memory to RAM instead of failing, 20 times slower' \
            'NVIDIA Control Panel, CUDA - Sysmem Fallback Policy: Prefer No Sysmem Fallback'
    fi
}

check_systemd() {
    if [ "$HOST_HAS_SYSTEMD" = 1 ]; then
        row 'user systemd' ok available
    elif [ "$HOST_IS_WSL" = 1 ]; then
        row 'user systemd' warn 'not running; lucebox serve works without' 'put systemd=true under [boot] in /etc/wsl.conf, then: wsl --shutdown'
    else
        row 'user systemd' warn 'not available; lucebox serve works without'
    fi
}

days_ago() { # TIME
    local made
    made=$(date -d "$1" +%s 2>/dev/null) || return 0
    local days=$((($(date +%s) - made) / 86400))
    case $days in
    0) printf ', today' ;;
    1) printf ', yesterday' ;;
    *) printf ', %s days ago' "$days" ;;
    esac
}

image_present() { docker image inspect "$IMAGE" >/dev/null 2>&1; }

check_image() {
    if [ "$DEVICE" != cpu ] && { [ -n "$GPU_PROBLEM" ] || [[ $HOST_HAS_CTK != runtime && $HOST_HAS_CTK != cdi ]]; }; then
        row image fail "$IMAGE cannot run yet" 'see the rows above'
        return
    fi
    [ "$DOCKER_STATE" = reachable ] || { row image fail "$IMAGE cannot run yet" 'see the rows above'; return; }
    local created
    if created=$(timeout 5 docker image inspect --format '{{.Created}}' "$IMAGE" 2>/dev/null); then
        row image ok "$IMAGE, made ${created%%T*}$(days_ago "$created")"
    else
        row image ok "$IMAGE, not pulled yet" 'lucebox pull'
    fi
}

check_port() {
    if ! port_taken "$PORT"; then
        row port ok "$PORT is free"
    elif [ "$(container_state)" = running ]; then
        row port ok "$PORT is served by the container $CONTAINER"
    else
        row port fail "$PORT is used by $(port_owner "$PORT")" "stop it, or: lucebox config set port=$((PORT < 65535 ? PORT + 1 : 8080))"
    fi
}

check_models() {
    local folder=$MODELS files=0 broken='' parts=0 checked=0 file magic free
    if [ -d "$MODELS" ]; then
        while IFS= read -r -d '' file; do
            case $file in
            *.part) parts=$((parts + 1)) ;;
            *)
                files=$((files + 1))
                magic=$(head -c 4 "$file" 2>/dev/null | tr -d '\0' || true)
                [ "$magic" = GGUF ] || broken=$file
                # What was fetched has a note, which says whether its hash was somebody's.
                if grep -qs '"checked": true' "$file.source.json"; then checked=$((checked + 1)); fi ;;
            esac
        done < <(find -L "$MODELS" -maxdepth 4 -type f \( -name '*.gguf' -o -name '*.part' \) -print0 2>/dev/null)
    fi
    if [ -n "$broken" ]; then
        row models warn "$broken is no GGUF file (an interrupted download?)" 'delete it and fetch it again: lucebox models download'
    elif [ "$parts" -gt 0 ]; then
        row models warn "$files in $MODELS, and $parts unfinished" 'lucebox models download goes on where it stopped'
    elif [ "$files" -eq 0 ]; then
        row models ok "none in $MODELS yet" 'lucebox models download'
    else
        row models ok "$files in $MODELS, $checked of them compared with a hash when they were fetched" 'lucebox models verify compares again'
    fi
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    free=$(df -Pk "$folder" | awk 'NR == 2 { printf "%d", $4 / 1048576 }')
    if [ "$files" -eq 0 ] && [ "$free" -lt "$MODEL_GB" ]; then
        row disk warn "$free GB free for models; a 27B model needs about $MODEL_GB" 'another disk: lucebox config set models_dir=/path'
    else
        row disk ok "$free GB free for models"
    fi
    if [ "$HOST_IS_WSL" = 1 ] && [[ $MODELS == /mnt/[a-z]/* ]]; then
        row 'models folder' warn 'on a Windows drive: loading is several times slower' 'keep models inside the Linux file system'
    fi
}

check_host() {
    row host ok "${HOST_OS_PRETTY:-unknown system}, $HOST_NPROC cpus, ${HOST_RAM_GB:-?} GB RAM"
    if [ -n "$HOST_RAM_GB" ] && [ "$HOST_RAM_GB" -lt 16 ]; then row ram warn "$HOST_RAM_GB GB RAM: loading a large model may be slow"; fi
}

# The only proof is a container that sees the GPU.
check_deep() {
    [ "$CHECK_CROSSES" -eq 0 ] || { row 'gpu in container' fail 'not tried' 'see the rows above'; return; }
    if ! image_present; then
        row 'gpu in container' warn 'not tried: the image is not here' 'lucebox pull'
        return
    fi
    local answer
    if [ "$DEVICE" = cpu ]; then return; fi
    gpu_arguments
    if answer=$(timeout 60 docker run --rm --network none "${GPU_ARGUMENTS[@]}" --entrypoint nvidia-smi "$IMAGE" -L 2>&1); then
        row 'gpu in container' ok "$(grep -c '^GPU' <<<"$answer") visible"
    else
        explain_docker_error "$answer"
        row 'gpu in container' fail "$EXPLAINED" "$EXPLAINED_HINT"
    fi
}

# What docker says when it cannot give a GPU, in a person's words.
explain_docker_error() {
    EXPLAINED=$(tail -n 1 <<<"$1") EXPLAINED_HINT='lucebox doctor looks for the usual causes'
    case $1 in
    *'could not select device driver'*)
        EXPLAINED='docker knows no GPU driver: the toolkit is missing, or docker was not restarted after it was installed'
        EXPLAINED_HINT='sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker' ;;
    *'unsatisfied condition'*)
        EXPLAINED='the driver is too old for the CUDA version of the image'
        EXPLAINED_HINT="update the driver to $FULL_DRIVER or newer; or try NVIDIA_DISABLE_REQUIRE=1 lucebox serve" ;;
    *'no adapters were found'*)
        EXPLAINED='WSL shows no GPU: Windows driver or WSL is too old'
        EXPLAINED_HINT='update both in Windows: wsl --update' ;;
    *'Unknown Error'*)
        EXPLAINED='NVML failed inside the container: its cgroup lost the devices'
        EXPLAINED_HINT='lucebox restart' ;;
    *'bpf_prog_query'* | *'no-cgroups'*)
        EXPLAINED='rootless docker may not set device cgroups'
        EXPLAINED_HINT='nvidia-ctk config --set nvidia-container-cli.no-cgroups --in-place, then restart docker' ;;
    *'permission denied'*docker.sock* | *'docker.sock'*'permission denied'*)
        EXPLAINED='this user may not talk to docker'
        EXPLAINED_HINT="sudo usermod -aG docker $(id -un), then log in again" ;;
    *'Cannot connect to the Docker daemon'*)
        EXPLAINED='docker does not answer'
        EXPLAINED_HINT='sudo systemctl start docker' ;;
    *'port is already allocated'* | *'address already in use'*)
        EXPLAINED="port $PORT is used by $(port_owner "$PORT")"
        EXPLAINED_HINT='stop it, or: lucebox config set port=...' ;;
    *'no space left on device'*)
        EXPLAINED='the disk is full'
        EXPLAINED_HINT='docker system df shows what docker holds; docker image prune frees old images' ;;
    *'manifest unknown'* | *'not found'*manifest*)
        EXPLAINED="there is no image $IMAGE"
        EXPLAINED_HINT='lucebox config unset variant, lucebox config unset image' ;;
    *'pull access denied'* | *'denied'* | *'unauthorized'*)
        EXPLAINED="the registry does not give $IMAGE to you"
        EXPLAINED_HINT='docker login, or: lucebox config unset image' ;;
    *'dial tcp'* | *'no such host'* | *'TLS handshake timeout'*)
        EXPLAINED='the registry cannot be reached'
        EXPLAINED_HINT='check the network; behind a proxy, dockerd needs it too (systemctl edit docker)' ;;
    esac
}
