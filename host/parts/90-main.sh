# --- The command line ----------------------------------------------------------------------------------------------------------------------

help_command() {
    cat <<'HELP'
lucebox: a local LLM server in a container

  check [--json] [--deep]     is this machine ready; exit code 1 if not
  check FILE                  what a model file is, and whether it fits
  pull                        fetch the image
  models ...                  list and fetch models
  serve [--lan] [--cpu] [--gpus LIST] [--port N] [server's options]
                              run the server here; Ctrl-C stops it
  print-run [--null] [...]    the docker command that serve would run

  install, uninstall          write or remove a user systemd service
  start, stop, restart, enable, disable, status, logs [journalctl's options]

  connect CLIENT              settings for claude, codex, opencode, aider, openwebui
  claude [-- ARGUMENT...]     Claude Code with the running server behind it
  top                         watch what the running server does

  config [list|get KEY|set KEY=VALUE|unset KEY|import FILE|path|edit|reset|restore]
  update [--check|--rollback] renew this wrapper
  doctor [--bundle]           look for the usual causes of trouble
  completion bash|zsh|fish
  version, help

  run, bench, autotune, smoke, and every other command of the program run in the image.

Settings come from the environment, else from config.toml, else from defaults; see lucebox config.
HELP
}

main() {
    setup_colours
    if [ "${1:-}" = --no-exec ]; then
        LUCEBOX_NO_EXEC=1
        shift
    fi
    local command=${1:-help}
    [ $# -eq 0 ] || shift
    case $command in
    help | -h | --help) help_command ;;
    version | --version) printf 'lucebox wrapper %s\n' "$VERSION" ;;
    check) check_command "$@" ;;
    pull) pull_command "$@" ;;
    serve) serve_command "$@" ;;
    print-run) print_run_command "$@" ;;
    install) install_command "$@" ;;
    uninstall) uninstall_command "$@" ;;
    start) start_command "$@" ;;
    restart) restart_command "$@" ;;
    stop | enable | disable | status) unit_command "$command" "$@" ;;
    logs) logs_command "$@" ;;
    wait-ready) wait_ready_command "$@" ;;
    config) config_command "$@" ;;
    update) update_command "$@" ;;
    doctor) doctor_command "$@" ;;
    completion) completion_command "$@" ;;
    smoke | top) run_beside_server "$command" "$@" ;;
    connect) connect_command "$@" ;;
    claude) claude_command "$@" ;;
    autotune) autotune_command "$@" ;;
    models | run | bench | tokenize | generate | logits | quantize) run_in_image "$command" "$@" ;;
    -*) usage_error "there is no option $command before a command" 'lucebox help' ;;
    *) other_command "$command" "$@" ;;
    esac
}

# Inside the container the server has another port than here.
connect_command() {
    load_settings
    run_beside_server connect --shown-url "http://127.0.0.1:$PORT" "$@"
}

claude_command() {
    local settings
    command -v claude >/dev/null || die 'claude is not on the PATH' 'install Claude Code, or see lucebox connect claude'
    settings=$(connect_command claude) || exit $?
    eval "$settings" # lines of export, written by our own program
    [ "${1:-}" != -- ] || shift
    exec claude "$@"
}

# The image may know commands that this wrapper doesn't; a slip of the finger should not start a container.
other_command() {
    local near
    local -a known
    read -ra known <<<"$COMMANDS"
    near=$(nearest "$1" "${known[@]}")
    [ -z "$near" ] || usage_error "there is no command $1" "did you mean lucebox $near?"
    run_in_image "$@"
}

main "$@"
exit $?
