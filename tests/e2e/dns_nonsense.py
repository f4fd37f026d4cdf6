# What no client of a name server should do: dns_nonsense.py SERVER. Prints how often the server said what.
import socket
import struct
import sys

server = (sys.argv[1], 53)
said = {"formerr": 0, "silent": 0, "refused-or-closed": 0}


def ask(message):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect(server)
        try:
            client.send(message)
            answer = client.recv(4096)
            said["formerr"] += answer[3] & 15 == 1
        except TimeoutError:
            said["silent"] += 1


ask(struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\xff")  # a name that points to itself
ask(b"\x00\x01")  # too short to be answered
ask(struct.pack("!HHHHHH", 2, 0x8180, 0, 0, 0, 0))  # an answer
ask(b"")  # nothing at all
ask(b"x" * 5000)  # in fragments

connections = []
for number in range(72):
    client = socket.socket()
    client.settimeout(10)
    try:
        client.connect(server)
        client.sendall(b"\xff")
        connections.append(client)
    except OSError:
        said["refused-or-closed"] += 1
for client in connections:
    client.settimeout(0.3)
    try:
        said["refused-or-closed"] += client.recv(1) == b""
    except TimeoutError:
        pass
    except OSError:
        said["refused-or-closed"] += 1
print(*(f"{word} {count}" for word, count in said.items()))
