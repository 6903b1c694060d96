"""All of Caracal on this machine, for tests: `caracal dev` in a directory of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE = 120.0


class Stack:
    """A running stack. It ends with the tests, and takes everything that it started along."""

    def __init__(self) -> None:
        program = REPOSITORY / "bin" / "caracal"
        if not program.exists():
            raise RuntimeError(f"{program} is missing: run make build first")
        # Open to every account, because PostgreSQL may run as another one.
        self.directory = Path(tempfile.mkdtemp(prefix="caracal-sdk-"))
        self.directory.chmod(0o755)
        shutil.copytree(REPOSITORY / "demo", self.directory / "demo")
        ports = {f"CARACAL_DEV_{name}_PORT": str(free_port()) for name in ("CONTROL", "GATEWAY", "UPSTREAM")}
        self.output = (self.directory / "dev.out").open("wb")
        self.process = subprocess.Popen(
            [program, "dev"],
            cwd=self.directory,
            env={**os.environ, **ports},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self.environment = self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> dict[str, str]:
        found = self.directory / ".caracal" / "dev.env"
        deadline = time.monotonic() + PATIENCE
        while not found.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"caracal dev does not come up:\n{(self.directory / 'dev.out').read_text()[-4000:]}")
            time.sleep(0.05)
        lines = (line.removeprefix("export ") for line in found.read_text().splitlines())
        return dict(shlex.split(line)[0].split("=", 1) for line in lines)

    def __getitem__(self, name: str) -> str:
        return self.environment[name]

    @property
    def credentials(self) -> Path:
        """The directory of the secrets that the gateway sets."""
        return self.directory / ".caracal" / "credentials"

    def logs(self) -> str:
        """Everything that the processes have logged and printed."""
        files = [self.directory / "dev.out", *(self.directory / ".caracal" / "logs").glob("*.log")]
        return "\n".join(file.read_text(errors="replace") for file in files)

    def stop(self) -> None:
        """End it, as Ctrl-C does; what does not end in time is killed."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.output.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
