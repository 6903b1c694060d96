"""Says something over a WebSocket: once, or again and again."""
import asyncio
import sys

import websockets


async def main():
    async with websockets.connect(f"wss://socket.{sys.argv[1]}.test/") as connection:
        while True:
            await connection.send("hello")
            print(await connection.recv(), flush=True)
            if sys.argv[2] == "once":
                return
            await asyncio.sleep(0.02)


asyncio.run(main())
