# Prints the VLAN tag of each frame that arrives on eth0, as the kernel tells it in PACKET_AUXDATA (packet(7)).
import socket
import struct

SOL_PACKET, PACKET_AUXDATA, ETH_P_ALL, VLAN_VALID = 263, 8, 3, 0x10
judge = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
judge.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
judge.bind(("eth0", 0))
print("ready", flush=True)
while True:
    frame, control, _, _ = judge.recvmsg(65536, 256)
    for level, kind, data in control:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
            if status & VLAN_VALID:
                print(f"tag {tpid:04x} {tci:04x} on {frame[12:14].hex()}", flush=True)
