#!/usr/bin/env bash
# Our logs before verifiers and a witness that are not ours, and theirs before our verifier. Takes the rmcp-guard binary and
# the command that runs `tests/tlog_interop.rs`; exits 77 where neither of the others can be had. What is left out is said.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?the path of the rmcp-guard binary}")
shift
[[ $# -gt 0 ]] || { echo 'the command of our tests is missing'; exit 2; }
tests=("$@")
source "$here/../lib.sh"

# -- what there is of others ----------------------------------------------------------------------------------------------

go=
if ! command -v go >/dev/null; then
    echo 'SKIPPED: golang.org/x/mod: Go is not installed'
elif ! (cd "$here" && go build -o "$work/tlog" .) 2>"$work/go.log"; then
    # a checksum that does not fit go.sum must not pass for a proxy that cannot be reached
    if grep -Eq 'dial tcp|no such host|i/o timeout|connection refused|requires go|GOPROXY|Forbidden' "$work/go.log"; then
        echo "SKIPPED: golang.org/x/mod: $(tail -n 1 "$work/go.log")"
    else
        cat "$work/go.log"
        fail 'the Go program does not build'
    fi
else
    go=$work/tlog
fi

stock=
if have_python aics "$here/requirements.txt"; then stock=("$python" "$here/stock.py"); fi
[[ -n $go || -n $stock ]] || exit 77

# -- our logs before their verifiers --------------------------------------------------------------------------------------

echo 'our logs'
mkdir "$work/ours"
TLOG_INTEROP_DIR=$work/ours "${tests[@]}" writes_logs >"$work/tests.log" 2>&1 || { cat "$work/tests.log"; fail 'no logs'; }
log() { echo "$work/ours/$1/main/00000001"; }

accept() {
    "$@" >"$work/out" 2>&1 || { cat "$work/out"; fail "refused what is intact: $*"; }
}
refuse() {
    if "$@" >"$work/out" 2>&1; then
        fail "accepted what was altered: $*"
    fi
}
our_verify() { # the directory, the file with the key
    "$binary" evidence verify "$1" --key-file "$2" "${@:3}"
}
# tampered or incomplete, and not that it could not be tried
our_refuse() {
    local exit=0
    our_verify "$@" >"$work/out" 2>&1 || exit=$?
    [[ $exit == 1 || $exit == 2 ]] || { cat "$work/out"; fail "exit $exit for what was altered: $*"; }
}

for size in 1 256 1000 70000; do
    arguments=("$(log $size)" "$work/ours/$size.vkey")
    # the first checkpoint of the smallest log is its last
    [[ $size == 1 ]] || arguments+=("$work/ours/$size.earlier")
    [[ -z $go ]] || accept "$go" verify "${arguments[@]}"
    [[ -z $stock ]] || accept "${stock[@]}" verify "${arguments[@]}"
    accept our_verify "$work/ours/$size" "$work/ours/$size.vkey"
    echo "$size entries accepted"
done
# a log that contradicts a checkpoint which it has signed
for verifier in "${go:-}" "${stock[*]:-}"; do
    [[ -z $verifier ]] || refuse $verifier verify "$(log fork)" "$work/ours/1000.vkey" "$work/ours/1000.earlier"
done
our_refuse "$work/ours/fork" "$work/ours/1000.vkey" --old-checkpoint "$work/ours/1000.earlier"
accept our_verify "$work/ours/1000" "$work/ours/1000.vkey" --old-checkpoint "$work/ours/1000.earlier"

# -- altered ones before all verifiers, theirs before ours ----------------------------------------------------------------

foreign=$work/logs
: >"$foreign"
tamper_checks() { # of whom, the log, its key
    local copy log judge=refuse our_judge=our_refuse want=altered
    "$go" tamper "$2" "$work/altered/$1"
    for copy in "$work/altered/$1"/*; do
        log=$copy/main/00000001
        judge=refuse our_judge=our_refuse want=altered
        [[ $copy != */unaltered ]] || judge=accept our_judge='accept our_verify' want=intact
        $judge "$go" verify "$log" "$3"
        if [[ $1 == ours ]]; then
            $our_judge "$log" "$3"
            [[ -z $stock ]] || $judge "${stock[@]}" verify "$log" "$3"
        else
            printf '%s\t%s\t%s\n' "$want" "$log" "$3" >>"$foreign"
        fi
    done
    echo "$1: $(($(find "$work/altered/$1" -mindepth 1 -maxdepth 1 | wc -l) - 1)) altered copies refused"
}
for builder in "${go:+x-mod}" "${stock:+aics-tlog}"; do
    [[ -n $builder ]] || continue
    for size in 1 256 1000 66000; do
        theirs=$work/theirs/$builder/$size
        mkdir -p "$work/theirs/$builder"
        case $builder in
            x-mod) "$go" build "$theirs" "$theirs.vkey" $size ;;
            aics-tlog) "${stock[@]}" build "$theirs" "$theirs.vkey" $size ;;
        esac
        printf 'intact\t%s\t%s\n' "$theirs" "$theirs.vkey" >>"$foreign"
    done
done
if [[ -n $go ]]; then
    tamper_checks ours "$(log 1000)" "$work/ours/1000.vkey"
    tamper_checks theirs "$work/theirs/x-mod/1000" "$work/theirs/x-mod/1000.vkey"
fi
TLOG_INTEROP_LOGS=$foreign "${tests[@]}" verifies_the_logs_of_others >"$work/tests.log" 2>&1 \
    || { cat "$work/tests.log"; fail 'our verifier and their logs'; }
echo "theirs: $(wc -l <"$foreign") logs judged by our verifier"

# -- a witness that is not ours -------------------------------------------------------------------------------------------

[[ -n $stock ]] || exit 0
port=$("${stock[@]}" free-port)
url=http://127.0.0.1:$port
export AICS_WITNESS_CONFIG=$work/witness/witness.json
mkdir "$work/witness"
aics=$(dirname "$python")/aics-witness
"$aics" init --name witness.example/w1 --listen "127.0.0.1:$port" >"$work/witness.out" 2>&1
vkey=$(grep -Eo 'witness\.example/w1\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+' "$work/witness.out" | head -n 1)
[[ -n $vkey ]] || { cat "$work/witness.out"; fail 'the witness has no key'; }
"$aics" add-log --origin log.example/interop/1000 --vkey "$(cat "$work/ours/1000.vkey")" >/dev/null 2>&1
"$aics" serve >"$work/witness.log" 2>&1 &
witness=$!
children+=("$witness")
for _ in $(seq 100); do
    if "$python" -c "import urllib.request; urllib.request.urlopen('$url/healthz')" 2>/dev/null; then
        break
    fi
    kill -0 "$witness" 2>/dev/null || { cat "$work/witness.log"; fail 'the witness does not run'; }
    sleep 0.1
done

push() { # the log
    "$binary" evidence witness push "$work/ours/$1" --witness "$vkey" "$url/" --dangerous-loopback
}
our_refuse "$work/ours/1000" "$work/ours/1000.vkey" --witness "$vkey"
accept push 1000
accept push 1000
accept our_verify "$work/ours/1000" "$work/ours/1000.vkey" --witness "$vkey"
exit=0
push fork >"$work/out" 2>&1 || exit=$?
[[ $exit == 1 ]] || { cat "$work/out"; fail "exit $exit, not 1, for a fork that the witness must refuse"; }
our_refuse "$work/ours/fork" "$work/ours/1000.vkey" --witness "$vkey"
"$aics" evidence >"$work/out"
grep -q 'log.example/interop/1000' "$work/out" || fail 'the witness kept no evidence of the fork'
echo 'the witness cosigned the log and refused its fork'
