/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - see machine.h. What cannot be read is left out, never guessed. */
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <swarm/version.h>

#include "perf/common/machine.h"
#include "perf_build.h"
#include "transport/base/base.h"

/* The first line of @path behind @prefix ("" = any), without blanks around it; NULL = not there. */
static const char *first_line(const char *path, const char *prefix, char *buf, size_t len)
{
	FILE *f = fopen(path, "r");
	char *at = NULL;

	while (f && fgets(buf, (int)len, f)) {
		if (strncmp(buf, prefix, strlen(prefix)))
			continue;
		at = buf + strlen(prefix);
		at += strspn(at, " \t:");
		at[strcspn(at, "\n")] = '\0';
		break;
	}
	if (f)
		fclose(f);
	return at && *at ? at : NULL;
}

static void add_line(json_t *o, const char *key, const char *path, const char *prefix)
{
	char buf[512];
	const char *s = first_line(path, prefix, buf, sizeof(buf));

	if (s)
		json_object_set_new(o, key, json_string(s));
}

static json_t *memlock(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_MEMLOCK, &r) || r.rlim_cur == RLIM_INFINITY)
		return json_string("unlimited");
	return json_integer((json_int_t)r.rlim_cur);
}

json_t *perf_machine(void)
{
	double load[1] = {0};
	struct utsname u;
	json_t *o = json_object();

	add_line(o, "cpu", "/proc/cpuinfo", "model name");
	json_object_set_new(o, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	json_object_set_new(o, "memory_bytes",
			    json_integer((json_int_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)));
	if (!uname(&u)) {
		json_object_set_new(o, "kernel", json_string(u.release));
		json_object_set_new(o, "arch", json_string(u.machine));
	}
	add_line(o, "os", "/etc/os-release", "PRETTY_NAME=");
	add_line(o, "governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "");
	add_line(o, "transparent_huge_pages", "/sys/kernel/mm/transparent_hugepage/enabled", "");
	add_line(o, "transparent_huge_pages_shmem", "/sys/kernel/mm/transparent_hugepage/shmem_enabled", "");
	json_object_set_new(o, "memlock_bytes", memlock());
	if (getloadavg(load, 1) == 1)
		json_object_set_new(o, "load1", json_real(load[0]));
	return o;
}

json_t *perf_versions(void)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "swarm", swarm_version(), "git",
			 PERF_BUILD_GIT, "build_type", PERF_BUILD_TYPE, "compiler",
			 PERF_BUILD_COMPILER, "libfabric", PERF_BUILD_OFI, "libibverbs",
			 PERF_BUILD_VERBS);
}
