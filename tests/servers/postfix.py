"""A Postfix of the tests' own: TLS 1.3 only, on loopback, beside the system's and without its configuration."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from . import LOOPBACK
from .certificates import Authority

BOUNCING = "bounce.test"
DEFERRED = "defer.test"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_tls_security_level = encrypt
smtpd_tls_mandatory_protocols = >=TLSv1.3
smtpd_tls_protocols = >=TLSv1.3
smtpd_tls_chain_files = {certificate}
smtpd_tls_loglevel = 1
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtp_tls_security_level = none
recipient_delimiter = +
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = {uid}
transport_maps = inline:{{ {transports} }}
append_dot_mydomain = no
biff = no
in_flow_delay = 0
smtpd_error_sleep_time = 0
"""

_MASTER = """\
{host}:{port} inet n - n - - smtpd
cleanup    unix n - n - 0 cleanup
qmgr       unix n - n 300 1 qmgr
tlsmgr     unix - - n 1000? 1 tlsmgr
rewrite    unix - - n - - trivial-rewrite
bounce     unix - - n - 0 bounce
defer      unix - - n - 0 bounce
trace      unix - - n - 0 bounce
verify     unix - - n - 1 verify
proxymap   unix - - n - - proxymap
smtp       unix - - n - - smtp
showq      unix n - n - - showq
error      unix - - n - - error
retry      unix - - n - - error
virtual    unix - n n - - virtual
anvil      unix - - n - 1 anvil
scache     unix - - n - 1 scache
postlog    unix-dgram n - n - 1 postlogd
"""


def why_not() -> str | None:
    """Why Postfix cannot be started here; None if it can."""
    if _program("postfix") is None:
        return "Postfix is not installed"
    return None if os.geteuid() == 0 else "Postfix starts as root only"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Postfix:
    """A running instance in a temporary tree.

    It takes mail for any address of `domains` into one Maildir, relays `bounce.test` to `rejecting_port` (a server
    that answers RCPT with 5xx there makes it send a real DSN), and defers `defer.test` for ever.

    Args:
        authority: issues its certificate, for `localhost` and 127.0.0.1.
        rejecting_port: where mail to `bounce.test` goes.
        domains: what is delivered here: recipients' and return paths' domains.
        settings: of main.cf, added to or in place of those above.
    """

    host = LOOPBACK

    def __init__(
        self,
        authority: Authority,
        *,
        rejecting_port: int,
        domains: tuple[str, ...] = ("rcpt.test", "bounces.shop.example"),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.port = _free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="journeylab-postfix-"))
        self.folder.chmod(0o755)  # mkdtemp's 0700 would keep Postfix's own user out
        for name in ("etc", "queue", "data", "mail"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        shutil.chown(self.folder / "mail", "postfix", "postfix")
        mail = (self.folder / "mail").stat()
        transports = {
            BOUNCING: f"smtp:[{LOOPBACK}]:{rejecting_port}",
            DEFERRED: f"smtp:[{LOOPBACK}]:1",  # nobody listens there
        }
        main = _MAIN.format(
            folder=self.folder,
            certificate=authority.certificate(),
            domains=" ".join(domains),
            uid=mail.st_uid,
            gid=mail.st_gid,
            transports=", ".join(f"{{ {domain} = {transport} }}" for domain, transport in transports.items()),
        )
        main += "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
        self._config = self.folder / "etc"
        (self._config / "main.cf").write_text(main)
        (self._config / "master.cf").write_text(_MASTER.format(host=LOOPBACK, port=self.port))

    def start(self) -> None:
        """Starts it; returns when it listens."""
        self._run("postfix", "start")
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((LOOPBACK, self.port), timeout=5).close()
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"Postfix does not listen:\n{self.log()}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Ends it and removes its tree."""
        self._run("postfix", "stop")
        shutil.rmtree(self.folder)

    def _run(self, name: str, *arguments: str) -> str:
        program = _program(name)
        assert program is not None
        done = subprocess.run(
            [program, "-c", str(self._config), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{name} {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self.log()}")
        return done.stdout

    def messages(self, recipient: str) -> list[bytes]:
        """What was delivered to that very address so far, in order, below Postfix's own headers; lines end in LF."""
        inbox = self.folder / "mail" / "inbox" / "new"
        files = sorted(inbox.glob("*"), key=lambda path: path.stat().st_mtime_ns)
        wanted = f"\nX-Original-To: {recipient}\n".lower().encode()
        contents = [path.read_bytes() for path in files]
        return [content for content in contents if wanted in content.partition(b"\nReceived: ")[0].lower() + b"\n"]

    def wait_for(self, recipient: str, n_messages: int = 1, timeout: float = 20.0) -> list[bytes]:
        """`messages(recipient)` as soon as there are that many."""
        deadline = time.monotonic() + timeout
        while len(found := self.messages(recipient)) < n_messages:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(found)} of {n_messages} messages for {recipient}:\n{self.log()}")
            time.sleep(0.02)
        return found

    def queue_is_empty(self) -> bool:
        """Whether all that was accepted is delivered, bounced or handed on; what is deferred is not."""
        return not self._run("postqueue", "-j").strip()

    def log(self) -> str:
        """The mail log so far."""
        path = self.folder / "maillog"
        return path.read_text() if path.exists() else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
