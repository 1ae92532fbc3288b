"""mcp 2.x, both eras. Takes the job as a file; prints a line of JSON for each call."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

with open(sys.argv[1]) as file:
    JOB = json.load(file)


@asynccontextmanager
async def connect(headers):
    if "url" in JOB:
        async with create_mcp_http_client(headers=headers) as http:
            async with Client(streamable_http_client(JOB["url"], http_client=http), mode=JOB["era"]) as client:
                yield client
    else:
        program, *args = JOB["command"]
        async with Client(StdioServerParameters(command=program, args=args), mode=JOB["era"]) as client:
            yield client


async def call(client, case):
    meta = {"capiscio_caller_badge": JOB["badge"]} if case["credential"] == "meta" else None
    result = await client.call_tool(case["tool"], case["arguments"], meta=meta)
    text = "".join(getattr(content, "text", "") for content in result.content)
    print(json.dumps({"name": case["name"], "isError": bool(result.is_error), "text": text, "meta": result.meta}), flush=True)


async def main():
    if "url" not in JOB:
        async with connect({}) as client:
            for case in JOB["cases"]:
                await call(client, case)
        return
    for case in JOB["cases"]:
        headers = {"X-Capiscio-Badge": JOB["badge"]} if case["credential"] == "header" else {}
        async with connect(headers) as client:
            await call(client, case)


asyncio.run(main())
