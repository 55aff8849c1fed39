/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c - see arena.h. No state. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/arena.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#define SPARE MIB(16) /* left to the rest of the machine */

/* A number after @key in a file of "key: number" lines, or the file's only number; UINT64_MAX = none. */
static uint64_t number_in(const char *path, const char *key)
{
	uint64_t v = UINT64_MAX;
	char line[256];
	FILE *f = fopen(path, "re");

	if (!f)
		return v;
	while (fgets(line, sizeof(line), f)) {
		const size_t n = strlen(key);

		if (strncmp(line, key, n) || line[n] < ' ')
			continue;
		char *end, *at = line + n + strspn(line + n, " \t");
		const uint64_t got = strtoull(at, &end, 10);

		if (end != at)
			v = got;
		break;
	}
	fclose(f);
	return v;
}

/* What the control group of this process still allows; UINT64_MAX = no limit known. */
static uint64_t group_room(void)
{
	char line[512] = "", path[640];
	FILE *f = fopen("/proc/self/cgroup", "re");
	bool found = false;

	if (!f)
		return UINT64_MAX;
	while (!found && fgets(line, sizeof(line), f))
		found = !strncmp(line, "0::", 3);
	fclose(f);
	if (!found)
		return UINT64_MAX;
	line[strcspn(line, "\n")] = '\0';
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", line + 3);
	const uint64_t max = number_in(path, "");

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.current", line + 3);
	const uint64_t now = number_in(path, "");

	if (max == UINT64_MAX || now == UINT64_MAX)
		return UINT64_MAX;
	return max > now ? max - now : 0;
}

static int check_room(const char *name, uint64_t bytes, char *why, size_t why_len)
{
	const uint64_t kib = number_in("/proc/meminfo", "MemAvailable:");
	const uint64_t avail = swi_min_u64(kib > UINT64_MAX / 1024 ? UINT64_MAX : kib * 1024,
					   group_room());

	if (avail == UINT64_MAX || (bytes < avail && avail - bytes > SPARE))
		return 0;
	snprintf(why, why_len,
		 "no memory for the %s: %llu MiB were asked for and %llu MiB are available; ask for "
		 "a smaller one, or free memory",
		 name, (unsigned long long)(bytes >> 20), (unsigned long long)(avail >> 20));
	return -ENOMEM;
}

/* Every page exists after this, or it says why not. */
static int fill(struct swi_mem *m, bool huge_pages)
{
	int rc;

	if (huge_pages) { /* a fault in an advised mapping may take a huge page; fallocate takes small ones */
		madvise(m->addr, m->bytes, MADV_HUGEPAGE);
		if (madvise(m->addr, m->bytes, MADV_POPULATE_WRITE) && errno == ENOMEM)
			return -ENOMEM;
	}
	do
		rc = fallocate(m->fd, 0, 0, (off_t)m->bytes);
	while (rc && errno == EINTR);
	if (rc)
		return -errno;
	if (madvise(m->addr, m->bytes, MADV_POPULATE_WRITE)) {
		if (errno != EINVAL) /* a kernel before 5.14 does not know it */
			return -errno;
		for (uint64_t i = 0; i < m->bytes; i += SWI_PAGE)
			*((volatile uint8_t *)m->addr + i) = 0;
	}
	return 0;
}

int swi_mem_create(const char *name, uint64_t bytes, bool huge_pages, struct swi_mem *out, char *why,
		   size_t why_len)
{
	struct swi_mem m = {.fd = -1, .bytes = swi_align_up(bytes, SWI_PAGE)};
	int rc = -EINVAL;

	if (!bytes || m.bytes < bytes || m.bytes > INT64_MAX) {
		snprintf(why, why_len, "%llu bytes are no size for the %s",
			 (unsigned long long)bytes, name);
		return rc;
	}
	rc = check_room(name, m.bytes, why, why_len);
	if (rc)
		return rc;
	m.fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m.fd < 0 || ftruncate(m.fd, (off_t)m.bytes))
		goto fail;
	m.addr = mmap(NULL, m.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	if (m.addr == MAP_FAILED) {
		m.addr = NULL;
		goto fail;
	}
	rc = fill(&m, huge_pages);
	if (rc) {
		errno = -rc;
		goto fail;
	}
	if (fcntl(m.fd, F_ADD_SEALS, SEALS))
		goto fail;
	*out = m;
	return 0;
fail:
	rc = errno ? -errno : -EIO;
	snprintf(why, why_len, "the %s of %llu MiB cannot be allocated: %s", name,
		 (unsigned long long)(m.bytes >> 20), swarm_strerror(rc));
	swi_mem_fini(&m);
	return rc;
}

int swi_mem_map(int fd, uint64_t min_bytes, struct swi_mem *out)
{
	struct stat st;
	const int seals = fcntl(fd, F_GET_SEALS);

	if (fstat(fd, &st) || seals < 0 || (seals & SEALS) != SEALS || st.st_size <= 0 ||
	    (uint64_t)st.st_size < min_bytes)
		return -EPROTO;
	void *addr = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			  fd, 0);

	if (addr == MAP_FAILED)
		return -errno;
	*out = (struct swi_mem){.fd = fd, .addr = addr, .bytes = (uint64_t)st.st_size};
	return 0;
}

void swi_mem_fini(struct swi_mem *m)
{
	if (m->addr)
		munmap(m->addr, m->bytes);
	if (m->fd >= 0)
		close(m->fd);
	*m = (struct swi_mem){.fd = -1};
}
