"""JSON-RPC 2.0: the session that every connection has, and the socket it is served on."""
