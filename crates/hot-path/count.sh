#!/usr/bin/env bash
# Instructions of each part of a guarded call, beside those in instructions.txt: more than 3 % above fails.
#   crates/hot-path/count.sh            compares; ends with 77 where that shows nothing (no valgrind, another compiler)
#   crates/hot-path/count.sh --update   writes instructions.txt anew; say in the commit why the figures changed
# The count is of a release build under cachegrind: twice with different numbers of turns, so that the start cancels out.
set -euo pipefail
cd "$(dirname "$0")/../.."
baseline=crates/hot-path/instructions.txt
command -v valgrind >/dev/null || { echo 'valgrind is not installed here'; exit 77; }

cargo build --release --locked -p rmcp-guard-hot-path
program=${CARGO_TARGET_DIR:-target}/release/rmcp-guard-hot-path
compiler=$(rustc --version)

instructions() {
    local out
    out=$(valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null "$program" "$1" "$2" 2>&1) || { echo "$out" >&2; exit 1; }
    sed -n 's/.*I *refs: *//p' <<<"$out" | tr -d ,
}

each() {
    local few many
    few=$(instructions "$1" 200)
    many=$(instructions "$1" 1200)
    echo $(((many - few) / 1000))
}

if [[ ${1:-} == --update ]]; then
    { echo "compiler $compiler"; for part in decision badge call; do echo "$part $(each "$part")"; done; } >"$baseline.new"
    mv "$baseline.new" "$baseline"
    cat "$baseline"
    exit
fi

failed=0
while read -r part want; do
    if [[ $part == compiler ]]; then
        [[ $want == "$compiler" ]] && continue
        echo "the counts are of $want; this is $compiler, which may count otherwise"
        exit 77
    fi
    is=$(each "$part")
    printf '%-10s %8d instructions, %8d before\n' "$part" "$is" "$want"
    ((is * 100 <= want * 103)) || failed=1
    ((is * 100 >= want * 97)) || echo "  fewer than before: crates/hot-path/count.sh --update keeps the gain"
done <"$baseline"
((!failed)) || { echo 'more than 3 % above the count that was agreed'; exit 1; }
