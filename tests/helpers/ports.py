"""Ports of this machine for what tests serve."""

import socket


def free_port() -> int:
    """Return a port at which nobody listens now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
