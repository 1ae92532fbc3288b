# Shared by the scripts in the folders beside it, which source it: third parties at pinned versions, kept in a cache,
# servers that are started and stopped, and the conformance suite. Exit 77 means skipped, with the reason said.

interop=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${INTEROP_CACHE:-${CARGO_TARGET_DIR:-$interop/../target}/interop}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

work=$(mktemp -d)
children=()
cleanup() {
    [[ ${#children[@]} == 0 ]] || kill "${children[@]}" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap cleanup EXIT

skip() { echo "SKIPPED: $*"; exit 77; }
fail() { echo "FAILED: $*" >&2; exit 1; }

# What an installer says when there is no network, and not when what it got is not what the lock file names.
unreachable='ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|E403|E404|ETARGET|NewConnectionError|Max retries|No matching distribution|ConnectionError|Could not find a version'

# Installs into a directory of the cache that is named after what is installed, once; says why when it cannot.
# Arguments: a name, the files that pin it, `--`, a command that takes the directory.
install_once() {
    local name=$1 files=()
    shift
    while [[ $1 != -- ]]; do files+=("$1"); shift; done
    shift
    installed=$cache/$name-$(cat "${files[@]}" | sha256sum | cut -c 1-16)
    [[ ! -e $installed/.complete ]] || return 0
    rm -rf "$installed"
    mkdir -p "$installed"
    if ! "$@" "$installed" >"$work/install.log" 2>&1; then
        grep -Eq "$unreachable" "$work/install.log" && skip "$name cannot be downloaded: $(tail -n 1 "$work/install.log")"
        cat "$work/install.log"
        fail "$name does not install"
    fi
    touch "$installed/.complete"
}

# Sets `node`, at least 22.19, and `modules`, where the npm packages of node/package.json are.
need_node() {
    command -v npm >/dev/null || skip 'npm is not installed'
    local recent='const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a == 22 && b >= 19) ? 0 : 1)'
    local omit=()
    if node -e "$recent" 2>/dev/null; then node=$(command -v node) omit=(--omit=optional); fi
    install_npm() {
        cp "$interop/node/package.json" "$interop/node/package-lock.json" "$1"
        # no script of a package runs
        (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --prefer-offline "${omit[@]}")
    }
    install_once "node${omit:+-own}" "$interop/node/package.json" "$interop/node/package-lock.json" -- install_npm
    modules=$installed/node_modules
    if [[ -z ${omit[*]} ]]; then
        node=$(find "$modules" -path '*/node-*/bin/node' -type f 2>/dev/null | head -n 1)
        [[ -n $node ]] || skip 'Node 22.19 is not installed, and npm has none for this platform'
    fi
}

# Sets `python`, of a virtual environment with what the requirements file pins. Arguments: a name, the file.
need_python() {
    local candidate found=
    for candidate in python3 python3.12 python3.13 python3.14 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
            found=$candidate
            break
        fi
    done
    [[ -n $found ]] || skip 'Python 3.12 is not installed'
    install_pip() {
        "$found" -m venv "$2" || return 1
        "$2/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r "$1"
    }
    install_once "python-$1" "$2" -- install_pip "$2"
    python=$installed/bin/python
}

# As `need_python`, for a script that shows something without it too: says so and returns 1 where it cannot be had.
have_python() {
    local found code=0
    found=$(need_python "$@" >&2 && echo "$python") || code=$?
    case $code in
        0) python=$found ;;
        77) return 1 ;;
        *) exit 1 ;;
    esac
}

# Starts a server whose first line on standard output is its URL; sets `url` and `server`. Arguments: a name, the command.
start() {
    local name=$1
    shift
    : >"$work/$name.out"
    "$@" >"$work/$name.out" 2>"$work/$name.err" &
    server=$!
    children+=("$server")
    for _ in $(seq 300); do
        read -r url <"$work/$name.out" && [[ -n $url ]] && return
        kill -0 "$server" 2>/dev/null || { cat "$work/$name.err"; fail "$name did not start"; }
        sleep 0.1
    done
    fail "$name is not ready after 30 s"
}

# Stops a server and waits for its end; its last line is then in $work/NAME.out.
stop() { # its process id
    kill "$1"
    wait "$1" || fail "a server ended with $?"
}

# The official conformance suite against each of the associative array `tested`, who is named `bare` among them, all at the
# same time, once for each set of options in the array `runs`: check by check, the others must do as the bare one does. A
# failed check is no failure: only a difference is. What the suite says of each is in $work/results/NAME/RUN.
# Arguments: what they are to the suite, the option that tells it of one, a command that looks at the results too.
compare_with_bare() {
    # Some checks are about time, of which a busy machine has too little: what differs has to differ twice.
    compare_once "$@" || { echo 'once more, since a difference may be one of time'; compare_once "$@"; }
}
compare_once() {
    local name pid suites=()
    rm -rf "$work/results"
    for name in "${!tested[@]}"; do
        run_suite "$name" "$1" "$2" "${tested[$name]}" &
        suites+=($!)
    done
    for pid in "${suites[@]}"; do wait "$pid" || fail 'the suite itself failed'; done
    "${@:3}"
    "$node" "$interop/conformance/compare.mjs" "$work/results" "${runs[@]}"
}
run_suite() {
    local name=$1 run options
    shift
    for run in "${!runs[@]}"; do
        read -ra options <<<"${runs[$run]}"
        "$node" "$modules/@modelcontextprotocol/conformance/dist/index.js" "$@" "${options[@]}" \
            -o "$work/results/$name/$run" >"$work/suite.$name.$run" 2>&1 || [[ $? == 1 ]] || return 1
    done
}
