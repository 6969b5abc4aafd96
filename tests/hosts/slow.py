"""slow.py PORT1 PORT2 DELAY_MS LOSS_PERCENT: carries Ethernet frames between two interfaces, both ways, with a delay and losses.

It does in user space what the queueing discipline netem does in kernels that have it. It reads and writes frames with their virtio
header. So checksums and segments that the kernel leaves to the hardware stay as they are.
"""
import collections
import random
import select
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23  # linux/if_packet.h
ALL_PROTOCOLS = 0x0003  # ETH_P_ALL
LARGEST = 1 << 17


def open_port(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    port.bind((name, ALL_PROTOCOLS))
    port.setblocking(False)
    return port


def main(first, second, delay_ms, loss_percent):
    ports = [open_port(first), open_port(second)]
    other = {ports[0]: ports[1], ports[1]: ports[0]}
    # In the order of their times, because the delay is the same for all.
    under_way = collections.deque()
    print("ready", flush=True)
    while True:
        wait = max(0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select(ports, [], [], wait)
        for port in readable:
            frame = port.recv(LARGEST)
            if random.random() * 100 >= loss_percent:
                under_way.append((time.monotonic() + delay_ms / 1000, other[port], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, port, frame = under_way.popleft()
            try:
                port.send(frame)
            except OSError:
                pass  # The interface is down, or its queue is full: the frame is lost, as on any network.


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
