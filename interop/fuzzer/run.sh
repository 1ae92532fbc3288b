#!/usr/bin/env bash
# mcp-fuzzer against the guarded everything-server: the server stays up, no closed tool runs, every call is on record, and
# nothing that should not be is in records and logs. Takes the directory of the built programs; exits 77 where the fuzzer
# cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=$(realpath "${1:?the directory of the built programs}")
source "$here/../lib.sh"
need_python fuzzer "$here/requirements.txt"

mkdir "$work/guarded"
cp "$here/guard.toml" "$work/guarded/guard.toml"
chmod 600 "$work/guarded/guard.toml"
start bare "$programs/everything-server" --bare
bare=$url
start guarded "$programs/everything-server" --guarded "$work/guarded/guard.toml" --log
guarded=$server guarded_url=$url
# A caller is shown only the tools that are open to it. The proxy between the two shows the fuzzer all of them, adds a
# token that is none of the guard's business, and writes down what is said.
token=not-for-any-log-$RANDOM$RANDOM
start proxy "$python" "$here/proxy.py" "$guarded_url" "$bare" "$token" "$work/exchanges.jsonl"
proxy=$server

sessions=0
fuzz() { # what is fuzzed, and how
    local options=(--protocol streamablehttp --endpoint "$url" --no-network --no-corpus --seed 20261123 --timeout 20
        --max-concurrency 4 --log-level ERROR --fs-root "$work/fs" --output-dir "$work/reports/$sessions")
    HOME=$work "$(dirname "$python")/mcp-fuzzer" "${options[@]}" "$@" >"$work/fuzzer.log" 2>&1 \
        || { tail -n 40 "$work/fuzzer.log"; fail "mcp-fuzzer $*"; }
    sessions=$((sessions + 1))
}
fuzz --mode tools --phase both --runs 8
for revision in 2025-06-18 2025-11-25 2026-07-28; do
    fuzz --mode protocol --protocol-phase aggressive --runs-per-type 4 --spec-schema-version "$revision"
done

kill -0 "$guarded" || fail 'the server is down'
stop "$guarded"
kill "$proxy"
"$programs/rmcp-guard" evidence query "$work/guarded/evidence" --json --no-index >"$work/records.jsonl"
"$python" "$here/judge.py" "$work" "$token"
