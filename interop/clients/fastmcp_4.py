"""FastMCP, both eras. Takes the job as a file; prints a line of JSON for each call."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError

with open(sys.argv[1]) as file:
    JOB = json.load(file)


def client(headers):
    if "url" in JOB:
        return Client(StreamableHttpTransport(JOB["url"], headers=headers), mode=JOB["era"])
    program, *args = JOB["command"]
    return Client(StdioTransport(program, args, keep_alive=False), mode=JOB["era"])


async def call(session, case):
    meta = {"capiscio_caller_badge": JOB["badge"]} if case["credential"] == "meta" else None
    try:
        result = await session.call_tool(case["tool"], case["arguments"], meta=meta)
        error, text = False, "".join(getattr(content, "text", "") for content in result.content)
    except ToolError as denial:
        # how FastMCP tells its caller of a tool's error
        error, text = True, str(denial)
    print(json.dumps({"name": case["name"], "isError": error, "text": text}), flush=True)


async def main():
    if "url" not in JOB:
        async with client({}) as session:
            for case in JOB["cases"]:
                await call(session, case)
        return
    for case in JOB["cases"]:
        headers = {"X-Capiscio-Badge": JOB["badge"]} if case["credential"] == "header" else {}
        async with client(headers) as session:
            await call(session, case)


asyncio.run(main())
