import asyncio
import sys

import aiohttp


async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get(f"https://web.{sys.argv[1]}.test/hello") as response:
            print(await response.text())
            response.raise_for_status()


asyncio.run(main())
