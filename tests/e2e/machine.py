# machine.py INTERFACE KIND ARGUMENT...: carries frames between a packet socket on INTERFACE and a port for machines, as a virtual machine
# does with its own: "stream PATH", "dgram OWN PEER", "udp OWNPORT PEERPORT".
# Without an interface ("-"): what standard input has is sent as it is, in hexadecimal, a line each; what comes is printed.
import os
import select
import socket
import struct
import sys

name, kind, *where = sys.argv[1:]
if kind == "stream":
    port = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    port.connect(where[0])
elif kind == "dgram":
    port = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if os.path.exists(where[0]):
        os.unlink(where[0])
    port.bind(where[0])
    port.connect(where[1])
else:
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.bind(("127.0.0.1", int(where[0])))
    port.connect(("127.0.0.1", int(where[1])))

if name == "-":
    print("connected", flush=True)
    watched = [port, sys.stdin]
    while True:
        for ready in select.select(watched, [], [])[0]:
            if ready is port:
                data = port.recv(100000)
                if not data:
                    print("closed", flush=True)
                    sys.exit()
                print(data.hex(), flush=True)
            else:
                line = sys.stdin.readline()
                if line:
                    port.sendall(bytes.fromhex(line))
                else:
                    watched.remove(sys.stdin)

link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind((name, 0))
print("connected", flush=True)
waiting = b""
while True:
    for ready in select.select([port, link], [], [])[0]:
        if ready is link:
            frame, (_, _, direction, *_) = link.recvfrom(70000)
            if direction == socket.PACKET_OUTGOING:
                continue
            try:
                port.sendall(struct.pack("!I", len(frame)) + frame if kind == "stream" else frame)
            except ConnectionError:
                pass
            continue
        try:
            data = port.recv(200000)
        except ConnectionError:
            continue
        if kind != "stream":
            link.send(data)
            continue
        if not data:
            print("closed", flush=True)
            sys.exit()
        waiting += data
        while len(waiting) >= 4:
            length, = struct.unpack("!I", waiting[:4])
            if len(waiting) < 4 + length:
                break
            link.send(waiting[4:4 + length])
            waiting = waiting[4 + length:]
