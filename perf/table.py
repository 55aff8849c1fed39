#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""table.py RESULTS DOCS - writes the table of DOCS/PERF.md between its marks and the plots in DOCS/perf from the JSON
documents of perf/run. What stands outside of the marks is never touched. A figure without a document is said to
be missing, not left out. Needs nothing but Python; plots need gnuplot."""
import json
import pathlib
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


def lat(row):
    """p50 over all runs, the range of the runs' medians, p99.9, and the finer figure where there is one."""
    text = f"p50 {ns(row['p50_ns'])} ({ns(row['p50_ns_min'])} .. {ns(row['p50_ns_max'])}), p99.9 {ns(row['lat_ns']['p99_9'])}"
    fine = row.get("lat_ns_p50_of_means_of_64")
    return text + (f"; means of 64: {ns(fine)}" if fine else "")


def bw(row):
    return f"{mb(row['bw_bytes_per_s'])} ({mb(row['bw_bytes_per_s_min'])} .. {mb(row['bw_bytes_per_s_max'])})"


def against(row):
    out = []
    for b in row.get("baselines", []):
        if "ratio" not in b:
            out.append(f"{b['name']}: {b['why_not']}")
            continue
        value = ns(b["value"]) if b["unit"] == "ns" else mb(b["value"])
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
    return f"`{doc['program']} {' '.join(args)}`"


def simple(figure, target, name, op, n=None, show=lat):
    doc = load(name)
    row = doc and find(doc, op, n)
    if not row or not row["ops"]:
        return [(figure, target, "not measured in this run", "", "", "")]
    return [(figure, target, show(row), against(row), str(row["runs"]), command(doc))]


def every(figure, target, name, show):
    doc = load(name)
    if not doc:
        return [(figure, "-" if callable(target) else target, "not measured in this run", "", "", "")]
    return [(f"{figure}, {row['op']}, {size(row['size_bytes'])}", target(row) if callable(target) else target, show(row),
             against(row), str(row["runs"]), command(doc)) for row in doc["results"] if row["ops"]]


def remote_lat(row):
    return "<= 2.2 x" if "cold" in row["op"] else "<= 1.15 x" if "warm" in row["op"] else "-"


def remote_bw(row):
    return ">= 0.90 x" if row["size_bytes"] < 65536 else ">= 0.97 x"


def churn():
    doc = load("churn")
    if not doc:
        return [("mixed puts, gets, deletes", "-", "not measured in this run", "", "", "")]
    row = doc["results"][0]
    tails = ", ".join(f"{r['op']} p99.9 {ns(r['lat_ns']['p99_9'])}" for r in doc["results"][1:] if r["ops"])
    return [("mixed puts, gets, deletes, 4,096 live objects", "-",
             f"{row['ops_per_s'] / 1e6:.2f} M/s ({row['ops_per_s_min'] / 1e6:.2f} .. {row['ops_per_s_max'] / 1e6:.2f}); {tails}",
             "-", str(row["runs"]), command(doc))]


def full(name, what):
    doc = load(name)
    row = doc and doc["results"][0]
    if not row or "utilisation_mean" not in row:
        return [(f"arena utilisation, {what}", ">= 0.90", "not measured in this run", "", "", "")]
    return [(f"arena utilisation when a put is refused, {what}", ">= 0.90",
             f"mean {row['utilisation_mean']:.3f}, least {row['utilisation_min']:.3f} of {row['utilisation_samples']} refusals "
             f"in {row['ops']:,} operations", "-", "1", command(doc))]


def broadcast():
    doc = load("broadcast")
    if not doc:
        return [("broadcast", "<= 2 copies", "not measured in this run", "", "", "")]
    return [(f"broadcast of {size(r['size_bytes'])} to {r['readers']} readers", "<= 2 copies from the source",
             f"{r['source_copies']:.2f} copies; {bw(r)} over all readers", against(r), str(r["runs"]), command(doc))
            for r in doc["results"]]


def kv(name, what):
    doc = load(name)
    row = doc and find(doc, "replay")
    if not row:
        return [(f"KV trace, {what}", "-", "not measured in this run", "", "", "")]
    parts = [f"hits {100 * row['hit_ratio']:.2f} % (memory {row['hits_memory']:,}, remote {row['hits_remote']:,}, spilled "
             f"{row['hits_spilled']:,}), misses {row['misses']:,}, {row['ops_per_s'] / 1e3:.0f} k references/s"]
    for r in doc["results"]:
        if r["op"].startswith("hit") and r["ops"]:
            parts.append(f"{r['op']} p50 {ns(r['lat_ns']['p50'])}, p99 {ns(r['lat_ns']['p99'])}")
    return [(f"KV trace, {what}", "the trace's own ratio" if row["evicted_blocks"] == 0 else "-", "; ".join(parts),
             f"the trace repeats {100 * row['trace_reuse_ratio']:.2f} %", "1", command(doc))]


def disk(name, what, target):
    doc = load(name)
    if not doc:
        return [(what, target, "not measured in this run", "", "", "")]
    rows = doc.get("results", [doc])
    out = []
    for row in rows:
        base = row.get("baseline")
        ratio = f"{base['name']}: **{row['ratio']:.3f} x**" if base and "ratio" in row else "fio: not installed"
        value = mb(row["bw_bytes_per_s"])
        low, high = row.get("bw_bytes_per_s_min", row.get("bw_bytes_per_s.min")), row.get("bw_bytes_per_s_max", row.get("bw_bytes_per_s.max"))
        if low is not None:
            value += f" ({mb(low)} .. {mb(high)})"
        out.append((f"{what}, {size(row['size_bytes'])}", target, value, ratio, str(row.get("runs", doc.get("runs", ""))),
                    f"`{doc['program']}`"))
    return out


def tasks():
    doc = load("tasks")
    if not doc:
        return [("no-op tasks", ">= 1,000,000 /s", "not measured in this run", "", "", "")]
    out = []
    for key, what, target, unit, f in (("tasks_per_s", "no-op tasks, one driver, async", ">= 1,000,000 /s", "/s", "{:,.0f}"),
                                       ("sync_p50_us", "task round trip, sync, p50", "<= 15 us sleeping", "us", "{:.1f}")):
        v = doc[key]
        base = f"ping-pong in shared memory {doc['pingpong_p50_us']['median']:.1f} us" if "sync" in key else "Ray 7,200 /s (published)"
        out.append((what, target, f"{f.format(v['median'])} {unit} ({f.format(min(v['all']))} .. {f.format(max(v['all']))})", base,
                    str(doc["runs"]), "`swarm_task_rate`"))
    return out


def rows():
    out = simple("local get + release, 64 B", "p50 <= 0.10 us, p99.9 <= 5 us", "get_local", "get", 64)
    out += simple("the same beside a second process that gets", "p50 <= 0.10 us, p99.9 <= 5 us", "get_two", "get", 64)
    out += simple("contains", "<= 0.05 us", "contains", "contains")
    out += simple("local put, 64 B", "p50 <= 0.40 us", "put_local", "put", 64)
    out += simple("local put, 1 MiB", "<= 1.05 x memcpy", "put_1m", "put", 1 << 20)
    out += simple("local put, 64 MiB", ">= 0.95 x memcpy", "put_64m", "put", 64 << 20, bw)
    out += simple("delete", "<= 0.2 us", "delete", "delete")
    out += churn() + full("full_lognormal", "log-normal sizes") + full("full_trace", "sizes of the requests of a trace")
    for t, what in (("ofi", "libfabric tcp"), ("shm", "same host")):
        out += every(f"remote get, {what}", remote_lat, f"get_lat_{t}", lat)
        out += every(f"remote bandwidth, {what}", remote_bw, f"get_bw_{t}", bw)
    out += every("remote put, libfabric tcp", "-", "put_lat_ofi", lat) + broadcast()
    out += every("soft-RoCE (instructions counted)", remote_lat, "vm_get_lat", lat)
    out += every("soft-RoCE (instructions counted)", remote_bw, "vm_get_bw", bw)
    out += kv("kv_memory", "one node, everything fits") + kv("kv_nodes", "two nodes, libfabric tcp")
    out += kv("kv_spill", "one node, a small arena and a disk")
    out += disk("spill", "spill", ">= 0.95 x") + disk("restore", "restore", ">= 0.95 x") + tasks()
    return out


def machine():
    docs = [d for d in map(load, (p.stem for p in sorted(RESULTS.glob("*.json")))) if d and "machine" in d and "load1" in d["machine"]]
    docs = [d for d in docs if "--transport" not in d["argv"] or "verbs" not in d["argv"]] or docs
    if not docs:
        return "No results."
    m, v = docs[0]["machine"], docs[0]["versions"]
    load1 = [d["machine"]["load1"] for d in docs]
    builds = ", ".join(sorted({d["versions"]["git"] for d in docs}))
    return (f"Machine: {m.get('cpu', '?')}, {m['cpus']} cores, {m['memory_bytes'] / 2**30:.0f} GiB; Linux {m['kernel']}; {m.get('os', '?').strip(chr(34))}; "
            f"swarm {v['swarm']} ({builds}; {v['build_type']}, {v['compiler']}); libfabric {v['libfabric']}, libibverbs {v['libibverbs']}. "
            f"Load average when the programs began: {min(load1):.1f} .. {max(load1):.1f}.")


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
    lines = [BEGIN, "", machine(), "", "| figure | target | measured: median (min .. max of the runs) | baseline of the same call, ratio | runs | command |",
             "|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(r) + " |" for r in rows()]
    lines += [""] + plots() + ["", END]
    path = DOCS / "PERF.md"
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        print(f"{path}: the marks '{BEGIN}' and '{END}' are not there once each", file=sys.stderr)
        return 1
    head, rest = text.split(BEGIN)
    path.write_text(head + "\n".join(lines) + rest.split(END)[1])
    print(f"wrote the table of {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
