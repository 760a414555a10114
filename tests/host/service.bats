# The service: the unit that install writes, and the commands that drive it.
load machine
setup() { new_machine; UNIT=$HOME/.config/systemd/user/lucebox.service; }

@test "install writes a unit that systemd understands" {
    config '[runtime]' 'port = 9000'
    lucebox install
    exits 0
    grep -q '^Type=exec' "$UNIT"
    grep -q '^StartLimitBurst=5' "$UNIT"
    grep -q '^RestartPreventExitStatus=2 64 65 66 78$' "$UNIT"
    grep -q "^ExecStart=\"$LUCEBOX\" serve" "$UNIT"
    grep -q '^ExecStartPost=.* wait-ready' "$UNIT"
    grep -q '^SuccessExitStatus=143 SIGTERM' "$UNIT"
    grep -q '^WantedBy=default.target' "$UNIT"
    grep -q 'daemon-reload' "$FAKE/systemctl.log"
    says 'enable-linger'
}
@test "systemd-analyze finds nothing wrong with it" {
    command -v systemd-analyze >/dev/null || skip 'systemd-analyze is not installed'
    LUCEBOX_MODELS="$HOME/50% of \$my \"models\"" lucebox install
    exits 0
    XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR run systemd-analyze --user verify --recursive-errors=no "$UNIT"
    if [[ $output == *'Failed to initialize manager'* || $output == *'not been booted'* ]]; then skip "systemd-analyze cannot run here: ${output##*$'\n'}"; fi
    exits 0
    says_not 'lucebox.service' # it names the file where it finds something, and exits 0 all the same
}
@test "only what the environment sets is frozen into the unit" {
    unset LUCEBOX_PORT
    config '[runtime]' 'port = 9000'
    lucebox install
    run ! grep -E 'LUCEBOX_(PORT|IMAGE|VARIANT|CONTAINER|MODELS)' "$UNIT"
    LUCEBOX_PORT=9123 LUCEBOX_MODELS="/data/my models" lucebox install
    grep -q '^Environment="LUCEBOX_PORT=9123"$' "$UNIT"
    grep -q '^Environment="LUCEBOX_MODELS=/data/my models"$' "$UNIT"
}
@test "percent signs, dollars, quotes and spaces keep their meaning" {
    mkdir "$BATS_TEST_TMPDIR/a \$b 100%"
    cp -r "$REPOSITORY/host" "$BATS_TEST_TMPDIR/a \$b 100%/"
    LUCEBOX_MODELS='/m 50% "x"' run env PATH="$MACHINE_PATH" "$BATS_TEST_TMPDIR/a \$b 100%/host/lucebox" install
    exits 0
    grep -qF 'a $$b 100%%/host/lucebox" serve' "$UNIT"
    grep -qF 'Environment="LUCEBOX_MODELS=/m 50%% \"x\""' "$UNIT"
}
@test "USER may be unset" { run env -u USER PATH="$MACHINE_PATH" "$LUCEBOX" install; exits 0; }
@test "lingering users get no warning" { echo yes >"$FAKE/linger"; lucebox install; exits 0; says_not 'enable-linger'; }
@test "install without user systemd" { touch "$FAKE/no-systemd"; lucebox install; exits 1; says 'lucebox serve works without it'; [ ! -e "$UNIT" ]; }
@test "install on WSL without systemd" { wsl2; touch "$FAKE/no-systemd"; lucebox install; exits 1; says 'systemd=true'; }
@test "install for the network makes the key" { LUCEBOX_LAN=true lucebox install; exits 0; [ -s "$HOME/.lucebox/api-keys" ]; }
@test "every command of the service asks for an installed one" {
    local command
    for command in start stop restart enable disable status logs; do lucebox $command; exits 1; says 'lucebox install'; done
    lucebox uninstall; exits 0; says 'not installed'
}
@test "start follows it until it is ready" { lucebox install; echo active >"$FAKE/start.state"; lucebox start; exits 0; says "running at http://localhost:$LUCEBOX_PORT"; grep -q -- '--no-block start lucebox.service' "$FAKE/systemctl.log"; }
@test "start of one that runs" { lucebox install; echo active >"$FAKE/unit.state"; lucebox start; exits 0; says 'already running'; }
@test "start of one that restarts for ever" { lucebox install; echo activating >"$FAKE/unit.state"; lucebox start; exits 1; says 'again and again'; says 'lucebox logs'; }
@test "start that fails shows why" { lucebox install; echo failed >"$FAKE/start.state"; lucebox start; exits 1; says 'fake status'; says 'journalctl --user -u lucebox.service -n 30'; }
@test "start that takes too long" { lucebox install; echo activating >"$FAKE/start.state"; lucebox restart; exits 1; says 'not ready after 3 s'; }
@test "stop, enable, disable, status and logs are systemd's own" {
    lucebox install
    lucebox stop; lucebox enable; lucebox disable; lucebox status; says 'fake status'
    grep -q '^--user stop lucebox.service' "$FAKE/systemctl.log"
    grep -q '^--user enable lucebox.service' "$FAKE/systemctl.log"
    grep -q '^--user status --no-pager lucebox.service' "$FAKE/systemctl.log"
    lucebox logs; says 'journalctl --user -u lucebox.service -f'
    lucebox logs --since today; says 'lucebox.service --since today'
}
@test "uninstall keeps models and configuration" {
    config '[runtime]' 'port = 9000'; mkdir -p "$HOME/.local/share/lucebox/models"
    lucebox install; lucebox uninstall
    exits 0; [ ! -e "$UNIT" ]; [ -e "$HOME/.lucebox/config.toml" ]; [ -d "$HOME/.local/share/lucebox/models" ]
    grep -q 'disable lucebox.service' "$FAKE/systemctl.log"
}
@test "wait-ready waits for the server's own word" {
    listener_start 200; lucebox wait-ready; listener_stop; exits 0
    lucebox wait-ready 2; exits 1; says 'not ready after 2 s'
}
@test "wait-ready is not content with a server that loads" { listener_start 503; lucebox wait-ready 2; listener_stop; exits 1; }
