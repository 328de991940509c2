"""The two notebooks as servers on loopback, each showing some code whose last line is a widget."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Page

_PATIENCE = 120


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


@contextmanager
def serving(command: list[str], url: str, folder: Path) -> Iterator[None]:
    """A server process that answers at a URL; it is ended, with its kernels, when the block is left."""
    folders = {"CONFIG": "config", "RUNTIME": "run"}
    own = {f"JUPYTER_{kind}_DIR": str(folder / name) for kind, name in folders.items()}
    environment = {**os.environ, **own, "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
        try:
            _await(url, process, folder / "server.log")
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer: {log.read_text()}")


@contextmanager
def in_marimo(code: str, folder: Path) -> Iterator[str]:
    """Shows code in `marimo run`; gives the page's address."""
    body = "\n".join(f"    {line}" for line in code.strip().splitlines()[:-1])
    widget = code.strip().splitlines()[-1]
    notebook = folder / "notebook.py"
    notebook.write_text(
        f'import marimo\n\napp = marimo.App(width="full")\n\n\n@app.cell\ndef _():\n    import marimo as mo\n{body}\n'
        f"    shown = mo.ui.anywidget({widget})\n    shown\n    return\n\n\nif __name__ == '__main__':\n    app.run()\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "marimo", "run", str(notebook), "--headless", "--no-token", "--port", str(port)]
    with serving(command, f"http://127.0.0.1:{port}/health", folder):
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def in_jupyter(code: str, folder: Path) -> Iterator[str]:
    """Shows code in JupyterLab, all cells to be run by `run_all`; gives the page's address."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code.strip())])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / "notebook.ipynb")
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    port = free_port()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
        "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    with serving(command, f"http://127.0.0.1:{port}/api/status", folder):
        yield f"http://127.0.0.1:{port}/lab/tree/notebook.ipynb?reset"


def run_all(page: Page) -> None:
    """Runs all cells of the open JupyterLab notebook, when its kernel is there."""
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=_PATIENCE * 1000)
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=_PATIENCE * 1000,
    )
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")


OPENED = {"marimo": in_marimo, "jupyter": in_jupyter}
