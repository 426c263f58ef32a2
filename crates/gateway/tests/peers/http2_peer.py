"""Requests by httpx over HTTP/2 in clear, many at a time on one connection."""

import asyncio
import sys

import httpx


async def main(address):
    async with httpx.AsyncClient(http1=False, http2=True, timeout=20) as client:
        async def one(number):
            body = str(number).encode() * 1000
            response = await client.post(f"http://{address}/x?n={number}", content=body)
            assert response.http_version == "HTTP/2", response.http_version
            assert (response.status_code, response.text) == (200, "hello"), response

        await asyncio.gather(*(one(number) for number in range(100)))
    print("ok")


asyncio.run(main(sys.argv[1]))
