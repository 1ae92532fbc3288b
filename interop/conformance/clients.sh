#!/usr/bin/env bash
# The official conformance suite against one client, bare and verifying its server: check by check, the verification must
# change nothing. Takes the directory of the built programs; exits 77 where the suite cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=$(realpath "${1:?the directory of the built programs}")
source "$here/../lib.sh"
need_node

# Every scenario at its own revision, with the extensions; then all that applies to the other two.
runs=(
    '--suite all'
    '--suite all --spec-version 2025-06-18'
    '--suite all --spec-version 2026-07-28'
)
# What an MCP client does not do by itself. OAuth's scenarios are not covered either.
not_covered='sep-2640-client-verify-frontmatter'

every_scenario_is_played() {
    local directory scenario
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
}

declare -A tested=([bare]="$programs/conformance-client --bare" [verified]="$programs/conformance-client --verified")
compare_with_bare client --command every_scenario_is_played
