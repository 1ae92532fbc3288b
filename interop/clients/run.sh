#!/usr/bin/env bash
# Clients that know nothing of this crate, against the guarded filesystem server: MCP's Inspector, its Python and
# TypeScript SDKs, old and new, and FastMCP. Takes the directory of the built programs; exits 77 where no client can be
# had. What is left out is said.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=$(realpath "${1:?the directory of the built programs}")
source "$here/../lib.sh"
need_node
callers=(inspector typescript_2 typescript_1)
pythons=()
for name in python_1 python_2; do
    have_python "$name" "$here/$name.txt" || continue
    pythons+=("$name=$python")
    callers+=("$name")
    [[ $name == python_1 ]] || callers+=(fastmcp)
done

"$programs/filesystem-server" demo --keep "$work/world" >"$work/demo.log" 2>&1 || { cat "$work/demo.log"; fail 'the demo'; }
"$node" "$here/drive.mjs" "$programs" "$work/world" "$modules" "${callers[*]}" "${pythons[@]}"
