# lucebox check: every row of its table, on machines that have just that.
load machine
setup() { new_machine; }

row_is() { # NAME GLYPH TEXT
    local line
    line=$(grep -E "^  $1 +[✓!✗]" <<<"$output" | head -n 1) || { printf 'no row %s in: %s\n' "$1" "$output" >&2; return 1; }
    [[ $line == *" $2 "*"$3"* ]] || { printf 'row is: %s\nexpected: %s %s\n' "$line" "$2" "$3" >&2; return 1; }
}

@test "a healthy machine passes" {
    lucebox check
    exits 0
    row_is 'docker daemon' ✓ '28.0.1'
    row_is 'nvidia ctk' ✓ 'runtime is wired, 1.17.8'
    row_is 'nvidia driver' ✓ '580.65.06'
    row_is gpu ✓ 'NVIDIA GeForce RTX 3090 × 1, sm_86, 24 GB'
    row_is 'cuda12 arch' ✓ sm_86
    row_is 'user systemd' ✓ available
    row_is image ✓ 'ghcr.io/luce-org/lucebox-hub:cuda12, made 2026-11-20'
    row_is port ✓ "$LUCEBOX_PORT is free"
    row_is models ✓ 'none in'
    row_is disk ✓ free
    row_is host ✓ 'Test Linux 1'
    says_not '✗'
}
@test "it takes less than a second" {
    # Of processor time, so that a busy machine does not count.
    local TIMEFORMAT='%U %S' user system
    read -r user system < <({ time lucebox check >/dev/null 2>&1; } 2>&1)
    awk -v used="$user" -v more="$system" 'BEGIN { exit !(used + more > 0 && used + more < 1) }'
}
@test "json is json, with every row and the verdict" {
    without nvidia-smi
    run bash -c 'PATH="$1" "$2" check --json 2>/dev/null; echo "exit $?" >&2' _ "$MACHINE_PATH" "$LUCEBOX"
    says 'exit 1'
    python3 -c 'import json,sys; d=json.loads(sys.argv[1].split("exit 1")[0]); assert d["ok"] is False; r={x["name"]:x for x in d["rows"]}; assert r["nvidia driver"]["state"]=="fail" and r["nvidia driver"]["hints"]; assert r["docker daemon"]["state"]=="ok"' "$output"
}
@test "no docker" { without docker; lucebox check; exits 1; row_is 'docker daemon' ✗ 'not installed'; row_is image ✗ 'cannot run'; }
@test "docker down" { echo 'Cannot connect to the Docker daemon' >"$FAKE/docker.down"; lucebox check; exits 1; row_is 'docker daemon' ✗ 'does not answer'; says 'systemctl start docker'; }
@test "docker forbidden" { echo 'permission denied while trying to connect' >"$FAKE/docker.down"; lucebox check; exits 1; says 'usermod -aG docker'; }
@test "no toolkit" { toolkit none; lucebox check; exits 1; row_is 'nvidia ctk' ✗ 'not installed'; row_is image ✗ 'cannot run'; }
@test "toolkit not wired" { toolkit unwired; lucebox check; exits 1; row_is 'nvidia ctk' ! 'docker does not know it'; says 'nvidia-ctk runtime configure'; row_is image ✗ 'cannot run'; }
@test "toolkit by CDI" { toolkit cdi; lucebox check; exits 0; row_is 'nvidia ctk' ✓ 'CDI is wired'; }
@test "toolkit by a CDI file" { toolkit none; mkdir -p "$LUCEBOX_PROBE_ROOT/etc/cdi"; echo 'kind: nvidia.com/gpu' >"$LUCEBOX_PROBE_ROOT/etc/cdi/nvidia.yaml"; lucebox check; exits 0; row_is 'nvidia ctk' ✓ CDI; }
@test "no driver" { without nvidia-smi; lucebox check; exits 1; row_is 'nvidia driver' ✗ 'nvidia-smi is missing'; run ! grep -E '^  gpu ' <<<"$output"; }
@test "driver mismatch" { echo 'Failed to initialize NVML: Driver/library version mismatch' >"$FAKE/gpu.error"; lucebox check; exits 1; says reboot; }
@test "driver fails" { echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver." >"$FAKE/gpu.error"; lucebox check; exits 1; row_is 'nvidia driver' ✗ 'cannot reach'; }
@test "no gpu found" { echo 'No devices were found' >"$FAKE/gpu.error"; lucebox check; exits 1; row_is 'nvidia driver' ✗ 'sees no GPU'; }
@test "old driver" { gpus '0, U, B, NVIDIA GeForce RTX 3090, 8.6, 24576, 350.00, 515.43.04, 0, x, Disabled, x'; lucebox check; exits 1; row_is 'nvidia driver' ✗ '515.43.04 is too old'; }
@test "driver too old even to be asked" { echo 'Quadro RTX 6000, 24220, 450.80.02' >"$FAKE/gpu.old"; lucebox check; exits 1; row_is 'nvidia driver' ✗ '450.80.02 is too old'; row_is 'cuda12 arch' ! 'not known'; }
@test "driver of CUDA 12.0" { gpus '0, U, B, NVIDIA GeForce RTX 3090, 8.6, 24576, 350.00, 535.10, 0, x, Disabled, x'; lucebox check; exits 0; row_is 'nvidia driver' ! 'unsatisfied condition'; }
@test "Blackwell needs a newer driver" { gpus '0, U, B, NVIDIA GeForce RTX 5090, 12.0, 32607, 575.00, 565.57, 0, x, Disabled, x'; lucebox check; exits 1; row_is 'nvidia driver' ✗ 'does not know this GPU'; }
@test "Pascal is too old" { gpus '0, U, B, Tesla P40, 6.1, 24576, 250.00, 580.65, 0, x, Disabled, x'; lucebox check; exits 0; row_is 'cuda12 arch' ! 'older than the oldest'; }
@test "an unknown architecture" { gpus '0, U, B, NVIDIA GB10, 12.1, [N/A], [N/A], 580.65, [N/A], x, Disabled, x'; lucebox check; exits 0; row_is 'cuda12 arch' ! 'sm_121 is not among'; row_is gpu ✓ 'sm_121'; }
@test "two gpus" { two_gpus; lucebox check; exits 0; row_is gpu ✓ '× 2'; row_is 'gpu choice' ✓ 'all 2'; }
@test "a 24 GB card that reports 23.99 GiB keeps its label" { gpus '0, U, B, NVIDIA GeForce RTX 4090, 8.9, 24564, 450.00, 580.65, 0, x, Disabled, x'; lucebox check; row_is gpu ✓ '24 GB'; }
@test "medium card" { gpus '0, U, B, NVIDIA GeForce RTX 4080, 8.9, 16376, 320.00, 580.65, 0, x, Disabled, x'; lucebox check; exits 0; row_is vram ! '16 GB: a 27B model does not fit'; }
@test "small card" { gpus '0, U, B, NVIDIA GeForce RTX 2080, 7.5, 8192, 215.00, 580.65, 0, x, Disabled, x'; lucebox check; exits 0; row_is vram ! '8 GB'; }
@test "desktop, ECC and MIG are said" { gpus '0, U, B, NVIDIA A10, 8.6, 23028, 150.00, 580.65, 812, Enabled, Enabled, Enabled'; lucebox check; row_is display ! '812 MiB taken'; row_is ecc ✓ on; row_is mig ! 'MIG is on'; }
@test "WSL2" { wsl2; touch "$FAKE/no-systemd"; lucebox check; exits 0; row_is 'user systemd' ! 'not running'; says 'systemd=true under [boot]'; row_is 'wsl memory' ! '20 times slower'; }
@test "WSL1 has no GPU" { echo 'Linux version 4.4.0-19041-Microsoft' >"$LUCEBOX_PROBE_ROOT/proc/version"; echo 'Failed to initialize NVML: x' >"$FAKE/gpu.error"; lucebox check; exits 1; says 'WSL 1 has no GPU'; }
@test "WSL models on a Windows drive" { wsl2; LUCEBOX_MODELS=/mnt/c/models lucebox check; row_is 'models folder' ! 'Windows drive'; }
@test "no user systemd" { touch "$FAKE/no-systemd"; lucebox check; exits 0; row_is 'user systemd' ! 'lucebox serve works without'; }
@test "the image's age" { lucebox check; row_is image ✓ "$((($(date +%s) - $(date -d 2026-11-20T10:00:00Z +%s)) / 86400)) days ago"; }
@test "image not pulled" { touch "$FAKE/image.missing"; lucebox check; exits 0; row_is image ✓ 'not pulled yet'; says 'lucebox pull'; }
@test "port taken" {
    listener_start
    lucebox check
    listener_stop
    exits 1; row_is port ✗ "$LUCEBOX_PORT is used by"; says "config set port=$((LUCEBOX_PORT + 1))"
}
@test "port taken, and by whom" {
    printf '#!/bin/sh\necho %s\n' "'LISTEN 0 128 127.0.0.1:1 0.0.0.0:* users:((\"ollama\",pid=4242,fd=3))'" >"$BATS_TEST_TMPDIR/bin/ss"; chmod +x "$BATS_TEST_TMPDIR/bin/ss"
    listener_start
    lucebox check
    listener_stop
    exits 1; row_is port ✗ "$LUCEBOX_PORT is used by ollama (pid 4242)"
}
@test "port taken by our own container" {
    echo running >"$FAKE/container.state"
    listener_start
    lucebox check
    listener_stop
    exits 0; row_is port ✓ 'served by the container'
}
@test "snap docker" { sed -i 's|/none|/var/snap/docker/common|' "$FAKE/docker.info"; lucebox check; row_is 'docker package' ! snap; }
@test "Docker Desktop on Linux" { sed -i 's|Debian GNU/Linux 12|Docker Desktop|' "$FAKE/docker.info"; lucebox check; row_is 'docker package' ! 'virtual machine'; }
@test "Docker Desktop on WSL is fine" { wsl2; sed -i 's|Debian GNU/Linux 12|Docker Desktop|' "$FAKE/docker.info"; lucebox check; says_not 'virtual machine'; }
@test "rootless docker" { sed -i 's|profile=builtin|profile=builtin name=rootless|' "$FAKE/docker.info"; lucebox check; row_is 'docker mode' ! 'no-cgroups'; }
@test "systemd cgroup driver" { sed -i 's|cgroupfs|systemd|' "$FAKE/docker.info"; lucebox check; exits 0; row_is 'cgroup driver' ! 'daemon-reload'; }
@test "models are counted, half ones named" {
    local folder=$HOME/.local/share/lucebox/models; mkdir -p "$folder/a b"
    printf 'GGUF\3\0\0\0' >"$folder/a b/good model.gguf"
    lucebox check; row_is models ✓ '1 in'; row_is models ✓ '0 of them compared'
    echo '{"checked": true}' >"$folder/a b/good model.gguf.source.json"
    lucebox check; row_is models ✓ '1 of them compared'; says 'lucebox models verify'
    printf 'GG' >"$folder/x.gguf.part"; lucebox check; row_is models ! '1 unfinished'
    printf '<htm' >"$folder/page.gguf"; lucebox check; row_is models ! 'no GGUF file'
}
@test "little memory" { echo 'MemTotal: 8000000 kB' >"$LUCEBOX_PROBE_ROOT/proc/meminfo"; lucebox check; row_is ram ! '8 GB'; }
@test "without a GPU by choice nothing of NVIDIA matters" { without nvidia-smi nvidia-ctk; toolkit none; LUCEBOX_DEVICE=cpu lucebox check; exits 0; row_is gpu ✓ 'not used'; }
@test "deep: a container sees the GPU" { echo 'GPU 0: NVIDIA' >"$FAKE/run.output"; lucebox check --deep; exits 0; row_is 'gpu in container' ✓ '1 visible'; docker_run; has_words --entrypoint nvidia-smi; has_words --gpus all; }
@test "deep: a container sees none" { echo 'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].' >"$FAKE/run.error"; lucebox check --deep; exits 1; row_is 'gpu in container' ✗ 'toolkit is missing'; }
@test "a wrong option is refused" { lucebox check --jsno; exits 2; says 'check has no option'; }
