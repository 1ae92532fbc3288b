#!/usr/bin/env bash
# The official conformance suite against one client, bare and verifying its server: check by check, the verification must
# change nothing. Takes the directory of the built programs; exits 77 where the suite cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=$(realpath "${1:?the directory of the built programs}")
source "$here/../lib.sh"
need_node
suite=$modules/@modelcontextprotocol/conformance/dist/index.js

# Every scenario at its own revision, with the extensions; then all that applies to the other two.
runs=(
    '--suite all'
    '--suite all --spec-version 2025-06-18'
    '--suite all --spec-version 2026-07-28'
)
# What an MCP client does not do by itself. OAuth's scenarios are not covered either.
not_covered='sep-2640-client-verify-frontmatter'

suite_against() { # who the client is
    local run options
    for run in "${!runs[@]}"; do
        read -ra options <<<"${runs[$run]}"
        "$node" "$suite" client --command "$programs/conformance-client --$1" "${options[@]}" -o "$work/results/$1/$run" \
            >"$work/suite.$1.$run" 2>&1 || [[ $? == 1 ]] || return 1
    done
}
compared() {
    local who pid suites=() directory scenario
    rm -rf "$work/results"
    for who in bare verified; do
        suite_against "$who" &
        suites+=($!)
    done
    for pid in "${suites[@]}"; do wait "$pid" || fail 'the suite itself failed'; done
    for directory in "$work"/results/*/*/[!a]*/; do
        scenario=$(basename "$directory" | sed -E 's/-[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9-]+Z$//')
        if grep -q 'not covered' "$directory/stderr.txt"; then
            [[ $scenario == "$not_covered" ]] || fail "the client does not play $scenario"
        elif [[ $directory == "$work"/results/verified/* ]]; then
            grep -q '"verified":"did:key:' "$directory/stdout.txt" || {
                cat "$directory/stderr.txt"
                fail "$scenario: no verified server, or a badge where none should be, or none where one should be"
            }
        fi
    done
    "$node" "$here/compare.mjs" "$work/results" "${runs[@]}"
}

# Some checks are about time: what differs has to differ twice.
compared || { echo 'once more, since a difference may be one of time'; compared; }
