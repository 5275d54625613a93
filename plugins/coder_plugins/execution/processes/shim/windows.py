"""The shim on Windows: a Python of its own for each command, which holds the command's job. Not run on Windows yet.

The specification comes by standard input and messages go out by standard output, as on POSIX over the socket; the end
of standard input is the end of the daemon. The daemon may say one line more, `break`: send Ctrl-Break.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

if sys.platform == "win32":
    import contextlib
    import signal
    import subprocess
    import threading

    from . import identity, records
    from .frames import NAME, STDERR, STDOUT
    from .jobs import CREATE_SUSPENDED, Job
    from .output import Output

    _READ = 64 * 1024

    def main() -> None:
        """Run the command that standard input specifies."""
        lengths = sys.stdin.buffer.read(8)
        spec: dict[str, Any] = json.loads(sys.stdin.buffer.read(int.from_bytes(lengths[:4], "big")))
        command: dict[str, Any] = json.loads(sys.stdin.buffer.read(int.from_bytes(lengths[4:], "big")))
        kills = spec["on_daemon_death"] == "kill"
        job = Job.create(command["mark"], kill_on_close=kills)
        try:
            process = _begin(command, job)
        except OSError as error:
            field = "/cwd" if not os.path.isdir(command["cwd"]) else "/argv"  # noqa: PTH112 (slow to import)
            _say({"refused": {"field": field, "errno": error.errno, "message": str(error)}})
            return
        threading.Thread(target=_listen, args=(process, job, kills), daemon=True).start()
        _keep(process, spec)

    def _begin(command: dict[str, Any], job: Job) -> subprocess.Popen[bytes]:
        """Create the process suspended, write the start record, and let it run inside of the job."""
        process = subprocess.Popen(  # noqa: S603 (the caller's own program and arguments, without a shell)
            command["argv"],
            executable=command["program"],
            cwd=command["cwd"],
            env=command["env"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=CREATE_SUSPENDED | subprocess.CREATE_NEW_PROCESS_GROUP,
        )
        try:
            leader = identity.of(process.pid)
            if leader is None:
                raise OSError(f"process {process.pid} ended before it began")
            record = records.describe_start(identity.own(), command["on_daemon_death"], command["mark"])
            record |= records.describe_leader(leader)
            os.close(records.create(command["folder"], records.START, record))
            job.adopt(int(vars(process)["_handle"]))  # the only way to it
        except BaseException:
            process.kill()
            raise
        _say({"started": record})
        return process

    def _keep(process: subprocess.Popen[bytes], spec: dict[str, Any]) -> None:
        """Keep the output until the command ends; then write its end down, and go on while its pipes are held."""
        output = Output(
            os.path.join(spec["folder"], NAME),  # noqa: PTH118 (pathlib is slow to import)
            [value.encode("latin-1") for value in spec["mask"]],
            spec["log_limit"],
        )
        lock = threading.Lock()
        pumps = [
            threading.Thread(target=_pump, args=(pipe.fileno(), stream, output, lock))
            for pipe, stream in ((process.stdout, STDOUT), (process.stderr, STDERR))
            if pipe is not None
        ]
        for pump in pumps:
            pump.start()
        code = process.wait()
        for pump in pumps:
            pump.join(0.1)  # a process that was left behind may hold the pipe without end
        with lock:
            output.settle()
        result = {"code": code, "ended_at_ms": records.now_ms()}
        file = records.write(spec["folder"], records.EXIT, result)
        _say({"ended": result})
        records.sync(file)
        for pump in pumps:
            pump.join()
        output.close()

    def _pump(pipe: int, stream: int, output: Output, lock: threading.Lock) -> None:
        while data := os.read(pipe, _READ):
            with lock:
                output.feed(stream, data)
        with lock:
            output.end(stream)

    def _listen(process: subprocess.Popen[bytes], job: Job, kills: bool) -> None:
        """Do what the daemon says; at its end kill the command, if that was asked, and leave no result."""
        while line := sys.stdin.buffer.readline():
            if line == b"break\n":
                with contextlib.suppress(OSError):
                    os.kill(process.pid, signal.CTRL_BREAK_EVENT)
        if kills and process.poll() is None:
            job.terminate()
            os._exit(1)

    def _say(message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.buffer.write(json.dumps(message).encode("ascii") + b"\n")
            sys.stdout.buffer.flush()
