/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_sim.c - runs seeds of the simulator: test_sim [--seed=N] [--seeds=COUNT] [--trace=FILE] [--no-faults] [--remake] [--repeat] [-v]
 *
 * --remake: nodes of little memory and slow disks, where results of cheap tasks are dropped unwritten and made again.
 * --repeat runs each seed twice and compares the traces' digests: the simulation must depend on nothing but its seed.
 */
#include <getopt.h>

#include "tests/sim/sim.h"

#define FAULTY_SEEDS 20u

struct args {
	uint64_t seed, seeds;
	const char *trace;
	bool no_faults, remake, repeat, verbose;
};

static int usage(void)
{
	fprintf(stderr, "usage: test_sim [--seed=N] [--seeds=COUNT] [--trace=FILE] [--no-faults] [--remake] [--repeat] [-v]\n");
	return 2;
}

static int parse(int argc, char **argv, struct args *a)
{
	static const struct option opt[] = {{"seed", required_argument, NULL, 's'},
					    {"seeds", required_argument, NULL, 'n'},
					    {"trace", required_argument, NULL, 't'},
					    {"no-faults", no_argument, NULL, 'q'},
					    {"remake", no_argument, NULL, 'm'},
					    {"repeat", no_argument, NULL, 'r'},
					    {NULL, 0, NULL, 0}};
	int c;

	*a = (struct args){.seed = 1, .seeds = 1};
	while ((c = getopt_long(argc, argv, "v", opt, NULL)) != -1) {
		if (c == 's')
			a->seed = strtoull(optarg, NULL, 10);
		else if (c == 'n')
			a->seeds = strtoull(optarg, NULL, 10);
		else if (c == 't')
			a->trace = optarg;
		else if (c == 'q')
			a->no_faults = true;
		else if (c == 'm')
			a->remake = true;
		else if (c == 'r')
			a->repeat = true;
		else if (c == 'v')
			a->verbose = true;
		else
			return usage();
	}
	return optind == argc ? 0 : usage();
}

static void failed(const struct args *a, uint64_t seed, const char *why)
{
	printf("seed %llu: FAILED: %s\n  replay: test_sim --seed=%llu%s%s --trace=sim.trace\n",
	       (unsigned long long)seed, why, (unsigned long long)seed, a->no_faults ? " --no-faults" : "",
	       a->remake ? " --remake" : "");
	fflush(stdout);
}

static bool run_seed(const struct args *a, uint64_t seed, FILE *trace, struct sim_outcome *out)
{
	struct sim_opts o = {.seed = seed, .trace = trace, .faults = !a->no_faults, .remake = a->remake, .verbose = a->verbose};
	struct sim_outcome again;

	sim_run(&o, out);
	if (!out->ok) {
		failed(a, seed, out->why);
		return false;
	}
	if (!a->repeat)
		return true;
	o.trace = NULL;
	sim_run(&o, &again);
	if (again.digest != out->digest || again.lines != out->lines) {
		failed(a, seed, "a second run gave another trace");
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct sim_outcome sum = {0};
	uint64_t bad = 0;
	struct args a;
	FILE *trace = NULL;

	if (parse(argc, argv, &a))
		return 2;
	if (a.trace) {
		trace = fopen(a.trace, "w");
		if (!trace) {
			perror(a.trace);
			return 2;
		}
	}
	for (uint64_t i = 0; i < a.seeds; i++) {
		struct sim_outcome out;

		bad += !run_seed(&a, a.seed + i, trace, &out);
		sum.virtual_ns += out.virtual_ns;
		sum.checked += out.checked;
		sum.guest_ops += out.guest_ops;
		sum.guest_answers += out.guest_answers;
		sum.lines += out.lines;
		sum.crashes += out.crashes;
		sum.cuts += out.cuts;
		sum.drains += out.drains;
		sum.worker_deaths += out.worker_deaths;
		sum.dropped += out.dropped;
		sum.remade += out.remade;
		sum.spilled += out.spilled;
		sum.bad_reads += out.bad_reads;
		sum.digest ^= out.digest;
	}
	if (trace)
		fclose(trace);
	printf("%llu seeds, %llu failed; %.1f virtual seconds, %llu results compared, %llu requests of guests, %llu answers checked, %llu crashes, %llu cuts, %llu drains, "
	       "%llu processes killed, %llu trace lines, digest %016llx\n",
	       (unsigned long long)a.seeds, (unsigned long long)bad, (double)sum.virtual_ns / 1e9,
	       (unsigned long long)sum.checked, (unsigned long long)sum.guest_ops,
	       (unsigned long long)sum.guest_answers, (unsigned long long)sum.crashes, (unsigned long long)sum.cuts, (unsigned long long)sum.drains,
	       (unsigned long long)sum.worker_deaths, (unsigned long long)sum.lines,
	       (unsigned long long)sum.digest);
	if (a.remake)
		printf("%llu results were dropped unwritten, %llu made again by their tasks, %llu objects were written; %llu could not be read back\n",
		       (unsigned long long)sum.dropped, (unsigned long long)sum.remade,
		       (unsigned long long)sum.spilled, (unsigned long long)sum.bad_reads);
	if (a.remake && !a.no_faults && a.seeds >= FAULTY_SEEDS && !sum.bad_reads)
		bad++; /* half of the worlds have disks that fail reads */
	/* A campaign that compared nothing proves nothing, nor one in which nothing was dropped and made again. */
	return bad || !sum.checked || (!a.remake && !sum.guest_answers) || (a.remake && (!sum.dropped || !sum.remade || !sum.spilled)) ? 1 : 0;
}
