"""Talks to the program `listener`: listener_client.py HOST:PORT [KEY]"""

import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

host, port = sys.argv[1].rsplit(":", 1)
key = sys.argv[2] if len(sys.argv) > 2 else "a shared secret"

try:
    with Client((host, int(port)), authkey=key.encode()) as connection:
        for word in "hello", "from Python":
            connection.send_bytes(word.encode())
            print(connection.recv_bytes().decode())
except AuthenticationError as error:
    print("refused:", error)
