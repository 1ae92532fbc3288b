#!/usr/bin/env bash
# What rmcp-guard adds to an rmcp HTTP server that has its dependencies anyway: crates, and time of a clean build.
#   crates/hot-path/dependencies.sh           counts crates, and fails above 35
#   crates/hot-path/dependencies.sh --build   measures a clean debug build of both besides, three times in turn, and fails
#                                          where the median is above 1.3 of the bare server's processor time
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

server() {
    mkdir -p "$work/$1/src"
    cp Cargo.lock "$work/$1/"
    cat >"$work/$1/Cargo.toml" <<TOML
[package]
name = "server"
version = "0.0.0"
edition = "2024"

[dependencies]
axum = "0.8"
rmcp = { version = "~3.11", features = ["server", "macros", "transport-streamable-http-server"] }
tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }
$2

[workspace]
TOML
    echo 'fn main() {}' >"$work/$1/src/main.rs"
    # the lock's versions, without what this server does not need
    (cd "$work/$1" && cargo update --offline --workspace --quiet 2>/dev/null || cargo update --workspace --quiet)
}

crates() { (cd "$work/$1" && cargo tree --prefix none --edges normal | sed 's/ (.*//' | sort -u | grep -vcE '^(server|rmcp-guard) '); }

server bare ''
server guarded "rmcp-guard = { path = \"$root\" }"
bare=$(crates bare) guarded=$(crates guarded)
echo "crates: $bare without, $guarded with those of rmcp-guard: $((guarded - bare)) more"
((guarded - bare <= 35)) || { echo 'more than 35'; exit 1; }
[[ ${1:-} == --build ]] || exit 0

times() { # wall and processor seconds of one clean build
    rm -rf "$work/$1/target"
    local TIMEFORMAT='%R %U %S'
    { time (cd "$work/$1" && CARGO_TARGET_DIR=target CARGO_INCREMENTAL=0 cargo build --quiet --locked) >/dev/null 2>&1; } 2>&1
}
for round in 1 2 3; do
    echo "round $round: bare $(times bare | tee -a "$work/bare.times"), guarded $(times guarded | tee -a "$work/guarded.times") (wall, user, system seconds)"
done
median() { awk '{print $2 + $3}' "$work/$1.times" | sort -n | sed -n 2p; }
awk -v bare="$(median bare)" -v guarded="$(median guarded)" 'BEGIN {
    printf "clean build, processor time: %.1f s without, %.1f s with: %.2f\n", bare, guarded, guarded / bare
    exit guarded / bare > 1.3
}'
