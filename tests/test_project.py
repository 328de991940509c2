"""The frame of the project holds: locks, the wheel, the documents and what may not be in any file."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent


def project_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_pandas_is_three_or_later():
    assert int(pd.__version__.split(".")[0]) >= 3


def test_the_lock_of_the_widgets_names_no_host():
    text = (ROOT / "js" / "package-lock.json").read_text()
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert all("integrity" in one for name, one in packages.items() if name)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "requirements-bench.lock"])
def test_lock_names_no_host_and_pins_every_package_by_hash(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index-url" not in text
    packages = re.findall(r"^[a-z0-9][^\n]*?(?=\n\S|\Z)", text.replace("\\\n", ""), flags=re.MULTILINE)
    assert len(packages) > 30
    assert all("==" in package and "--hash=sha256:" in package for package in packages)


def pins(lock: str) -> set[str]:
    return set(re.findall(r"^[a-z0-9][\w.-]*==[^\s;\\]+", (ROOT / lock).read_text(), flags=re.MULTILINE))


def test_development_lock_has_the_runtime_lock_in_it():
    assert pins("requirements.lock") <= pins("requirements-dev.lock")


def test_what_is_compared_with_changes_no_version():
    known = {pin.split("==")[0] for pin in pins("requirements-dev.lock")}
    shared = {pin for pin in pins("requirements-bench.lock") if pin.split("==")[0] in known}
    assert shared <= pins("requirements-dev.lock")


def test_build_backend_is_locked():
    assert re.search(r"^hatchling==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)


def test_wheel_holds_the_fixtures(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    bundled = {path.relative_to(ROOT / "data" / "fixtures") for path in (ROOT / "data" / "fixtures").rglob("*.*")}
    assert {f"journeylab/fixtures/{path.as_posix()}" for path in bundled} <= names
    assert {"journeylab/journey.py", "journeylab/languages/pl.po"} <= names


def test_make_commands_in_the_documents_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for document in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "data" / "fixtures" / "README.md"]:
        used = set(re.findall(r"(?:`|^|^\$ )make ([a-z]+)", document.read_text(), flags=re.MULTILINE))
        assert used <= targets, document


def test_relative_links_in_the_documents_lead_somewhere():
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in project_files()
        if document.suffix == ".md"
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert not broken


def test_no_file_names_a_place_on_somebodys_machine():
    local = re.compile(r"/(?:home|Users)/[a-z]|/root/|/tmp/|/work/", flags=re.IGNORECASE)
    allowed = {".parquet", ".gz", ".lock"}
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in project_files()
        if path.suffix not in allowed and path != Path(__file__).resolve()
        for match in local.finditer(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert not found
