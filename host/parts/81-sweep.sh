# --- A sweep: which settings are fastest on this card ------------------------------------------------------------------------------
#
# It measures with servers of its own, one after the other, in a container that has the card for itself. The service, if it runs,
# is stopped for that and started again behind it, whatever happens: with the settings that were found, or with those from before.

autotune_command() {
    local word sweep=''
    for word in "$@"; do [ "$word" != --sweep ] || sweep=1; done
    if [ -n "$sweep" ]; then
        load_settings
        probe_all
        require_image
        if unit_active; then
            info 'the service is stopped while its settings are measured'
            trap at_exit EXIT
            trap 'exit 130' INT
            trap 'exit 143' TERM HUP
            # Who comes after a power cut is told by lucebox doctor.
            mkdir -p "$LUCEBOX_HOME" && : >"$LUCEBOX_HOME/service-stopped"
            SERVICE_STOPPED=1
            systemctl --user stop "$UNIT_NAME" || die 'the service could not be stopped' 'lucebox status'
        elif [ "$(container_state)" = running ]; then
            die 'a server is running, and a sweep needs the GPU for itself' 'end it (Ctrl-C where it runs), then lucebox autotune --sweep'
        fi
    fi
    run_in_image autotune "$@"
}

# shellcheck disable=SC2317 # at_exit calls it
service_again() {
    info 'the service is started again'
    rm -f "$LUCEBOX_HOME/service-stopped"
    systemctl --user --no-block start "$UNIT_NAME" || error 'the service could not be started: lucebox start'
}
