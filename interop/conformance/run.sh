#!/usr/bin/env bash
# The official conformance suite against one server, bare and guarded: check by check, the guard must change nothing.
# Takes the directory of the built programs; exits 77 where the suite cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=$(realpath "${1:?the directory of the built programs}")
source "$here/../lib.sh"
need_node

# Whom the guard lets in: everybody, or holders of an API key, which a gateway before the server adds.
for who in anonymous key; do
    mkdir "$work/$who"
    cp "$here/$who.toml" "$work/$who/guard.toml"
    chmod 600 "$work/$who/guard.toml"
done
start bare "$programs/everything-server" --bare
declare -A tested=([bare]=$url)
start anonymous "$programs/everything-server" --guarded "$work/anonymous/guard.toml"
tested[anonymous]=$url
start key "$programs/everything-server" --guarded "$work/key/guard.toml" --gateway-key interop
tested[key]=$url

# Each scenario at its own revision, with the extensions; then each revision with all that applies to it, and what the
# suite requires of it.
runs=(
    '--suite all'
    '--suite all --spec-version 2025-03-26'
    '--suite all --spec-version 2025-06-18'
    '--suite all --spec-version 2025-11-25'
    '--suite all --spec-version 2026-07-28'
    '--requirements 2025-11-25'
    '--requirements 2026-07-28'
)
compare_with_bare server --url
