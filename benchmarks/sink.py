"""Reads what it is sent and forgets it: sink.py, which says at which port."""

import selectors
import socket


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                waiting.register(listener.accept()[0], selectors.EVENT_READ)
            elif not (reader := key.fileobj).recv(1 << 16):  # pyright: ignore
                waiting.unregister(reader)


if __name__ == "__main__":
    main()
