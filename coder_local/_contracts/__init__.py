"""Pure functions from the registry to what clients read: OpenAPI, OpenRPC, events, MCP tools, SQL and TypeScript.

Nothing here is asked on the way of a call; `files.render` gives all of it as texts, the same for the same registry.
"""
