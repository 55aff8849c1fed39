/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli_info.c - `swarm info`: what this build and this host can do. Needs no daemon.
 */
#include <liburing.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <swarm/transport.h>
#include <swarm/version.h>

#include "tools/cli.h"

#define TRANSPORTS_MAX 8u

struct info_opts {
	const char *format;
};

static const struct swt_opt options[] = {
    {"format", 'f', SWT_CHOICE, offsetof(struct info_opts, format), "FORMAT",
     "table or json (default table)", "table|json"},
    SWT_OPT_END,
};

static const struct swt_command command = {
    .name = "swarm info",
    .summary = "Show the version, the transports with their devices, and the limits of this host.",
    .opts = options,
};

static json_t *transports(void)
{
	struct swarm_transport_info rows[TRANSPORTS_MAX];
	uint32_t n = swarm_transport_list(rows, TRANSPORTS_MAX);
	json_t *a = json_array();

	n = n < TRANSPORTS_MAX ? n : TRANSPORTS_MAX;
	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(
		    a, json_pack("{s:s, s:b, s:b, s:s, s:s}", "name", rows[i].name, "built_in",
				 (rows[i].flags & SWARM_TRANSPORT_BUILT_IN) != 0, "available",
				 (rows[i].flags & SWARM_TRANSPORT_AVAILABLE) != 0, "device",
				 rows[i].device, "why", rows[i].why));
	return a;
}

static json_t *io_uring_state(void)
{
	struct io_uring ring;
	const int rc = io_uring_queue_init(4, &ring, 0);

	if (rc)
		return json_pack("{s:b, s:s}", "available", 0, "why", strerror(-rc));
	io_uring_queue_exit(&ring);
	return json_pack("{s:b, s:s}", "available", 1, "why", "");
}

static json_t *limit(__rlimit_resource_t what)
{
	struct rlimit r;

	if (getrlimit(what, &r) || r.rlim_cur == RLIM_INFINITY)
		return json_string("unlimited");
	return json_integer((json_int_t)r.rlim_cur);
}

static json_t *collect(void)
{
	struct utsname u;
	json_t *doc = json_object();

	uname(&u);
	json_object_set_new(doc, "version", json_string(swarm_version()));
	json_object_set_new(doc, "kernel", json_string(u.release));
	json_object_set_new(doc, "machine", json_string(u.machine));
	json_object_set_new(doc, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_set_new(doc, "memory_bytes",
			    json_integer((json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)));
	json_object_set_new(doc, "transports", transports());
	json_object_set_new(doc, "io_uring", io_uring_state());
	json_object_set_new(doc, "limits",
			    json_pack("{s:o, s:o, s:o}", "memlock_bytes", limit(RLIMIT_MEMLOCK),
				      "open_files", limit(RLIMIT_NOFILE), "processes",
				      limit(RLIMIT_NPROC)));
	return doc;
}

static void line(const json_t *doc, const char *path, enum swt_show show)
{
	char buf[160];

	printf("%-24s %s\n", path, swt_cell(swt_at(doc, path), show, buf, sizeof(buf)));
}

static void show(const json_t *doc)
{
	static const struct swt_column columns[] = {
	    {"name", "TRANSPORT", SWT_SHOW_TEXT},    {"built_in", "BUILT IN", SWT_SHOW_TEXT},
	    {"available", "AVAILABLE", SWT_SHOW_TEXT}, {"device", "DEVICE", SWT_SHOW_TEXT},
	    {"why", "WHY NOT", SWT_SHOW_TEXT},	     {NULL, NULL, SWT_SHOW_TEXT},
	};

	line(doc, "version", SWT_SHOW_TEXT);
	line(doc, "kernel", SWT_SHOW_TEXT);
	line(doc, "machine", SWT_SHOW_TEXT);
	line(doc, "cpus", SWT_SHOW_TEXT);
	line(doc, "memory_bytes", SWT_SHOW_SIZE);
	line(doc, "io_uring.available", SWT_SHOW_TEXT);
	line(doc, "io_uring.why", SWT_SHOW_TEXT);
	line(doc, "limits.memlock_bytes", SWT_SHOW_SIZE);
	line(doc, "limits.open_files", SWT_SHOW_TEXT);
	line(doc, "limits.processes", SWT_SHOW_TEXT);
	putchar('\n');
	swt_table(doc, "transports", columns, stdout);
}

int swt_cmd_info(int argc, char **argv)
{
	struct info_opts o = {NULL};
	int first, rc = swt_parse(&command, argc, argv, &o, &first);
	json_t *doc;

	if (rc)
		return rc == SWT_HELP_GIVEN ? 0 : rc;
	doc = collect();
	if (o.format && !strcmp(o.format, "json"))
		swt_print_json(doc, stdout);
	else
		show(doc);
	json_decref(doc);
	return 0;
}
