"""Fails when a dependency of the crate needs a newer Rust than the crate says it needs."""

import json
import subprocess


def number(version):
    return tuple(int(part) for part in (version + ".0.0").split(".")[:3])


metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"])
)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]
ours = packages[root]["rust_version"]

seen, waiting, late = set(), [root], []
while waiting:
    package = waiting.pop()
    if package in seen:
        continue
    seen.add(package)
    theirs = packages[package]["rust_version"]
    if theirs and number(theirs) > number(ours):
        late.append(f"{packages[package]['name']} needs {theirs}")
    for dependency in nodes[package]["deps"]:
        if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
            waiting.append(dependency["pkg"])

print(f"{len(seen)} packages, all content with Rust {ours}" if not late else late)
raise SystemExit(1 if late else 0)
