# lucebox doctor: each sharp edge of a host is found, and nothing is found on a healthy one.
load machine
setup() { new_machine; echo 'nvidia_uvm 1 0' >"$LUCEBOX_PROBE_ROOT/proc/modules"; mkdir -p "$LUCEBOX_PROBE_ROOT/proc/driver/nvidia"; }
finds() { lucebox doctor; exits 1; says "$1"; says '→'; }

@test "a healthy machine has nothing" { lucebox doctor; exits 0; says 'nothing unusual'; }
@test "the toolkit is missing" { toolkit none; finds 'Toolkit is missing'; }
@test "the toolkit is not wired" { toolkit unwired; finds 'does not know the toolkit'; }
@test "docker is a snap" { sed -i 's|/none|/var/snap/docker|' "$FAKE/docker.info"; finds 'docker is a snap'; }
@test "Docker Desktop" { sed -i 's|Debian GNU/Linux 12|Docker Desktop|' "$FAKE/docker.info"; finds 'Docker Desktop on Linux'; }
@test "rootless docker, until it has no-cgroups" {
    sed -i 's|name=seccomp|name=rootless|' "$FAKE/docker.info"; finds 'rootless docker without no-cgroups'
    mkdir -p "$LUCEBOX_PROBE_ROOT/etc/nvidia-container-runtime"; echo 'no-cgroups = true' >"$LUCEBOX_PROBE_ROOT/etc/nvidia-container-runtime/config.toml"
    lucebox doctor; exits 0
}
@test "the systemd cgroup driver" { sed -i 's|cgroupfs|systemd|' "$FAKE/docker.info"; finds 'daemon-reload takes the GPU away'; }
@test "WSL 1" { echo 'Linux version 4.4.0-Microsoft' >"$LUCEBOX_PROBE_ROOT/proc/version"; finds 'WSL 1'; }
@test "a Linux driver inside WSL" { wsl2; touch "$LUCEBOX_PROBE_ROOT/proc/driver/nvidia/version"; finds 'Linux NVIDIA driver inside WSL'; }
@test "WSL without adapters" { wsl2; echo 'Failed to initialize NVML: N/A' >"$FAKE/gpu.error"; finds 'WSL shows no GPU'; }
@test "Windows lends memory" { wsl2; finds 'lend RAM'; }
@test "models on a Windows drive" { wsl2; LUCEBOX_MODELS=/mnt/d/m finds 'models on a Windows drive'; }
@test "nvidia_uvm is not loaded" { : >"$LUCEBOX_PROBE_ROOT/proc/modules"; finds 'nvidia-modprobe -u'; }
@test "a driver the toolkit may refuse" { gpus '0, U, B, X, 8.6, 24576, 1, 535.10, 0, x, x, x'; finds 'cuda>=12.8'; }
@test "no driver" { without nvidia-smi; finds 'no NVIDIA driver'; LUCEBOX_DEVICE=cpu lucebox doctor; exits 0; }
@test "a driver without a card" { echo 'No devices were found' >"$FAKE/gpu.error"; finds 'sees no GPU'; }
@test "a driver that does not answer" { echo 'Failed to initialize NVML: Unknown Error' >"$FAKE/gpu.error"; finds 'modprobe nvidia'; }
@test "driver and library differ" { echo 'Driver/library version mismatch' >"$FAKE/gpu.error"; finds reboot; }
@test "MIG" { gpus '0, U, B, X, 8.0, 40960, 1, 580.10, 0, x, x, Enabled'; finds 'MIG is on'; }
@test "settings of an earlier version" { mkdir -p "$HOME/.lucebox"; echo 'DFLASH_BUDGET=22' >"$HOME/.lucebox/config.env"; finds 'config.env is of an earlier version'; says 'lucebox config import'; }
@test "no room for images" {
    sed -i "s|/none|$BATS_TEST_TMPDIR|" "$FAKE/docker.info"; lucebox doctor; exits 0
    printf '#!/bin/sh\necho Filesystem; echo /dev/x 100 90 2097152 90%% /\n' >"$BATS_TEST_TMPDIR/bin/df"; chmod +x "$BATS_TEST_TMPDIR/bin/df"
    finds 'only 2 GB are free for images'; says 'docker image prune'
}
@test "the port is taken" { listener_start; finds "port $LUCEBOX_PORT is used"; listener_stop; }
@test "the container lost its GPU" { echo running >"$FAKE/container.state"; echo 'Failed to initialize NVML: Unknown Error' >"$FAKE/exec.output"; finds 'lost its GPU'; }
@test "the service ends at logout" { lucebox install; finds 'enable-linger'; }
@test "SELinux" { printf '#!/bin/sh\necho Enforcing\n' >"$BATS_TEST_TMPDIR/bin/getenforce"; chmod +x "$BATS_TEST_TMPDIR/bin/getenforce"; a_model; finds 'SELinux is enforcing'; lucebox serve; docker_run; has_words --security-opt label=disable; }
@test "a bundle holds what the server says of itself" {
    listener_start; cd "$BATS_TEST_TMPDIR"; lucebox doctor --bundle; listener_stop; exits 0
    mkdir out; tar -xzf lucebox-report-*.tar.gz -C out --strip-components 1
    grep -q '"max_tokens": 5, "note": "sk-REDACTED"' out/props.json; grep -q 28.0.1 out/docker.txt
    run ! grep -rE 'my-own-secret|abcdefghijklmnop' out
}
@test "a bundle holds what a report needs, and no keys" {
    config '[server]' 'api_keys = ["my-own-secret"]' '[runtime]' "port = $LUCEBOX_PORT"
    cd "$BATS_TEST_TMPDIR"; lucebox doctor --bundle; exits 0
    mkdir out; tar -xzf lucebox-report-*.tar.gz -C out --strip-components 1
    [ -s out/check.txt ]; [ -s out/doctor.txt ]; [ -s out/nvidia-smi.txt ]; grep -q 'port = ' out/config.toml
    run ! grep -rE 'my-own-secret|abcdefghijklmnop' out
    grep -q REDACTED out/container.log
}
