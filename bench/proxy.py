"""A TCP proxy that simulates a distant server: it delays every byte by the same time.

``python -m bench.proxy SECONDS PORT TARGET_PORT ADDRESS...`` listens on PORT of each address and
forwards to TARGET_PORT of the same address.
"""

import asyncio
import sys
from collections.abc import Sequence


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Forward the data, each piece ``delay`` seconds after it arrived."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    while data := await reader.read(65536):
        loop.call_later(delay, writer.write, data)
    loop.call_later(delay, ended.set_result, None)
    await ended
    writer.close()


async def serve(delay: float, port: int, target: int, addresses: Sequence[str]) -> None:
    """Serve until the process is killed; print ``ready`` once all ports are open."""

    async def connected(near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        address = to_near.get_extra_info("sockname")[0]
        far, to_far = await asyncio.open_connection(address, target)
        await asyncio.gather(
            carry(near, to_far, delay), carry(far, to_near, delay), return_exceptions=True
        )

    for address in addresses:
        await asyncio.start_server(connected, address, port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    _, seconds, here, there, *places = sys.argv
    asyncio.run(serve(float(seconds), int(here), int(there), places))
