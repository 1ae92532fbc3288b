"""What the Python clients have in common. Takes the job as a file; prints a line of JSON for each call."""

import asyncio
import json
import sys

with open(sys.argv[1]) as file:
    JOB = json.load(file)


def text_of(result):
    return "".join(getattr(content, "text", "") for content in result.content)


def main(connect, call):
    """Makes the job's calls. `connect` takes headers and gives a session; `call` takes a session, a tool's name, its
    arguments and `_meta`, and gives what the client's user is told.
    """
    asyncio.run(make_calls(connect, call))


async def make_calls(connect, call):
    async def make(session, case):
        meta = {"capiscio_caller_badge": JOB["badge"]} if case["credential"] == "meta" else None
        told = await call(session, case["tool"], case["arguments"], meta)
        print(json.dumps({"name": case["name"], **told}), flush=True)

    # over HTTP a connection for each call, since headers belong to a connection; over stdio one for all
    if "url" not in JOB:
        async with connect({}) as session:
            for case in JOB["cases"]:
                await make(session, case)
        return
    for case in JOB["cases"]:
        headers = {"X-Capiscio-Badge": JOB["badge"]} if case["credential"] == "header" else {}
        async with connect(headers) as session:
            await make(session, case)
