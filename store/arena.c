/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c - see arena.h. No state but how many share a mapping. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "store/arena.h"
#include "transport/base/env.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#define SPARE MIB(16) /* left to the rest of the machine */
#define HUGE  MIB(2)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* Huge pages are taken as long as they cost at most so many times what small ones do. */
#define HUGE_COST     3u
#define HUGE_SAMPLE   8u /* blocks in small pages, to know their cost */
#define HUGE_PATIENCE (200 * NS_PER_MS)

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

/*
 * Huge pages where the machine has them to give: for each 2 MiB one page is touched and the block
 * collapsed. That works whatever the administrator set for shared memory ("never" is the usual
 * default); a plain fault does not. Where memory is fragmented it becomes slow: then the rest stays in
 * small pages. No error: what is not taken here is filled below.
 */
static void take_huge(struct swi_mem *m)
{
	const uint64_t blocks = m->bytes / HUGE;
	uint64_t start = swi_now(swi_env_real()), small;
	uint32_t refused = 0;

	(void)madvise(m->addr, m->bytes, MADV_HUGEPAGE);
	if (blocks <= HUGE_SAMPLE ||
	    madvise((uint8_t *)m->addr + (blocks - HUGE_SAMPLE) * HUGE, HUGE_SAMPLE * HUGE,
		    MADV_POPULATE_WRITE))
		return;
	small = (swi_now(swi_env_real()) - start) / HUGE_SAMPLE;
	start = swi_now(swi_env_real());
	for (uint64_t i = 0; i < blocks; i++) {
		uint8_t *at = (uint8_t *)m->addr + i * HUGE;

		*(volatile uint8_t *)at = 0;
		if (madvise(at, HUGE, MADV_COLLAPSE) && (errno == EINVAL || ++refused > 8))
			return;
		if (swi_now(swi_env_real()) - start > HUGE_PATIENCE + (i + 1) * small * HUGE_COST)
			return;
	}
}

/* Every page exists after this, or it says why not. */
static int fill(struct swi_mem *m, const struct swi_mem_opts *o)
{
	int rc;

	if (o->transparent && !o->hugetlb)
		take_huge(m);
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

/* ---- what the options need, checked before anything is taken ---- */

static int check_hugetlb(const char *name, uint64_t *bytes, char *why, size_t why_len)
{
	const uint64_t kib = number_in("/proc/meminfo", "Hugepagesize:");
	const uint64_t free_pages = number_in("/proc/meminfo", "HugePages_Free:");
	const uint64_t reserved = number_in("/proc/meminfo", "HugePages_Rsvd:");

	if (kib == UINT64_MAX || !kib || !swi_is_pow2(kib)) {
		snprintf(why, why_len, "the %s cannot lie in huge pages: this kernel has none; ask for transparent ones",
			 name);
		return -EOPNOTSUPP;
	}
	*bytes = swi_align_up(*bytes, kib * 1024);
	const uint64_t need = *bytes / (kib * 1024);
	const uint64_t have = free_pages == UINT64_MAX || reserved > free_pages ? 0 : free_pages - reserved;

	if (have >= need)
		return 0;
	snprintf(why, why_len,
		 "the %s of %llu MiB needs %llu huge pages of %llu KiB and %llu are free: raise vm.nr_hugepages by %llu "
		 "(sysctl -w vm.nr_hugepages=..), or ask for transparent ones",
		 name, (unsigned long long)(*bytes >> 20), (unsigned long long)need,
		 (unsigned long long)kib, (unsigned long long)have, (unsigned long long)(need - have));
	return -ENOMEM;
}

static int check_lock(const char *name, uint64_t bytes, char *why, size_t why_len)
{
	struct rlimit rl;

	if (geteuid() == 0 || getrlimit(RLIMIT_MEMLOCK, &rl) || rl.rlim_cur == RLIM_INFINITY ||
	    rl.rlim_cur >= bytes)
		return 0;
	snprintf(why, why_len, "the %s of %llu MiB cannot be locked: RLIMIT_MEMLOCK is %llu KiB; %s", name,
		 (unsigned long long)(bytes >> 20), (unsigned long long)(rl.rlim_cur >> 10),
		 swarm_strremedy(SWARM_EMEMLOCK));
	return SWARM_EMEMLOCK;
}

static int bind_node(const struct swi_mem *m, const char *name, uint32_t node, char *why,
		     size_t why_len)
{
	unsigned long mask[16] = {0};
	const uint32_t bits = 8 * sizeof(mask[0]);
	int rc = -EINVAL;

	if (node < sizeof(mask) * 8) {
		mask[node / bits] = 1ul << (node % bits);
		rc = syscall(SYS_mbind, m->addr, m->bytes, 2 /* MPOL_BIND */, mask, sizeof(mask) * 8, 0)
			 ? -errno
			 : 0;
	}
	if (rc)
		snprintf(why, why_len,
			 "the %s cannot lie on NUMA node %u: %s; /sys/devices/system/node shows which there are",
			 name, node, swarm_strerror(rc));
	return rc;
}

static int lock_all(const struct swi_mem *m, const char *name, char *why, size_t why_len)
{
	if (!mlock(m->addr, m->bytes))
		return 0;
	snprintf(why, why_len, "the %s of %llu MiB cannot be locked in memory; %s", name,
		 (unsigned long long)(m->bytes >> 20), swarm_strremedy(SWARM_EMEMLOCK));
	return SWARM_EMEMLOCK;
}

/* @bytes of @fd at an address where huge pages can be mapped. NULL: errno says why. */
static void *map_aligned(int fd, uint64_t bytes, int flags)
{
	const uint64_t span = swi_align_up(bytes, SWI_PAGE) + HUGE;
	uint8_t *room = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *at, *end;
	void *p;

	if (room == MAP_FAILED)
		return NULL;
	at = room + (swi_align_up((uintptr_t)room, HUGE) - (uintptr_t)room);
	end = at + swi_align_up(bytes, SWI_PAGE);
	p = mmap(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED) {
		const int e = errno;

		munmap(room, span);
		errno = e;
		return NULL;
	}
	if (at > room)
		munmap(room, (size_t)(at - room));
	if (end < room + span)
		munmap(end, (size_t)(room + span - end));
	return p;
}

/* The memfd and its mapping; nothing is allocated by it yet. */
static int make(const char *name, const struct swi_mem_opts *o, struct swi_mem *m)
{
	m->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | (o->hugetlb ? MFD_HUGETLB : 0));
	if (m->fd < 0 || ftruncate(m->fd, (off_t)m->bytes))
		return -errno;
	if (!o->hugetlb) {
		m->addr = map_aligned(m->fd, m->bytes, MAP_SHARED);
		return m->addr ? 0 : -errno;
	}
	m->addr = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (m->addr == MAP_FAILED) {
		m->addr = NULL;
		return -errno;
	}
	return 0;
}

int swi_mem_create_opts(const char *name, uint64_t bytes, const struct swi_mem_opts *opts,
			struct swi_mem *out, char *why, size_t why_len)
{
	const struct swi_mem_opts plain = {0}, *o = opts ? opts : &plain;
	struct swi_mem m = {.fd = -1, .bytes = swi_align_up(bytes, SWI_PAGE)};
	bool said = true;
	int rc;

	if (!bytes || m.bytes < bytes || m.bytes > INT64_MAX / 2) {
		snprintf(why, why_len, "%llu bytes are no size for the %s",
			 (unsigned long long)bytes, name);
		return -EINVAL;
	}
	rc = o->hugetlb ? check_hugetlb(name, &m.bytes, why, why_len)
			: check_room(name, m.bytes, why, why_len);
	if (!rc && o->lock)
		rc = check_lock(name, m.bytes, why, why_len);
	if (rc)
		return rc;
	rc = make(name, o, &m);
	said = false;
	if (!rc && o->numa) {
		rc = bind_node(&m, name, o->numa_node, why, why_len);
		said = rc != 0;
	}
	if (!rc)
		rc = fill(&m, o);
	if (!rc && o->lock) {
		rc = lock_all(&m, name, why, why_len);
		said = rc != 0;
	}
	if (!rc && fcntl(m.fd, F_ADD_SEALS, SEALS))
		rc = -errno;
	if (!rc && !(m.users = malloc(sizeof(*m.users))))
		rc = -ENOMEM;
	if (!rc) {
		atomic_init(m.users, 1);
		*out = m;
		return 0;
	}
	if (!said)
		snprintf(why, why_len, "the %s of %llu MiB cannot be allocated%s: %s", name,
			 (unsigned long long)(m.bytes >> 20),
			 o->hugetlb ? " in huge pages (vm.nr_hugepages)" : "", swarm_strerror(rc));
	swi_mem_fini(&m);
	return rc;
}

int swi_mem_create(const char *name, uint64_t bytes, bool huge_pages, struct swi_mem *out, char *why,
		   size_t why_len)
{
	const struct swi_mem_opts o = {.transparent = huge_pages};

	return swi_mem_create_opts(name, bytes, &o, out, why, why_len);
}

int swi_mem_map(int fd, uint64_t min_bytes, struct swi_mem *out)
{
	struct stat st;
	const int seals = fcntl(fd, F_GET_SEALS);

	if (fstat(fd, &st) || seals < 0 || (seals & SEALS) != SEALS || st.st_size <= 0 ||
	    (uint64_t)st.st_size < min_bytes)
		return -EPROTO;
	void *addr = map_aligned(fd, (uint64_t)st.st_size, MAP_SHARED | MAP_POPULATE);

	if (!addr) { /* pages larger than 2 MiB want another alignment */
		addr = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, fd, 0);
		if (addr == MAP_FAILED)
			return -errno;
	}
	*out = (struct swi_mem){.fd = fd, .addr = addr, .bytes = (uint64_t)st.st_size};
	return 0;
}

int swi_mem_share(const struct swi_mem *from, struct swi_mem *out)
{
	struct swi_mem m = *from;

	SWI_BUG_ON(!m.users);
	m.fd = fcntl(from->fd, F_DUPFD_CLOEXEC, 3);
	if (m.fd < 0)
		return -errno;
	atomic_fetch_add_explicit(m.users, 1, memory_order_relaxed);
	*out = m;
	return 0;
}

void swi_mem_prefer_huge(void *addr, uint64_t bytes)
{
	(void)madvise(addr, bytes, MADV_HUGEPAGE);
}

void swi_mem_fini(struct swi_mem *m)
{
	/* acq_rel: whoever unmaps comes after all that the others did with it. */
	if (!m->users || atomic_fetch_sub_explicit(m->users, 1, memory_order_acq_rel) == 1) {
		if (m->addr)
			munmap(m->addr, m->bytes);
		free(m->users);
	}
	if (m->fd >= 0)
		close(m->fd);
	*m = (struct swi_mem){.fd = -1};
}
