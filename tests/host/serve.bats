# lucebox serve and print-run: the command that docker gets, and when it gets none.
load machine
setup() { new_machine; a_model; }

@test "the server gets no more rights than it needs" {
    lucebox serve
    exits 0
    docker_run
    has_words --rm
    has_words --name lucebox
    has_words --gpus all
    has_words -p "127.0.0.1:$LUCEBOX_PORT:8080"
    has_words --user "$(id -u):$(id -g)"
    has_words --cap-drop ALL
    has_words --security-opt no-new-privileges
    has_words --read-only
    has_words --tmpfs /tmp
    has_words --ulimit memlock=-1
    has_words --mount "type=bind,source=$HOME/.local/share/lucebox/models,target=/models,readonly"
    has_words ghcr.io/luce-org/lucebox-hub:cuda12 serve
    has_no_word '*docker.sock*'
    has_no_word "*source=$HOME,*"
    has_no_word '--privileged'
    has_no_word '--shm-size'
}
@test "the models folder is made by the caller, not by docker as root" { LUCEBOX_MODELS=$HOME/new lucebox models list; exits 0; [ -d "$HOME/new" ]; }
@test "without a model nothing is started" {
    rm -r "$HOME/.local"
    lucebox serve
    exits 78; says 'there is no model in'; says 'lucebox models download'
    run ! grep -aq -- '--name' "$FAKE/docker.log"
}
@test "two GPUs: facts with a newline stay one word" {
    two_gpus
    lucebox serve
    docker_run
    has_words -e $'LUCEBOX_HOST_GPU_LIST_CSV=0,GPU-a,01,NVIDIA H100,9.0,81559,700.00\n1,GPU-b,02,NVIDIA H100,9.0,81559,700.00'
    has_words -e LUCEBOX_HOST_GPU_COUNT=2
    has_words --shm-size 1g
    has_words ghcr.io/luce-org/lucebox-hub:cuda12 serve
}
@test "some GPUs by index" { two_gpus; lucebox serve --gpus 1; docker_run; has_words --gpus '"device=1"'; }
@test "some GPUs by configuration" { two_gpus; config '[runtime]' 'gpus = "0,1"'; lucebox serve; docker_run; has_words --gpus '"device=0,1"'; }
@test "CUDA_VISIBLE_DEVICES holds for the container" { two_gpus; CUDA_VISIBLE_DEVICES=1 lucebox serve; docker_run; has_words --gpus '"device=1"'; }
@test "CDI asks for devices by name" { toolkit cdi; lucebox serve; docker_run; has_words --device nvidia.com/gpu=all; has_no_word --gpus; }
@test "CDI with some GPUs" { two_gpus; toolkit cdi; lucebox serve --gpus 0,1; docker_run; has_words --device nvidia.com/gpu=0 --device nvidia.com/gpu=1; }
@test "on the CPU nothing of NVIDIA is asked" { without nvidia-smi nvidia-ctk; toolkit none; lucebox serve --cpu; exits 0; docker_run; has_no_word --gpus; has_words -e LUCEBOX_DEVICE=cpu; }
@test "open to the network only with a key, which is in no command" {
    lucebox serve --lan
    exits 0
    docker_run
    has_words -p "$LUCEBOX_PORT:8080"
    has_words -e LUCEBOX_API_KEY_FILE=/config/api-keys
    [ "$(stat -c %a "$HOME/.lucebox/api-keys")" = 600 ]
    local key; key=$(cat "$HOME/.lucebox/api-keys")
    [ ${#key} -ge 48 ]
    run ! grep -aq -- "$key" "$FAKE/docker.log"
    says_not "$key" || true
    lucebox serve --lan
    [ "$(cat "$HOME/.lucebox/api-keys")" = "$key" ]
}
@test "a key that exists is asked for on loopback too" { mkdir "$HOME/.lucebox"; echo k >"$HOME/.lucebox/api-keys"; lucebox serve; docker_run; has_words -e LUCEBOX_API_KEY_FILE=/config/api-keys; }
@test "spaces, commas and quotes in the models folder" {
    a_model "$HOME/my \"models\", all"
    LUCEBOX_MODELS="$HOME/my \"models\", all" lucebox serve
    exits 0
    docker_run
    has_words --mount "type=bind,\"source=$HOME/my \"\"models\"\", all\",target=/models,readonly"
}
@test "links to models elsewhere: their folders, read-only" {
    local models=$HOME/.local/share/lucebox/models elsewhere="$BATS_TEST_TMPDIR/big disk"
    mkdir -p "$models/sub" "$elsewhere"
    touch "$elsewhere/a.gguf" "$elsewhere/b.gguf" "$models/real.gguf"
    ln -s "$elsewhere/a.gguf" "$models/a.gguf"
    ln -s "$elsewhere/b.gguf" "$models/sub/b.gguf"
    ln -s "$models/real.gguf" "$models/again.gguf"
    ln -s /nowhere/c.gguf "$models/c.gguf"
    lucebox serve
    docker_run
    has_words --mount "type=bind,source=$elsewhere,target=$elsewhere,readonly"
    [ "$(printf '%s\n' "${RUN[@]}" | grep -c '^type=bind')" -eq 2 ]
}
@test "a link into the home folder does not open it" {
    local models=$HOME/.local/share/lucebox/models; mkdir -p "$models"; touch "$HOME/a.gguf"; ln -s "$HOME/a.gguf" "$models/a.gguf"
    lucebox serve
    says 'not given to the container'
    docker_run; has_no_word "*source=$HOME,*"
}
@test "the configuration is read-only, and read" { config '[dflash]' 'max_ctx = 4096'; lucebox serve; docker_run; has_words --mount "type=bind,source=$HOME/.lucebox,target=/config,readonly"; has_words -e LUCEBOX_HOME=/config; }
@test "what the server understands is handed on" { DFLASH_MAX_CTX=4096 LUCE_BUDGET=16 lucebox serve --model 'a b' -- --port 9; docker_run; has_words -e DFLASH_MAX_CTX=4096; has_words -e LUCE_BUDGET=16; has_words serve --model 'a b' --port 9; }
@test "where the server listens inside is not handed on" { DFLASH_PORT=9999 LUCE_HOST=::1 lucebox serve; exits 0; docker_run; has_no_word '*9999*'; has_no_word 'LUCE_HOST*'; }
@test "the service runs already" { echo active >"$FAKE/unit.state"; lucebox serve; exits 1; says 'already running'; says 'lucebox restart'; [ ! -e "$FAKE/docker.log" ]; }
@test "the service itself may serve" { echo active >"$FAKE/unit.state"; INVOCATION_ID=1 lucebox serve; exits 0; }
@test "the container runs already" { echo running >"$FAKE/container.state"; lucebox serve; exits 1; says 'already running'; says 'docker stop lucebox'; }
@test "a container in any other state is told and removed" {
    local state
    for state in created paused dead; do echo $state >"$FAKE/container.state"; lucebox serve; exits 0; says "removing the $state container"; [ ! -e "$FAKE/container.state" ]; done
    echo restarting >"$FAKE/container.state"; lucebox serve; exits 1; says 'already restarting'
}
@test "at boot the service waits for docker" {
    echo 'Cannot connect to the Docker daemon' >"$FAKE/docker.down"
    asked_twice() { [ "$(grep -ac info "$FAKE/docker.log" 2>/dev/null)" -ge 2 ]; } # the first time it was not there
    (eventually asked_twice; rm "$FAKE/docker.down") 3>&- &
    INVOCATION_ID=1 lucebox serve
    exits 0; says 'waiting for docker'; docker_run; has_words --name lucebox
    echo 'Cannot connect to the Docker daemon' >"$FAKE/docker.down"
    INVOCATION_ID=1 LUCEBOX_DOCKER_TIMEOUT=1 lucebox serve; exits 1; says 'docker does not answer'
}
@test "an old container is removed" { echo exited >"$FAKE/container.state"; lucebox serve; exits 0; says 'removing the exited container'; [ ! -e "$FAKE/container.state" ]; }
@test "the port is taken" { listener_start; lucebox serve; listener_stop; exits 1; says "port $LUCEBOX_PORT is used by"; says 'lucebox serve --port'; }
@test "docker's exit code is ours" { echo 7 >"$FAKE/run.exit"; lucebox serve; exits 7; }
@test "docker's complaint is explained" { echo 'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].' >"$FAKE/run.error"; lucebox serve; exits 125; says 'docker was not restarted after it was installed'; says 'nvidia-ctk runtime configure'; }
@test "TERM stops the container, and its exit code is 143" {
    touch "$FAKE/run.serves"
    PATH="$MACHINE_PATH" "$LUCEBOX" serve 3>&- 2>/dev/null & local wrapper=$!
    eventually docker_was_asked run
    kill -TERM "$wrapper"
    status=0; wait "$wrapper" || status=$?
    exits 143
    [ -e "$FAKE/stopped" ]
}
@test "ready is said when the server is" {
    touch "$FAKE/run.serves"
    PATH="$MACHINE_PATH" "$LUCEBOX" serve 3>&- 2>"$FAKE/said" & local wrapper=$!
    eventually docker_was_asked run
    listener_start 200
    eventually grep -q 'ready at' "$FAKE/said"
    kill -TERM "$wrapper"; wait "$wrapper" || true
    listener_stop
    grep "ready at http://localhost:$LUCEBOX_PORT" "$FAKE/said"
}

@test "print-run prints the command that serve runs, and nothing else" {
    two_gpus
    config '[paths]' 'models = "~/it'"'"'s here"'
    a_model "$HOME/it's here"
    lucebox serve --model 'a "b" $c'
    docker_run
    local text; text=$(lucebox_stdout print-run --model 'a "b" $c')
    [ "${text%%$'\n'*}" = 'docker run \' ]
    local -a pasted
    docker() { pasted=("$@"); }
    eval "$text"
    [ "${#pasted[@]}" -eq "${#RUN[@]}" ]
    local i; for i in "${!RUN[@]}"; do [ "${pasted[i]}" = "${RUN[i]}" ]; done
    [ "$(grep -c '^    ' <<<"$text")" -eq $(($(wc -l <<<"$text") - 1)) ]
}
@test "the server's own words name the port that is published" { LUCEBOX_PORT=8123 lucebox serve; docker_run; has_words -e LUCEBOX_SHOWN_URL=http://localhost:8123; }
@test "print-run works before the image is pulled, and without docker" { touch "$FAKE/image.missing"; without docker; lucebox print-run; exits 0; says --gpus; says 'see lucebox check'; }
@test "print-run says what is missing before it can be pasted" { rm -r "$HOME/.local"; lucebox print-run; exits 0; says "mkdir -p $HOME/.local/share/lucebox/models"; [ ! -e "$HOME/.local" ]; }
@test "print-run --null separates words safely" { two_gpus; lucebox_stdout print-run --null >"$FAKE/words"; mapfile -d '' -t words <"$FAKE/words"; [ "${words[0]}" = docker ]; [ "${words[-1]}" = serve ]; }

@test "models run in the image as the caller, folders writable" {
    lucebox models list
    exits 0; docker_run
    has_words --user "$(id -u):$(id -g)"
    has_words --mount "type=bind,source=$HOME/.local/share/lucebox/models,target=/models"
    has_words --mount "type=bind,source=$HOME/.lucebox,target=/config"
    has_words lucebox models list
    has_words -e "LUCEBOX_SHOWN_PATHS=/models=$HOME/.local/share/lucebox/models"$'\n'"/config=$HOME/.lucebox"
    has_words -i
    has_no_word -it
    has_no_word '*docker.sock*'
}
@test "commands in the image know that no GPU is wanted" { LUCEBOX_DEVICE=cpu lucebox config list; exits 0; docker_run; has_words -e LUCEBOX_DEVICE=cpu; has_no_word --gpus; }
@test "check FILE asks the program about the file" { printf GGUF >"$HOME/m.gguf"; lucebox check "$HOME/m.gguf"; exits 0; docker_run; has_words lucebox check "$HOME/m.gguf"; has_words --mount "type=bind,source=$HOME/m.gguf,target=$HOME/m.gguf,readonly"; }
@test "a token is in no command and no environment of a container, and is gone afterwards" {
    HF_TOKEN=hf_secretsecret XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR lucebox models download
    exits 0; docker_run
    run ! grep -aq hf_secret "$FAKE/docker.log"
    has_words -e HF_TOKEN_PATH=/run/hf-token
    run ! ls "$BATS_TEST_TMPDIR"/lucebox-token*
}
@test "an index for the default model is named, and what is in it is not told" { PIP_INDEX_URL=https://me:secret@mirror.example/simple lucebox models download; exits 0; docker_run; has_words -e PIP_INDEX_URL; has_no_word '*secret*'; }
@test "a mirror is told to the container" { HF_ENDPOINT=https://mirror.example lucebox models download; exits 0; docker_run; has_words -e HF_ENDPOINT=https://mirror.example; }
@test "at a terminal the program gets it" {
    python3 -c 'import os, pty, sys; os.environ["PATH"] = sys.argv[1]; pty.spawn([sys.argv[2], "models", "list"])' "$MACHINE_PATH" "$LUCEBOX" </dev/null >/dev/null
    docker_run; has_words -it
}
@test "files that are named are shown to the container, read-only" {
    mkdir -p "$HOME/my files"; cd "$HOME/my files"
    local part; for part in 1 2; do touch "big-0000$part-of-00002.gguf"; done; touch 'one file.gguf' list
    lucebox models import './one file.gguf'; exits 0; docker_run
    has_words lucebox models import "$HOME/my files/one file.gguf"
    has_words --mount "type=bind,source=$HOME/my files/one file.gguf,target=$HOME/my files/one file.gguf,readonly"
    has_no_word "*source=$HOME/my files,*"
    lucebox run --model=big-00001-of-00002.gguf --prompt list; docker_run
    has_words lucebox run "--model=$HOME/my files/big-00001-of-00002.gguf" --prompt list
    for part in 1 2; do has_words --mount "type=bind,source=$HOME/my files/big-0000$part-of-00002.gguf,target=$HOME/my files/big-0000$part-of-00002.gguf,readonly"; done
    lucebox serve --model "$HOME/.local/share/lucebox/models/m.gguf"; docker_run; has_words serve --model /models/m.gguf
    rm -r "$HOME/.local"
    lucebox serve --model 'one file.gguf'; exits 0; docker_run; has_words serve --model "$HOME/my files/one file.gguf"
    lucebox serve --model=nowhere.gguf; exits 78; says 'there is no model in'
}
@test "a report comes back to where it was wished" {
    cat >"$BATS_TEST_TMPDIR/bin/docker2" <<'END'
#!/usr/bin/env bash
for word in "$@"; do if [[ $word == type=bind,source=*,target=/output ]]; then word=${word#*source=}; echo '{"tok": 1}' >"${word%,target*}/r.json"; fi; done
exec "$(dirname "$0")/docker1" "$@"
END
    chmod +x "$BATS_TEST_TMPDIR/bin/docker2"; mv "$BATS_TEST_TMPDIR/bin/docker" "$BATS_TEST_TMPDIR/bin/docker1"; mv "$BATS_TEST_TMPDIR/bin/docker2" "$BATS_TEST_TMPDIR/bin/docker"
    cd "$HOME"
    TMPDIR=$BATS_TEST_TMPDIR lucebox bench --report r.json; exits 0; docker_run
    has_words lucebox bench --report /output/r.json
    [ "$(cat "$HOME/r.json")" = '{"tok": 1}' ]
    run ! ls -d "$BATS_TEST_TMPDIR"/tmp.*
    lucebox bench --report /nowhere/r.json; exits 1; says '/nowhere/r.json cannot be written'
}
@test "smoke asks the running server from inside" { echo running >"$FAKE/container.state"; lucebox smoke --timeout 60; exits 0; run grep -az exec "$FAKE/docker.log"; grep -aq smoke "$FAKE/docker.log"; }
@test "connect shows the port that clients see" { echo running >"$FAKE/container.state"; LUCEBOX_PORT=8123 lucebox connect aider; exits 0; grep -aq 127.0.0.1:8123 "$FAKE/docker.log"; grep -aq aider "$FAKE/docker.log"; }
@test "claude without Claude Code" { echo running >"$FAKE/container.state"; lucebox claude; exits 1; says 'lucebox connect claude'; }
@test "smoke without a server" { lucebox smoke; exits 1; says 'no server is running'; }
@test "--no-exec never enters the running container" { echo running >"$FAKE/container.state"; lucebox --no-exec smoke; docker_run; has_words --network container:lucebox; }
@test "a command without the image" { touch "$FAKE/image.missing"; lucebox bench; exits 1; says 'lucebox pull'; }
@test "an unknown command goes to the image, a misspelled one does not" { lucebox frobnicate; docker_run; has_words lucebox frobnicate; lucebox sevre; exits 2; says 'did you mean lucebox serve'; }
@test "pull pulls, and explains what went wrong" {
    lucebox pull; exits 0; says pulled
    echo 'Error response from daemon: manifest unknown' >"$FAKE/pull.error"; lucebox pull; exits 1; says 'there is no image'
    echo 'write /var/lib/docker/x: no space left on device' >"$FAKE/pull.error"; lucebox pull; exits 1; says 'disk is full'
}
