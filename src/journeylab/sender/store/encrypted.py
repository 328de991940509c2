"""A database in one file that is encrypted as a whole, by SQLCipher: `sqlite+pysqlcipher:///journeylab.db`.

Each page of the file, its write-ahead log and its journal is encrypted with AES-256-CBC and proven by an HMAC-SHA512
(format 4 of SQLCipher, https://www.zetetic.net/sqlcipher/design/): names of tables, ids of contacts and instants cannot
be read, and a page that is changed or moved is refused. The key of 256 bits is given to SQLCipher as it is, not as a
password to be stretched; it is the ring's first one for the use `file`, and stands in no URL.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event

from journeylab.errors import DataError

if TYPE_CHECKING:
    from sqlalchemy import Dialect, Engine
    from sqlalchemy.engine import URL

__all__ = ["encrypted_engine", "is_encrypted", "why_unreadable"]

_DRIVER: Final = "sqlite+pysqlcipher"
_PLAIN: Final = b"SQLite format 3\0"
"""How a SQLite file begins that is not encrypted (https://www.sqlite.org/fileformat2.html)."""


def is_encrypted(url: URL) -> bool:
    """Whether the file that a URL names is to be encrypted."""
    return url.drivername == _DRIVER


def encrypted_engine(url: URL, key: bytes | None, **given: Any) -> Engine:
    """An engine over a file that is encrypted with a key.

    Args:
        url: the file's, as SQLAlchemy writes it.
        key: 32 bytes; None is refused.
        given: further arguments of `create_engine`.

    Raises:
        DataError: when SQLCipher is not installed, or there is no key.
    """
    try:
        import sqlcipher3
    except ImportError:
        raise DataError("an encrypted store needs SQLCipher: pip install 'journeylab[sqlcipher]'") from None
    if key is None:
        raise DataError(f"{url.database}: the file is encrypted; it is opened with the sender's key ring")
    held = key.hex()
    # With SQLAlchemy's own dialect for SQLCipher the key would have to stand in the URL.
    engine = create_engine(url.set(drivername="sqlite"), module=sqlcipher3, **given)

    @event.listens_for(engine, "do_connect")
    def _connected(dialect: Dialect, _record: Any, arguments: Any, named: Any) -> Any:
        connection: Any = dialect.connect(*arguments, **named)
        for pragma in ("cipher_log_level = none", f"key = \"x'{held}'\"", "cipher_compatibility = 4"):
            connection.execute(f"pragma {pragma}")
        return connection

    return engine


def why_unreadable(url: URL) -> str:
    """Why a file that is there is no database to whoever has opened it by a URL."""
    path = Path(str(url.database))
    with path.open("rb") as file:
        is_plain = file.read(len(_PLAIN)) == _PLAIN
    if is_encrypted(url) == is_plain:
        said = "is not encrypted; its URL is" if is_plain else "is encrypted, or no database; an encrypted one's URL is"
        driver = "sqlite" if is_plain else _DRIVER
        return f"{path} {said} {url.set(drivername=driver, database=path.name).render_as_string()}"
    if is_plain:
        return f"{path} is damaged"
    return f"{path} does not open with this key ring: it is another sender's, or damaged"
