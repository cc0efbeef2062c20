#!/usr/bin/env python3
"""Fails when a crate of the lock file has a licence that is not on the list. Reads `cargo metadata` on stdin."""
import json
import re
import sys

ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "ISC", "MIT", "MIT-0", "MPL-2.0", "Unicode-3.0", "Unlicense", "Zlib",
}


def allowed(expression):
    """An SPDX expression, also with the old `/` for OR. AND binds tighter than OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR ").replace(" WITH ", "\0WITH\0"))

    def either(at):
        good, at = both(at)
        while at < len(tokens) and tokens[at] == "OR":
            more, at = both(at + 1)
            good = good or more
        return good, at

    def both(at):
        good, at = one(at)
        while at < len(tokens) and tokens[at] == "AND":
            more, at = one(at + 1)
            good = good and more
        return good, at

    def one(at):
        if tokens[at] == "(":
            good, at = either(at + 1)
            assert tokens[at] == ")", expression
            return good, at + 1
        return tokens[at].replace("\0", " ") in ALLOWED, at + 1

    good, end = either(0)
    assert end == len(tokens), f"cannot read the licence {expression!r}"
    return good


# The reader of expressions can say no.
assert allowed("MIT/Apache-2.0") and allowed("(MIT OR GPL-3.0) AND Unicode-3.0") and allowed("GPL-2.0 OR MIT")
assert not allowed("GPL-3.0") and not allowed("MIT AND GPL-3.0") and not allowed("(MIT OR ISC) AND LGPL-2.1")

packages = json.load(sys.stdin)["packages"]
bad = [p for p in packages if not (p["license"] and allowed(p["license"]))]
for p in bad:
    print(f"{p['name']} {p['version']}: licence {p['license'] or 'not given'} is not on the list of tests/licences.py")
print(f"licences of {len(packages)} crates read, {len(bad)} not on the list")
sys.exit(bool(bad) or not packages)
