"""What plays the other side in tests of the sockets uplink: python3 outside.py ROLE ARGUMENT..."""
import fcntl
import hashlib
import os
import resource
import selectors
import socket
import struct
import sys
import termios
import threading
import time

CHUNK = 1 << 16


def block(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def dual(port, kind):
    """A socket on all addresses of both families, or of IPv4 where there is no IPv6."""
    try:
        s = socket.socket(socket.AF_INET6, kind)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        address = ("::", port)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(address)
    except OSError:
        s = socket.socket(socket.AF_INET, kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("0.0.0.0", port))
    return s


def serve(port, handle):
    listener = dual(port, socket.SOCK_STREAM)
    listener.listen(512)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hash_all(connection):
    digest, count = hashlib.sha256(), 0
    while data := connection.recv(1 << 20):
        digest.update(data)
        count += len(data)
    return "%d %s" % (count, digest.hexdigest())


def expected(count):
    digest, chunk = hashlib.sha256(), block(CHUNK)
    for at in range(0, count, CHUNK):
        digest.update(chunk[: min(CHUNK, count - at)])
    return "%d %s" % (count, digest.hexdigest())


def send_all(connection, count):
    chunk = block(CHUNK)
    for at in range(0, count, CHUNK):
        connection.sendall(chunk[: min(CHUNK, count - at)])


# ---------------------------------------------------------------- servers


def sink(port):
    """Reads to the end, then answers with count and hash, and closes."""

    def handle(connection):
        connection.sendall((hash_all(connection) + "\n").encode())
        connection.close()

    serve(port, handle)


def source(port):
    """Reads a number of bytes in a line, sends so many, closes its direction, and reads to the end."""

    def handle(connection):
        count = int(connection.makefile().readline())
        send_all(connection, count)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(CHUNK):
            pass
        connection.close()

    serve(port, handle)


def early(port):
    """Says something and closes, whatever the client wants to send."""

    def handle(connection):
        connection.sendall(b"closing time\n")
        connection.shutdown(socket.SHUT_WR)
        connection.close()

    serve(port, handle)


def resets(port):
    """Resets each connection after its first bytes."""

    def handle(connection):
        connection.recv(1)
        reset(connection)

    serve(port, handle)


def deaf(port):
    """Accepts and never reads, until a file appears; then reads to the end and answers with count and hash."""

    def handle(connection):
        while not os.path.exists("/mnt/wake-up"):
            time.sleep(0.05)
        connection.sendall((hash_all(connection) + "\n").encode())
        connection.close()

    serve(port, handle)


def echo(port):
    """Sends back what comes, byte for byte, as soon as it comes; says how a connection ended."""

    def handle(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while data := connection.recv(CHUNK):
                connection.sendall(data)
            print("ended", flush=True)
        except ConnectionResetError:
            print("reset", flush=True)
        connection.close()

    serve(port, handle)


def udp_echo(port):
    """Sends each datagram back and names its sender."""
    s = dual(port, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    print("ready", flush=True)
    while True:
        data, client = s.recvfrom(65535)
        print(len(data), client[0].removeprefix("::ffff:"), client[1], flush=True)
        s.sendto(data, client)


# ---------------------------------------------------------------- clients


def connect(host, port):
    s = socket.create_connection((host, port), timeout=60)
    s.settimeout(100)
    return s


def upload(host, port, count):
    """Sends, closes its direction, and compares the answer that comes after that."""
    s = connect(host, port)
    send_all(s, count)
    s.shutdown(socket.SHUT_WR)
    said = s.makefile().read().strip()
    print("same" if said == expected(count) else "different: " + said)


def download(host, port, count, pause=0):
    s = connect(host, port)
    s.sendall(b"%d\n" % count)
    if pause:
        time.sleep(pause)
    said = hash_all(s)
    s.close()
    print("same" if said == expected(count) else "different: " + said)


def push(host, port, seconds):
    """How much fits in when nobody reads."""
    s = connect(host, port)
    s.settimeout(seconds)
    count, chunk = 0, block(CHUNK)
    try:
        while True:
            count += s.send(chunk[count % CHUNK :])
    except TimeoutError:
        pass
    open("/mnt/wake-up", "w").close()
    s.settimeout(100)
    s.shutdown(socket.SHUT_WR)
    said = s.makefile().read().strip()
    os.unlink("/mnt/wake-up")
    print(count, "same" if said == expected(count) else "different: " + said)


def stuck(connections, move):
    """Moves what can be moved until nothing could for a while, and holds the connections."""
    for s in connections:
        s.setblocking(False)
    last = time.monotonic()
    while time.monotonic() - last < 2:
        for s in connections:
            try:
                move(s)
                last = time.monotonic()
            except BlockingIOError:
                pass
        time.sleep(0.01)
    print("stuck", flush=True)
    time.sleep(1000)


def never_read_by(host, port, count):
    """Sends to so many servers that do not read, until nothing more fits in."""
    chunk = block(CHUNK)
    stuck([connect(host, port) for _ in range(count)], lambda s: s.send(chunk))


def never_reads(host, port, count):
    """Asks so many servers for more than fits anywhere, and reads none of it."""
    held = [connect(host, port) for _ in range(count)]
    for s in held:
        s.sendall(b"%d\n" % (1 << 30))
    waiting = {s: -1 for s in held}

    def move(s):
        there = struct.unpack("i", fcntl.ioctl(s, termios.FIONREAD, b"1234"))[0]
        if there == waiting[s]:
            raise BlockingIOError
        waiting[s] = there

    stuck(held, move)


def attempt(host, port, seconds=20):
    """How a connection attempt ends, and whether at once."""
    began = time.monotonic()
    try:
        s = socket.create_connection((host, port), timeout=seconds)
        s.settimeout(seconds)
        s.sendall(b"x")
        data = s.recv(100)
        said = "answered " + data.decode().strip() if data else "closed"
    except OSError as error:
        said = type(error).__name__ + " " + str(error.errno)
    print(said, "late" if time.monotonic() - began > 2 else "at-once")


def hang(host, port, count):
    """Opens so many connections, says how many worked, and holds them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    held, failed = [], 0
    for _ in range(count):
        try:
            s = socket.create_connection((host, port), timeout=20)
            s.sendall(b"x")
            if s.recv(1) != b"x":
                raise OSError("closed")
            held.append(s)
        except OSError:
            failed += 1
    print("open", len(held), "failed", failed, flush=True)
    sys.stdin.read()
    time.sleep(1000)


def many(port):
    """Sends back what comes on very many connections."""
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    listener, watch = socket.create_server(("0.0.0.0", port), backlog=4096), selectors.DefaultSelector()
    watch.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in watch.select():
            if key.fileobj is listener:
                watch.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            try:
                data = key.fileobj.recv(CHUNK)
            except ConnectionResetError:
                data = b""
            if data:
                key.fileobj.sendall(data)
            else:
                watch.unregister(key.fileobj)
                key.fileobj.close()


def when(path, role, *arguments):
    """Plays a role when a file is there."""
    print("waits", flush=True)
    while not os.path.exists(path):
        time.sleep(0.05)
    globals()[role](*arguments)


def steady(host, port):
    """Sends a byte there and back ten times a second, and says each time that it came."""
    s = connect(host, port)
    while True:
        s.sendall(b"k")
        if s.recv(1) != b"k":
            break
        print("came", flush=True)
        time.sleep(0.1)


def pingpong(host, port, count):
    """The median of a byte there and back, in microseconds."""
    s = connect(host, port)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times = []
    for _ in range(count):
        began = time.monotonic()
        s.sendall(b"k")
        s.recv(1)
        times.append(time.monotonic() - began)
    print(int(sorted(times)[count // 2] * 1e6))


def rst(host, port):
    s = connect(host, port)
    s.sendall(b"x")
    s.recv(1)
    reset(s)


def udp(host, port, size, source_port=0):
    """One datagram there and back; who answered."""
    info = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    s = socket.socket(info[0], socket.SOCK_DGRAM)
    s.bind(("::" if info[0] == socket.AF_INET6 else "0.0.0.0", source_port))
    s.settimeout(20)
    data = block(size)
    s.sendto(data, info[4])
    try:
        back, who = s.recvfrom(65535)
        print("same" if back == data else "got %r" % back[:40], who[0], who[1])
    except OSError as error:
        print(type(error).__name__, error.errno)


def udp_connected(host, port):
    """What a connected socket hears after a datagram to a port that nobody has."""
    info = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    s = socket.socket(info[0], socket.SOCK_DGRAM)
    s.settimeout(20)
    s.connect(info[4])
    s.send(b"anybody?")
    try:
        print("got", s.recv(100))
    except OSError as error:
        print(type(error).__name__)


def udp_burst(host, port, count):
    """Questions one after the other from sockets of their own, as a resolver asks; how many were answered in a row."""
    info = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    answered = 0
    for number in range(count):
        s = socket.socket(info[0], socket.SOCK_DGRAM)
        s.settimeout(10)
        s.sendto(b"%d" % number, info[4])
        try:
            answered += s.recv(100) == b"%d" % number
        except OSError:
            break
        finally:
            s.close()
    print(answered)


def udp_hear(host, port):
    """Writes to somebody, and prints whatever comes, whoever sent it."""
    info = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    s = socket.socket(info[0], socket.SOCK_DGRAM)
    s.sendto(b"question", info[4])
    while True:
        data, who = s.recvfrom(65535)
        print("heard", data.decode(), "from", who[0], who[1], flush=True)


def udp_throw(host, port, text):
    """Writes to somebody who did not ask."""
    info = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    socket.socket(info[0], socket.SOCK_DGRAM).sendto(str(text).encode(), info[4])
    print("thrown")


def pmtu(host, port, size):
    """Sends without fragmentation until the path's MTU is known; prints it."""
    IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    s.connect((host, port))
    for _ in range(100):
        try:
            s.send(block(size))
        except OSError:
            pass
        mtu = s.getsockopt(socket.IPPROTO_IP, IP_MTU)
        if mtu < size + 28:
            break
        time.sleep(0.1)
    print(mtu)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    globals()[role](*[int(a) if a.isdigit() else a for a in arguments])
