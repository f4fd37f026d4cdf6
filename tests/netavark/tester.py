# Sends a message from here to a server in another network namespace and says what arrived, as netavark's tester does:
# tester.py --tcp|--udp NAMESPACE ADDRESS:PORT SERVERPORT <MESSAGE
import ctypes
import os
import socket
import sys

protocol, namespace, target, port = sys.argv[1:]
kind = {"--tcp": socket.SOCK_STREAM, "--udp": socket.SOCK_DGRAM}[protocol]
address, _, target_port = target.rpartition(":")
family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
message = sys.stdin.readline().strip()

own = os.open("/proc/self/ns/net", os.O_RDONLY)
libc = ctypes.CDLL(None, use_errno=True)
for path in (namespace, None):
    descriptor = own if path is None else os.open(path, os.O_RDONLY)
    if libc.setns(descriptor, 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    if path is not None:
        server = socket.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", int(port)))
        if kind == socket.SOCK_STREAM:
            server.listen()

client = socket.socket(family, kind)
client.settimeout(8)
server.settimeout(8)
client.connect((address.strip("[]"), int(target_port)))
client.send(message.encode())
if kind == socket.SOCK_STREAM:
    connection, peer = server.accept()
    said = connection.recv(999)
else:
    said, peer = server.recvfrom(999)
print(f"Connection from {peer}")
print(f"Message: {said.decode()}")
