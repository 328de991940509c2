"""An rsyslog of the tests' own that takes syslog over TLS (RFC 5425), and writes by field what it has understood."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from . import LOOPBACK
from .certificates import Authority

_MODULES = ("/usr/lib/x86_64-linux-gnu/rsyslog", "/usr/lib/aarch64-linux-gnu/rsyslog", "/usr/lib/rsyslog")
_CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="64k" DefaultNetstreamDriver="ossl"
  DefaultNetstreamDriverCAFile="{authority}" DefaultNetstreamDriverCertFile="{certificate}"
  DefaultNetstreamDriverKeyFile="{certificate}")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
template(name="fields" type="list" option.jsonf="on") {{
  property(outname="pri" name="pri" format="jsonf")
  property(outname="at" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="structured" name="structured-data" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
input(type="imtcp" port="{port}" address="{host}" ruleset="written")
ruleset(name="written") {{ action(type="omfile" file="{folder}/taken" template="fields") }}
"""


def why_not() -> str | None:
    """Why there can be none here, or None."""
    if shutil.which("rsyslogd") is None:
        return "there is no rsyslogd here"
    if not any((Path(folder) / "lmnsd_ossl.so").exists() for folder in _MODULES):
        return "there is no rsyslog-openssl here"
    return None


class Rsyslog:
    """A running rsyslogd; `taken` gives what it has written."""

    def __init__(self, authority: Authority) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="journeylab-rsyslog-"))
        with socket.create_server((LOOPBACK, 0)) as free:
            self.port = free.getsockname()[1]
        configuration = self._folder / "rsyslog.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=self._folder, authority=authority.file, certificate=authority.certificate(), port=self.port,
                host=LOOPBACK,
            )
        )  # fmt: skip
        log = (self._folder / "log").open("w")
        program = ["rsyslogd", "-n", "-f", str(configuration), "-i", str(self._folder / "pid")]
        self._process = subprocess.Popen(program, stdout=log, stderr=log)
        log.close()
        for _ in range(200):
            with socket.socket() as trying:
                if trying.connect_ex((LOOPBACK, self.port)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError("rsyslogd does not listen")

    def taken(self, n: int) -> list[dict[str, str]]:
        """The records, once there are n of them."""
        file = self._folder / "taken"
        for _ in range(200):
            lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
            if len(lines) >= n:
                break
            time.sleep(0.05)
        return [json.loads(line) for line in lines]

    @property
    def file(self) -> Path:
        """The file that it writes."""
        return self._folder / "taken"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder)
