# --- What this machine is --------------------------------------------------------------------------------------------------

# A folder to read instead of /, so that tests can play another machine.
ROOT=${LUCEBOX_PROBE_ROOT:-}

GPU_FIELDS=index,uuid,pci.bus_id,name,compute_cap,memory.total,power.limit,driver_version,memory.used,ecc.mode.current,display_active,mig.mode.current

trim() {
    local text=$1
    text=${text#"${text%%[![:space:]]*}"}
    printf '%s' "${text%"${text##*[![:space:]]}"}"
}

number_or_empty() { if [[ $1 =~ ^[0-9]+(\.[0-9]+)?$ ]]; then printf '%s' "$1"; fi; }

# shellcheck disable=SC2034 # collect_facts reads HOST_* by name
probe_system() {
    HOST_OS_PRETTY=$(awk -F= '$1 == "PRETTY_NAME" { gsub(/"/, "", $2); print $2; exit }' "$ROOT/etc/os-release" 2>/dev/null || true)
    HOST_KERNEL=$(uname -r)
    HOST_CPU_MODEL=$(awk -F': *' '/^model name/ { print $2; exit }' "$ROOT/proc/cpuinfo" 2>/dev/null || true)
    HOST_NPROC=$(nproc)
    HOST_RAM_GB=$(awk '/^MemTotal:/ { printf "%d", $2 / 1048576 + 0.5; exit }' "$ROOT/proc/meminfo" 2>/dev/null || true)
    HOST_WSL_VERSION='' HOST_IS_WSL=0
    local version=''
    [ ! -r "$ROOT/proc/version" ] || version=$(<"$ROOT/proc/version")
    case ${version,,} in
    *microsoft-standard-wsl2*) HOST_WSL_VERSION=wsl2 HOST_IS_WSL=1 ;;
    *microsoft*) HOST_WSL_VERSION=wsl1 HOST_IS_WSL=1 ;;
    esac
    if [ -e "$ROOT/proc/sys/fs/binfmt_misc/WSLInterop" ]; then HOST_IS_WSL=1; fi
}

# nvidia-smi answers with one line for each GPU. An old driver may not know a field and then knows none: ask for less.
# shellcheck disable=SC2034
probe_gpu() {
    HOST_GPU_VENDOR='' HOST_GPU_NAME='' HOST_GPU_COUNT=0 HOST_VRAM_GB='' HOST_GPU_SM='' HOST_DRIVER_VERSION=''
    HOST_DRIVER_MAJOR='' HOST_GPU_LIST_CSV='' GPU_PROBLEM='' GPU_LINES=()
    GPU_USED_MB='' GPU_ECC='' GPU_DISPLAY='' GPU_MIG=''
    if ! have nvidia-smi; then
        GPU_PROBLEM=missing
        return 0
    fi
    local answer line short=
    if ! answer=$(timeout 20 nvidia-smi --query-gpu="$GPU_FIELDS" --format=csv,noheader,nounits 2>&1); then
        case $answer in
        *'not a valid field'*)
            short=1
            answer=$(timeout 20 nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits 2>&1) || true ;;
        esac
    fi
    case $answer in
    *'Driver/library version mismatch'*) GPU_PROBLEM=mismatch ;;
    *'Failed to initialize NVML'* | *'NVIDIA-SMI has failed'*) GPU_PROBLEM=nvml ;;
    *'No devices were found'*) GPU_PROBLEM=none ;;
    *', '*) ;;
    *) GPU_PROBLEM=nvml ;;
    esac
    [ -z "$GPU_PROBLEM" ] || return 0
    HOST_GPU_VENDOR=nvidia
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        if [ -n "$short" ]; then
            local name memory driver
            IFS=, read -r name memory driver <<<"$line"
            line="${#GPU_LINES[@]},,,$name,,$memory,,$driver,,,,"
        fi
        GPU_LINES+=("$line")
    done <<<"$answer"
    HOST_GPU_COUNT=${#GPU_LINES[@]}
    local index uuid bus capability power
    for line in "${GPU_LINES[@]}"; do
        IFS=, read -r index uuid bus name capability memory power driver _ <<<"$line"
        HOST_GPU_LIST_CSV+=${HOST_GPU_LIST_CSV:+$'\n'}"$(trim "$index"),$(trim "$uuid"),$(trim "$bus"),$(trim "$name"),$(trim "$capability"),$(trim "$memory"),$(trim "$power")"
    done
    IFS=, read -r _ _ _ HOST_GPU_NAME HOST_GPU_SM memory _ HOST_DRIVER_VERSION GPU_USED_MB GPU_ECC GPU_DISPLAY GPU_MIG <<<"${GPU_LINES[0]}"
    HOST_GPU_NAME=$(trim "$HOST_GPU_NAME")
    HOST_GPU_SM=$(number_or_empty "$(trim "$HOST_GPU_SM")")
    HOST_GPU_SM=${HOST_GPU_SM/./}
    HOST_DRIVER_VERSION=$(trim "$HOST_DRIVER_VERSION")
    HOST_DRIVER_MAJOR=$(number_or_empty "${HOST_DRIVER_VERSION%%.*}")
    # A unified-memory part says [N/A]. A "24 GB" card reports 23.99 GiB: rounded, it keeps its label.
    memory=$(number_or_empty "$(trim "$memory")")
    if [ -n "$memory" ]; then HOST_VRAM_GB=$(((${memory%%.*} + 512) / 1024)); fi
    GPU_USED_MB=$(number_or_empty "$(trim "$GPU_USED_MB")")
    GPU_ECC=$(trim "$GPU_ECC") GPU_DISPLAY=$(trim "$GPU_DISPLAY") GPU_MIG=$(trim "$GPU_MIG")
}

# One question to dockerd answers most of what is asked of it.
# shellcheck disable=SC2034,SC2016 # HOST_* are read by name; the dollars are docker's
probe_docker() {
    DOCKER_STATE=missing HOST_HAS_DOCKER=0 HOST_DOCKER_VERSION='' DOCKER_CGROUP_DRIVER='' DOCKER_SYSTEM='' DOCKER_RUNTIMES=''
    DOCKER_SECURITY='' DOCKER_ROOT='' DOCKER_ERROR=''
    have docker || return 0
    local answer
    local format='{{.ServerVersion}}|{{.CgroupDriver}}|{{.OperatingSystem}}|{{range $name, $r := .Runtimes}}{{$name}} {{end}}|{{.DockerRootDir}}|{{range .SecurityOptions}}{{.}} {{end}}'
    if answer=$(timeout 5 docker info --format "$format" 2>&1) && [[ $answer == *\|* ]] && [[ $answer != \|* ]]; then
        answer=$(grep -F '|' <<<"$answer" | tail -n 1)
        IFS='|' read -r HOST_DOCKER_VERSION DOCKER_CGROUP_DRIVER DOCKER_SYSTEM DOCKER_RUNTIMES DOCKER_ROOT DOCKER_SECURITY <<<"$answer"
        DOCKER_STATE=reachable HOST_HAS_DOCKER=1
    else
        DOCKER_STATE=unreachable DOCKER_ERROR=$answer
    fi
}

# runtime: dockerd knows the NVIDIA runtime. cdi: device descriptions are there. installed-unwired: the tools are there
# and dockerd does not know. That a binary exists proves nothing, so dockerd's own list decides.
probe_toolkit() {
    HOST_HAS_CTK=none HOST_NVIDIA_CTK_VERSION=''
    if have nvidia-ctk; then HOST_NVIDIA_CTK_VERSION=$(nvidia-ctk --version 2>/dev/null | awk 'NR == 1 { print $NF }'); fi
    [ "$DOCKER_STATE" = reachable ] || return 0
    if [[ " $DOCKER_RUNTIMES " == *' nvidia '* ]]; then
        HOST_HAS_CTK=runtime
    elif grep -qs 'nvidia.com/gpu' "$ROOT"/etc/cdi/* "$ROOT"/var/run/cdi/* ||
        { have nvidia-ctk && nvidia-ctk cdi list 2>/dev/null | grep -q 'nvidia.com/gpu'; }; then
        HOST_HAS_CTK=cdi
    elif have nvidia-ctk || have nvidia-container-runtime; then
        HOST_HAS_CTK=installed-unwired
    fi
}

probe_systemd() {
    HOST_HAS_SYSTEMD=0
    if have systemctl && systemctl --user show-environment >/dev/null 2>&1; then HOST_HAS_SYSTEMD=1; fi
}

probe_all() {
    probe_system
    probe_gpu
    probe_docker
    probe_toolkit
    probe_systemd
}

# The facts as NAME=VALUE words for the container, into FACTS. A value may hold a newline: never split this as text.
collect_facts() {
    FACTS=()
    local name variable
    for name in CPU_MODEL DOCKER_VERSION DRIVER_MAJOR DRIVER_VERSION GPU_COUNT GPU_LIST_CSV GPU_NAME GPU_SM GPU_VENDOR HAS_CTK \
        HAS_DOCKER HAS_SYSTEMD IS_WSL KERNEL NPROC NVIDIA_CTK_VERSION OS_PRETTY RAM_GB VRAM_GB WSL_VERSION; do
        variable=HOST_$name
        [ -z "${!variable:-}" ] || FACTS+=("LUCEBOX_HOST_$name=${!variable}")
    done
    [ -z "${CUDA_VISIBLE_DEVICES:-}" ] || FACTS+=("LUCEBOX_HOST_CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES")
}

# --- Ports, without any tool ---------------------------------------------------------------------------------------------------

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

port_owner() {
    local owner=''
    if have ss; then owner=$(ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (pid \2)/p' | head -n 1); fi
    printf '%s' "${owner:-another program}"
}

# http_body PATH: what the server on PORT answers, if it says 200.
http_body() {
    local line status=''
    { exec 3<>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null || return 0
    printf 'GET %s HTTP/1.0\r\nHost: localhost:%s\r\nConnection: close\r\n\r\n' "$1" "$PORT" >&3 2>/dev/null || true
    read -r -t 5 status <&3 2>/dev/null || true
    while read -r -t 5 line <&3 && [ "$line" != $'\r' ]; do :; done
    if [[ $status == HTTP/1.[01]' 200'* ]]; then timeout 10 cat <&3 2>/dev/null || true; fi
    exec 3>&- 3<&-
}

# http_status PATH: the status code that the server on PORT gives, or nothing.
http_status() {
    local reply=''
    { exec 3<>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null || return 0
    printf 'GET %s HTTP/1.1\r\nHost: localhost:%s\r\nConnection: close\r\n\r\n' "$1" "$PORT" >&3 2>/dev/null || true
    read -r -t 3 reply <&3 2>/dev/null || true
    exec 3>&- 3<&-
    if [[ $reply =~ ^HTTP/1\.[01]\ ([0-9]{3}) ]]; then printf '%s' "${BASH_REMATCH[1]}"; fi
}
