# --- lucebox doctor: the sharp edges of hosts, looked for one by one ------------------------------------------------------------------

# finding TITLE EXPLANATION WAY-OUT
finding() {
    FINDINGS=$((FINDINGS + 1))
    printf '%s%s. %s%s\n   %s\n   → %s\n' "$BOLD" "$FINDINGS" "$1" "$PLAIN" "$2" "$3"
}

doctor_command() {
    case ${1:-} in
    '') ;;
    --bundle)
        doctor_bundle
        return ;;
    *) usage_error "doctor has no option $1" 'lucebox doctor [--bundle]' ;;
    esac
    load_settings
    [ -t 1 ] || { local BOLD='' PLAIN=''; }
    probe_all
    FINDINGS=0
    doctor_docker
    doctor_driver
    doctor_container
    doctor_host
    if [ "$FINDINGS" -eq 0 ]; then
        printf 'nothing unusual was found; lucebox check has the details, lucebox doctor --bundle collects them for a report\n'
    fi
    [ "$FINDINGS" -eq 0 ]
}

doctor_docker() {
    case $DOCKER_STATE in
    missing) finding 'docker is not installed' 'Everything runs in a container.' 'https://docs.docker.com/engine/install/' ;;
    unreachable) finding 'docker does not answer' "${DOCKER_ERROR##*$'\n'}" "sudo systemctl start docker; if it may not be used: sudo usermod -aG docker $(id -un)" ;;
    esac
    [ "$DOCKER_STATE" = reachable ] || return 0
    local path free
    path=$(readlink -f "$(command -v docker)")
    if [[ $path == */snap/* || $DOCKER_ROOT == /var/snap/* ]]; then
        finding 'docker is a snap' 'Its confinement hides the NVIDIA libraries: "could not select device driver".' 'sudo snap remove docker, then install Docker Engine'
    fi
    if [ "$HOST_IS_WSL" = 0 ] && [[ $DOCKER_SYSTEM == *'Docker Desktop'* ]]; then
        finding 'Docker Desktop on Linux' 'It runs containers in a virtual machine that has no GPU.' 'docker context use default, with Docker Engine installed'
    fi
    if [[ $DOCKER_SECURITY == *rootless* ]] && ! grep -qsE '^[[:space:]]*no-cgroups *= *true' "$ROOT/etc/nvidia-container-runtime/config.toml"; then
        finding 'rootless docker without no-cgroups' 'The toolkit tries to set device cgroups, which a user may not.' \
            'sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups --in-place'
    fi
    if [ "$HOST_HAS_CTK" = installed-unwired ]; then
        finding 'docker does not know the toolkit' '"could not select device driver "" with capabilities: [[gpu]]"' \
            'sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker'
    elif [ "$HOST_HAS_CTK" = none ] && [ "$DEVICE" != cpu ]; then
        finding 'the NVIDIA Container Toolkit is missing' '"could not select device driver "" with capabilities: [[gpu]]"' \
            'https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html'
    fi
    if [ "$HOST_HAS_CTK" = runtime ] && [ "$DOCKER_CGROUP_DRIVER" = systemd ] && [ "$DEVICE" != cpu ]; then
        finding 'a daemon-reload takes the GPU away' 'With the systemd cgroup driver, running containers then say "Failed to initialize NVML: Unknown Error".' \
            'lucebox restart recreates the container; CDI (nvidia-ctk cdi generate) or native.cgroupdriver=cgroupfs avoids it'
    fi
    if [ -d "$DOCKER_ROOT" ]; then
        free=$(df -Pk "$DOCKER_ROOT" | awk 'NR == 2 { printf "%d", $4 / 1048576 }')
        if [ "$free" -lt 5 ]; then finding "only $free GB are free for images" "$DOCKER_ROOT holds them." 'docker image prune, or move data-root'; fi
    fi
}

doctor_driver() {
    if [ "$HOST_WSL_VERSION" = wsl1 ]; then
        finding 'WSL 1' 'It has no GPU.' 'wsl --set-version DISTRIBUTION 2'
    elif [ "$HOST_IS_WSL" = 1 ]; then
        if [ -e "$ROOT/usr/bin/nvidia-installer" ] || [ -e "$ROOT/proc/driver/nvidia/version" ]; then
            finding 'a Linux NVIDIA driver inside WSL' 'The driver lives in Windows; a second one hides it.' 'remove it: sudo nvidia-installer --uninstall, or apt remove nvidia-driver-*'
        fi
        if [ "$GPU_PROBLEM" = nvml ] || [ "$GPU_PROBLEM" = none ]; then
            finding 'WSL shows no GPU' '"WSL environment detected but no adapters were found"' 'update the driver in Windows, then: wsl --update && wsl --shutdown'
        fi
        if [ -z "$GPU_PROBLEM" ]; then
            finding 'Windows may lend RAM as GPU memory' 'Running out of GPU memory then looks like being 20 times slower.' \
                'NVIDIA Control Panel, CUDA - Sysmem Fallback Policy: Prefer No Sysmem Fallback'
        fi
        if [[ $MODELS == /mnt/[a-z]/* ]]; then finding 'models on a Windows drive' 'Loading is several times slower.' 'lucebox config set models_dir=~/models'; fi
    fi
    [ "$DEVICE" != cpu ] || return 0
    case $GPU_PROBLEM in
    missing) [ "$HOST_IS_WSL" = 1 ] || finding 'there is no NVIDIA driver' 'nvidia-smi is not on the PATH.' 'install the driver of your distribution; to compute without: lucebox config set device=cpu' ;;
    none) [ "$HOST_IS_WSL" = 1 ] || finding 'the driver sees no GPU' 'It runs, and finds no card that it knows.' 'lspci | grep -i nvidia tells whether the machine sees one' ;;
    nvml) [ "$HOST_IS_WSL" = 1 ] || finding 'the driver does not answer' '"Failed to initialize NVML": its kernel module is not loaded, or failed.' 'reboot; then sudo modprobe nvidia says why' ;;
    mismatch) finding 'driver and libraries differ' 'The driver was updated while its old kernel module runs.' reboot ;;
    '')
        if [ "$HOST_IS_WSL" = 0 ] && [ -d "$ROOT/proc/driver/nvidia" ] && ! grep -qs '^nvidia_uvm ' "$ROOT/proc/modules"; then
            finding 'nvidia_uvm is not loaded' 'On a headless machine nothing loads it, and CUDA says cudaErrorUnknown.' 'sudo nvidia-modprobe -u -c=0'
        fi
        if [ -n "$HOST_DRIVER_MAJOR" ] && [ "$HOST_DRIVER_MAJOR" -lt "$FULL_DRIVER" ]; then
            finding "driver $HOST_DRIVER_VERSION" 'The toolkit may refuse the image: "unsatisfied condition: cuda>=12.8".' \
                "update to $FULL_DRIVER or newer; or try NVIDIA_DISABLE_REQUIRE=1 lucebox serve"
        fi
        if [[ ${GPU_MIG,,} == enabled ]]; then
            finding 'MIG is on' 'What nvidia-smi says of the card is not what a slice has.' 'nvidia-smi -L lists slices; lucebox config set gpus=MIG-...'
        fi ;;
    esac
}

doctor_container() {
    [ "$DOCKER_STATE" = reachable ] || return 0
    local state
    state=$(container_state)
    if [ "$state" != running ] && port_taken "$PORT"; then
        finding "port $PORT is used by $(port_owner "$PORT")" 'Another model server, perhaps.' 'stop it, or: lucebox config set port=...'
    fi
    if [ "$state" = running ] && [ "$DEVICE" != cpu ] && docker exec "$CONTAINER" nvidia-smi -L 2>&1 | grep -q 'Unknown Error'; then
        finding 'the container has lost its GPU' 'A daemon-reload, or an update of the driver.' 'lucebox restart'
    fi
    if [ -e "$LUCEBOX_HOME/service-stopped" ] && ! unit_active; then
        finding 'the service was stopped for a sweep' 'The sweep did not come to its end; the settings are those from before.' 'lucebox start'
    fi
    if [ -e "$UNIT_FILE" ] && have loginctl && [ "$(loginctl show-user "$(id -un)" --property=Linger --value 2>/dev/null || true)" != yes ]; then
        finding 'the service stops when you log out' 'Services of a user end with the last session.' "sudo loginctl enable-linger $(id -un)"
    fi
}

doctor_host() {
    if [ -e "$LUCEBOX_HOME/config.env" ]; then
        finding "$LUCEBOX_HOME/config.env is of an earlier version" 'It is not read any more.' "lucebox config import $LUCEBOX_HOME/config.env, then delete it"
    fi
    if have getenforce && [ "$(getenforce 2>/dev/null)" = Enforcing ]; then
        finding 'SELinux is enforcing' 'Containers may not read folders that are not labelled for them.' \
            'this wrapper passes label=disable; with docker run of your own add :z to the model folder'
    fi
}

# Everything a report needs, without keys: facts, check, doctor, the last lines of the log, what the server says of itself.
doctor_bundle() {
    load_settings
    local folder name
    name=lucebox-report-$(date +%Y%m%d-%H%M%S)
    folder=$(mktemp -d)/$name
    mkdir -p "$folder"
    (check_command) >"$folder/check.txt" 2>&1 || true
    (doctor_command) >"$folder/doctor.txt" 2>&1 || true
    { [ ! -r "$CONFIG_FILE" ] || cat "$CONFIG_FILE"; } | redacted >"$folder/config.toml"
    if have nvidia-smi; then nvidia-smi -q >"$folder/nvidia-smi.txt" 2>&1 || true; fi
    if have docker; then
        docker logs --tail 200 "$CONTAINER" 2>&1 | redacted >"$folder/container.log" || true
        docker info 2>&1 | redacted >"$folder/docker.txt" || true
        docker exec "$CONTAINER" lucebox version --json >"$folder/version.json" 2>/dev/null || rm -f "$folder/version.json"
    fi
    http_body /props | without_keys >"$folder/props.json"
    [ -s "$folder/props.json" ] || rm -f "$folder/props.json"
    if have journalctl; then journalctl --user -u "$UNIT_NAME" -n 200 --no-pager 2>&1 | redacted >"$folder/journal.log" || true; fi
    tar -C "$(dirname "$folder")" -czf "$name.tar.gz" "$name"
    rm -rf "$(dirname "$folder")"
    ok "wrote $name.tar.gz; look through it before you send it"
}

redacted() { sed -E 's/((api_?keys?|token|password|secret)[A-Za-z_]* *[=:] *).*/\1REDACTED/I' | without_keys; }

# What looks like one, wherever it stands. Of /props only this: it names no keys, and much that is called tokens.
without_keys() { sed -E 's/(lk-|sk-|hf_)[A-Za-z0-9_-]{8,}/\1REDACTED/g; s/(Bearer +)[^ "]+/\1REDACTED/g; s#(://[^:/@ ]+):[^@/ ]+@#\1:REDACTED@#g'; }
