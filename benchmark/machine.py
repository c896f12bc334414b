"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform

_MOUNTS = "/proc/self/mountinfo"  # Linux


def machine(directory: str) -> str:
    """Return the platform line of a report: system, Python, processors, file system."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    kind = file_system(directory)
    return ", ".join(
        [platform.platform(), python, f"{os.cpu_count()} CPUs", *([kind] if kind else [])]
    )


def file_system(directory: str) -> str:
    """Return the type of the file system of ``directory``; "" where nobody says."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            return mounted_at(os.path.realpath(directory), file.read())
    except OSError:
        return ""


def mounted_at(path: str, mounts: str) -> str:
    """Return the type of the file system at ``path``, given the text of mountinfo."""
    longest, kind = "", ""
    for line in mounts.splitlines():
        place, _, rest = line.partition(" - ")
        point = place.split()[4].replace("\\040", " ")
        inside = os.path.commonpath([point, path]) == point
        if inside and len(point) >= len(longest):  # the later mount covers the earlier
            longest, kind = point, rest.split()[0]
    return kind


def in_memory(directory: str) -> bool:
    """Whether the file system is one that no power cut could ever find anything on."""
    return file_system(directory) in {"tmpfs", "ramfs"}
