#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mkman.py [--check] - makes docs/man/*.3 from the docblocks of the public headers.

The headers are the manual; these pages are another form of them. The pages are committed, so that
nobody needs Python to build. --check writes nothing and exits with 1 where a page is not what the
header says, 2 where a public function has no docblock.
"""
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "man"
HEADERS = ["error", "store", "sched", "transport", "version"]
LIBRARY = {"error": "transport", "transport": "transport", "version": "transport", "store": "store", "sched": "sched"}
KEYS = ["What", "Units", "Lifetime", "Threads", "Cost", "On error", "Errors", "Return"]
SECTION = {"Units": "UNITS", "Lifetime": "LIFETIME", "Threads": "THREADS", "Cost": "COST",
           "On error": "ERRORS", "Errors": "ERRORS", "Return": "RETURN VALUE"}
ORDER = ["DESCRIPTION", "UNITS", "RETURN VALUE", "ERRORS", "LIFETIME", "THREADS", "COST"]


def source(header):
    path = ROOT / "include" / "swarm" / f"{header}.h"
    return (path if path.exists() else path.with_suffix(".h.in")).read_text()


def functions(text):
    """Yields (name, prototype, docblock) for every SWARM_API function, in order."""
    pattern = re.compile(r"(?:/\*\*((?:(?!\*/).)*)\*/\s*)?^SWARM_API\b([^;{]*);", re.S | re.M)
    for m in pattern.finditer(text):
        proto = re.sub(r"\s+", " ", m.group(2)).strip()
        proto = re.sub(r"\bSWARM_MUST_CHECK\s+|\s*__attribute__\(\(.*\)\)$", "", proto)
        name = re.search(r"\b(swarm_\w+)\(", proto).group(1)
        yield name, proto, m.group(1)


def sections(doc):
    """The summary line and {SECTION: text} of a docblock."""
    lines = [re.sub(r"^\s*\* ?", "", line).rstrip() for line in doc.strip().splitlines()]
    text = "\n".join(lines).strip()
    text = text.split(" - ", 1)[1]
    summary, _, body = text.partition("\n\n")
    summary = re.sub(r"\s+", " ", summary)
    first, dot, rest = re.match(r"(.*?[^.])(\.|$)(?:\s+(.*))?$", summary, re.S).groups()
    if rest:
        body = rest + "\n" + body
    out = {}
    where = "DESCRIPTION"
    for piece in re.split(rf"(?:(?<=^)|(?<=\s))({'|'.join(KEYS)}):\s+", body):
        if piece in KEYS:
            where = SECTION.get(piece, "DESCRIPTION")
        elif piece.strip():
            out[where] = (out.get(where, "") + "\n" + piece).strip()
    return first, out


def roff(text):
    text = re.sub(r"\s+", " ", text).strip().replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"@(\w+)(\[\w+\])?", r"\\fI\1\2\\fP", text)
    text = re.sub(r"\b(swarm_\w+)\(\)", r"\\fB\1\\fP(3)", text)
    text = re.sub(r"(?<![\w\\])(\\-E[A-Z]+|SWARM_[A-Z_]+|NULL)\b", r"\\fB\1\\fP", text)
    out = []
    for line in textwrap.wrap(text, 96, break_on_hyphens=False, break_long_words=False):
        out.append("\\&" + line if line[0] in ".'" else line)
    return "\n".join(out)


def proto_roff(proto):
    lines = textwrap.wrap(proto + ";", 68, subsequent_indent="        ", break_on_hyphens=False)
    return "\n.br\n".join(line.replace("\\", "\\e").replace("-", "\\-") for line in lines)


def page(header, name, proto, doc, names):
    summary, sect = sections(doc)
    out = [f'.\\" Made by tools/docs/mkman.py from include/swarm/{header}.h: change it there.',
           f'.TH {name} 3 "" "swarm" "Swarm"', ".SH NAME", f"{name} \\- " + roff(summary),
           ".SH SYNOPSIS", ".nf", f".B #include <swarm/{header}.h>", ".fi", ".PP",
           ".nh", ".ad l", f".B {proto_roff(proto)}" if "\n" not in proto_roff(proto) else
           "\\fB" + proto_roff(proto).replace("\n", "\n") + "\\fP", ".ad b", ".hy", ".PP",
           f"Link with \\fI\\-lswarm_{LIBRARY[header]}\\fP (pkg\\-config: \\fIswarm\\-{LIBRARY[header]}\\fP)."]
    for s in ORDER:
        if s in sect:
            out += [f".SH {s}", roff(sect[s])]
    i = names.index(name)
    near = [n for n in names[max(0, i - 3):i + 4] if n != name]
    out += [".SH SEE ALSO", ", ".join([f"\\fB{n}\\fP(3)" for n in near] + ["\\fBswarm\\fP(7)"])]
    return "\n".join(out) + "\n"


def main():
    check = "--check" in sys.argv[1:]
    made, bad = {}, 0
    for header in HEADERS:
        found = list(functions(source(header)))
        names = [f[0] for f in found]
        for name, proto, doc in found:
            if not doc or " - " not in doc or not doc.strip().lstrip("* \n").startswith(name):
                print(f"include/swarm/{header}.h: {name} has no docblock of its own")
                bad = 2
                continue
            made[f"{name}.3"] = page(header, name, proto, doc, names)
    OUT.mkdir(parents=True, exist_ok=True)
    for old in sorted(OUT.glob("*.3")):
        if old.name not in made:
            print(f"docs/man/{old.name}: no such function any more")
            bad = bad or 1
            if not check:
                old.unlink()
    for name, text in made.items():
        path = OUT / name
        if path.exists() and path.read_text() == text:
            continue
        if check:
            print(f"docs/man/{name}: not what the header says; run tools/docs/mkman.py")
            bad = bad or 1
        else:
            path.write_text(text)
    return bad if check or bad == 2 else 0


if __name__ == "__main__":
    sys.exit(main())
