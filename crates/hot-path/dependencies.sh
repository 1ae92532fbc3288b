#!/usr/bin/env bash
# What rmcp-guard adds to an rmcp HTTP server that has its dependencies anyway: crates, and time of a clean build.
#   crates/hot-path/dependencies.sh           counts crates, and fails above 35
#   crates/hot-path/dependencies.sh --build [ROUNDS]
#                                          builds both besides, clean and in turn, three times unless told otherwise, and fails
#                                          where the median of the ratios of processor time is above 1.3
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

build() { (cd "$work/$1" && CARGO_TARGET_DIR=target CARGO_INCREMENTAL=0 cargo build --quiet --locked >"$work/$1.log" 2>&1); }

# wall and processor (user and system) seconds of one clean build
times() {
    rm -rf "$work/$1/target"
    local TIMEFORMAT='%R %U %S' spent
    spent=$({ time build "$1"; } 2>&1) || { cat "$work/$1.log" >&2; exit 1; }
    awk 'NF == 3 && $2 > 0 { print $1, $2 + $3; found = 1 } END { exit !found }' <<<"$spent"
}

# what is downloaded or compiled before is nobody's cost
for form in bare guarded; do (cd "$work/$form" && cargo fetch --quiet --locked); done
rounds=${2:-3}
for ((round = 1; round <= rounds; round++)); do
    # to and fro, so that nobody always comes after the same neighbour
    if ((round % 2)); then
        bare=$(times bare)
        guarded=$(times guarded)
    else
        guarded=$(times guarded)
        bare=$(times bare)
    fi
    echo "$bare $guarded" | tee -a "$work/rounds" |
        awk '{ printf "without: %.1f s, %.1f s of processor time; with: %.1f s, %.1f s; processor time %.2f\n", $1, $2, $3, $4, $4 / $2 }'
done
median() { awk "{ print $1 }" "$work/rounds" | sort -n | awk '{ all[NR] = $1 } END { print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }
wall=$(median '$3 / $1') processor=$(median '$4 / $2')
echo "clean debug build with rmcp-guard beside one without, median of $rounds: processor time $processor, wall $wall"
awk -v ratio="$processor" 'BEGIN { exit ratio > 1.3 }' || { echo 'more than 1.3 of the processor time'; exit 1; }
