#!/usr/bin/env bash
# Cuts the power of an ext4 file system on a loop device while the log writes to it, and looks whether everything that
# was acknowledged as durable is there afterwards. Needs root. Prints SKIPPED and exits 77 where it cannot run.
#
#   tests/evidence_crash/power_cut.sh [cycles per number of callers, default 200]
#
# The control waits for no fdatasync (best-effort mode), and must lose: a test that cannot fail shows nothing.
set -euo pipefail
cycles=${1:-200}
cd "$(dirname "$0")/../.."

skip() { echo "SKIPPED: $*; no power was cut, so nothing was shown"; exit 77; }
[[ $(id -u) == 0 ]] || skip 'needs root for a loop mount'
for tool in mkfs.ext4 losetup mount umount python3 truncate; do
    command -v "$tool" >/dev/null || skip "$tool is missing"
done

program=${POWER_CUT_PROGRAM:-}
if [[ -z $program ]]; then
    program=$(cargo test --release --test evidence_crash --no-run --message-format=json 2>/dev/null |
        python3 -c 'import json,sys
for line in sys.stdin:
    try: m = json.loads(line)
    except ValueError: continue
    if m.get("reason") == "compiler-artifact" and m["target"]["name"] == "evidence_crash" and m.get("executable"):
        print(m["executable"])' | tail -1)
fi
[[ -x $program ]] || { echo 'the test program was not built'; exit 1; }

work=$(mktemp -d)
mountpoint=$work/mnt
mkdir "$mountpoint"
clean_up() {
    [[ -n ${writer:-} ]] && kill -9 "$writer" 2>/dev/null || true
    umount "$mountpoint" 2>/dev/null || umount -l "$mountpoint" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

truncate -s 768M "$work/image"
mkfs.ext4 -q -F "$work/image"
mount -o loop "$work/image" "$mountpoint" 2>/dev/null || skip 'no loop mount is allowed here'

# EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: from here on nothing reaches the device, the journal neither
cut_power() {
    python3 - "$mountpoint" <<'PY'
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587D, struct.pack("I", 2))
PY
}
child=(--exact --ignored --nocapture --test-threads=1)
broken() { echo "BROKEN: $*"; exit 1; }

# cycle MODE CALLERS -> 0 when nothing was lost
cycle() {
    local mode=$1 callers=$2
    rm -rf "${mountpoint:?}"/*
    sync -f "$mountpoint"
    # the program itself, so that the kill below meets it and not a shell around it
    WRITER_DIRECTORY=$mountpoint/evidence WRITER_MODE=$mode WRITER_CALLERS=$callers WRITER_POWER_CUT=1 \
        WRITER_ROLL_AFTER_BYTES=4000000 "$program" child_writer "${child[@]}" >"$work/said" 2>/dev/null &
    writer=$!
    for ((waited = 0; waited < 600; waited++)); do
        grep -qs 'opened ' "$work/said" && break
        sleep 0.05
    done
    sleep "0.$(printf '%03d' $((RANDOM % 400 + 30)))"
    # What the writer says while the power goes proves nothing: a sync that is under way may return after the journal
    # is dead. Only what it had said before counts.
    cp "$work/said" "$work/acked"
    cut_power
    kill -9 "$writer" 2>/dev/null || true
    wait "$writer" 2>/dev/null || true
    writer=
    umount "$mountpoint" || broken 'the file system that lost power cannot be unmounted'
    mount -o loop "$work/image" "$mountpoint" || broken 'the file system does not come back'
    acked=$((acked + $(grep -c '^ack ' "$work/acked" || true)))
    WRITER_DIRECTORY=$mountpoint/evidence WRITER_MODE=$mode WRITER_CALLERS=$callers POWER_CUT_SAID=$work/acked \
        "$program" power_cut::child_check_after_power_cut "${child[@]}" >"$work/check" 2>&1 &&
        grep -q '^checked ' "$work/check"
}

lost_in_all=0
for mode in strict bounded; do
    for callers in 1 16 128; do
        acked=0 lost=0
        for ((n = 0; n < cycles; n++)); do
            cycle "$mode" "$callers" || { lost=$((lost + 1)); cp "$work/check" "./power-cut-$mode-$callers-$n.log" 2>/dev/null || true; tail -5 "$work/check"; }
        done
        echo "$mode, $callers callers: $cycles power cuts, $acked acknowledged records, $lost cycles that lost or refused"
        lost_in_all=$((lost_in_all + lost))
    done
done

# best-effort acknowledges what is not synced yet: records must be gone in some cycle, or the cut does not cut
acked=0 lost=0
for ((n = 0; n < ${POWER_CUT_CONTROLS:-200} && lost == 0; n++)); do
    cycle best-effort 16 || lost=$((lost + 1))
done
echo "control that does not wait for fdatasync: lost after $n power cuts, $acked acknowledged records"
[[ $lost_in_all == 0 ]] || { echo 'FAILED: acknowledged records are gone'; exit 1; }
[[ $lost -gt 0 ]] || { echo 'FAILED: the control lost nothing, so the power was never cut'; exit 1; }
echo 'no acknowledged record was lost'
