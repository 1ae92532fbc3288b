"""capiscio-mcp 2.7.1 registers a server at `rmcp-guard ca`, gets a badge, renews it and posts an event.

The SDK is used as its documentation says, over TLS with the CA's root certificate. Its key comes from the environment,
since it would fetch its Go core to make one. Everything that the CA answered is then checked from the CA's side.
"""

import asyncio
import base64
import json
import logging
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import uuid

BINARY, WORK = sys.argv[1], pathlib.Path(sys.argv[2])
CA = WORK / "ca"


def guard(*arguments: str) -> str:
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"rmcp-guard {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, "the CA ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the CA does not listen")


def claims(token: str) -> dict:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class Warnings(logging.Handler):
    """What the SDK only logs is a failure here."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def run(origin: str, api_key: str) -> None:
    from capiscio_mcp.connect import MCPServerIdentity
    from capiscio_mcp.events import GuardEventEmitter
    from capiscio_mcp.keeper import ServerBadgeKeeper
    from capiscio_mcp.registration import RegistrationError, register_server_identity

    warnings = Warnings()
    logging.getLogger("capiscio_mcp").addHandler(warnings)

    # An id that the CA does not know: the SDK creates the server and remembers the id that it was given.
    identity = await MCPServerIdentity.connect(server_id=str(uuid.uuid4()), api_key=api_key, server_url=origin)
    try:
        assert identity.badge, warnings.lines
        badge = claims(identity.badge)
        assert badge["iss"] == origin, badge
        assert badge["vc"]["credentialSubject"]["level"] == "1", badge
        assert identity.server_id in badge["sub"], (identity.server_id, badge)
        assert badge["sub"] == identity.did, (badge["sub"], identity.did)

        # Again with the id that is known now: an update, and no second server.
        again = await MCPServerIdentity.connect(server_id=identity.server_id, api_key=api_key, server_url=origin)
        again.close()
        assert again.server_id == identity.server_id
        servers = json.loads(guard("--json", "ca", "list", "servers", "--dir", str(CA)))
        assert len(find_list(servers)) == 1, servers

        # The keeper's own call.
        keeper = ServerBadgeKeeper(identity.server_id, api_key, identity.badge, ca_url=origin, renewal_threshold=10**9)
        keeper._maybe_renew()
        renewed = keeper.get_current_badge()
        assert renewed and claims(renewed)["jti"] != badge["jti"], warnings.lines

        emitter = GuardEventEmitter(origin, api_key, server_id=identity.server_id)
        emitter.emit_policy_enforced(decision="DENY", tool_name="delete_file", deny_reason="trust_insufficient")
        emitter.flush()
        events = json.loads(guard("--json", "ca", "list", "events", "--dir", str(CA)))
        assert any("delete_file" in json.dumps(event) for event in find_list(events)), events

        try:
            await register_server_identity(identity.server_id, "rgk_wrong", identity.did, "x", ca_url=origin)
            raise AssertionError("an unknown API key was accepted")
        except RegistrationError as error:
            assert error.status_code == 401, error
        assert not warnings.lines, warnings.lines
    finally:
        identity.close()


def find_list(answer):
    if isinstance(answer, list):
        return answer
    lists = [member for member in answer.values() if isinstance(member, list)]
    assert len(lists) == 1, answer
    return lists[0]


def main() -> None:
    port = free_port()
    origin = f"https://localhost:{port}"
    guard("ca", "init", "--dir", str(CA), "--origin", origin, "--api-key-file", str(WORK / "api-key"))
    # The SDK names itself below `agents`, whatever it is.
    policy = CA / "policy.toml"
    text = policy.read_text()
    assert 'server_subject = "servers"' in text
    policy.write_text(text.replace('server_subject = "servers"', 'server_subject = "agents"'))
    guard("keygen", "--out", str(WORK / "server.pem"))

    os.environ["CAPISCIO_SERVER_PRIVATE_KEY_PEM"] = (WORK / "server.pem").read_text()
    os.environ["REQUESTS_CA_BUNDLE"] = str(CA / "root.pem")
    server = subprocess.Popen([BINARY, "ca", "serve", "--dir", str(CA)], stdout=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        asyncio.run(run(origin, (WORK / "api-key").read_text().strip()))
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(15) == 0, "the CA did not end cleanly"
    print("capiscio-mcp 2.7.1 registered a server, got a badge, renewed it and posted an event")


if __name__ == "__main__":
    main()
