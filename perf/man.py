#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""man.py [--check] FOLDER-OF-THE-PROGRAMS - makes docs/man/swarm_*.1 of the harnesses.

What a program measures is told here; its options come from its own --help, so that the page cannot promise
others. --check writes nothing and exits with 1 where a page is not what it would be.
"""
import pathlib
import re
import subprocess
import sys

OUT = pathlib.Path(__file__).resolve().parents[1] / "docs" / "man"

MODES = """Without a host the program is the server: it makes the objects that its client asks for, and ends with it.
With HOST it is the client of a server there.
\\fB--loopback\\fR does both in one call. \\fB--local\\fR measures a store inside the process, \\fB--attach\\fR the store of
another process of this host, with \\fB--others\\fR more processes at work on it.
.PP
Both ends need the same cluster key: \\fB--key-file\\fR, else cluster.key in the run directory of this user, which the
server makes when there is none. Copy it to the client's host."""

FIO = """
.PP
fio is looked for in PATH; without it the baseline says so."""

PAGES = {
    "swarm_get_lat": ("latency of getting objects", MODES + """
.PP
Remote, each object is asked for once while the reader has never seen it ("cold"), then again and again from a set that is
half as large again as the reader's memory ("warm"), so that every get goes to the owner. Baselines of the same call, turn by
turn: READs over the same transport without a store, and
.BR ib_read_lat (1)
where the transport is verbs and it is installed. Locally: memcpy out of the same memory, for scale; a get copies nothing.
.PP
The clock's own cost is taken off each sample. lat_ns_p50_of_means_of_64 is the median of the means of batches
of 64, which is finer than the clock."""),
    "swarm_get_bw": ("bandwidth of getting objects", MODES + """
.PP
Remote, \\fB--outs\\fR objects are asked for with one call. Baselines of the same call: READs without a store, as many in
flight, and
.BR ib_read_bw (1)
(verbs) or
.BR fi_rma_bw (1)
(ofi) where installed. Locally the bytes are copied out of the store's memory and the baseline is that copy alone."""),
    "swarm_put_lat": ("latency of putting objects", MODES + """
.PP
Locally: create, copy and seal, beside memcpy into memory of the same arena, from 64 KiB on operation by operation.
Remote: nobody writes into another node's memory, so the figure is half of a round: put here, get there, put there, get here;
the baseline is one READ without a store."""),
    "swarm_put_bw": ("bandwidth of putting objects", MODES + """
.PP
Locally: bytes of the puts over the time that they took, beside memcpy into the same arena. Remote: until the server has got
every object."""),
    "swarm_churn": ("puts, gets and deletes mixed", """Keeps a number of live objects of a distribution of sizes and does puts, gets and
deletes on them: operations a second, and the latency of each kind.
.PP
With \\fB--full\\fR the arena is kept full: puts go on until one is refused, then an object goes. The share of the arena that holds
live bytes when a put is refused, after the deletes have settled, is the utilisation: what fragmentation leaves."""),
    "swarm_broadcast": ("one object, many readers at once", """N nodes, each a store in a process of its own, get one object of the server at the same
moment. Reports the bytes a second over all readers until the last one has it, and how many copies the source sent: the bytes that READs
brought from it over the size of the object, those that look for it among them.
.PP
Without a host the program is the source; with HOST it runs the readers against a source there; \\fB--loopback\\fR does both.
The key is found as with
.BR swarm_get_lat (1)."""),
    "swarm_kvtrace": ("replay of a trace of requests as a KV cache", """Replays a trace in Mooncake's format, a JSON object a line with timestamp [ms],
input_length, output_length and hash_ids. Each hash id is a block of a prompt; a block that was seen before is
looked up, another one is made. Request i runs on node i modulo \\fB--nodes\\fR. Reports hits in memory, from another node and from
disk, misses, the latency of each, and the bytes that moved; every byte of every hit is checked.
.PP
The default arena holds the whole trace: then the hit ratio is the trace's own, which is printed beside it. With a smaller
\\fB--arena\\fR and no \\fB--spill\\fR the least recently used blocks go."""),
    "swarm_spill_bw": ("bandwidth of spilling objects to disk", """Writes objects through the log that a store spills to, in a folder of its own below
\\fB--dir\\fR, with O_DIRECT and io_uring out of registered memory, as a node does. The baseline of the same call, turn by turn, is
.BR fio (1)
in the same folder: sequential writes of the same block size and depth, O_DIRECT and io_uring. Objects below 64 KiB are
gathered before they are written, so fio writes blocks of 1 MiB beside them.
.PP
cpu_s_per_gb is the CPU time of the process for 10^9 bytes, fio's is beside it. Everything that was written is removed at the end, also
after a signal.""" + FIO),
    "swarm_restore_bw": ("bandwidth of restoring spilled objects", """Writes objects as
.BR swarm_spill_bw (1)
does and reads them back into memory; header and digest of each are checked. The baseline is
.BR fio (1)
with reads of the same block size and depth in the same folder: sequential, and for objects below 64 KiB at random, since each
of those is a read of its own.""" + FIO),
    "swarm_restore_lat": ("latency of restoring a spilled object", """Reads spilled objects back one at a time, digest checked, nothing else going on. The baseline is
.BR fio (1)
with random reads of the same block size, one at a time; its value is the median completion latency.""" + FIO),
    "swarm_recover": ("time to open a kept spill log", """Writes a log of objects in a process of its own, then opens it again: closed segments are known from
their footers. With \\fB--crash\\fR that process is killed, and the last segment is scanned. p50_ns is the median time of opening, cpu_s_per_gb
the CPU time of the process meanwhile for 10^9 bytes of objects in the log; it is an error when an object is missing. With
\\fB--folders\\fR the log lies in so many, and fullest_folder_bytes is the most that one of them holds.""" + FIO),
    "swarm_get_spilling": ("local gets while the store spills", """Gets resident objects of a store while another process puts objects of 1 MiB as fast as it gets room, so
that the store writes to disk all the while. The baseline is the same gets of the same call while nothing is written, turn by
turn. p99_ratio is the ratio of the 99th percentiles, the median of the runs; ratio that of the medians. cpu_s_per_gb is the CPU time of the
store, the threads that get left out, for 10^9 bytes that are spilled meanwhile."""),
    "swarm_task_rate": ("no-op tasks a second", """One driver submits tasks that do nothing and waits for all of them ("task, async"), and one after the
other ("task, sync": from submit until the result is there). "submit" is the submitting alone. Starts a node of its own with
.BR swarmd (1),
unless \\fB--dir\\fR names one. The baseline of the sync figure is one word there and back through memory that two processes share, both
spinning."""),
    "swarm_alloc_util": ("how full the allocator gets", """Puts objects of mixed sizes into an arena for ever; when there is no room, objects are evicted until there is.
utilisation_mean is the share of the arena that payload has, over all puts after the arena was full for the first time; utilisation_min
the least. Only the allocator's records exist, placed as the store places: no memory is touched, so the arena may be larger than the machine's."""),
    "swarm_meta_mem": ("memory of an object besides its payload", """Puts objects of 64 bytes into one store and counts what each takes besides: its share of the index, its header and
what rounding adds in the arena, and the growth of the node's own memory."""),
}

TAIL = """.SH OUTPUT
Text is a table like perftest's. JSON is one document: argv, machine, versions, config and results, a row for each size and
operation. Keys carry their units: lat_ns.p50, lat_ns.p99_9, bw_bytes_per_s, ops_per_s; where a baseline ran in the same call,
baseline.name, baseline.value and ratio, the median of the ratios of the single runs (ratio_min, ratio_max). No sample is left out.
.SH EXIT STATUS
0: measured. 1: it failed; one line says what. 2: used wrongly.
"""


def roff(text):
    return text.replace("-", "\\-")


def options(help_text):
    out = []
    for line in help_text.splitlines():
        m = re.match(r"  ((?:-\w, |    )--\S+)\s*(.*)$", line)
        if m:
            out.append([m.group(1).strip(), m.group(2).strip()])
        elif out and line.startswith(" " * 20) and line.strip():
            out[-1][1] = (out[-1][1] + " " + line.strip()).strip()
    return out


def page(name, bin_dir):
    summary, text = PAGES[name]
    run = subprocess.run([str(bin_dir / name), "--help"], capture_output=True, text=True, check=True)
    usage = run.stdout.splitlines()[0].split("...", 1)[1].strip()
    lines = [f".TH {name} 1 \"\" \"swarm\" \"Swarm\"", ".SH NAME", f"{name} \\- {summary}", ".SH SYNOPSIS",
             f".B {name}", "[\\fIOPTION\\fR]..." + (f" {usage}" if usage else ""), ".SH DESCRIPTION", roff(text), ".SH OPTIONS"]
    for flag, what in options(run.stdout):
        lines += [".TP", f".B {roff(flag)}", roff(what[:1].upper() + what[1:] + ".")]
    lines.append(roff(TAIL).rstrip())
    lines += [".SH SEE ALSO", ",\n".join(f".BR {other} (1)" if other == "swarm" else f".BR {other} (1)"
                                         for other in sorted([*PAGES, "swarm"]) if other != name).replace("(1),", "(1),")]
    return "\n".join(lines).replace("(1),\n", "(1),\n") + "\n"


def main():
    args = [a for a in sys.argv[1:] if a != "--check"]
    bin_dir, bad = pathlib.Path(args[0]), 0
    for name in PAGES:
        path, want = OUT / f"{name}.1", page(name, bin_dir)
        if "--check" not in sys.argv:
            path.write_text(want)
        elif not path.exists() or path.read_text() != want:
            print(f"{path} is not what {name} --help says: run perf/man.py {bin_dir}")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
