/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_options.c - command lines of the daemon: the input is its arguments, one a line. What is accepted becomes an
 * argument vector (as for the daemons that a daemon starts) that is accepted, too, and means the same.
 */
#include "tests/fuzz/fuzz.h"
#include "tools/cli.h"
#include "tools/daemon_opts.h"

#define ARGS_MAX 64u

struct given {
	struct swt_daemon_opts o;
};

static const struct swt_opt options[] = {SWT_DAEMON_OPTIONS(struct given, o), SWT_OPT_END};
static const struct swt_command command = {.name = "swarmd", .summary = "", .opts = options, .args_max = 0};

static int parse(int argc, char **argv, struct given *out)
{
	FILE *const out_was = stdout, *const err_was = stderr;
	static FILE *nowhere;
	int first, rc;

	if (!nowhere)
		nowhere = fopen("/dev/null", "we");
	FUZZ_CHECK(nowhere);
	stdout = stderr = nowhere;
	swt_daemon_defaults(&out->o);
	rc = swt_parse(&command, argc, argv, out, &first);
	stdout = out_was;
	stderr = err_was;
	return rc;
}

/* As completing them would. */
static void complete(struct swt_daemon_opts *o)
{
	o->cpus = o->cpus == SWT_UNSET ? 0 : o->cpus;
	o->gpus = o->gpus == SWT_UNSET ? 0 : o->gpus;
	o->memory = o->memory == SWT_UNSET ? 0 : o->memory;
}

static void again(const struct given *g)
{
	struct swt_argv a = {.n = 0}, b = {.n = 0};
	struct given g2 = {0};
	char *argv[SWI_ARRAY_LEN(a.v) + 2] = {(char *)(uintptr_t) "swarmd"};

	swt_daemon_to_argv(&g->o, &a);
	FUZZ_CHECK(a.n < SWI_ARRAY_LEN(a.v));
	memcpy(argv + 1, a.v, a.n * sizeof(a.v[0]));
	FUZZ_CHECK(!parse((int)a.n + 1, argv, &g2));
	complete(&g2.o);
	swt_daemon_to_argv(&g2.o, &b);
	FUZZ_CHECK(a.n == b.n);
	for (uint32_t i = 0; i < a.n; i++)
		FUZZ_CHECK(!strcmp(a.v[i], b.v[i]));
	swt_argv_free(&a);
	swt_argv_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *argv[ARGS_MAX + 2] = {(char *)(uintptr_t) "swarmd"};
	struct swi_resources res;
	struct given g = {0};
	char why[512] = "";
	int argc = 1;

	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *p = text; p && argc <= (int)ARGS_MAX; argc++) {
		argv[argc] = p;
		p = strchr(p, '\n');
		if (p)
			*p++ = '\0';
	}
	if (!parse(argc, argv, &g)) {
		complete(&g.o);
		again(&g);
		if (!swt_daemon_resources(&g.o, &res, why, sizeof(why)))
			FUZZ_CHECK(res.custom_count <= SWI_CUSTOM_MAX);
		else
			FUZZ_CHECK(why[0]);
	}
	free(text);
	return 0;
}

size_t fuzz_seed(unsigned int i, uint8_t *buf, size_t cap)
{
	static const char *const seed[] = {
	    "--head\n--arena=192M\n--cpus=2\n--resource=tape=2\n-r\ndisk=0.5\n--idle-timeout=500ms",
	    "--address=10.0.0.1:6480\n--spill-dir=/tmp/a\n--spill-bytes=1.5GiB\n--workers-max=4\n--small-pages\n--transport=ofi",
	    "--memory=1e3\n--gpus=1\n--min-nodes=1\n--max-nodes=4294967295\n--log-level=debug\n--client-quota=0\n--lock",
	    "--head\n--help",
	    "--cpus=nan\n--port\n",
	    "--port=99999999999999999999\nx",
	};

	if (i >= SWI_ARRAY_LEN(seed) || strlen(seed[i]) > cap)
		return 0;
	memcpy(buf, seed[i], strlen(seed[i]));
	return strlen(seed[i]);
}
