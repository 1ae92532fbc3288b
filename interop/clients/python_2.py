"""mcp 2.x, both eras."""

from contextlib import asynccontextmanager

from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

from python import JOB, main, text_of


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


async def call(client, name, arguments, meta):
    result = await client.call_tool(name, arguments, meta=meta)
    return {"isError": bool(result.is_error), "text": text_of(result), "meta": result.meta}


main(connect, call)
