"""A standalone Spark cluster of the tests' own on loopback: a master and workers of one core each, gone afterwards."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from . import LOOPBACK

_DEPLOY = "org.apache.spark.deploy"
_SECONDS = 120


def why_not() -> str | None:
    """Why there can be none here, or None."""
    if importlib.util.find_spec("pyspark") is None:
        return "pyspark is not installed: pip install journeylab[spark]"
    return None if shutil.which("java") else "there is no Java here"


class Cluster:
    """A running master with workers; `session` connects to it."""

    def __init__(self, n_workers: int = 2, memory: str = "2g") -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="journeylab-spark-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._session: Any = None
        port, self._page = _free_port(), _free_port()
        self.url = f"spark://{LOOPBACK}:{port}"
        try:
            given = ["--host", LOOPBACK, "--port", port, "--webui-port", self._page]
            self._start("master.Master", *given)
            for _ in range(n_workers):
                self._start("worker.Worker", "--host", LOOPBACK, "--cores", 1, "--memory", memory, "--webui-port", 0,
                            "--work-dir", self._folder / "work", self.url)  # fmt: skip
            self._wait_for(n_workers)
        except BaseException:
            self.stop()
            raise

    def _start(self, what: str, *arguments: object) -> None:
        import pyspark

        home = Path(pyspark.__file__).parent
        # What executors import is what this process imports, its own modules for tests included.
        environment = os.environ | {
            "SPARK_HOME": str(home), "SPARK_LOCAL_IP": LOOPBACK, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYSPARK_PYTHON": sys.executable, "SPARK_DAEMON_MEMORY": "512m",
        }  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            program = [home / "bin" / "spark-class", f"{_DEPLOY}.{what}", *arguments]
            self._processes.append(
                subprocess.Popen([str(one) for one in program], stdout=log, stderr=log, env=environment)
            )

    def _wait_for(self, n_workers: int) -> None:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            url = f"http://{LOOPBACK}:{self._page}/json/"
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as page:
                if page.read().count(b'"ALIVE"') > n_workers:  # the master's own state beside them
                    return
            time.sleep(0.2)
        raise RuntimeError(f"the workers do not come: {(self._folder / 'log').read_text()[-2000:]}")

    def session(self, n_executors: int = 2, **settings: str) -> Any:
        """A session with so many executors of one core each; one that there is already is ended."""
        os.environ |= {"SPARK_LOCAL_IP": LOOPBACK, "PYSPARK_PYTHON": sys.executable}
        from pyspark.sql import SparkSession

        self.end_session()
        given = {
            "spark.executor.cores": "1", "spark.cores.max": str(n_executors), "spark.executor.memory": "1g",
            "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.host": LOOPBACK,
            "spark.sql.shuffle.partitions": "4", "spark.local.dir": str(self._folder / "local"),
            "spark.scheduler.minRegisteredResourcesRatio": "1", **settings,
        }  # fmt: skip
        builder = SparkSession.builder.master(self.url).appName("journeylab")
        for name, value in given.items():
            builder = builder.config(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._session = builder.getOrCreate()
        self._session.sparkContext.setLogLevel("ERROR")
        return self._session

    def end_session(self) -> None:
        """Ends the session, and with it the executors."""
        if self._session is not None:
            self._session.stop()
            self._session = None

    def pin(self) -> None:
        """Gives each worker, and the executors that it starts from now on, one processor, as a machine of its own."""
        for worker, processor in zip(self._processes[1:], psutil.Process().cpu_affinity(), strict=False):
            for thread in psutil.Process(worker.pid).threads():
                os.sched_setaffinity(thread.id, [processor])

    def seconds_worked(self) -> list[float]:
        """The processor time of each worker's executor and its Python processes so far, in seconds."""
        return [_seconds_of(psutil.Process(worker.pid).children(recursive=True)) for worker in self._processes[1:]]

    def stop(self) -> None:
        """Ends the session, the workers with their executors, and the master."""
        self.end_session()
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def ended_after(session: Any, seconds: float) -> Iterator[None]:
    """Ends the session's jobs, which then fail, where they take longer."""
    timer = threading.Timer(seconds, session.sparkContext.cancelAllJobs)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join(10)


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as free:
        return int(free.getsockname()[1])


def _seconds_of(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total
