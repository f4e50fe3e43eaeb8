#!/usr/bin/env python3
"""Asks a running Prometheus for everything that dashboards, rules and alerts ask, and names what has no answer.

usage: check_data.py http://127.0.0.1:9090

Rules are taken as that Prometheus loaded them. Alerts and annotations may be empty, but must not fail.
"""

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
VARIABLES = {
    "__rate_interval": "1m", "__interval": "5s", "__range": "5m",
    "job": ".+", "instance": ".+", "model": ".+",
}


def substituted(expr):
    """With every variable given a value; `$1` of a pattern stays."""
    return re.sub(r"\$\{?([A-Za-z_]\w*)\}?", lambda found: VARIABLES.get(found[1], found[0]), expr)


def api(prometheus, path, **form):
    """The answer's data; RuntimeError with Prometheus' own words otherwise."""
    body = urllib.parse.urlencode(form).encode() if form else None
    try:
        with urllib.request.urlopen(f"{prometheus}/api/v1/{path}", body, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        try:
            raise RuntimeError(json.load(error)["error"]) from None
        except ValueError:
            raise RuntimeError(str(error)) from None


def dashboard_expressions():
    """(where, expression, whether it must have data)"""
    for path in sorted((HERE / "dashboards").glob("*.json")):
        board = json.loads(path.read_text("utf-8"))
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{board['title']} / {panel['title']} {target['refId']}", target["expr"], True
        for variable in board["templating"]["list"]:
            if found := re.fullmatch(r"label_values\((.+), (\w+)\)", variable.get("definition", "")):
                yield f"{board['title']} ${variable['name']}", f"count by ({found[2]}) ({found[1]})", True
        for annotation in board["annotations"]["list"]:
            if "expr" in annotation:
                yield f"{board['title']} annotation {annotation['name']}", annotation["expr"], False


def rule_problems_and_expressions(prometheus):
    """Rules that are not loaded or failed, and the expressions of those that are."""
    loaded = [rule for group in api(prometheus, "rules")["groups"] for rule in group["rules"]]
    names = {rule["name"] for rule in loaded}
    problems, expressions = [], []
    for path in sorted((HERE / "prometheus").glob("*.yml")):
        for name in re.findall(r"^ +- (?:record|alert): (\S+)", path.read_text("utf-8"), re.MULTILINE):
            if name not in names:
                problems.append(f"{path.name} / {name}: not loaded")
    for rule in loaded:
        where = f"rule {rule['name']} {json.dumps(rule.get('labels', {}))}"
        if rule.get("lastError"):
            problems.append(f"{where}: {rule['lastError']}")
        expressions.append((where, rule["query"], rule["type"] == "recording"))
    return problems, expressions


def problem(prometheus, expr, wants_data):
    try:
        data = api(prometheus, "query", query=substituted(expr))
    except RuntimeError as error:
        return str(error)
    if not wants_data:
        return None
    if not data["result"]:
        return "no data"
    if data["resultType"] == "vector" and all(sample["value"][1] == "NaN" for sample in data["result"]):
        return "NaN only"
    return None


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    prometheus = sys.argv[1].rstrip("/")
    try:
        problems, rules = rule_problems_and_expressions(prometheus)
        expressions = [*dashboard_expressions(), *rules]
        for where, expr, wants_data in expressions:
            if what := problem(prometheus, expr, wants_data):
                problems.append(f"{where}: {what}\n    {expr}")
    except OSError as error:
        sys.exit(f"{prometheus}: {error}")
    print("\n".join([*problems, f"{len(expressions)} expressions, {len(problems)} problems"]))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
