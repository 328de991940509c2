"""A process that takes all mail by SMTP and keeps none of it; it says its port, and ends with its standard input."""

from __future__ import annotations

import asyncio
import sys


class _Session(asyncio.Protocol):
    """One connection; commands may be pipelined."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._held = b""
        self._is_message = False
        self._transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._held += data
        replies = []
        while True:
            if self._is_message:
                # A message ends with its dot; the one before it is its last line's end.
                end = self._held.find(b"\r\n.\r\n")
                if end < 0:
                    self._held = self._held[-4:]
                    break
                self._held = self._held[end + 5 :]
                self._is_message = False
                replies.append(b"250 2.0.0 Ok: queued as ABCDEF\r\n")
                continue
            end = self._held.find(b"\r\n")
            if end < 0:
                break
            command, self._held = self._held[:end].upper(), self._held[end + 2 :]
            if command.startswith(b"EHLO"):
                replies.append(b"250-sink.example\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES\r\n")
            elif command == b"DATA":
                replies.append(b"354 go on\r\n")
                self._is_message = True
            elif command == b"QUIT":
                replies.append(b"221 2.0.0 bye\r\n")
                self._transport.write(b"".join(replies))
                self._transport.close()
                return
            else:
                replies.append(b"250 2.0.0 ok\r\n")
        if replies:
            self._transport.write(b"".join(replies))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Session, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
