"""The Python side of the wire: framing, finding the daemon, and two small clients.

Promises, each kept by a test:

- It imports the standard library only, and nothing of `coder_local`: any tool may vendor this folder.
- `import coder_ipc.client` does not import asyncio, so a command that only asks one question starts at once.
- Bytes that arrive in any pieces give the same messages; bytes that are no message give an error, never a hang.
- A stale, truncated or foreign `runtime.json` never crashes a client: the daemon's own answer decides.
- A call that its caller gives up (Ctrl-C, timeout, cancellation) is cancelled in the daemon too.

Modules: `framing` (bytes to bodies), `messages` (bodies to JSON-RPC), `errors`, `runtime` (where the daemon is),
`channel` (sockets and pipes), `client` (synchronous), `aio` (asyncio), `process` (identity and end of a process),
`spawn` (attach to the daemon, or start one), `program` (how this program is started again).
"""

from .errors import CallTimeout as CallTimeout
from .errors import ConnectionLost as ConnectionLost
from .errors import IpcError as IpcError
from .errors import NotRunning as NotRunning
from .errors import RemoteError as RemoteError
