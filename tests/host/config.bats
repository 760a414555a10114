# Settings: where they come from, how they are written, what is refused.
load machine
setup() { new_machine; unset LUCEBOX_PORT; FILE=$HOME/.lucebox/config.toml; touch "$FAKE/image.missing"; }

@test "environment before file before default" {
    [ "$(lucebox_stdout config get port)" = '8080 (default)' ]
    config '[runtime]' 'port = 9000'
    [ "$(lucebox_stdout config get port)" = "9000 ($FILE)" ]
    [ "$(LUCEBOX_PORT=9001 lucebox_stdout config get runtime.port)" = '9001 (LUCEBOX_PORT)' ]
}
@test "set, get and unset, one after another" {
    lucebox config set port=9000 variant=cuda12-sm86 'models_dir=/big disk/"models"' lan=yes
    exits 0
    [ "$(lucebox_stdout config get models_dir)" = "/big disk/\"models\" ($FILE)" ]
    [ "$(lucebox_stdout config get lan)" = "true ($FILE)" ]
    lucebox config unset port; exits 0
    [ "$(lucebox_stdout config get port)" = '8080 (default)' ]
    [ "$(lucebox_stdout config get variant)" = "cuda12-sm86 ($FILE)" ]
    python3 - "$FILE" <<'PYTHON'
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    assert tomllib.load(file) == {"image": {"variant": "cuda12-sm86"}, "runtime": {"lan": True}, "paths": {"models": '/big disk/"models"'}}
PYTHON
}
@test "everything else in the file stays, comments too" {
    config '# mine' 'top = 1' '' '[dflash]' 'max_ctx = 4096 # enough' '' '[runtime]' '# port of the old box' 'port = 1' 'container_name = "box"' '' '[x.y]' 'port = 7' ''
    lucebox config set port=9000 gpus=0
    exits 0
    [ "$(cat "$FILE")" = "$(printf '%s\n' '# mine' 'top = 1' '' '[dflash]' 'max_ctx = 4096 # enough' '' '[runtime]' '# port of the old box' 'port = 9000' 'container_name = "box"' 'gpus = "0"' '' '[x.y]' 'port = 7')" ]
}
@test "a file without a last newline, and with Windows line ends" {
    mkdir -p "$HOME/.lucebox"; printf '[runtime]\r\nport = 9000\r\n[image]\nvariant = "a"' >"$FILE"
    [ "$(lucebox_stdout config get port)" = "9000 ($FILE)" ]
    lucebox config set variant=b; [ "$(lucebox_stdout config get variant)" = "b ($FILE)" ]
}
@test "the file keeps its mode, and no temporary file stays" {
    config '[runtime]' 'port = 1'; chmod 600 "$FILE"
    lucebox config set port=9000
    [ "$(stat -c %a "$FILE")" = 600 ]; [ "$(ls "$HOME/.lucebox")" = config.toml ]
}
@test "TOML that other programs write" {
    config '[ image ]' "registry = 'ghcr.io/me/box'   # single quotes" '[runtime] # here' 'port=9000#x' '"container_name" = "a.b"'
    [ "$(lucebox_stdout config get image)" = "ghcr.io/me/box ($FILE)" ]
    [ "$(lucebox_stdout config get port)" = "9000 ($FILE)" ]
    [ "$(lucebox_stdout config get container_name)" = "a.b ($FILE)" ]
}
@test "wrong values are refused before anything is written" {
    local pair
    for pair in port=0 port=65536 port=abc port= lan=maybe gpus=0,,1 device=gpu 'container_name=a b' 'variant=a:b'; do
        lucebox config set "$pair"; exits 2; [ ! -e "$FILE" ] || return 1
    done
}
@test "a wrong value in the file is named with its place" { config '[runtime]' 'port = "http"'; lucebox config list; exits 78; says "$FILE: port = http"; says 'lucebox config unset port'; lucebox config unset port; exits 0; lucebox config list; exits 0; }
@test "a wrong value in the environment is named" { LUCEBOX_PORT=x lucebox serve; exits 78; says 'LUCEBOX_PORT: port = x'; }
@test "an unknown key is refused with the nearest one" { lucebox config set prot=1; exits 2; says 'did you mean port?'; }
@test "keys of the server go to the image, which checks them" {
    rm "$FAKE/image.missing"
    lucebox config set dflash.max_ctx=4096
    exits 0; docker_run; has_words lucebox config set dflash.max_ctx=4096
    has_words --mount "type=bind,source=$HOME/.lucebox,target=/config"
}
@test "what outranks the file is said" { LUCEBOX_PORT=1234 lucebox config set port=9000; says 'LUCEBOX_PORT is set and outranks'; }
@test "path, edit and reset" {
    [ "$(lucebox_stdout config path)" = "$FILE" ]
    EDITOR='sh -c "echo [runtime] >\$0; echo port=77 >>\$0"' lucebox config edit || true
    lucebox config set port=9000
    lucebox config reset; exits 0; [ ! -e "$FILE" ]; [ -e "$FILE.previous" ]
    EDITOR=no-such-editor lucebox config edit; exits 1; says 'set EDITOR'
}
@test "restore goes to and fro" {
    lucebox config restore; exits 1; says 'lucebox config reset leave one'
    config '[runtime]' 'port = 1'; chmod 600 "$FILE"
    lucebox config reset; says 'lucebox config restore'
    lucebox config restore; exits 0; grep -qx 'port = 1' "$FILE"
    [ "$(stat -c %a "$FILE")" = 600 ]
    config '[runtime]' 'port = 2'
    lucebox config reset; lucebox config set port=3; lucebox config restore; exits 0; grep -qx 'port = 2' "$FILE"
    lucebox config restore; grep -qx 'port = 3' "$FILE"
}
@test "settings of an earlier version: the program reads them, and sees the file alone" {
    rm "$FAKE/image.missing"; mkdir -p "$HOME/old"; echo 'DFLASH_BUDGET=$(touch '"$HOME"'/executed)' >"$HOME/old/config.env"; cd "$HOME/old"
    lucebox config import config.env --dry-run
    exits 0; docker_run; has_words lucebox config import "$HOME/old/config.env" --dry-run
    has_words --mount "type=bind,source=$HOME/old/config.env,target=$HOME/old/config.env,readonly"
    [ ! -e "$HOME/executed" ]
    lucebox config import; exits 2; says 'needs one file'
    lucebox config import config.env other.env; exits 2; says 'needs one file'
    lucebox config import nowhere.env; exits 1; says 'nowhere.env cannot be read'
}
@test "a link to the file stays one" {
    config '[runtime]' 'port = 1'; mv "$FILE" "$HOME/dotfile"; ln -s "$HOME/dotfile" "$FILE"
    lucebox config set port=2; exits 0; [ -L "$FILE" ]; grep -qx 'port = 2' "$HOME/dotfile"
}
@test "a disk that is full leaves the file as it was" {
    config '[runtime]' 'port = 1' "$(for i in $(seq 3000); do echo "# a long line of comment $i"; done)"
    cp "$FILE" "$BATS_TEST_TMPDIR/before"
    run bash -c 'ulimit -f 32; PATH=$1 "$2" config set port=2' _ "$MACHINE_PATH" "$LUCEBOX"
    exits 1; says 'cannot be written'; says 'it is as it was'
    cmp "$FILE" "$BATS_TEST_TMPDIR/before"
    [ "$(ls "$HOME/.lucebox")" = config.toml ]
}
@test "LUCEBOX_HOME moves the configuration" { export LUCEBOX_HOME="$BATS_TEST_TMPDIR/other home"; lucebox config set port=9000; exits 0; [ -e "$BATS_TEST_TMPDIR/other home/config.toml" ]; }
@test "a wrapper of a fork uses the images of the fork" { LUCEBOX_INSTALL_URL=https://raw.githubusercontent.com/Some-One/My-Box/main/host run lucebox_stdout config get image; says 'ghcr.io/some-one/my-box (default)'; }
