"""Stands between the fuzzer and the guarded server. Adds a bearer token to each request, writes each exchange to a file,
and puts the bare server's list of tools in place of the guarded one's. Arguments: the two URLs, the token, the file.
Prints its own URL."""

import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

GUARDED, BARE, TOKEN, FILE = urlsplit(sys.argv[1]), urlsplit(sys.argv[2]), sys.argv[3], sys.argv[4]
LOCK = threading.Lock()
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


def messages(content_type, body):
    """The JSON-RPC messages in a response."""
    text = body.decode("utf-8", "replace")
    lines = [line[5:] for line in text.splitlines() if line.startswith("data:")] if "event-stream" in content_type else [text]
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            pass
    return found


def exchange(url, method, headers, body):
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        connection.request(method, url.path, body=body, headers={**headers, "Host": url.netloc})
        answer = connection.getresponse()
        return answer.status, list(answer.getheaders()), answer.read()
    finally:
        connection.close()


def every_tool():
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "proxy", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    headers |= {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"}
    _, answer_headers, body = exchange(BARE, "POST", headers, json.dumps(request))
    content_type = dict((name.lower(), value) for name, value in answer_headers).get("content-type", "")
    return next(message["result"]["tools"] for message in messages(content_type, body) if "result" in message)


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        headers["Authorization"] = f"Bearer {TOKEN}"
        if self.command == "GET":
            # a stream that stays open; no answer to a call comes over it
            status, answer_headers, answer = 405, [], b""
        else:
            status, answer_headers, answer = exchange(GUARDED, self.command, headers, body)
        content_type = dict((name.lower(), value) for name, value in answer_headers).get("content-type", "")
        said = messages(content_type, answer)
        with LOCK, open(FILE, "a") as file:
            request = body.decode("utf-8", "replace")
            file.write(json.dumps({"verb": self.command, "request": request, "status": status, "messages": said}) + "\n")
        for message in said:
            if isinstance(message, dict) and "tools" in (message.get("result") or {}):
                message["result"]["tools"] = TOOLS
                answer = json.dumps(message).encode()
                if "event-stream" in content_type:
                    answer = b"data: " + answer + b"\n\n"
        self.send_response(status)
        for name, value in answer_headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = forward

    def log_message(self, *_):
        pass


TOOLS = every_tool()
server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
print(f"http://127.0.0.1:{server.server_address[1]}/mcp", flush=True)
server.serve_forever()
