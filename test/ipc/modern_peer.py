"""A peer whose handshake names its digest, as CPython's does since 3.12. Written without
multiprocessing, for any Python:

    modern_peer.py echo DIGEST KEY            listens, prints the address, sends one message back
    modern_peer.py call DIGEST KEY ADDRESS    connects, and checks that a message comes back

DIGEST is that of the challenge. "md5-reply" instead of a digest replies without naming one.
Prints "ok" at the end, or "refused" if the keys differ.
"""

import hashlib
import hmac
import os
import socket
import struct
import sys


class Refused(Exception):
    pass


class Peer:
    def __init__(self, sock, key, digest):
        self.sock, self.key, self.digest = sock, key, digest

    def send(self, message):
        self.sock.sendall(struct.pack("!i", len(message)) + message)

    def receive(self):
        (size,) = struct.unpack("!i", self.take(4))
        return self.take(size)

    def take(self, size):
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def code(self, digest, message):
        return hmac.new(self.key, message, getattr(hashlib, digest)).digest()

    def deliver(self):
        digest = "sha256" if self.digest == "md5-reply" else self.digest
        message = b"{%s}" % digest.encode() + os.urandom(40)
        self.send(b"#CHALLENGE#" + message)
        reply = self.receive()
        prefix = b"{%s}" % digest.encode()
        if reply != prefix + self.code(digest, message):
            self.send(b"#FAILURE#")
            raise Refused
        self.send(b"#WELCOME#")

    def answer(self):
        message = self.receive()
        if not message.startswith(b"#CHALLENGE#{sha256}"):
            raise Refused
        message = message[len(b"#CHALLENGE#"):]
        if self.digest == "md5-reply":
            self.send(self.code("md5", message))
        else:  # any digest may be chosen for the reply
            self.send(b"{%s}" % self.digest.encode() + self.code(self.digest, message))
        if self.receive() != b"#WELCOME#":
            raise Refused


def echo(digest, key):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print("127.0.0.1:%d" % listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
        with connection:
            peer = Peer(connection, key, digest)
            peer.deliver()
            peer.answer()
            peer.send(peer.receive())


def call(digest, key, address):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as connection:
        peer = Peer(connection, key, digest)
        peer.answer()
        peer.deliver()
        peer.send(b"hello")
        if peer.receive() != b"hello":
            sys.exit("the message has changed")


def main():
    command, digest, key, *rest = sys.argv[1:]
    try:
        {"echo": echo, "call": call}[command](digest, key.encode(), *rest)
    except Refused:
        print("refused")
    else:
        print("ok")


main()
