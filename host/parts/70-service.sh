# --- The service: a unit of the user's systemd ----------------------------------------------------------------------------------

unit_active() { have systemctl && systemctl --user is-active --quiet "$UNIT_NAME" 2>/dev/null; }

require_unit() {
    load_settings
    [ ! -e "$UNIT_FILE" ] || return 0
    local -a hints=('lucebox install')
    if [ "$(container_state)" = running ]; then
        hints+=("a server runs without it, started by lucebox serve: docker logs -f $CONTAINER, docker stop $CONTAINER")
    fi
    die 'the service is not installed' "${hints[@]}"
}

# A value inside a unit file: systemd expands % and reads backslashes and quotes itself.
unit_quoted() {
    local value=$1
    value=${value//\\/\\\\}
    value=${value//\"/\\\"}
    value=${value//%/%%}
    printf '"%s"' "${value//\$/\$\$}"
}

unit_environment() {
    local value=$1
    value=${value//\\/\\\\}
    value=${value//\"/\\\"}
    printf 'Environment="%s"\n' "${value//%/%%}"
}

# The standard folders, and those where docker and nvidia-smi are here.
unit_path() {
    local path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/wsl/lib tool folder
    for tool in docker nvidia-smi; do
        have "$tool" || continue
        folder=$(dirname "$(command -v "$tool")")
        case :$path: in *:"$folder":*) ;; *) path+=:$folder ;; esac
    done
    printf '%s' "$path"
}

# Only what somebody set in the environment is frozen into the unit; config.toml is read at each start.
write_unit() {
    local script=$1 docker variable key
    docker=$(command -v docker)
    cat <<UNIT
# Written by lucebox install; a second install writes it anew. Own settings belong into lucebox.service.d/*.conf.
[Unit]
Description=Lucebox LLM server
Documentation=https://github.com/Luce-Org/lucebox-hub
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=exec
ExecStartPre=-$(unit_quoted "$docker") rm -f $CONTAINER
ExecStart=$(unit_quoted "$script") serve
ExecStartPost=$(unit_quoted "$script") wait-ready
ExecStop=$(unit_quoted "$docker") stop -t 30 $CONTAINER
Restart=on-failure
RestartSec=10
RestartPreventExitStatus=$EXITS_FOR_GOOD
SuccessExitStatus=143 SIGTERM
TimeoutStartSec=900
TimeoutStopSec=45
UNIT
    unit_environment "PATH=$(unit_path)"
    for key in $(setting_keys); do
        setting_row "$key"
        variable=$ROW_VARIABLE
        [ -z "${!variable:-}" ] || unit_environment "$variable=${!variable}"
    done
    [ -z "$HOME_FROM_ENVIRONMENT" ] || unit_environment "LUCEBOX_HOME=$HOME_FROM_ENVIRONMENT"
    for variable in XDG_DATA_HOME DOCKER_HOST; do
        [ -z "${!variable:-}" ] || unit_environment "$variable=${!variable}"
    done
    printf '\n[Install]\nWantedBy=default.target\n'
}

install_command() {
    [ $# -eq 0 ] || usage_error "install takes no argument $1"
    HOME_FROM_ENVIRONMENT=${LUCEBOX_HOME:-}
    load_settings
    probe_all
    require_docker
    require_gpu
    if [ "$HOST_HAS_SYSTEMD" = 0 ]; then
        if [ "$HOST_IS_WSL" = 1 ]; then die 'the user systemd is not running' 'put systemd=true under [boot] in /etc/wsl.conf, then: wsl --shutdown'; fi
        die 'the user systemd is not running' 'lucebox serve works without it'
    fi
    local script
    script=$(readlink -f "$0")
    mkdir -p "$(dirname "$UNIT_FILE")"
    write_unit "$script" >"$UNIT_FILE.new"
    mv -f "$UNIT_FILE.new" "$UNIT_FILE"
    systemctl --user daemon-reload
    ensure_api_key
    ensure_models_folder
    ok "wrote $UNIT_FILE"
    local user
    user=$(id -un)
    if have loginctl && [ "$(loginctl show-user "$user" --property=Linger --value 2>/dev/null || true)" != yes ]; then
        warn 'the service stops when you log out'
        hint "sudo loginctl enable-linger $user"
    fi
    hint 'lucebox start     start it now'
    hint 'lucebox enable    start it at boot'
}

uninstall_command() {
    settings_paths
    if [ ! -e "$UNIT_FILE" ]; then
        ok 'the service is not installed'
        return
    fi
    systemctl --user stop "$UNIT_NAME" 2>/dev/null || true
    systemctl --user disable "$UNIT_NAME" 2>/dev/null || true
    rm -f "$UNIT_FILE"
    systemctl --user daemon-reload
    ok "removed $UNIT_FILE; configuration and models stay"
}

start_command() {
    require_unit
    load_settings
    case $(systemctl --user is-active "$UNIT_NAME" 2>/dev/null || true) in
    active)
        ok "already running at http://localhost:$PORT"
        hint 'lucebox logs, lucebox restart, lucebox stop'
        return ;;
    activating)
        if [ "$(http_status /health)" = '' ]; then
            die 'the service is starting, or starts again and again' 'lucebox logs     why' 'lucebox stop     give up'
        fi ;;
    esac
    start_and_wait start
}

restart_command() {
    require_unit
    load_settings
    start_and_wait restart
}

# The unit is active only once the model is loaded (ExecStartPost waits for it), so follow it here and say how it goes.
start_and_wait() {
    rm -f "$LUCEBOX_HOME/service-stopped"
    local waited=0 limit=${LUCEBOX_START_TIMEOUT:-900} state said=''
    systemctl --user reset-failed "$UNIT_NAME" 2>/dev/null || true
    if ! systemctl --user --no-block "$1" "$UNIT_NAME"; then start_failed; fi
    while [ "$waited" -lt "$limit" ]; do
        state=$(systemctl --user is-active "$UNIT_NAME" 2>/dev/null || true)
        case $state in
        active)
            ok "running at http://localhost:$PORT"
            return ;;
        failed | inactive) if [ "$waited" -ge 2 ]; then start_failed; fi ;;
        esac
        if [ "$waited" -ge 5 ] && [ -z "$said" ]; then
            info 'the model is being loaded; lucebox logs shows how far it is'
            said=1
        fi
        sleep 1
        waited=$((waited + 1))
    done
    die "not ready after $limit s" 'lucebox logs'
}

start_failed() {
    error 'the service did not start'
    systemctl --user status --no-pager -n 30 "$UNIT_NAME" >&2 || true
    journalctl --user -u "$UNIT_NAME" -n 30 --no-pager >&2 || true
    hint 'lucebox doctor looks for the usual causes'
    exit 1
}

unit_command() {
    local action=$1
    shift
    require_unit
    case $action in
    status) exec systemctl --user status --no-pager "$UNIT_NAME" "$@" ;;
    *) exec systemctl --user "$action" "$UNIT_NAME" "$@" ;;
    esac
}

logs_command() {
    require_unit
    [ $# -gt 0 ] || set -- -f
    exec journalctl --user -u "$UNIT_NAME" "$@"
}

# For the unit: comes back when the server answers /ready, fails when the time is over or the container has gone.
wait_ready_command() {
    load_settings
    local limit=${1:-880} waited=0 seen=''
    while [ "$waited" -lt "$limit" ]; do
        case $(http_status /ready) in
        200) return 0 ;;
        esac
        if [ "$(container_state)" = running ]; then seen=1; elif [ -n "$seen" ]; then die 'the server ended while it was starting' 'lucebox logs'; fi
        sleep 1
        waited=$((waited + 1))
    done
    die "the server was not ready after $limit s" 'lucebox logs'
}
