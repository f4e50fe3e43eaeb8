#!/usr/bin/env python3
"""Writes overlays/observe/rules.yaml from grafana/prometheus/. `--check`: says whether it is current."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
GRAFANA = HERE.parent.parent / "grafana"
TARGET = HERE / "overlays/observe/rules.yaml"
HEAD = "# Written by deploy/kubernetes/generate.py from grafana/prometheus/.\n"


def indent(text: str, by: int) -> str:
    return "".join(" " * by + line if line.strip() else line for line in text.splitlines(keepends=True))


def rules() -> str:
    body = HEAD
    for name in ["rules", "alerts"]:
        text = (GRAFANA / "prometheus" / f"{name}.yml").read_text()
        groups = text[text.index("groups:") :]
        body += f"---\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: shoal-{name}\n"
        body += "  labels: { app.kubernetes.io/name: shoal }\nspec:\n" + indent(groups, 2)
    return body


def main() -> None:
    if sys.argv[1:] != ["--check"]:
        TARGET.write_text(rules())
    elif TARGET.read_text() != rules():
        sys.exit(f"{TARGET} is not what grafana/prometheus says: run deploy/kubernetes/generate.py")


if __name__ == "__main__":
    main()
