"""Mail as programs in Perl read it: Email::MIME with Dovecot's parser of addresses, and Mail::DKIM.

They share no code with the standard library's `email`, which writes and re-reads our mail.
"""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import dataclass
from shutil import which
from typing import Any

import pytest

from journeylab.sender.mail.dkim import DkimKey

_VERIFY = """
use Mail::DKIM::Verifier;
package Record; sub new { bless {text => $_[1]}, $_[0] } sub type { "TXT" }
sub char_str_list { ($_[0]{text}) } sub txtdata { $_[0]{text} }
package main;
no warnings "redefine";
my ($name, $text) = @ARGV;
*Mail::DKIM::DNS::query = sub { $_[0] eq $name ? (Record->new($text)) : () };
my $verifier = Mail::DKIM::Verifier->new;
binmode STDIN;
$verifier->PRINT($_) while <STDIN>;
$verifier->CLOSE;
print $verifier->result_detail;
"""
_READ = """
use strict; use warnings; use Email::MIME; use Email::Address::XS; use JSON::PP;
binmode STDIN; binmode STDOUT; $| = 1;
my $json = JSON::PP->new->utf8->canonical;
sub pairs { my @found; while (my ($name, $value) = splice @_, 0, 2) { push @found, [$name, $value] } \\@found }
sub people { [ map { [ $_->phrase // "", $_->address // "" ] } map { Email::Address::XS->parse($_) } @_ ] }
while (read(STDIN, my $size, 4) == 4) {
    read STDIN, my $data, unpack("N", $size);
    my $mail = Email::MIME->new($data);
    my $head = $mail->header_obj;
    my @parts = $mail->subparts;
    print $json->encode({
        raw => pairs($head->header_raw_pairs), headers => pairs($head->header_str_pairs),
        from => people($head->header_raw("From")), to => people($head->header_raw("To")),
        kind => $mail->content_type // "",
        parts => [ map { [ $_->content_type, $_->body_str ] } @parts ],
    }), "\\n";
}
"""


def require(module: str) -> None:
    """Skips the test where Perl or the module is missing."""
    if which("perl") is None or subprocess.run(["perl", f"-M{module}", "-e1"], capture_output=True).returncode:
        pytest.skip(f"there is no {module} for Perl here")


def dkim_result(data: bytes, key: DkimKey) -> str:
    """What Mail::DKIM says of a message's signature: `pass`, or `fail` with a reason. `data` has CRLF at line ends."""
    record = f"v=DKIM1; k={key.algorithm}; p={key.public}"
    command = ["perl", "-e", _VERIFY, key.record_name, record]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode()


@dataclass(frozen=True)
class Read:
    """A mail as Email::MIME reads it.

    Attributes:
        raw: the headers in their order, as they are, unfolded.
        headers: the same, decoded.
        from_, to: names and addresses.
        kind: the Content-Type.
        parts: Content-Type and decoded text of each part; line ends are LF.
    """

    raw: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    from_: list[tuple[str, str]]
    to: list[tuple[str, str]]
    kind: str
    parts: list[tuple[str, str]]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.raw]

    def __getitem__(self, name: str) -> str:
        """The decoded value of a header that is there once."""
        (value,) = [value for one, value in self.headers if one == name]
        return value

    def without(self, names: tuple[str, ...]) -> list[str]:
        """The headers below those that a relay has put on top."""
        rest = self.names
        while rest and rest[0] in names:
            rest.pop(0)
        return rest


class Reader:
    """Reads mail after mail in one process; use it in `with`."""

    def __enter__(self) -> Reader:
        self._process = subprocess.Popen(["perl", "-e", _READ], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def read(self, data: bytes) -> Read:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(struct.pack(">I", len(data)) + data)
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        pairs = {
            name: [(one, str(value)) for one, value in found[name]]
            for name in ("raw", "headers", "from", "to", "parts")
        }
        return Read(pairs["raw"], pairs["headers"], pairs["from"], pairs["to"], found["kind"],
                    [(kind, text.replace("\r\n", "\n")) for kind, text in pairs["parts"]])  # fmt: skip
