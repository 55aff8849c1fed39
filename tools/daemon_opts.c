/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_opts.c - see daemon_opts.h. Every refusal is one sentence that names the option and the remedy.
 */
#include <limits.h>

#include "tools/daemon_opts.h"

#include <glob.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/host.h"

#define ARENA_MIN     MIB(8)
#define ARENA_DEFAULT GIB(4)
#define IDLE_DEFAULT  (60 * NS_PER_S)

void swt_daemon_defaults(struct swt_daemon_opts *o)
{
	memset(o, 0, sizeof(*o));
	o->port = o->ready_fd = o->numa_node = UINT32_MAX;
	o->cpus = o->gpus = o->memory = SWT_UNSET;
	o->idle_timeout_ns = IDLE_DEFAULT;
	o->transport = "auto";
	o->log_level = "info";
}

/* ---- what this host has ---- */

static uint64_t meminfo(const char *field)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	char line[128], fmt[48];

	if (!f)
		return 0;
	snprintf(fmt, sizeof(fmt), "%s: %%llu kB", field);
	while (fgets(line, sizeof(line), f)) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		if (sscanf(line, fmt, &kib) == 1)
			break;
#pragma GCC diagnostic pop
	}
	fclose(f);
	return KIB(kib);
}

static uint64_t gpu_count(void)
{
	glob_t g;
	uint64_t n = 0;

	if (!glob("/dev/nvidia[0-9]*", 0, NULL, &g))
		n = g.gl_pathc;
	globfree(&g);
	return n;
}

/* The first address that others can reach; the loopback one where there is no other. */
static void own_host(char *buf, size_t len)
{
	struct ifaddrs *all = NULL;

	snprintf(buf, len, "127.0.0.1");
	if (getifaddrs(&all))
		return;
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET ||
		    (i->ifa_flags & IFF_LOOPBACK) || !(i->ifa_flags & IFF_UP))
			continue;
		if (!getnameinfo(i->ifa_addr, sizeof(struct sockaddr_in), buf, (socklen_t)len, NULL, 0,
				 NI_NUMERICHOST))
			break;
	}
	freeifaddrs(all);
}

/* ---- completing ---- */

static int complete_role(const struct swt_daemon_opts *o, char *why, size_t why_len)
{
	if (!o->head && !o->address)
		snprintf(why, why_len,
			 "say --head to begin a cluster, or --address HOST:PORT to join one");
	else if (o->head && o->address)
		snprintf(why, why_len, "--head and --address exclude each other: a node begins a cluster or joins one");
	else if (!o->head && (o->min_nodes || o->max_nodes))
		snprintf(why, why_len, "--min-nodes and --max-nodes are the head's: give them to swarm start --head");
	else if (o->max_nodes && o->min_nodes > o->max_nodes)
		snprintf(why, why_len, "--min-nodes=%u is more than --max-nodes=%u", o->min_nodes,
			 o->max_nodes);
	else if (o->address && !strchr(o->address, ':'))
		snprintf(why, why_len, "--address=%s: expected HOST:PORT, as swarm start --head printed it",
			 o->address);
	else
		return 0;
	return SWT_USAGE;
}

static int complete_dir(struct swt_daemon_opts *o, struct swt_daemon_strings *buf, char *why,
			size_t why_len)
{
	int rc = 0;

	if (o->dir) {
		/* Children are started in other places: only a full path means the same there. */
		if (*o->dir == '/')
			snprintf(buf->dir, sizeof(buf->dir), "%s", o->dir);
		else if (!getcwd(buf->dir, sizeof(buf->dir) - strlen(o->dir) - 1))
			rc = -errno;
		else
			snprintf(buf->dir + strlen(buf->dir), sizeof(buf->dir) - strlen(buf->dir), "/%s",
				 o->dir);
	} else {
		rc = swi_default_dir(buf->dir, sizeof(buf->dir));
	}
	if (rc) {
		snprintf(why, why_len, "no run directory: %s; use --dir", swarm_strerror(rc));
		return SWT_FAILED;
	}
	/* A socket's path has 108 bytes; the longest name in the folder is "swarm.sock". */
	if (strlen(buf->dir) > 90) {
		snprintf(why, why_len, "--dir=%s is too long for a socket: use at most 90 characters",
			 buf->dir);
		return SWT_FAILED;
	}
	o->dir = buf->dir;
	return 0;
}

static int complete_bind(struct swt_daemon_opts *o, struct swt_daemon_strings *buf, char *why,
			 size_t why_len)
{
	const char *colon = o->bind ? strrchr(o->bind, ':') : NULL;
	char host[256];

	if (o->port != UINT32_MAX && o->port > UINT16_MAX) {
		snprintf(why, why_len, "--port=%u: ports go up to 65535", o->port);
		return SWT_USAGE;
	}
	if (colon && o->port != UINT32_MAX) {
		snprintf(why, why_len, "--bind=%s names a port already: drop --port", o->bind);
		return SWT_USAGE;
	}
	if (colon)
		return 0;
	if (o->bind)
		snprintf(host, sizeof(host), "%s", o->bind);
	else
		own_host(host, sizeof(host));
	if (o->port == UINT32_MAX)
		o->port = o->head ? SWT_DEFAULT_PORT : 0;
	snprintf(buf->bind, sizeof(buf->bind), "%s:%u", host, o->port);
	o->bind = buf->bind;
	return 0;
}

static int complete_disk(struct swt_daemon_opts *o, char *why, size_t why_len)
{
	if ((o->durable || o->spill_keep) && !o->spill_dirs.n) {
		snprintf(why, why_len, "--%s needs a folder to keep objects in: use --spill-dir",
			 o->durable ? "durable" : "spill-keep");
		return SWT_USAGE;
	}
	if (o->spill_depth > SWARM_SPILL_DEPTH_MAX) {
		snprintf(why, why_len, "--spill-depth=%u: at most %u transfers can be in flight", o->spill_depth,
			 SWARM_SPILL_DEPTH_MAX);
		return SWT_USAGE;
	}
	o->spill_keep = o->spill_keep || o->durable;
	return 0;
}

static int complete_memory(struct swt_daemon_opts *o, char *why, size_t why_len)
{
	const uint64_t total = meminfo("MemTotal"), avail = meminfo("MemAvailable");
	char a[32], b[32];

	if (!o->arena)
		o->arena = swi_align_down(swi_min_u64(ARENA_DEFAULT, avail / 10 * 3), MIB(1));
	if (o->arena < ARENA_MIN) {
		snprintf(why, why_len, "--arena=%s is too small: use at least 8M",
			 swt_size_str(o->arena, a, sizeof(a)));
		return SWT_USAGE;
	}
	if (avail && o->arena > avail && !o->hugetlb) {
		snprintf(why, why_len,
			 "the arena of %s is larger than the %s of memory that are free here: use a smaller --arena",
			 swt_size_str(o->arena, a, sizeof(a)), swt_size_str(avail, b, sizeof(b)));
		return SWT_FAILED;
	}
	o->arena = swi_align_up(o->arena, SWI_PAGE);
	if (o->memory == SWT_UNSET)
		o->memory = total / 10 * 7 > o->arena ? (total / 10 * 7 - o->arena) & ~(MIB(1) - 1) : 0;
	if (o->cpus == SWT_UNSET)
		o->cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) * SWARM_RESOURCE_UNIT;
	if (o->gpus == SWT_UNSET)
		o->gpus = gpu_count() * SWARM_RESOURCE_UNIT;
	return 0;
}

int swt_daemon_complete(struct swt_daemon_opts *o, struct swt_daemon_strings *buf, char *why,
			size_t why_len)
{
	struct swi_resources res;
	int rc = complete_role(o, why, why_len);

	if (!rc)
		rc = complete_dir(o, buf, why, why_len);
	if (!rc)
		rc = complete_bind(o, buf, why, why_len);
	if (!rc)
		rc = complete_disk(o, why, why_len);
	if (!rc)
		rc = complete_memory(o, why, why_len);
	if (!rc)
		rc = swt_daemon_resources(o, &res, why, why_len);
	if (!rc && !o->key_file) {
		if ((size_t)snprintf(buf->key_file, sizeof(buf->key_file), "%s/cluster.key", o->dir) >=
		    sizeof(buf->key_file))
			return SWT_FAILED;
		if (!o->head && access(buf->key_file, F_OK)) {
			snprintf(why, why_len,
				 "a node needs the cluster's key: copy it from the head and name it with --key-file");
			return SWT_USAGE;
		}
		o->key_file = buf->key_file;
	}
	return rc;
}

static int one_resource(const char *s, struct swi_resources *out, char *why, size_t why_len)
{
	const char *eq = strchr(s, '=');
	const size_t n = eq ? (size_t)(eq - s) : 0;
	uint64_t amount;

	if (!n || n >= sizeof(out->custom[0].name) || swt_amount(eq + 1, &amount)) {
		snprintf(why, why_len, "--resource=%s: expected NAME=AMOUNT, a name of at most %zu characters",
			 s, sizeof(out->custom[0].name) - 1);
		return SWT_USAGE;
	}
	if (out->custom_count == SWI_CUSTOM_MAX) {
		snprintf(why, why_len, "--resource=%s: at most %u resources of your own", s,
			 SWI_CUSTOM_MAX);
		return SWT_USAGE;
	}
	memcpy(out->custom[out->custom_count].name, s, n);
	out->custom[out->custom_count++].amount = amount;
	return 0;
}

int swt_daemon_resources(const struct swt_daemon_opts *o, struct swi_resources *out, char *why,
			 size_t why_len)
{
	struct swi_resources res = {.cpu = o->cpus, .gpu = o->gpus, .memory = o->memory};
	int rc = 0;

	for (uint32_t i = 0; !rc && i < o->resources.n; i++)
		rc = one_resource(o->resources.v[i], &res, why, why_len);
	if (!rc)
		*out = res;
	return rc;
}

/* ---- back to arguments ---- */

void swt_argv_add(struct swt_argv *a, const char *fmt, ...)
{
	va_list ap;

	SWI_BUG_ON(a->n + 1 >= SWI_ARRAY_LEN(a->v));
	va_start(ap, fmt);
	if (vasprintf(&a->v[a->n], fmt, ap) < 0)
		abort();
	va_end(ap);
	a->v[++a->n] = NULL;
}

void swt_argv_free(struct swt_argv *a)
{
	for (uint32_t i = 0; i < a->n; i++)
		free(a->v[i]);
	a->n = 0;
}

static void add_amount(struct swt_argv *a, const char *name, uint64_t v)
{
	swt_argv_add(a, "--%s=%llu.%04u", name, (unsigned long long)(v / SWARM_RESOURCE_UNIT),
		     (unsigned int)(v % SWARM_RESOURCE_UNIT));
}

static void add_size(struct swt_argv *a, const char *name, uint64_t v)
{
	if (v)
		swt_argv_add(a, "--%s=%llu", name, (unsigned long long)v);
}

void swt_daemon_to_argv(const struct swt_daemon_opts *o, struct swt_argv *a)
{
	add_size(a, "arena", o->arena);
	add_size(a, "objects-max", o->objects_max);
	add_size(a, "spill-bytes", o->spill_bytes);
	add_size(a, "spill-reserve", o->spill_reserve);
	add_size(a, "spill-depth", o->spill_depth);
	add_size(a, "memory", o->memory);
	add_amount(a, "cpus", o->cpus);
	add_amount(a, "gpus", o->gpus);
	for (uint32_t i = 0; i < o->resources.n; i++)
		swt_argv_add(a, "--resource=%s", o->resources.v[i]);
	swt_argv_add(a, "--transport=%s", o->transport);
	swt_argv_add(a, "--log-level=%s", o->log_level);
	if (o->device)
		swt_argv_add(a, "--device=%s", o->device);
	if (o->workers_max)
		swt_argv_add(a, "--workers-max=%u", o->workers_max);
	if (o->small_pages)
		swt_argv_add(a, "--small-pages");
	if (o->huge_pages)
		swt_argv_add(a, "--huge-pages");
	if (o->hugetlb)
		swt_argv_add(a, "--hugetlb");
	if (o->lock)
		swt_argv_add(a, "--lock");
	if (o->numa_node != UINT32_MAX)
		swt_argv_add(a, "--numa-node=%u", o->numa_node);
	add_size(a, "client-quota", o->client_quota);
	add_size(a, "pin-max", o->pin_max);
	if (o->spill_keep)
		swt_argv_add(a, "--spill-keep");
	if (o->durable)
		swt_argv_add(a, "--durable");
	if (o->no_prefetch)
		swt_argv_add(a, "--no-prefetch");
}
