"""Many pages that only read, in a process of their own: readers.py PORT COOKIE COUNT SECONDS.

Opens so many WebSockets and says `ready` when all is quiet. So many seconds after a line on its
input it answers with how late each frame of a broadcast came: the milliseconds between the time
that stands in it and now, as JSON.
"""

import base64
import json
import os
import re
import select
import socket
import sys
import time

STAMP = re.compile(rb" at (\d+\.\d+) ")


def opened(port: int, cookie: str) -> socket.socket:
    """One page's socket, by hand: a library would cost more than what is measured."""
    page = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    page.sendall(
        f"GET /ws?path=/chat HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Origin: http://127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n".encode()
    )
    answer = page.recv(4096)
    assert b" 101 " in answer, answer
    page.setblocking(False)
    return page


def main() -> None:
    port, cookie, count, seconds = sys.argv[1:]
    poll, pages = select.epoll(), dict[int, socket.socket]()
    for _ in range(int(count)):
        page = opened(int(port), cookie)
        pages[page.fileno()] = page
        poll.register(page, select.EPOLLIN)
        for number, _ in poll.poll(0):
            pages[number].recv(1 << 20)
    while waiting := poll.poll(1):
        for number, _ in waiting:
            pages[number].recv(1 << 20)
    late: list[float] = []
    tails = dict.fromkeys(pages, b"")
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.time() + float(seconds)
    while time.time() < end:
        for number, _ in poll.poll(0.1):
            data = tails[number] + pages[number].recv(1 << 20)
            now = time.time()
            found = [*STAMP.finditer(data)]
            late += [(now - float(stamp[1])) * 1000 for stamp in found]
            tails[number] = data[found[-1].end() :] if found else data[-40:]
    print(json.dumps(late), flush=True)


if __name__ == "__main__":
    main()
