"""mcp 1.x. Takes the job as a file; prints a line of JSON for each call."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

with open(sys.argv[1]) as file:
    JOB = json.load(file)


@asynccontextmanager
async def connect(headers):
    if "url" in JOB:
        async with create_mcp_http_client(headers=headers) as http:
            async with streamable_http_client(JOB["url"], http_client=http) as (read, write, _):
                async with ClientSession(read, write) as session:
                    await session.initialize()
                    yield session
    else:
        program, *args = JOB["command"]
        with open("/dev/null", "w") as nowhere:
            async with stdio_client(StdioServerParameters(command=program, args=args), errlog=nowhere) as (read, write):
                async with ClientSession(read, write) as session:
                    await session.initialize()
                    yield session


async def call(session, case):
    meta = {"capiscio_caller_badge": JOB["badge"]} if case["credential"] == "meta" else None
    result = await session.call_tool(case["tool"], case["arguments"], meta=meta)
    text = "".join(getattr(content, "text", "") for content in result.content)
    print(json.dumps({"name": case["name"], "isError": result.isError, "text": text, "meta": result.meta}), flush=True)


async def main():
    if "url" not in JOB:
        async with connect({}) as session:
            for case in JOB["cases"]:
                await call(session, case)
        return
    for case in JOB["cases"]:
        headers = {"X-Capiscio-Badge": JOB["badge"]} if case["credential"] == "header" else {}
        async with connect(headers) as session:
            await call(session, case)


asyncio.run(main())
