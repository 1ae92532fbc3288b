#!/usr/bin/env bash
# The peer's Python SDK against `rmcp-guard ca`. Takes the rmcp-guard binary; exits 77 where the SDK cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?the path of the rmcp-guard binary}")
source "$here/../lib.sh"
need_python capiscio-mcp "$here/requirements.txt"
HOME=$work "$python" "$here/sdk_against_ca.py" "$binary" "$work"
