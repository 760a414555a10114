# What docs/container.md shows for the service, typed as it stands there.
load machine

@test "the service's commands of the documentation do what they say" {
    new_machine
    a_model
    local block
    block=$(awk '/^```sh test service$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$REPOSITORY/docs/container.md")
    [[ $block == *'lucebox install'* && $block == *'lucebox enable'* ]]
    ln -s "$LUCEBOX" "$BATS_TEST_TMPDIR/bin/lucebox"
    echo active >"$FAKE/start.state"
    run env PATH="$MACHINE_PATH" bash -euo pipefail -c "$block"
    exits 0
    [ -e "$HOME/.config/systemd/user/lucebox.service" ]
    says 'running at http://localhost'
    says 'fake status'
    local deed
    for deed in daemon-reload 'start lucebox.service' 'enable lucebox.service' 'stop lucebox.service'; do grep -q -- "$deed" "$FAKE/systemctl.log"; done
}
