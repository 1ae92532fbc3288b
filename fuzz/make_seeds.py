#!/usr/bin/env python3
"""Makes the seeds of fuzz/seeds that come from tests/vectors and from examples; those named `broke-*` are kept as they are.

Run it from anywhere, without arguments: python3 fuzz/make_seeds.py
"""
import base64
import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "tests" / "vectors"
SEEDS = HERE / "seeds"


def vectors(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def seed(target, name, content):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def payload(token):
    middle = token.split(".")[1]
    return base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4))


for old in SEEDS.glob("*/*"):
    if not old.name.startswith("broke-"):
        old.unlink()

# identity
for n, vector in enumerate(vectors("did_key") + vectors("did_web_url")):
    if n % 2 == 0:
        seed("did", vector["id"], vector["did"])
for vector in vectors("origin_binding")[::2]:
    lines = [vector["server_did"], vector["transport_origin"]]
    seed("origin", vector["id"], "\n".join(lines + ([vector["endpoint_path"]] if vector["endpoint_path"] else [])))

badges = vectors("badges")["badges"]
kept = {}
for vector in badges:
    kept.setdefault((vector["expected"], vector["expected_strict"]), []).append(vector)
for same in kept.values():
    for vector in same[:2]:
        seed("badge", vector["id"], vector["token"])
    seed("jws", same[0]["id"], same[0]["token"])
claims = 0
for vector in badges:
    if vector.get("payload_json") and vector["expected"] == "VALID":
        if (claims := claims + 1) <= 14:
            seed("badge_claims", vector["id"], vector["payload_json"])

fixtures = vectors("fixtures")
did, document = next(iter(fixtures["did_documents"].items()))
seed("did_document", "agent", f"{did}\n{compact(document)}")
jwk = {"id": f"{did}#k", "type": "JsonWebKey2020", "controller": did, "publicKeyJwk": fixtures["keys"]["agent"]["jwk"]}
seed("did_document", "jwk-in-authentication", f"{did}\n{compact({'id': did, 'authentication': [jwk]})}")
relative = [{"id": "#k", "type": "Multikey", "controller": did, "publicKeyMultibase": fixtures["keys"]["agent"]["multibase"]}]
seed("did_document", "relative-id", f"{did}\n{compact({'id': did, 'verificationMethod': relative, 'authentication': ['#k']})}")
seed("did_document", "empty", f"{did}\n{compact({'id': did})}")
for n, keys in enumerate(fixtures["jwks"].values()):
    seed("jwks", f"issuer-{n}", compact(keys))
agent = fixtures["keys"]["agent"]["jwk"]
seed("jwks", "others-between", compact({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, agent, {**agent, "use": "enc"}]}))
seed("jwks", "empty", compact({"keys": []}))

for vector in vectors("pop")[::2]:
    seed("pop", vector["id"], vector["jws"])
for vector in vectors("pop_nonces")[::3]:
    seed("pop", vector["id"], vector["nonce"])
nonce = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
seed("pop", "the-nonce", nonce)
server = fixtures["keys"]["server"]["did_key"]
bound = {"nonce": nonce, "did": server, "badge": None, "origin": "https://mcp.example.test", "iat": fixtures["now"]}
seed("pop", "bound-claims", compact(bound))
seed("pop", "bound-claims-late", compact({**bound, "iat": fixtures["now"] + 61}))
for vector in vectors("rfc003_proof"):
    seed("issuance_proof", vector["id"], vector["jws"])
    seed("issuance_proof", vector["id"] + "-claims", compact(vector["claims"]))
    seed("issuance_proof", vector["id"] + "-late", compact({**vector["claims"], "exp": vector["claims"]["exp"] + 1}))
seed("issuance_proof", "challenge-id", "ch-550e8400-e29b-41d4-a716-446655440000")

time = "2025-10-09T08:53:20Z"
seed("revocations", "two", compact({"revocations": [{"jti": "a", "revokedAt": time}, {"jti": "b"}], "syncedAt": time}))
seed("revocations", "page", compact({"revocations": [{"jti": "a"}], "syncedAt": "2025-10-09T10:53:20.5+02:00", "nextCursor": "c1"}))
seed("revocations", "go-null", compact({"revocations": None, "syncedAt": time, "nextCursor": None}))
seed("revocations", "no-jti", compact({"revocations": [{"id": "a"}], "syncedAt": time}))
jti = "00000000-0000-4000-8000-000000000048"
seed("status_answer", "good", compact({"jti": jti, "revoked": False}))
seed("status_answer", "revoked", compact({"jti": jti, "revoked": True, "revokedAt": time}))
seed("status_answer", "agent", compact({"id": "agent-001", "did": did, "status": "active"}))
seed("status_answer", "agent-by-id", compact({"id": "agent-001", "status": "disabled"}))
seed("status_answer", "server", compact({"did": "did:web:elsewhere.example.test:servers:files", "status": "active"}))
seed("status_answer", "error", compact({"error": "not found", "jti": jti, "revoked": False}))
seed("status_answer", "id-with-slashes", "../../v1/x?y#z")
seed("status_answer", "did-of-a-server", "did:web:registry.example.test:servers:files")

token = next(vector["token"] for vector in badges if vector["expected"] == "VALID")
offer = {
    "challenge_id": "ch-550e8400-e29b-41d4-a716-446655440000", "nonce": nonce, "htm": "POST",
    "proof_aud": fixtures["issuer"], "htu": f"{fixtures['issuer']}/v1/agents/x/badge/pop", "challenge_expires_at": "2025-10-09T08:58:20Z",
}
seed("registry_answer", "badge", compact({"success": True, "data": {"badge": token}}))
seed("registry_answer", "token", compact({"token": token}))
seed("registry_answer", "challenge", compact(offer))
seed("registry_answer", "challenge-of-another", compact({"data": {**offer, "proof_aud": "https://rogue.example.test"}}))
seed("registry_answer", "error", compact({"error": "bad \u202eword sk_live_1", "message": "try\nagain"}))
seed("registry_answer", "error-plain", compact({"error": "not found", "message": "no such \u001b[31m server"}))

# JSON
for vector in vectors("params_hash")["params_hash"]:
    seed("json", vector["id"], vector["input_json"])
seed("json", "names-beyond-ascii", '{"\ue000":1,"\U00010000":2,"\u00e9":3,"a":[1e21,-0,1E-7,9007199254740993]}')
seed("json", "names-twice", '{"a":1,"\\u0061":2}')
seed("json", "lone-surrogate", '["\\ud800"]')
seed("json", "control", '"\u202e\\u0000\\n"')

# HTTP and MCP
seed("meta_headers", "badge", f"X-Capiscio-Badge: {token}\nContent-Type: application/json\n\n" + compact({"progressToken": 1}))
seed("meta_headers", "badge-in-meta", "\n" + compact({"capiscio_caller_badge": token}))
seed("meta_headers", "both", f"x-capiscio-badge: a.b.c\n\n" + compact({"capiscio_caller_badge": "a.b.c"}))
seed("meta_headers", "conflict", f"x-capiscio-badge: a.b.c\n\n" + compact({"capiscio_caller_badge": "a.b.d"}))
seed("meta_headers", "bearer", f"Authorization: Bearer {token}\n\n{{}}")
seed("meta_headers", "key", "X-Capiscio-Registry-Key: sk_live_1\n\n" + compact({"capiscio_caller_api_key": "sk_live_1"}))
seed("meta_headers", "twice", "x-capiscio-badge: a\nX-Capiscio-Badge: a\n\n{}")
seed("meta_headers", "disclosed", f"Capiscio-Server-DID: did:web:Files.example.com\nCapiscio-Server-Badge: a.b.c\n\n" + compact({"capiscio_server_did": "did:web:files.example.com", "capiscio_server_badge": "a.b.d"}))
seed("meta_headers", "meta-of-other-types", "\n" + compact({"capiscio_caller_badge": None, "capiscio_server_did": 1}))
for name, ids in {"one": "0c8e5a3e-1f", "two": "a\nb", "space": "a b", "none": "", "long": "x" * 129, "longest": "x" * 128}.items():
    seed("session_id", name, ids)
for n, name in enumerate(["tools/call", "Tools/Call ", "///tools/list", "\uff54\uff4f\uff4f\uff4c\uff53/call", "to\u200bols/call", "notifications/initialized", "com.example/tools/call", "ping"]):
    seed("method_name", f"name-{n}", name)
request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read_file", "arguments": {"path": "a"}}}
seed("jsonrpc", "call", compact(request))
seed("jsonrpc", "call-with-a-list", compact({**request, "params": {"name": "read_file", "arguments": ["a"]}}))
seed("jsonrpc", "call-in-upper-case", compact({**request, "method": "Tools/Call"}))
seed("jsonrpc", "method-twice", '{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":[]}')
seed("jsonrpc", "custom", compact({"jsonrpc": "2.0", "id": "a", "method": "com.example/x", "params": None}))
seed("jsonrpc", "notification", compact({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": [1]}))
seed("jsonrpc", "batch", compact([request, request]))
for name, text in {"state": "paid=no", "empty": "", "another-key": "rg1." + "A" * 80, "the-request": "read_file"}.items():
    seed("request_state", name, text)
receipt = {"origin": "log.example/main/1", "id": "019a9c3e-4f7e-7c53-8a1b-0d9be2b0a6f1", "index": 7, "leaf": "A" * 43, "durable": True}
meta = {"rmcp-guard/evidence": receipt, "other": 1}
seed("answer", "call", compact({"content": [{"type": "text", "text": "x"}], "isError": False, "_meta": meta}))
seed("answer", "list", compact({"tools": [{"name": "a", "inputSchema": {"type": "object"}}], "_meta": meta}))
task = {"taskId": "t", "createdAt": time, "lastUpdatedAt": time, "ttl": 1000, "ttlMs": 1000}
seed("answer", "task", compact({**task, "status": "completed", "result": {"content": [], "_meta": meta}, "_meta": meta}))
seed("answer", "task-failed", compact({**task, "status": "failed", "error": {"code": 1, "message": "m", "data": meta}, "_meta": meta}))
seed("answer", "prompt", compact({"messages": [], "_meta": {"rmcp-guard/evidence": receipt}}))
seed("answer", "custom", compact({"x": 1, "_meta": meta}))
seed("answer", "input-required", compact({"resultType": "input_required", "inputRequests": {}, "requestState": "s", "_meta": meta}))
seed("sse", "events", b"\x10\x03: ping\r\n\r\ndata: a\ndata: b\n\n")
seed("sse", "crlf-cut", b"\x08\x00data: a\r\n\r\ndata: b\r\r")
seed("sse", "too-long", b"\x05\x02data: aaaaaaaa\n\n")
denial = {"reason": "trust_insufficient", "detail": "level 2 \u202e is\u001b[2J needed", "evidence_id": receipt["id"], "required_trust_level": 2}
seed("tool_result", "denied", compact({"content": [], "isError": True, "_meta": {"rmcp-guard/denial": denial, "rmcp-guard/evidence": receipt}}))
seed("tool_result", "allowed", compact({"content": [{"type": "text", "text": "x"}], "_meta": {"rmcp-guard/evidence": receipt}}))
seed("tool_result", "denial-of-other-types", compact({"content": [], "isError": True, "_meta": {"rmcp-guard/denial": {"reason": 1}}}))
seed("tool_meta", "level", compact({"rmcp-guard/requirement": {"min_trust_level": 2, "require_badge": True}}))
seed("tool_meta", "issuers", compact({"rmcp-guard/requirement": {"anonymous": True, "issuers": ["https://b.example", "https://a.example", "https://a.example"]}}))
seed("tool_meta", "unknown", compact({"rmcp-guard/requirement": {"min_trust": 2}}))

# policy
for vector in vectors("tool_glob")[::3]:
    seed("tool_pattern", vector["id"], f"{vector['pattern']}\n{vector['tool']}")
seed("tool_pattern", "beyond-ascii", "*\n\u00e9")
guard = (HERE.parent / "docs" / "guard.toml").read_text()
seed("policy_config", "example", "\n".join(line for line in guard.splitlines() if line and not line.startswith("#")))
seed("policy_config", "rules", 'audiences = ["https://a.example"]\ninsecure = 1\n[tools]\n"list_*" = { anonymous = true }\nread_file = { min_trust_level = 0 }\n')
seed("policy_config", "open", '[tools]\n"list_*" = { anonymous = true }\n"*" = {}\n[[api_key]]\nname = "a"\nsha256 = "' + "0a" * 32 + '"\n')
seed("policy_config", "seed", "seed_semantics = true\nmin_trust_level = 0\nallowed_tools = [\"read_*\"]\n[revocations]\ninsecure_none = true\n")
seed("policy_config", "not-toml", "a = \"s3cret\nb")

# evidence
notes = vectors("notes")
seed("checkpoint", "log-key", notes["log_vkey"])
seed("checkpoint", "witness-key", notes["witness_vkey"])
for checkpoint in notes["checkpoints"][::2]:
    size = checkpoint["size"]
    seed("checkpoint", f"signed-{size}", checkpoint["signed"])
    seed("checkpoint", f"cosigned-{size}", checkpoint["cosigned"])
cosigned = notes["checkpoints"][3]["cosigned"]
line = cosigned.splitlines(keepends=True)[-1]
seed("checkpoint", "text", cosigned.split("\n\n")[0] + "\nextension\n")
seed("checkpoint", "line", line)
for n, proof in enumerate(notes["proofs"]):
    if n % 4 == 3:
        seed("tlog_proof", f"{proof['index']}-of-{proof['size']}", proof["proof"])
seed("tlog_proof", "extra", notes["proofs"][3]["proof"].replace("index", "extra AAAA\nindex", 1))
seed("witness_answer", "cosigned", f"200\n{line}")
seed("witness_answer", "twice", f"200\n{line}{line}")
seed("witness_answer", "of-the-log", "200\n" + cosigned.splitlines(keepends=True)[-2])
seed("witness_answer", "of-another-size", "200\n" + notes["checkpoints"][2]["cosigned"].splitlines(keepends=True)[-1])
seed("witness_answer", "conflict", "409\n1\n")
seed("witness_answer", "forked", "409\n2\n")
seed("witness_answer", "ahead", "409\n18446744073709551615\n")
seed("witness_answer", "refused", "422\n")


def leaf(entry):
    return hashlib.sha256(b"\0" + entry).digest()


hashes = b"".join(leaf(bytes([n])) for n in range(20))
for count in (2, 3, 7, 8, 13, 20):
    seed("merkle_proof", f"tree-of-{count}", (3).to_bytes(8, "little") + (7).to_bytes(8, "little") + bytes([count]) + hashes[: 32 * count])
merkle = vectors("merkle_proofs")
for vector in merkle["inclusion"][::20]:
    if not vector["proof"]:
        continue
    parts = [base64.b64decode(text) for text in (vector["leafHash"], vector["root"], *vector["proof"])]
    numbers = b"".join((number % 2**64).to_bytes(8, "little") for number in (vector["leafIdx"], vector["treeSize"]))
    seed("merkle_proof", vector["id"].replace("/", "-"), numbers + b"\x01" + b"".join(parts))

entry = b'{"event":{"id":"%s"},"prev":"%s","seq":7}' % (receipt["id"].encode(), b"A" * 43)
seed("entry", "first", b'{"event":{"a":1},"prev":"' + b"A" * 43 + b'","seq":0}')
seed("entry", "named", entry)
seed("entry", "frame-in-the-event", b'{"event":{"a":' + entry + b'},"prev":"' + b"B" * 42 + b'A","seq":9007199254740991}')
record = compact(vectors("evidence_samples")["evidence_samples"][0]["record"]).encode()
seed("entry", "record", b'{"event":' + record + b',"prev":"' + b"A" * 43 + b'","seq":12}')
seed("receipt", "alone", compact(receipt))
own = {**receipt, "leaf": base64.urlsafe_b64encode(leaf(entry)).decode().rstrip("=")}
seed("receipt", "with-its-entry", compact(own).encode() + b"\n" + entry)
seed("receipt", "with-another", compact(receipt).encode() + b"\n" + entry)


def bundle(*entries):
    return b"".join(len(one).to_bytes(2, "big") + one for one in entries)


seed("entry_bundle", "one", b"\0\0" + bundle(entry))
seed("entry_bundle", "three", b"\2\0" + bundle(entry, b"x", record))
seed("entry_bundle", "redacted", b"\2\1" + bundle(entry, b"", b"y"))
seed("entry_bundle", "full", b"\xff\0" + bundle(*[b"e"] * 256))
for n, path in enumerate(["tile/0/000", "tile/entries/x001/x234/067.p/8", "tile/5/x123/456", "tile/entries-redacted/999.p/255", "tile/1/001.p/256", "tile/0/x072/x057/x594/x037/x927/935.p/255"]):
    seed("tile_path", f"path-{n}", path)
frame = (3).to_bytes(4, "little") + b"\x81" + bytes(8) + b"abc"
seed("wal_frame", "frame", frame)
seed("wal_frame", "close", bytes(4) + b"\3" + bytes(8))
header = b"rmcpgwal" + (1).to_bytes(4, "little") + b"".join(n.to_bytes(8, "little") for n in (2, 1, 131072, 4096, 5))
header += bytes(16) + bytes(8) + (18).to_bytes(2, "little") + b"log.example/main/1" + hashes[:64]
seed("wal_frame", "header", header)
seed("wal_frame", "longest", (65535).to_bytes(4, "little") + b"\1" + bytes(8))
seed("wal_segment", "sound", bytes([3, 20, 12, 30, 1, 50, 11, 0, 0, 0]))
seed("wal_segment", "torn-at-the-end", bytes([3, 20, 4, 30, 255, 0, 100, 0, 1]))
seed("wal_segment", "damaged-before-a-sync", bytes([3, 20, 1, 30, 11, 9, 9, 50, 255, 0, 20, 0, 128]))
seed("wal_segment", "damage-behind", bytes([3, 20, 1, 30, 255, 0, 0, 40, 1, 0, 41, 1]))
manifest = {"created": "2025-10-09T08:53:20.000000000Z", "epoch": 1, "instance": "main", "origin": "log.example/main/1", "version": 1, "vkey": notes["log_vkey"]}
seed("manifest", "first", compact(manifest))
previous = {"origin": "log.example/main/0", "root": base64.b64encode(leaf(b"")).decode(), "size": 9, "vkey": notes["log_vkey"]}
seed("manifest", "second", compact({**manifest, "epoch": 2, "previous": previous}))
seed("manifest", "a-member-more", compact({**manifest, "x": 1}))
seed("manifest", "a-size-that-json-rounds", compact({**manifest, "epoch": 2, "previous": {**previous, "size": 2**53 + 1}}))
