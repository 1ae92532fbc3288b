#!/usr/bin/env bash
# The official conformance suite against one server, bare and guarded: check by check, the guard must change nothing.
# Takes the directory of the built programs; exits 77 where the suite cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=$(realpath "${1:?the directory of the built programs}")
source "$here/../lib.sh"
need_node
suite=$modules/@modelcontextprotocol/conformance/dist/index.js

# Whom the guard lets in: everybody, or holders of an API key, which a gateway before the server adds.
for who in anonymous key; do
    mkdir "$work/$who"
    cp "$here/$who.toml" "$work/$who/guard.toml"
    chmod 600 "$work/$who/guard.toml"
done
start bare "$programs/everything-server" --bare
urls=("$url")
start anonymous "$programs/everything-server" --guarded "$work/anonymous/guard.toml"
urls+=("$url")
start key "$programs/everything-server" --guarded "$work/key/guard.toml" --gateway-key interop
urls+=("$url")
names=(bare anonymous key)

# Each scenario at its own revision, with the extensions; then each revision with all that applies to it, and what the
# suite requires of it. A failed check is no failure here: only a difference is.
runs=(
    '--suite all'
    '--suite all --spec-version 2025-03-26'
    '--suite all --spec-version 2025-06-18'
    '--suite all --spec-version 2025-11-25'
    '--suite all --spec-version 2026-07-28'
    '--requirements 2025-11-25'
    '--requirements 2026-07-28'
)
suite_against() { # the index of a server
    local run options
    for run in "${!runs[@]}"; do
        read -ra options <<<"${runs[$run]}"
        "$node" "$suite" server --url "${urls[$1]}" "${options[@]}" -o "$work/results/${names[$1]}/$run" \
            >"$work/suite.${names[$1]}.$run" 2>&1 || [[ $? == 1 ]] || return 1
    done
}
compared() {
    local server_index pid suites=()
    rm -rf "$work/results"
    for server_index in "${!urls[@]}"; do
        suite_against "$server_index" &
        suites+=($!)
    done
    for pid in "${suites[@]}"; do wait "$pid" || fail 'the suite itself failed'; done
    "$node" "$here/compare.mjs" "$work/results" "${runs[@]}"
}

# Some checks wait for a notification, which a busy machine may deliver too late: what differs has to differ twice.
compared || { echo 'once more, since a difference may be one of time'; compared; }
