# install.sh and lucebox update, against channels in folders of this machine.
load machine
setup() {
    new_machine
    ln -s "$(type -P curl)" "$BATS_TEST_TMPDIR/bin/curl"
    CHANNEL=$BATS_TEST_TMPDIR/channel
    "$REPOSITORY/host/bundle.sh" "$CHANNEL"
    DEST=$HOME/.local/bin/lucebox
    export LUCEBOX_INSTALL_URL=file://$CHANNEL
}
install_it() { run env PATH="$MACHINE_PATH" bash "$REPOSITORY/host/install.sh"; }
installed() { run env -u LUCEBOX_INSTALL_URL PATH="$MACHINE_PATH" "$DEST" "$@"; }
new_version() { # of the channel
    sed -i "s/^VERSION=.*/VERSION=$1/" "$CHANNEL/lucebox"
    (cd "$CHANNEL" && sha256sum install.sh lucebox >SHA256SUMS)
}

@test "a release's one file is installed and knows its channel" {
    install_it
    exits 0; says 'put it on the PATH'; says 'lucebox check'; says 'lucebox models download'
    [ -x "$DEST" ]
    grep -qx "LUCEBOX_INSTALLED_FROM='file://$CHANNEL'" "$DEST"
    installed version; exits 0; says "wrapper $(sed -n 's/^VERSION=//p' "$REPOSITORY/host/parts/00-head.sh")"
    shellcheck "$DEST"
}
@test "a branch of the repository is a channel too, with the same result" {
    install_it
    LUCEBOX_INSTALL_URL=file://$REPOSITORY/host LUCEBOX_INSTALL_DEST=$BATS_TEST_TMPDIR/second install_it
    exits 0
    diff <(grep -v -e '^LUCEBOX_INSTALLED_FROM=' -e '^# channel checksum' "$DEST") <(grep -v -e '^LUCEBOX_INSTALLED_FROM=' -e '^# channel checksum' "$BATS_TEST_TMPDIR/second")
}
@test "a file that was damaged on its way is not installed" { echo '# more' >>"$CHANNEL/lucebox"; install_it; exits 1; says 'checksum is wrong'; [ ! -e "$DEST" ]; }
@test "an empty download installs nothing" { : >"$CHANNEL/lucebox"; install_it; exits 1; says 'is empty'; [ ! -e "$DEST" ]; }
@test "a missing channel installs nothing" { LUCEBOX_INSTALL_URL=file:///nowhere install_it; exits 1; says 'cannot be fetched'; [ ! -e "$DEST" ]; }
@test "a page instead of a script installs nothing" { echo '<html>' >"$CHANNEL/lucebox"; (cd "$CHANNEL" && sha256sum install.sh lucebox >SHA256SUMS); install_it; exits 1; says 'no wrapper'; [ ! -e "$DEST" ]; }
@test "a script that does not parse installs nothing" { echo 'if' >>"$CHANNEL/lucebox"; (cd "$CHANNEL" && sha256sum install.sh lucebox >SHA256SUMS); install_it; exits 1; says 'no valid script'; [ ! -e "$DEST" ]; }
@test "a list that reaches outside installs nothing" { echo "$(sha256sum </dev/null | cut -d' ' -f1)  ../../x" >>"$CHANNEL/SHA256SUMS"; install_it; exits 1; says 'does not belong there'; }
@test "an address pinned to a commit is refused, unless a channel is named" {
    local pinned=$BATS_TEST_TMPDIR/0123456789abcdef0123456789abcdef01234567
    cp -r "$CHANNEL" "$pinned"
    LUCEBOX_INSTALL_URL=file://$pinned install_it
    exits 1; says 'pinned to one commit'; says LUCEBOX_INSTALL_CHANNEL
    LUCEBOX_INSTALL_CHANNEL=https://example.org/main LUCEBOX_INSTALL_URL=file://$pinned install_it
    exits 0; grep -qx "LUCEBOX_INSTALLED_FROM='https://example.org/main'" "$DEST"
}
@test "a channel with shell characters is refused" { local c; for c in 'https://x/$(id)' 'https://x/`id`' "https://x/'" 'https://x/"' 'https://x/\'; do LUCEBOX_INSTALL_CHANNEL=$c install_it; exits 1; says 'should not have'; done; [ ! -e "$DEST" ]; }
@test "plain http is refused" { LUCEBOX_INSTALL_URL=http://example.org/x install_it; exits 1; says 'is not https'; }
@test "a known checksum of the list is enforced" { LUCEBOX_INSTALL_SHA256=00 install_it; exits 1; says 'not the one you asked for'; LUCEBOX_INSTALL_SHA256=$(sha256sum <"$CHANNEL/SHA256SUMS" | cut -d' ' -f1) install_it; exits 0; }

@test "update from the channel, there and back" {
    install_it
    installed update --check; exits 0; says 'is the newest'
    installed update; exits 0; says 'is the newest'
    new_version 9.9.9
    installed update --check; exits 0; says 'a newer wrapper is at'; installed version; says_not 9.9.9
    installed update; exits 0; installed version; says 9.9.9
    grep -qx "LUCEBOX_INSTALLED_FROM='file://$CHANNEL'" "$DEST"
    installed update --rollback; exits 0; installed version; says_not 9.9.9
    installed update --rollback; installed version; says 9.9.9
}
@test "an update that is damaged changes nothing" {
    install_it; cp "$DEST" "$BATS_TEST_TMPDIR/before"
    new_version 9.9.9; echo '#' >>"$CHANNEL/lucebox"
    installed update; exits 1; says 'checksum is wrong'; cmp "$DEST" "$BATS_TEST_TMPDIR/before"
    new_version 9.9.9; echo '#' >>"$CHANNEL/install.sh"
    installed update; exits 1; says 'nothing was changed'; cmp "$DEST" "$BATS_TEST_TMPDIR/before"
}
@test "update from a checkout says what to do" { run env -u LUCEBOX_INSTALL_URL PATH="$MACHINE_PATH" "$LUCEBOX" update; exits 1; says 'git pull'; }
@test "rollback without an earlier version" { install_it; installed update --rollback; exits 1; says 'no earlier version'; }
@test "a download of install.sh that was cut off runs nothing" {
    local size; size=$(stat -c %s "$REPOSITORY/host/install.sh")
    head -c $((size - 10)) "$REPOSITORY/host/install.sh" >"$BATS_TEST_TMPDIR/cut.sh"
    run env PATH="$MACHINE_PATH" bash "$BATS_TEST_TMPDIR/cut.sh"; [ ! -e "$DEST" ]
}
