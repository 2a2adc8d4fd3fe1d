"""The other end of a connection, with Python's own multiprocessing.connection:

    peer.py echo ADDRESS KEY     listens, prints the address and serves one client
    peer.py call ADDRESS KEY     connects, and checks that messages of several sizes come back

Prints "ok" at the end, or "refused" if the keys differ. An empty KEY is none.
"""

import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener

SIZES = (0, 1, 5, 255, 16383, 16384, 16385, 65536, 1 << 20)


def parse(text):
    if text.startswith("/"):
        return text
    if text.startswith("@"):
        return "\0" + text[1:]
    host, port = text.rsplit(":", 1)
    return host, int(port)


def echo(address, key):
    with Listener(address, authkey=key) as listener:
        name = listener.address
        print(name if isinstance(name, str) else "%s:%d" % name, flush=True)
        with listener.accept() as connection:
            try:
                while True:
                    connection.send_bytes(connection.recv_bytes())
            except EOFError:
                pass


def call(address, key):
    with Client(address, authkey=key) as connection:
        for size in SIZES:
            message = bytes(i * 7 % 251 for i in range(size))
            connection.send_bytes(message)
            if connection.recv_bytes() != message:
                sys.exit("a message of %d bytes has changed" % size)


def main():
    command, address, key = sys.argv[1:]
    try:
        {"echo": echo, "call": call}[command](parse(address), key.encode() or None)
    except AuthenticationError:
        print("refused")
    else:
        print("ok")


main()
