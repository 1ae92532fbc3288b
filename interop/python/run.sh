#!/usr/bin/env bash
# The peer's Python SDK against `rmcp-guard ca`. Takes the rmcp-guard binary; exits 77 where the SDK cannot be installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?the path of the rmcp-guard binary}")

skip() { echo "SKIPPED: $*"; exit 77; }

command -v python3 >/dev/null || skip 'python3 is not installed'
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || skip 'capiscio-mcp needs Python 3.10'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" >/dev/null 2>&1 || skip 'python3 has no venv'
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$here/requirements.txt" \
    || skip 'the SDK cannot be installed from PyPI'
HOME=$work "$work/venv/bin/python" "$here/sdk_against_ca.py" "$binary" "$work"
