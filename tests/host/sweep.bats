# A sweep has the card for itself: the service gives way, and comes back whatever happens.
load machine
setup() { new_machine; a_model; }

active_unit() { echo active >"$FAKE/unit.state"; }
# What systemctl was told to do to the unit, in order.
deeds() { grep -E '^--user (--no-block )?(stop|start|restart) ' "$FAKE/systemctl.log" | cut -d' ' -f2- | tr '\n' ';'; }

@test "a sweep runs in the image, with a configuration that it may write" {
    lucebox autotune --sweep --json
    exits 0
    docker_run
    has_words lucebox autotune --sweep --json
    has_words --mount "type=bind,source=$HOME/.lucebox,target=/config"
    [ -z "$(deeds)" ]
}
@test "a service is stopped for it and started again" {
    active_unit
    lucebox autotune --sweep
    exits 0
    [ "$(deeds)" = 'stop lucebox.service;--no-block start lucebox.service;' ]
    docker_run
    has_words lucebox autotune --sweep
}
@test "so it is when the sweep fails, and a token is not left behind" {
    active_unit
    echo 'no candidate could be measured' >"$FAKE/run.error"
    echo 69 >"$FAKE/run.exit"
    HF_TOKEN=hf_x XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR lucebox autotune --sweep
    exits 69
    [ "$(deeds)" = 'stop lucebox.service;--no-block start lucebox.service;' ]
    run ! ls "$BATS_TEST_TMPDIR"/lucebox-token*
}
@test "who was cut off in the middle is told where he stands" {
    active_unit
    touch "$FAKE/run.serves"
    PATH="$MACHINE_PATH" "$LUCEBOX" autotune --sweep 3>&- 2>/dev/null & local wrapper=$!
    eventually docker_was_asked autotune
    kill -KILL "$wrapper"; wait "$wrapper" || true
    touch "$FAKE/stopped"; rm "$FAKE/unit.state"
    lucebox doctor; exits 1; says 'stopped for a sweep'; says 'lucebox start'
    lucebox install; echo active >"$FAKE/start.state"; lucebox start; exits 0
    lucebox doctor; says_not 'stopped for a sweep'
}
@test "so it is when it is interrupted" {
    active_unit
    touch "$FAKE/run.serves"
    # timeout hands a signal on as a terminal would, to all of them; a shell's own background job would not hear this one.
    timeout 600 env PATH="$MACHINE_PATH" "$LUCEBOX" autotune --sweep 3>&- 2>/dev/null & local wrapper=$!
    eventually docker_was_asked autotune
    kill -INT "$wrapper"
    status=0; wait "$wrapper" || status=$?
    exits 130
    started_again() { [[ $(deeds) == *start* ]]; }
    eventually started_again
    [ "$(deeds)" = 'stop lucebox.service;--no-block start lucebox.service;' ]
}
@test "a server in the foreground is not taken away" { echo running >"$FAKE/container.state"; lucebox autotune --sweep; exits 1; says 'Ctrl-C'; [ -z "$(deeds)" ]; }
@test "a plan disturbs nobody" { active_unit; echo running >"$FAKE/container.state"; lucebox autotune; exits 0; [ -z "$(deeds)" ]; }
@test "without the image the service is left alone" { active_unit; touch "$FAKE/image.missing"; lucebox autotune --sweep; exits 1; says 'lucebox pull'; [ -z "$(deeds)" ]; }
