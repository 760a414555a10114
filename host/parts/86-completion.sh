# --- lucebox completion -----------------------------------------------------------------------------------------------------------------

COMMANDS='check pull models serve run install uninstall start stop restart enable disable status logs print-run update config connect claude top autotune smoke bench doctor completion version help'
MODEL_ACTIONS='list download activate use verify import rm'
AUTOTUNE_OPTIONS='--sweep --json --vram --model --report --candidates'
CLIENTS='claude codex opencode aider openwebui'

completion_command() {
    case ${1:-} in
    bash)
        cat <<SCRIPT
_lucebox() {
    local word=\${COMP_WORDS[COMP_CWORD]}
    case \${COMP_WORDS[1]:-} in
    check) COMPREPLY=(\$(compgen -W '--json --deep' -- "\$word")) ;;
    serve | print-run) COMPREPLY=(\$(compgen -W '--lan --cpu --gpus --port --model' -- "\$word")) ;;
    update) COMPREPLY=(\$(compgen -W '--check --rollback' -- "\$word")) ;;
    config) COMPREPLY=(\$(compgen -W 'list get set unset import path edit reset restore $(setting_keys | tr '\n' ' ')' -- "\$word")) ;;
    models) COMPREPLY=(\$(compgen -W '$MODEL_ACTIONS' -- "\$word")) ;;
    autotune) COMPREPLY=(\$(compgen -W '$AUTOTUNE_OPTIONS' -- "\$word")) ;;
    connect) COMPREPLY=(\$(compgen -W '$CLIENTS' -- "\$word")) ;;
    doctor) COMPREPLY=(\$(compgen -W '--bundle' -- "\$word")) ;;
    completion) COMPREPLY=(\$(compgen -W 'bash zsh fish' -- "\$word")) ;;
    esac
    if [ "\$COMP_CWORD" -eq 1 ]; then COMPREPLY=(\$(compgen -W '$COMMANDS' -- "\$word")); fi
}
# Where nothing of ours fits: files.
complete -o default -F _lucebox lucebox
SCRIPT
        ;;
    zsh)
        cat <<SCRIPT
#compdef lucebox
_lucebox() {
    if (( CURRENT == 2 )); then
        compadd -- $COMMANDS
        return
    fi
    case \$words[2] in
    check) compadd -- --json --deep; _files ;;
    serve | print-run) compadd -- --lan --cpu --gpus --port --model ;;
    update) compadd -- --check --rollback ;;
    config) compadd -- list get set unset import path edit reset restore $(setting_keys | tr '\n' ' ') ;;
    models) compadd -- $MODEL_ACTIONS ;;
    autotune) compadd -- $AUTOTUNE_OPTIONS ;;
    connect) compadd -- $CLIENTS ;;
    doctor) compadd -- --bundle ;;
    completion) compadd -- bash zsh fish ;;
    *) _files ;;
    esac
    # Further words of these may be files.
    if (( CURRENT > 3 )); then _files; fi
}
compdef _lucebox lucebox
SCRIPT
        ;;
    fish)
        cat <<SCRIPT
complete -c lucebox -f
complete -c lucebox -n __fish_use_subcommand -a '$COMMANDS'
complete -c lucebox -n '__fish_seen_subcommand_from check' -a '--json --deep'
complete -c lucebox -n '__fish_seen_subcommand_from serve print-run' -a '--lan --cpu --gpus --port --model'
complete -c lucebox -n '__fish_seen_subcommand_from update' -a '--check --rollback'
complete -c lucebox -n '__fish_seen_subcommand_from config' -a 'list get set unset import path edit reset restore $(setting_keys | tr '\n' ' ')'
complete -c lucebox -n '__fish_seen_subcommand_from models' -a '$MODEL_ACTIONS'
complete -c lucebox -n '__fish_seen_subcommand_from autotune' -a '$AUTOTUNE_OPTIONS'
complete -c lucebox -n '__fish_seen_subcommand_from connect' -a '$CLIENTS'
complete -c lucebox -n '__fish_seen_subcommand_from doctor' -a '--bundle'
complete -c lucebox -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'
complete -c lucebox -n '__fish_seen_subcommand_from check models serve run bench config' -F
SCRIPT
        ;;
    '') usage_error 'completion needs the name of a shell' 'lucebox completion bash|zsh|fish' ;;
    *) die "no completion for $1" 'bash, zsh and fish are known' ;;
    esac
}
