#!/usr/bin/env python3
"""Writes dashboards/*.json; with --check says which are stale, and fails."""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # nothing beside the sources

from boards import ALL  # noqa: E402

OUT = Path(__file__).parent / "dashboards"


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: generate.py [--check]")
    wanted = {OUT / f"{board['uid']}.json": json.dumps(board, indent=1, ensure_ascii=False) + "\n" for board in ALL}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    left_over = sorted(set(OUT.glob("*.json")) - set(wanted))
    if check:
        for path in [*stale, *left_over]:
            print(f"{path}: not what generate.py writes", file=sys.stderr)
        sys.exit(1 if stale or left_over else 0)
    OUT.mkdir(exist_ok=True)
    for path in left_over:
        path.unlink()
    for path in stale:
        path.write_text(wanted[path], "utf-8")
        print(path)


if __name__ == "__main__":
    main()
