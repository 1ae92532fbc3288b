"""mcp 1.x."""

from contextlib import asynccontextmanager

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

from python import JOB, main, text_of


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


async def call(session, name, arguments, meta):
    result = await session.call_tool(name, arguments, meta=meta)
    return {"isError": result.isError, "text": text_of(result), "meta": result.meta}


main(connect, call)
