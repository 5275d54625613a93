"""The doors: JSON-RPC over the socket, HTTP on loopback."""
