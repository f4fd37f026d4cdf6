# member.py GROUP PORT: joins a group, says so, and prints what comes, until "leave" comes from standard input or as data.
import socket
import struct
import sys

group, port = sys.argv[1], int(sys.argv[2])
six = ":" in group
member = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
member.bind((group, port))
if six:
    member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                      socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", socket.if_nametoindex("eth0")))
else:
    member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                      socket.inet_aton(group) + socket.inet_aton("0.0.0.0"))
print("joined", flush=True)
while True:
    data = member.recv(2048).decode()
    print(data, flush=True)
    if data == "leave":
        break
