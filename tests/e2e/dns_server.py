# A name server for tests: dns_server.py ADDRESS ANSWER listens on port 53, UDP and TCP, and answers every question for A
# with ANSWER, but names that begin with
#   silent   never                     fail     with SERVFAIL
#   slow     after 2.5 s               held     when 400 of them are there, all at once
#   big      with 200 addresses, over TCP only     forged   twice, first with another number
# It prints "udp NAME" or "tcp NAME" for each question.
import socket
import struct
import sys
import threading

address, answer = sys.argv[1], socket.inet_aton(sys.argv[2])


def name_of(question):
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
        at += 1 + question[at]
    return ".".join(labels), at + 5


def replies(question, transport):
    name, end = name_of(question)
    print(transport, name, flush=True)
    kind = struct.unpack("!H", question[end - 4 : end - 2])[0]
    flags, count = 0x8180, int(kind == 1)
    if name.startswith("silent"):
        return
    if name.startswith("fail"):
        flags, count = 0x8182, 0
    if name.startswith("big"):
        flags, count = (0x8380, 0) if transport == "udp" else (flags, 200)
    header = struct.pack("!HHHHH", flags, 1, count, 0, 0)
    records = b"".join(
        b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + (answer if count == 1 else bytes([192, 0, 2, one])) for one in range(count)
    )
    body = header + question[12:end] + records
    if name.startswith("forged"):
        yield bytes([question[0] ^ 1, question[1]]) + body[:-4] + bytes([6, 6, 6, 6])
    yield question[:2] + body


def stream(connection):
    with connection:
        while length := connection.recv(2, socket.MSG_WAITALL):
            question = connection.recv(struct.unpack("!H", length)[0], socket.MSG_WAITALL)
            for reply in replies(question, "tcp"):
                connection.sendall(struct.pack("!H", len(reply)) + reply)


def streams(listener):
    while True:
        threading.Thread(target=stream, args=(listener.accept()[0],), daemon=True).start()


family = socket.AF_INET6 if ":" in address else socket.AF_INET
# With the number of a link-local address's interface.
place = socket.getaddrinfo(address, 53, type=socket.SOCK_DGRAM)[0][4]
listener = socket.create_server(place, family=family)
threading.Thread(target=streams, args=(listener,), daemon=True).start()
datagrams = socket.socket(family, socket.SOCK_DGRAM)
datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
datagrams.bind(place)
held = []
print("ready", flush=True)
while True:
    question, client = datagrams.recvfrom(4096)
    name = name_of(question)[0]
    if name.startswith("slow"):
        late = [(reply, client) for reply in replies(question, "udp")]
        threading.Timer(2.5, lambda late=late: [datagrams.sendto(*one) for one in late]).start()
    elif name.startswith("held"):
        held += [(reply, client) for reply in replies(question, "udp")]
        if len(held) >= 400:
            for one in held:
                datagrams.sendto(*one)
    else:
        for reply in replies(question, "udp"):
            datagrams.sendto(reply, client)
