"""Checks and builds tlog-tiles logs with aics-tlog, which knows nothing of rmcp-guard.

    stock.py verify DIRECTORY VKEY-FILE [EARLIER-CHECKPOINT...]
    stock.py build DIRECTORY VKEY-FILE SIZE
    stock.py free-port
"""

import random
import socket
import sys
from pathlib import Path

SAMPLES = 40


def read_log(directory: Path, vkey_file: str, checkpoint: Path):
    import aics_tlog

    key = aics_tlog.read_vkey_file(Path(vkey_file).read_text())
    note = aics_tlog.parse_note(checkpoint.read_bytes())
    result = aics_tlog.verify_checkpoint(note, key, expected_origin=key.name)
    if not result.ok:
        raise ValueError(f"{checkpoint}: {result.error}")
    return aics_tlog.FileSystemTileReader(directory), result


def verify(directory: str, vkey_file: str, *earlier: str) -> None:
    import aics_tlog

    log = Path(directory)
    reader, now = read_log(log, vkey_file, log / "checkpoint")
    audit = aics_tlog.audit_tiles(reader, now.size, now.root)
    indexes = {0, now.size - 1} | {random.randrange(now.size) for _ in range(SAMPLES)}
    for index in indexes:
        entry = aics_tlog.read_entry(reader, index, now.size)
        proof = aics_tlog.inclusion_proof_from_tiles(reader, index, now.size)
        if not aics_tlog.verify_leaf_inclusion(entry, index, now.size, proof, now.root):
            raise ValueError(f"no inclusion of {index}")
    for file in earlier:
        _, old = read_log(log, vkey_file, Path(file))
        proof = aics_tlog.consistency_proof_from_tiles(reader, old.size, now.size)
        if not aics_tlog.verify_consistency(old.size, now.size, old.root, now.root, proof):
            raise ValueError(f"does not continue {file}")
    print(f"{now.origin}: {now.size} entries, {audit.tiles} tiles, {len(earlier)} earlier checkpoints")


def build(directory: str, vkey_file: str, size: str) -> None:
    import aics_tlog
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    origin = "example.com/built-with-aics-tlog"
    key = Ed25519PrivateKey.generate()
    leaves = [f"an entry of a third kind, number {index}".encode() for index in range(int(size))]
    log = Path(directory)
    log.mkdir(parents=True)
    aics_tlog.TileWriter(leaves).write_to(log)
    checkpoint = aics_tlog.Checkpoint(origin, len(leaves), aics_tlog.MerkleTree(leaves).root())
    (log / "checkpoint").write_bytes(aics_tlog.sign_checkpoint(checkpoint, key, origin).to_bytes())
    vkey = aics_tlog.vkey_from_ed25519(origin, key.public_key())
    Path(vkey_file).write_text(aics_tlog.format_vkey(vkey) + "\n")


def free_port() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        print(listener.getsockname()[1])


if __name__ == "__main__":
    commands = {"verify": verify, "build": build, "free-port": free_port}
    commands[sys.argv[1]](*sys.argv[2:])
