"""Tries to connect to Unix sockets (pairs of kind and path), once or every 20 ms, and says what came of it."""

import socket
import sys
import time

while True:
    for kind, path in zip(sys.argv[2::2], sys.argv[3::2]):
        try:
            with socket.socket(socket.AF_UNIX, getattr(socket, kind)) as client:
                client.connect(path)
            print("connected", flush=True)
        except OSError as error:
            print(type(error).__name__, flush=True)
    if sys.argv[1] == "once":
        break
    time.sleep(0.02)
