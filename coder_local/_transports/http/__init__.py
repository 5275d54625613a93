"""HTTP on loopback: REST, server-sent events and WebSockets over the same operations as the socket.

Importing this package imports aiohttp (200 ms); the daemon does it on a thread, after it answers on the socket.
"""

from .server import HttpServer as HttpServer
