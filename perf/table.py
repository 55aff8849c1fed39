#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""table.py RESULTS DOCS - writes the table of DOCS/PERF.md between its marks and the plots in DOCS/perf from the JSON
documents of perf/run. What stands outside of the marks is never touched. A figure without a document is said to
be missing, not left out. Needs nothing but Python; plots need gnuplot."""
import functools
import json
import pathlib
import re
import shutil
import subprocess
import sys

BEGIN, END = "<!-- begin: written by ./run bench -->", "<!-- end: written by ./run bench -->"
RESULTS, DOCS = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])


def load(name):
    try:
        return json.loads((RESULTS / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None


def ns(v):
    return f"{v / 1e3:.3f} us" if v < 1e4 else f"{v / 1e3:.1f} us"


def mb(v):
    return f"{v / 1e6:.0f} MB/s"


def size(v):
    for unit, n in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if v >= n and v % n == 0:
            return f"{v // n} {unit}"
    return f"{v} B"


# ---- verdicts: a target is a text and what decides it ----

class Target:
    """@check(row) is true or false, or None where the row has nothing to decide by."""

    def __init__(self, text, check):
        self.text, self.check = text, check

    def verdict(self, row):
        held = self.check(row)
        return "-" if held is None else "reached" if held else "**not reached**"


NOTHING = Target("-", lambda row: None)


def p50(row):
    """The finer figure, where there is one, may be the larger one."""
    return max(row["p50_ns"], row.get("lat_ns_p50_of_means_of_64", 0))


def ratio(row, tools=False):
    """Against the first baseline that ran; @tools: against the program of others, which has to be there."""
    ran = [b for b in row.get("baselines", []) if "ratio" in b]
    ran = [b for b in ran if b["name"].startswith(("ib_", "fi_", "fio"))] if tools else ran
    return ran[0]["ratio"] if ran else None


def compare(value, limit, least):
    return None if value is None else value >= limit if least else value <= limit


def at_most(limit, what="", tools=False):
    return Target(f"<= {limit:.2f} x{what}", lambda row: compare(ratio(row, tools), limit, False))


def at_least(limit, what="", tools=False):
    return Target(f">= {limit:.2f} x{what}", lambda row: compare(ratio(row, tools), limit, True))


def p50_below(us):
    return Target(f"p50 <= {us:.2f} us", lambda row: p50(row) <= us * 1000)


GET_LOCAL = Target("p50 <= 0.10 us, p99.9 <= 5 us", lambda row: p50(row) <= 100 and row["lat_ns"]["p99_9"] <= 5000)
TRACE_RATIO = Target("the trace's own ratio, no wrong byte",
                     lambda row: row["hit_ratio"] == row["trace_reuse_ratio"] and row["wrong_blocks"] == 0)


# ---- rows: figure, target, measured, baseline, verdict, runs, command ----

def lat(row):
    """p50 over all runs, the range of the runs' medians, p99.9, and the finer figure where there is one."""
    text = f"p50 {ns(row['p50_ns'])} ({ns(row['p50_ns_min'])} .. {ns(row['p50_ns_max'])})"
    if "lat_ns" in row:
        text += f", p99.9 {ns(row['lat_ns']['p99_9'])}"
    fine = row.get("lat_ns_p50_of_means_of_64")
    return text + (f"; means of 64: {ns(fine)}" if fine else "")


def cpu(row):
    return f", {row['cpu_s_per_gb']:.3f} CPU s/GB" if "cpu_s_per_gb" in row else ""


def bw(row):
    text = f"{mb(row['bw_bytes_per_s'])} ({mb(row['bw_bytes_per_s_min'])} .. {mb(row['bw_bytes_per_s_max'])})"
    return text + cpu(row)


def ops(row):
    return f"{row['ops_per_s']:,.0f} /s ({row['ops_per_s_min']:,.0f} .. {row['ops_per_s_max']:,.0f})"


def against(row):
    out = []
    for b in row.get("baselines", []):
        if "ratio" not in b:
            out.append(f"{b['name']}: {b['why_not']}")
            continue
        value = ns(b["value"]) if b["unit"] == "ns" else mb(b["value"]) if b["unit"] == "bytes_per_s" else f"{b['value']:,.0f} /s"
        value += cpu(b)
        out.append(f"{b['name']} {value}: **{b['ratio']:.3f} x** ({b['ratio_min']:.3f} .. {b['ratio_max']:.3f})")
    return "; ".join(out) or "-"


def find(doc, op, n=None):
    for row in doc["results"]:
        if row["op"] == op and n in (None, row["size_bytes"]):
            return row
    return None


def command(doc):
    args = [a for a in doc["argv"][1:] if a != "--output=json"]
    args = [pathlib.Path(a).name if a.startswith("/") else a for a in args]
    args = ["SPILL-FOLDER" if a.startswith("swarm-bench.") else a for a in args]
    return f"`{doc['program']} {' '.join(args)}`"


def missing(figure, target):
    return [(figure, target.text, "not measured", "", "-", "", "")]


def line(doc, figure, target, measured, row, base=None):
    """A figure of other sources says so: it decides nothing."""
    built = doc["versions"]["git"]
    verdict = f"stale: {built}" if is_stale(built) else target.verdict(row)
    return (figure, target.text, measured, against(row) if base is None else base, verdict, str(row["runs"]), command(doc))


def one(figure, target, name, op, n=None, show=lat, base=None):
    doc = load(name)
    row = doc and find(doc, op, n)
    if not row or not row["ops"]:
        return missing(figure, target)
    return [line(doc, figure, target, show(row), row, base)]


def every(figure, target, name, show, expect=()):
    """A line for each row of the document; @target depends on the row. Without a document, one says what is missing."""
    doc = load(name)
    if not doc:
        return [m for what, t in expect or [(figure, NOTHING)] for m in missing(what, t)]
    return [line(doc, f"{figure}, {row['op']}, {size(row['size_bytes'])}", target(row), show(row), row)
            for row in doc["results"] if row["ops"]]


def remote_lat(tools=False):
    def target(row):
        return at_most(2.2, tools=tools) if "cold" in row["op"] else at_most(1.15, tools=tools) if "warm" in row["op"] else NOTHING
    return target


def remote_bw(tools=False):
    def target(row):
        return at_least(0.90 if row["size_bytes"] < 65536 else 0.97, tools=tools)
    return target


def churn(figure, name):
    def show(row):
        doc = load(name)
        tails = ", ".join(f"{r['op']} p99.9 {ns(r['lat_ns']['p99_9'])}" for r in doc["results"][1:] if r["ops"])
        return f"{ops(row)}; {tails}"
    return one(figure, NOTHING, name, "mixed", show=show)


def utilisation(figure, name, op, when):
    def show(row):
        return (f"mean {row['utilisation_mean']:.3f}, least {row['utilisation_min']:.3f} {when.format(row['utilisation_samples'])} "
                f"in {row['ops']:,} operations; arena {size(row['arena_bytes'])}")
    return one(figure, Target(">= 0.90", lambda row: compare(row.get("utilisation_mean"), 0.90, True)), name, op, show=show)


def broadcast(name, what, readers=(2, 4, 8)):
    target = Target("<= 2 copies from the source", lambda row: row["source_copies_max"] <= 2.005) # + looking for the object
    out = []
    for n in readers:
        doc = load(f"{name}_{n}")
        for r in (doc or {"results": []})["results"]:
            out.append(line(doc, f"broadcast of {size(r['size_bytes'])} to {n} readers, {what}", target,
                            f"{r['source_copies']:.3f} copies ({r['source_copies_min']:.3f} .. {r['source_copies_max']:.3f}); "
                            f"{bw(r)} over all readers", r))
        if not doc:
            out += missing(f"broadcast to {n} readers, {what}", target)
    return out


def kv(name, what):
    def show(row):
        parts = [f"hits {100 * row['hit_ratio']:.2f} % (memory {row['hits_memory']:,}, remote {row['hits_remote']:,}, spilled "
                 f"{row['hits_spilled']:,}), misses {row['misses']:,}, {row['ops_per_s'] / 1e3:.0f} k references/s"]
        for r in load(name)["results"]:
            if r["op"].startswith("hit") and r["ops"]:
                parts.append(f"{r['op']} p50 {ns(r['lat_ns']['p50'])}, p99 {ns(r['lat_ns']['p99'])}")
        return "; ".join(parts)
    doc = load(name)
    row = doc and find(doc, "replay")
    if not row:
        return missing(f"KV trace, {what}", TRACE_RATIO)
    return [line(doc, f"KV trace, {what}", TRACE_RATIO if row["evicted_blocks"] == 0 else NOTHING, show(row), row,
                 f"the trace repeats {100 * row['trace_reuse_ratio']:.2f} %")]


def disk():
    small = {"spill": at_least(0.90), "restore": at_least(0.80)} # gathered writes, reads of their own

    def target(row):
        return small[row["op"]] if row["size_bytes"] < 65536 else at_least(0.95)

    def recover(row):
        return (f"{row['p50_ns'] / 1e9:.3f} s ({row['p50_ns_min'] / 1e9:.3f} .. {row['p50_ns_max'] / 1e9:.3f}), {row['objects']:,} objects"
                + cpu(row))

    def spilling(row):
        return (f"p99 {ns(row['p99_ns'])} ({ns(row['p99_ns_min'])} .. {ns(row['p99_ns_max'])}) while "
                f"{mb(row['spill_bytes_per_s'])} are written; p50 {ns(row['p50_ns'])}" + cpu(row))
    doc = load("get_spilling")
    row = doc and find(doc, "get, while spilling")
    base = row and (f"the same gets, nothing written, p99 {ns(row['baseline_p99_ns'])}: **{row['p99_ratio']:.3f} x** "
                    f"({row['p99_ratio_min']:.3f} .. {row['p99_ratio_max']:.3f})")
    out = []
    for name, what in (("spill", "objects to disk"), ("restore", "objects from disk")):
        out += every(what, target, f"{name}_small", bw, [(f"{what}, 4 KiB", small[name])])
        out += every(what, target, name, bw, [(f"{what}, 1 and 64 MiB", at_least(0.95))])
    out += every("one object from disk", lambda r: NOTHING, "restore_lat", lat)
    out += one("local get, 64 B, while the store spills", Target("p99 <= 1.50 x", lambda r: r["p99_ratio"] <= 1.5), "get_spilling",
               "get, while spilling", show=spilling, base=base)
    for name, what in (("recover", "1 MiB"), ("recover_small", "4 KiB")):
        doc = load(name)
        gb = (find(doc, "open") or {}).get("log_bytes", 0) / 1e9 if doc else 10
        limit = Target("<= 1 s for 10 GB", lambda r: r["p50_ns"] <= 1e9 * max(1, r["log_bytes"] / 10e9))
        out += one(f"recovery of {gb:.1f} GB of segments, objects of {what}", limit, name, "open",
                   show=recover, base="-")
    return out


def tasks():
    out = one("no-op tasks, one driver, async", Target(">= 1,000,000 /s", lambda r: r["ops_per_s"] >= 1e6), "tasks", "task, async", show=ops,
              base="Ray 7,200 /s (published)")
    out += one("submitting them", NOTHING, "tasks", "submit", show=ops)
    return out + one("task round trip, sync", Target("p50 <= 15 us sleeping", lambda r: r["p50_ns"] <= 15000), "tasks", "task, sync")


def metadata():
    def show(row):
        return (f"{row['metadata_bytes_per_object']:.1f} B: index {row['index_bytes_per_object']:.1f}, header and rounding "
                f"{row['arena_bytes_per_object']:.1f}, the node's own memory {row['heap_bytes_per_object']:.1f}; {row['ops']:,} objects")
    return one("metadata of an object of 64 B", Target("<= 128 B", lambda r: r["metadata_bytes_per_object"] <= 128), "metadata", "put",
               show=show)


def rows():
    out = one("local get + release, 64 B", GET_LOCAL, "get_local", "get", 64)
    out += one("the same beside a second process that gets", GET_LOCAL, "get_two", "get", 64)
    out += one("contains", p50_below(0.05), "contains", "contains")
    out += one("local put, 64 B", p50_below(0.40), "put_local", "put", 64)
    out += one("local put, 1 MiB", at_most(1.05, " memcpy"), "put_1m", "put", 1 << 20)
    out += one("local put, 64 MiB", at_least(0.95, " memcpy"), "put_64m", "put", 64 << 20, bw)
    out += one("delete", p50_below(0.20), "delete", "delete")
    out += churn("mixed puts, gets, deletes, 4,096 live objects", "churn") + metadata()
    out += utilisation("allocator's utilisation, blocks of a KV cache", "alloc", "blocks", "over {:,} puts")
    out += utilisation("allocator's utilisation, log-normal sizes", "alloc", "lognormal", "over {:,} puts")
    out += utilisation("the store's utilisation when a put is refused, log-normal sizes", "full_lognormal", "mixed", "of {:,} refusals")
    out += utilisation("the store's utilisation when a put is refused, prompts of a trace", "full_trace", "mixed", "of {:,} refusals")
    for t, what in (("ofi", "libfabric tcp"), ("shm", "same host")):
        out += every(f"remote get, {what}", remote_lat(), f"get_lat_{t}", lat)
        out += every(f"remote bandwidth, {what}", remote_bw(), f"get_bw_{t}", bw)
        out += every(f"remote put, {what}", lambda row: NOTHING, f"put_lat_{t}", lat)
        out += every(f"remote put bandwidth, {what}", lambda row: NOTHING, f"put_bw_{t}", bw)
    out += broadcast("broadcast_ofi", "libfabric tcp") + broadcast("broadcast_shm", "same host")
    emulated = "soft-RoCE, instructions counted"
    vm = f"{emulated}, a store and its client on one CPU"
    out += every(vm, remote_lat(True), "vm_get_lat", lat, [(f"{vm}, get, cold", at_most(2.2)), (f"{vm}, get, warm", at_most(1.15))])
    out += every(vm, remote_bw(True), "vm_get_bw", bw, [(f"{vm}, get", at_least(0.97))])
    out += every(vm, lambda row: NOTHING, "vm_put_lat", lat, [(f"{vm}, put, half a round", NOTHING)])
    out += every(vm, lambda row: NOTHING, "vm_put_bw", bw, [(f"{vm}, put, got there", NOTHING)])
    out += churn(f"{emulated}, mixed puts, gets, deletes, 256 live objects", "vm_churn")
    out += broadcast("vm_broadcast", emulated, (2,)) + softroce()
    out += kv("kv_memory", "one node, everything fits") + kv("kv_nodes", "two nodes, libfabric tcp")
    out += kv("kv_spill", "one node, a small arena and a disk") + kv("vm_kv", f"two nodes, {emulated}")
    return out + disk() + tasks()


# ---- soft-RoCE without the harness: the lines of tests/softroce/compare and compare_get ----

def median(values):
    v = sorted(values)
    return v[len(v) // 2] if len(v) % 2 else (v[len(v) // 2 - 1] + v[len(v) // 2]) / 2


def rounds(pattern, text):
    return [tuple(map(float, m)) for m in re.findall(pattern, text, re.M)]


def bare(figure, ours, theirs, limit, unit):
    """One line; a ratio for each round where both sides took turns, else of each round to the other's median."""
    least = unit == "MB/s"
    target = Target(f"{'>=' if least else '<='} {limit:.2f} x", lambda r: compare(r, limit, least))
    figure = f"soft-RoCE, instructions counted, {figure}"
    doc = load("vm_get_lat")
    if not ours or not theirs or not doc:
        return missing(figure, target)
    pairs = list(zip(ours, theirs)) if len(ours) == len(theirs) else [(v, median(theirs)) for v in ours]
    ratios = [a / b for a, b in pairs]
    built = doc["versions"]["git"]
    return [(figure, target.text, f"{median(ours):.1f} {unit} ({min(ours):.1f} .. {max(ours):.1f})",
             f"{'ib_read_bw' if least else 'ib_read_lat'} {median(theirs):.1f} {unit}: **{median(ratios):.3f} x** ({min(ratios):.3f} .. {max(ratios):.3f})",
             f"stale: {built}" if is_stale(built) else target.verdict(median(ratios)), str(len(ours)), "`tests/softroce/run --icount`")]


def softroce():
    try:
        text = (RESULTS / "vm.log").read_text()
    except OSError:
        text = ""
    number = r"([\d.]+)"
    read = rounds(rf"^lat 4096: .*?: {number} [\d.]+ {number} [\d.]+$", text)
    bulk = rounds(rf"^bw 65536: .*?: {number} {number}$", text)
    core = rounds(rf"^4096 B: READ p50 [\d.]+ us .*?warm get p50 {number} .*?cold get p50 {number} ", text)
    perftest = [b for _, b in read]
    mib = 1.048576 # both say MiB/s
    out = bare("READ of 4 KiB by the transport alone", [a for a, _ in read], perftest, 1.15, "us")
    out += bare("warm get of 4 KiB by the node's core", [a for a, _ in core], perftest, 1.15, "us")
    out += bare("cold get of 4 KiB by the node's core", [b for _, b in core], perftest, 2.2, "us")
    return out + bare("READs of 64 KiB by the transport alone", [a * mib for a, _ in bulk], [b * mib for _, b in bulk], 0.97, "MB/s")


# ---- the machine, and how it went ----

def git(*args):
    run = subprocess.run(["git", "-C", str(DOCS.parent), *args], capture_output=True, text=True, check=False)
    return run.stdout.strip() if run.returncode == 0 else ""


SOURCES = [f":(glob){folder}/**/*.{end}" for folder in ("include", "transport", "store", "sched", "tools", "perf") for end in "ch"]


@functools.lru_cache
def is_stale(built):
    """Has a source file of the programs changed since the commit that they were built from?"""
    done = subprocess.run(["git", "-C", str(DOCS.parent), "diff", "--quiet", built, "--", *SOURCES],
                          capture_output=True, check=False)
    return done.returncode != 0


def machine():
    names = [p.stem for p in sorted(RESULTS.glob("*.json")) if not p.stem.startswith("vm_")] # that machine is emulated
    docs = [d for d in map(load, names) if d and "load1" in d.get("machine", {})]
    docs = [d for d in docs if not is_stale(d["versions"]["git"])]
    if not docs:
        return "No results of these sources."
    m, v = docs[0]["machine"], docs[0]["versions"]
    load1 = [d["machine"]["load1"] for d in docs]
    return (f"Machine: {m.get('cpu', '?')}, {m['cpus']} cores, {m['memory_bytes'] / 2**30:.0f} GiB; Linux {m['kernel']}; {m.get('os', '?').strip(chr(34))}; "
            f"swarm {v['swarm']} ({v['git']}; {v['build_type']}, {v['compiler']}); libfabric {v['libfabric']}, libibverbs {v['libibverbs']}. "
            f"Load average when the programs began: {min(load1):.1f} .. {max(load1):.1f} (the programs' own load among it).")


def summary(lines):
    count = {v: sum(r[4] == v for r in lines) for v in ("reached", "**not reached**")}
    stale, gone = sum(r[4].startswith("stale") for r in lines), sum(r[2] == "not measured" for r in lines)
    text = f"{count['reached']} of {sum(count.values())} targets that were measured are reached."
    text += f" {stale} rows are of other sources." if stale else ""
    return text + (f" {gone} figures were not measured." if gone else "")


PLOT = """set terminal svg size 720,420 background rgb 'white' font 'sans,12'
set output '{out}'
set logscale x 2
set xlabel 'bytes of an object'
set ylabel '{ylabel}'
set key top left
set grid
set format x '%.0b%B'
set title '{title}'
plot {plots}
"""


def plot(name, title, ylabel, curves):
    """curves: (label, [(x, y, low, high)])"""
    curves = [c for c in curves if c[1]]
    if not curves or not shutil.which("gnuplot"):
        return None
    folder = DOCS / "perf"
    folder.mkdir(exist_ok=True)
    data, plots = "", []
    for i, (label, points) in enumerate(curves):
        data += f"$d{i} << EOD\n" + "".join("{} {} {} {}\n".format(*p) for p in points) + "EOD\n"
        plots.append(f"$d{i} using 1:2:3:4 with yerrorlines lw 2 title '{label}'")
    text = data + PLOT.format(out=folder / f"{name}.svg", title=title, ylabel=ylabel, plots=", ".join(plots))
    return name if subprocess.run(["gnuplot"], input=text, text=True, check=False).returncode == 0 else None


def curve(doc, op, key, scale):
    out = []
    for row in (doc or {"results": []})["results"]:
        if row["op"] == op:
            out.append((row["size_bytes"], row[key] / scale, row[key + "_min"] / scale, row[key + "_max"] / scale))
    return out


def raw(doc, op, scale):
    out = []
    for row in (doc or {"results": []})["results"]:
        if row["op"] == op and row.get("baseline"):
            b = row["baseline"]
            out.append((row["size_bytes"], b["value"] / scale, b["value_min"] / scale, b["value_max"] / scale))
    return out


def plots():
    made = []
    for t, what in (("ofi", "libfabric tcp"), ("shm", "same host, shared memory")):
        d = load(f"get_lat_{t}")
        made.append((plot(f"get_lat_{t}", f"remote get, {what}: median latency, range over the runs", "us",
                          [("warm", curve(d, "get, warm", "p50_ns", 1e3)), ("cold", curve(d, "get, cold", "p50_ns", 1e3)),
                           ("raw READ", raw(d, "get, warm", 1e3))]), f"latency of a remote get, {what}"))
        d = load(f"get_bw_{t}")
        made.append((plot(f"get_bw_{t}", f"remote bandwidth, {what}: median, range over the runs", "MB/s",
                          [("get_many", curve(d, "get", "bw_bytes_per_s", 1e6)), ("raw READ", raw(d, "get", 1e6))]),
                     f"bandwidth of remote gets, {what}"))
    return [f"![{text}](perf/{name}.svg)" for name, text in made if name]


def main():
    lines = rows()
    text = [BEGIN, "", machine(), "", summary(lines), "",
            "| figure | target | measured: median (min .. max of the runs) | baseline of the same call, ratio | verdict | runs | command |",
            "|---|---|---|---|---|---|---|"]
    text += ["| " + " | ".join(r) + " |" for r in lines]
    text += [""] + plots() + ["", END]
    path = DOCS / "PERF.md"
    old = path.read_text()
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        print(f"{path}: the marks '{BEGIN}' and '{END}' are not there once each", file=sys.stderr)
        return 1
    head, rest = old.split(BEGIN)
    path.write_text(head + "\n".join(text) + rest.split(END)[1])
    print(f"wrote the table of {path}: {summary(lines)}")
    for r in lines:
        if r[4] not in ("reached", "-") or r[2] == "not measured":
            print(f"  {r[4].strip('*') if r[2] != 'not measured' else r[2]}: {r[0]}: {r[2]} [{r[1]}] {r[3]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
