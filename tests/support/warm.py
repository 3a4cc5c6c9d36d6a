"""Commands in processes of their own that find the large libraries loaded: forked from one that has only loaded them.

A fresh Python takes seconds to load torch and transformers, and most tests of a command do not ask how it starts.
Those that do, or that set what libraries read as they load (`HF_…`), start a fresh one.

    done = warm.run("train.py", "--dataset", …)      # as subprocess.run([sys.executable, …], text=True)
    process = warm.start("train.py", …)              # as subprocess.Popen, to be killed
"""

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LIBRARIES = (
    "numpy", "pyarrow.parquet", "orjson", "isal.igzip", "PIL.Image", "pyproj", "jinja2", "httpx",
    "matplotlib.backends.backend_agg", "matplotlib.figure", "sklearn.metrics", "torch", "datasets", "evaluate",
    "huggingface_hub.repocard", "transformers.hf_argparser", "transformers.trainer", "transformers.pipelines",
    "transformers.models.clip.modeling_clip", "transformers.models.clip.image_processing_pil_clip",
)  # fmt: skip
# One request at most.
LONGEST = 1 << 16


class Process:
    """As `subprocess.Popen` with both outputs caught: `pid`, `returncode`, `poll`, `wait`, `communicate`, `kill`."""

    def __init__(self, args: list[str], output, errors, report: int):
        self.args, self.returncode = args, None
        self._output, self._errors, self._report = output, errors, os.fdopen(report, "rb")
        self.pid = int(self._report.readline())

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it printed on stdout and on stderr."""
        self.wait(timeout)
        said = []
        for file in (self._output, self._errors):
            file.seek(0)
            said.append(file.read().decode())
        return tuple(said)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._report], [], [], timeout)[0]:
            self.returncode = os.waitstatus_to_exitcode(int(self._report.readline()))
            self._report.close()
        return self.returncode


def start(program: str | Path, *flags: object, cwd=None, env=None, stdin: bytes = b"", finalise=False) -> Process:
    """Starts a command of the repository, or a file by its whole path, in `cwd`.

    `finalise` lets Python take its modules down at the end, which costs more than many a command does.
    """
    args = [str(ROOT / program), *map(str, flags)]
    env = dict(os.environ if env is None else env)
    other = [name for name, _ in env.items() ^ os.environ.items() if name.startswith("HF_")]
    assert not other, f"{other} are read as libraries load: start a fresh process"
    files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115
    files[0].write(stdin)
    files[0].seek(0)
    reading, writing = os.pipe()
    request = json.dumps({"args": args, "cwd": str(cwd or Path.cwd()), "env": env, "finalise": finalise}).encode()
    assert len(request) < LONGEST
    socket.send_fds(_server()[0], [request], [*(file.fileno() for file in files), writing])
    os.close(writing)
    return Process(args, files[1], files[2], reading)


def run(program: str | Path, *flags: object, timeout: float | None = 300, **more) -> subprocess.CompletedProcess:
    """Runs it to its end."""
    process = start(program, *flags, **more)
    try:
        output, errors = process.communicate(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def stop() -> None:
    """Ends the process that others are forked from, where there is one; the tests' session does so at its end."""
    if _server.cache_info().currsize:
        server, process = _server()
        server.close()
        process.wait(30)
        _server.cache_clear()


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.support.warm", str(theirs.fileno())]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    return ours, process


def _serve(server: socket.socket) -> dict | None:
    """Forks for each request; returns it in the process that is to do it, and None at the end."""
    while True:
        message, files, _, _ = socket.recv_fds(server, LONGEST, 4)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            return None
        if not os.fork():
            server.close()
            return _apart(json.loads(message), *files)
        for file in files:
            os.close(file)


def _apart(request: dict, *files: int) -> dict:
    """Forks once more: one process does it, this one waits and says how that ended."""
    *outputs, report = files
    pid = os.fork()
    if not pid:
        os.close(report)
        for number, file in enumerate(outputs):
            os.dup2(file, number)
            os.close(file)
        return request
    os.write(report, b"%d\n" % pid)
    for file in outputs:
        os.close(file)
    os.write(report, b"%d\n" % os.waitpid(pid, 0)[1])
    os._exit(0)


def main() -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    server = socket.socket(fileno=int(sys.argv[1]))
    request = _serve(server)
    if request is None:
        return
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = request["args"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    tempfile.tempdir = None
    if request["finalise"]:
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        os._exit(_status_of(sys.argv[0]))


def _status_of(program: str) -> int:
    """Runs it and what it has left to be done at its end."""
    status = 0
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    main()
