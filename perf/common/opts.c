/* SPDX-License-Identifier: Apache-2.0 */
/* opts.c - see opts.h. Runs before any thread starts. */
#include <arpa/inet.h>

#include <swarm/store.h>

#include <stdarg.h>

#include "perf/common/opts.h"

#define ITEM_MAX 32u

_Noreturn void perf_die(const struct perf_opts *o, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", o->program);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

/* Cuts the next item of a list off; false at its end. An empty or overlong item becomes "", which no parser takes. */
static bool next_item(const char **s, const char *separators, char item[ITEM_MAX])
{
	size_t n;

	if (!*s)
		return false;
	n = strcspn(*s, separators);
	item[0] = '\0';
	if (n < ITEM_MAX) {
		memcpy(item, *s, n);
		item[n] = '\0';
	}
	*s = (*s)[n] ? *s + n + 1 : NULL;
	return true;
}

int perf_size_list(const char *s, uint64_t *out, uint32_t max, uint32_t *out_count)
{
	char item[ITEM_MAX];
	uint32_t n = 0;

	while (next_item(&s, ",", item)) {
		if (n == max || swt_size(item, &out[n]) || !out[n])
			return -EINVAL;
		n++;
	}
	*out_count = n;
	return 0;
}

int perf_percent_list(const char *s, double *out, uint32_t max, uint32_t *out_count)
{
	char item[ITEM_MAX], *end;
	uint32_t n = 0;

	while (next_item(&s, ",:", item)) {
		if (n == max || item[0] < '0' || item[0] > '9')
			return -EINVAL;
		out[n] = strtod(item, &end);
		if (*end || !(out[n] >= 0 && out[n] <= 100))
			return -EINVAL;
		n++;
	}
	*out_count = n;
	return 0;
}

int perf_gid_address(const char *root, const char *device, uint32_t index, char *out, size_t len)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, local[2] = {0xfe, 0x80}, none[16];
	const int name = (int)strcspn(device, ":");
	char path[512], text[INET6_ADDRSTRLEN + 1] = "";
	uint8_t gid[16];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%.*s/ports/%s/gids/%u", root, name, device, device[name] ? device + name + 1 : "1", index);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	const bool read = fgets(text, sizeof(text), f) != NULL;

	fclose(f);
	text[strcspn(text, "\n")] = '\0';
	if (!read || inet_pton(AF_INET6, text, gid) != 1 || !memcmp(gid, local, sizeof(local)) || !memcmp(gid, none, sizeof(none)))
		return -EINVAL;
	if (!memcmp(gid, mapped, sizeof(mapped)))
		return inet_ntop(AF_INET, gid + sizeof(mapped), out, (socklen_t)len) ? 0 : -errno;
	return inet_ntop(AF_INET6, gid, out, (socklen_t)len) ? 0 : -errno;
}

static int sizes(const struct swt_command *cmd, struct perf_opts *o)
{
	if (o->all_sizes || (o->size_text && !strcmp(o->size_text, "all"))) {
		for (uint64_t s = 2; s <= PERF_SIZE_ALL_MAX; s *= 2)
			o->size[o->size_count++] = s;
		return 0;
	}
	if (!o->size_text)
		return 0;
	if (perf_size_list(o->size_text, o->size, PERF_SIZES_MAX, &o->size_count))
		return swt_error(cmd, SWT_USAGE,
				 "--size=%s: expected sizes such as 64,4k,1M (at most %u), or all",
				 o->size_text, PERF_SIZES_MAX);
	return 0;
}

/* The first option that was given and that this program only knows to refuse. */
static int refuse(const struct swt_command *cmd, const void *out)
{
	for (const struct swt_opt *i = cmd->opts; i->name; i++) {
		const char *at = (const char *)out + i->off;

		if (!i->help || strncmp(i->help, PERF_NOT, strlen(PERF_NOT)))
			continue;
		if (i->kind == SWT_FLAG ? *(const bool *)at : *(const char *const *)(const void *)at != NULL)
			return swt_error(cmd, SWT_USAGE, "--%s is %s", i->name, i->help);
	}
	return 0;
}

static int check(const struct swt_command *cmd, struct perf_opts *o)
{
	const int modes = o->loopback + o->local + o->attach + (o->host != NULL);

	if (modes > 1)
		return swt_error(cmd, SWT_USAGE,
				 "give one of HOST, --loopback, --local and --attach");
	if ((o->local || o->attach) &&
	    (o->transport || o->device || o->key_file || o->bind || o->port != UINT32_MAX))
		return swt_error(cmd, SWT_USAGE,
				 "--transport, --device, --port, --bind and --key-file go with HOST, --loopback or the server");
	if (o->loopback && (o->key_file || o->port != UINT32_MAX))
		return swt_error(cmd, SWT_USAGE, "--port and --key-file go with HOST or the server");
	if (o->device && o->transport && !strcmp(o->transport, "shm"))
		return swt_error(cmd, SWT_USAGE, "--device means nothing to --transport=shm");
	if ((o->local || o->attach) && (o->queue_pairs || o->gid_index != UINT32_MAX))
		return swt_error(cmd, SWT_USAGE, "--qp and --gid-index go with HOST, --loopback or the server");
	if (o->queue_pairs > SWARM_QUEUE_PAIRS_MAX)
		return swt_error(cmd, SWT_USAGE, "--qp=%u: at most %u", o->queue_pairs, SWARM_QUEUE_PAIRS_MAX);
	if ((o->queue_pairs || o->gid_index != UINT32_MAX) && o->transport && strcmp(o->transport, "verbs") != 0 &&
	    strcmp(o->transport, "auto") != 0)
		return swt_error(cmd, SWT_USAGE, "--qp and --gid-index are of verbs, not of --transport=%s", o->transport);
	if (o->gid_index != UINT32_MAX && (o->bind || !o->device))
		return swt_error(cmd, SWT_USAGE, "--gid-index needs --device, and says what --bind says");
	if (o->gid_index != UINT32_MAX) {
		if (perf_gid_address("/sys/class/infiniband", o->device, o->gid_index, o->gid_address, sizeof(o->gid_address)))
			return swt_error(cmd, 1, "GID %u of RDMA device %s is not there, or no address of a network", o->gid_index,
					 o->device);
		o->bind = o->gid_address;
	}
	if (o->port == UINT32_MAX)
		o->port = PERF_PORT;
	if (o->runs < 1 || o->runs > PERF_RUNS_MAX)
		return swt_error(cmd, SWT_USAGE, "--runs=%u: expected 1 to %u", o->runs,
				 PERF_RUNS_MAX);
	if (o->port < 1 || o->port > 65535)
		return swt_error(cmd, SWT_USAGE, "--port=%u: expected 1 to 65535", o->port);
	if (o->threads < 1 || o->threads > PERF_THREADS_MAX)
		return swt_error(cmd, SWT_USAGE, "--threads=%u: expected 1 to %u", o->threads,
				 PERF_THREADS_MAX);
	if (o->iters && o->duration_ns)
		return swt_error(cmd, SWT_USAGE, "give either --iters or --duration");
	if (o->percentiles &&
	    perf_percent_list(o->percentiles, o->percent, PERF_PERCENT_MAX, &o->percent_count))
		return swt_error(cmd, SWT_USAGE,
				 "--percentiles=%s: expected numbers from 0 to 100, such as 50,99,99.9",
				 o->percentiles);
	return sizes(cmd, o);
}

int perf_opts_parse(const struct swt_command *cmd, int argc, char **argv, void *out,
		    struct perf_opts *o)
{
	static const double percent[] = {50, 90, 99, 99.9, 99.99};
	int first, rc;

	o->program = cmd->name;
	o->argc = argc;
	o->argv = argv;
	if (!o->runs)
		o->runs = 5;
	o->port = o->gid_index = UINT32_MAX; /* not given */
	if (!o->threads)
		o->threads = 1;
	memcpy(o->percent, percent, sizeof(percent));
	o->percent_count = SWI_ARRAY_LEN(percent);
	rc = swt_parse(cmd, argc, argv, out, &first);
	if (rc)
		return rc;
	rc = refuse(cmd, out);
	if (rc)
		return rc;
	if (!o->output)
		o->output = "text";
	if (cmd->args && !strcmp(cmd->args, "[HOST]") && first < argc)
		o->host = argv[first];
	return check(cmd, o);
}
