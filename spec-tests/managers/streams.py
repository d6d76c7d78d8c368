"""The streams of the Container Runtime Interface: `attach`, `exec -i` and `port-forward`, over WebSocket (RFC 6455).

The runtime answers such a request with an address. Behind it, each message starts with the number of its stream:
0 is the input, 1 the output, 2 the error output, 3 the result; for a port 0 is the connection and 1 says what failed.
"""

import base64
import json
import os
import socket
import struct
import sys
import threading
import urllib.parse


class Channels:
    """The client's side of a connection with numbered streams."""

    def __init__(self, url, query=""):
        at = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((at.hostname, at.port), timeout=50)
        key = base64.b64encode(os.urandom(16)).decode()
        path = at.path + ("?" + query if query else "")
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {at.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nOrigin: http://{at.netloc}\r\n"
            "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")
        answer = self.file.readline().decode()
        while self.file.readline().strip():
            pass
        if " 101 " not in answer:
            raise SystemExit(f"the runtime refuses the stream: {answer.strip()} {self.file.read(500).decode()}")

    def send(self, channel, data, kind=2):
        """One message; the mask that a client must use is zero."""
        body = bytes([channel]) + data
        size = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + struct.pack(">H", len(body))
        self.socket.sendall(bytes([0x80 | kind]) + size + b"\0\0\0\0" + body)

    def receive(self):
        """Yields (channel, data) until the other side ends."""
        whole = b""
        while True:
            head = self.file.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return
            size = head[1] & 127
            if size >= 126:
                size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
            body = self.file.read(size)
            if head[0] & 15 not in (0, 1, 2):
                continue
            whole += body
            # A message may come in parts.
            if head[0] & 0x80:
                if whole:
                    yield whole[0], whole[1:]
                whole = b""


def talk(url, with_input):
    """Connects this program's streams; returns the exit code of the other side."""
    channels = Channels(url)

    def feed():
        while data := os.read(0, 4096):
            channels.send(0, data)

    if with_input:
        threading.Thread(target=feed, daemon=True).start()
    for channel, data in channels.receive():
        if channel in (1, 2):
            out = (sys.stdout, sys.stderr)[channel - 1].buffer
            out.write(data)
            out.flush()
        elif channel == 3:
            status = json.loads(data)
            causes = status.get("details", {}).get("causes", [])
            codes = [int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"]
            if status["status"] != "Success" and not codes:
                print(status.get("message"), file=sys.stderr)
            return codes[0] if codes else int(status["status"] != "Success")
    return 0


def forward(address, local, remote):
    """Listens on a port of this machine; each connection goes to the port of the pod. Address gives a new address."""
    listener = socket.create_server(("127.0.0.1", local))
    print(f"Forwarding from 127.0.0.1:{local} -> {remote}", flush=True)
    while True:
        connection, _peer = listener.accept()
        threading.Thread(target=serve, args=(connection, address(), remote), daemon=True).start()


def serve(connection, url, remote):
    channels = Channels(url, f"port={remote}")

    def feed():
        while data := connection.recv(4096):
            channels.send(0, data)

    threading.Thread(target=feed, daemon=True).start()
    seen = set()
    for channel, data in channels.receive():
        # The first message of each stream repeats the port.
        if channel not in seen:
            seen.add(channel)
        elif channel == 0:
            connection.sendall(data)
        else:
            print(data.decode(), file=sys.stderr, flush=True)
    connection.close()
