"""A TCP proxy that is a long way off: every byte is late by the same time, none is held back.

Run as ``python -m bench.proxy SECONDS PORT TARGET_PORT ADDRESS...`` it listens at each address and
passes on to the other port there.
"""

import asyncio
import sys
from collections.abc import Sequence


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass on what arrives, each piece ``delay`` seconds after it came."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    while data := await reader.read(65536):
        loop.call_later(delay, writer.write, data)
    loop.call_later(delay, ended.set_result, None)
    await ended
    writer.close()


async def serve(delay: float, port: int, target: int, addresses: Sequence[str]) -> None:
    """Listen until the process is ended; says so when it is ready."""

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
