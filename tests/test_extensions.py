"""What installed packages bring: found without being imported, loaded by name, and faults that name the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from installed import install
from journeylab.errors import DataError
from journeylab.extensions import GROUPS, found, load

POINTS = "[journeylab.channels]\nsms = {module}:{object}\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def brings(folder: Path, name: str, text: str, module: str | None = None, object_: str = "Channel") -> None:
    module = module or name.replace("-", "_")
    install(folder, name, {f"{module}.py": text}, POINTS.format(module=module, object=object_))


def test_what_a_package_brings_is_found_unimported_and_loaded_by_name(packages: Path) -> None:
    brings(packages, "acme-sms", "class Channel:\n    def send(self): ...\n")
    there = found("channels")
    assert list(there) == ["sms"]
    assert there["sms"].packages == ("acme-sms 1.0",)
    assert "acme_sms" not in sys.modules
    assert load("channels", "sms", methods=["send"]).__name__ == "Channel"
    assert "acme_sms" in sys.modules


def test_each_kind_has_a_group_of_its_own(packages: Path) -> None:
    for group in GROUPS:
        point = f"[journeylab.{group}]\nmine = mine_{group}:made\n"
        install(packages, f"mine-{group}", {f"mine_{group}.py": f"made = {group!r}\n"}, point)
    assert [load(group, "mine") for group in GROUPS] == list(GROUPS)


def test_an_unknown_name_hears_what_there_is_and_which_is_near(packages: Path) -> None:
    brings(packages, "acme-sms2", "Channel = 1\n")
    with pytest.raises(
        DataError, match=r"brings the message channel 'smz'; did you mean 'sms'\? Known message channels: fax, sms"
    ):
        load("channels", "smz", built_in=["fax"])


def test_a_name_that_is_built_in_is_refused_and_does_not_take_its_place(packages: Path) -> None:
    brings(packages, "acme-clash", "Channel = 1\n")
    assert found("channels", ["sms"])["sms"].fault is not None
    with pytest.raises(DataError, match=r"'sms' is built in, and acme-clash 1.0 brings another"):
        load("channels", "sms", built_in=["sms"])


def test_two_packages_with_one_name_are_refused_whichever_was_installed_last(packages: Path) -> None:
    brings(packages, "acme-one", "Channel = 1\n")
    brings(packages, "acme-two", "Channel = 2\n")
    with pytest.raises(DataError, match=r"acme_one:Channel of acme-one 1.0, acme_two:Channel of acme-two 1.0"):
        load("channels", "sms")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("Channels = 1", "AttributeError"),
    ],
)
def test_a_package_that_is_broken_is_named_with_what_failed(packages: Path, text: str, said: str) -> None:
    module = "broken_" + "".join(filter(str.isalnum, text))
    brings(packages, "acme-broken", text, module)
    with pytest.raises(
        DataError, match=r"message channel 'sms' of acme-broken 1\.0 cannot be loaded: broken_"
    ) as caught:
        load("channels", "sms")
    assert said in str(caught.value)


def test_an_object_without_the_methods_of_its_kind_is_refused(packages: Path) -> None:
    brings(packages, "acme-empty", "class Channel:\n    send = 1\n")
    with pytest.raises(DataError, match=r"acme-empty 1.0 is acme_empty:Channel, which has no send and no close"):
        load("channels", "sms", methods=["send", "close"])
