"""FastMCP, both eras."""

from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError

from python import JOB, main, text_of


def connect(headers):
    if "url" in JOB:
        return Client(StreamableHttpTransport(JOB["url"], headers=headers), mode=JOB["era"])
    program, *args = JOB["command"]
    return Client(StdioTransport(program, args, keep_alive=False), mode=JOB["era"])


async def call(client, name, arguments, meta):
    try:
        result = await client.call_tool(name, arguments, meta=meta)
    except ToolError as denial:
        # how FastMCP tells its caller of a tool's error
        return {"isError": True, "text": str(denial)}
    return {"isError": False, "text": text_of(result)}


main(connect, call)
