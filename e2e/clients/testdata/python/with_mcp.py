import asyncio
import sys

from mcp.client import Client


async def main():
    async with Client(f"https://mcp.{sys.argv[1]}.test/mcp") as client:
        print([tool.name for tool in (await client.list_tools()).tools])
        print((await client.call_tool("add", {"a": 20, "b": 22})).content[0].text)


asyncio.run(main())
