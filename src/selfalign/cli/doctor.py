"""`selfalign doctor`: what this machine is, and whether it can do the work.

Every line is looked up in the operating system or in a process of its own, so that a broken
installation of a GPU library is reported instead of taking the doctor down with it.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import typer

from selfalign.cli.terminal import say
from selfalign.core.manifest import PACKAGES

OPTIONAL = {"numba": "the novelty filter runs in pure Python, exact but slower"}
PROBE = (
    "import torch; print(torch.cuda.device_count(),"
    " *(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())), sep='|')"
)
NEEDED_GIB = 4.0
"""Ours: what the quick start may use at most."""


class Finding(NamedTuple):
    """One line of the doctor's."""

    what: str
    value: str
    advice: str = ""
    """What to do about it; empty: nothing is wrong."""


def doctor() -> None:
    """Say what this machine has, and what is missing for which part."""
    findings = [*system(), *memory(), *packages(), *accelerators()]
    width = max(len(f.what) for f in findings)
    for finding in findings:
        say(f"{'  ' if not finding.advice else '! '}{finding.what:<{width}}  {finding.value}")
        if finding.advice:
            say(f"  {'':<{width}}  {finding.advice}")
    wrong = [f for f in findings if f.advice]
    say()
    say("nothing stands in the way" if not wrong else f"{len(wrong)} to look at, marked with !")
    if any(f.value == "not installed" and f.what not in OPTIONAL for f in findings):
        raise typer.Exit(1)


def system() -> list[Finding]:
    """Return Python, the operating system, cores, and whether the CPU multiplies in bf16."""
    flags = _cpu_flags()
    fast = sorted(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    old = "" if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed"
    return [
        Finding("python", f"{platform.python_version()} ({sys.executable})", old),
        Finding("system", f"{platform.system()} {platform.machine()}"),
        Finding("cores", str(os.cpu_count())),
        Finding("bf16 on the CPU", ", ".join(fast) if fast else "no; fp32 is used"),
    ]


def memory() -> list[Finding]:
    """Return memory that is free and disk space that is left here."""
    free = _available_bytes() / 2**30
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    tight = f"the quick start may need {NEEDED_GIB:.0f} GiB" if free < NEEDED_GIB else ""
    full = "a run needs room for its weights and outcomes" if disk < 1 else ""
    return [
        Finding("memory available", f"{free:.1f} GiB", tight),
        Finding("disk left here", f"{disk:.1f} GiB", full),
    ]


def packages() -> list[Finding]:
    """Return the version of each package that matters."""
    findings: list[Finding] = []
    for package in (*PACKAGES, *OPTIONAL):
        try:
            findings.append(Finding(package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            advice = OPTIONAL.get(package, "install it: make quickstart sets everything up")
            findings.append(Finding(package, "not installed", advice))
    return findings


def accelerators() -> list[Finding]:
    """Ask torch, in a process of its own, which GPUs it can use."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        return [Finding("torch", f"cannot be used: {last}", "reinstall torch for this machine")]
    count, *names = done.stdout.strip().split("|")
    return [Finding("GPUs", ", ".join(names) if int(count) else "none; everything runs on the CPU")]


def _cpu_flags() -> set[str]:
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", _text("/proc/cpuinfo"), re.MULTILINE)
    return set(found[1].split()) if found else set()


def _available_bytes() -> int:
    """Return memory that can be had: the machine's, or the container's limit if that is lower."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"))
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = int(found[1]) * 1024 if found else pages
    limit = _text("/sys/fs/cgroup/memory.max").strip()
    return min(available, int(limit)) if limit.isdigit() else available


def _text(path: str) -> str:
    """Return what the system says in a file; nothing on systems that do not have it."""
    try:
        return Path(path).read_text("utf-8", errors="replace")
    except OSError:
        return ""
