/* SPDX-License-Identifier: Apache-2.0 */
/* spill_rig.c - see spill_rig.h. */
#include <dirent.h>
#include <poll.h>
#include <unistd.h>
#include <xxhash.h>

#include "spill_rig.h"

static uint64_t rig_now(struct swi_env *env)
{
	return swi_container_of(env, struct rig, env)->now;
}

static uint64_t real_now(struct swi_env *env SWI_UNUSED)
{
	return swi_now(swi_env_real());
}

static uint64_t rig_rand(struct swi_env *env)
{
	return swi_splitmix64(&swi_container_of(env, struct rig, env)->rng);
}

static void sink(void *ctx, enum swi_log_level level SWI_UNUSED, const char *name SWI_UNUSED,
		 const char *line)
{
	struct rig *r = ctx;
	const size_t n = strlen(r->lines);

	snprintf(r->lines + n, sizeof(r->lines) - n, "%s\n", line);
}

static void init(struct rig *r, uint32_t disks, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	r->disk_count = disks;
	r->now = NS_PER_S;
	r->rng = seed;
	r->env.rand64 = rig_rand;
	r->log = (struct swi_log){.level = SWI_LOG_WARN, .name = "rig", .sink = sink, .sink_ctx = r};
	r->opts.segment_bytes = MIB(2);
	r->opts.reserve_bytes = 1;
	r->opts.boot_epoch = 7;
	r->opts.staging_bytes = MIB(1);
	assert_int_equal(posix_memalign(&r->staging, SWI_DISK_ALIGN, MIB(1)), 0);
	r->opts.staging = r->staging;
}

void rig_init_sim(struct rig *r, uint32_t disks, uint64_t capacity, uint64_t seed)
{
	init(r, disks, seed);
	r->env.now_ns = rig_now;
	r->sim.seed = seed;
	for (uint32_t i = 0; i < disks; i++) {
		char name[16];

		snprintf(name, sizeof(name), "sim%u", i);
		r->platters[i] = swi_platter_create(capacity, name);
		assert_non_null(r->platters[i]);
	}
	rig_open_disks(r);
}

void rig_init_real(struct rig *r, uint32_t disks, const char *parent)
{
	init(r, disks, 1);
	r->env.now_ns = real_now;
	for (uint32_t i = 0; i < disks; i++) {
		snprintf(r->dirs[i], sizeof(r->dirs[i]), "%s/swarm-spill-test-XXXXXX", parent);
		assert_non_null(mkdtemp(r->dirs[i]));
	}
	rig_open_disks(r);
}

void rig_open_disks(struct rig *r)
{
	char why[256] = "";

	for (uint32_t i = 0; i < r->disk_count; i++) {
		const struct swi_disk_uring_opts o = {.path = r->dirs[i]};
		int rc;

		r->sim.seed = swi_splitmix64(&r->rng);
		if (r->platters[i])
			rc = swi_disk_sim_create(&r->sim, r->platters[i], &r->env, &r->disks[i]);
		else
			rc = swi_disk_uring_create(&o, &r->log, &r->disks[i], why, sizeof(why));
		if (rc)
			fail_msg("disk: %d %s", rc, why);
	}
	r->opts.disks = r->disks;
	r->opts.disk_count = r->disk_count;
}

void rig_open(struct rig *r)
{
	char why[256] = "";
	int rc = swi_spill_create(&r->opts, &r->env, &r->log, &r->sp, why, sizeof(why));

	if (rc)
		fail_msg("spill: %d %s", rc, why);
}

void rig_close(struct rig *r)
{
	swi_spill_destroy(r->sp);
	r->sp = NULL;
	for (uint32_t i = 0; i < r->disk_count; i++) {
		if (r->disks[i])
			r->disks[i]->ops->destroy(r->disks[i]);
		r->disks[i] = NULL;
	}
}

void rig_crash(struct rig *r)
{
	for (uint32_t i = 0; i < r->disk_count; i++)
		swi_disk_sim_crash(r->disks[i]);
	rig_close(r);
}

static void remove_dir(const char *path)
{
	DIR *d = opendir(path);
	const struct dirent *e;
	char name[512];

	if (!d)
		return;
	while ((e = readdir(d)) != NULL) {
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		if (e->d_name[0] != '.')
			(void)unlink(name);
	}
	closedir(d);
	(void)rmdir(path);
}

void rig_fini(struct rig *r)
{
	rig_close(r);
	for (uint32_t i = 0; i < r->disk_count; i++) {
		swi_platter_destroy(r->platters[i]);
		if (r->dirs[i][0])
			remove_dir(r->dirs[i]);
	}
	free(r->staging);
}

void rig_step(struct rig *r)
{
	uint64_t at;

	if (swi_spill_progress(r->sp))
		return;
	at = swi_spill_deadline_ns(r->sp);
	if (!r->platters[0]) {
		struct pollfd p[RIG_DISKS];

		for (uint32_t i = 0; i < r->disk_count; i++)
			p[i] = (struct pollfd){.fd = r->disks[i]->ops->fd(r->disks[i]),
					       .events = POLLIN};
		(void)poll(p, r->disk_count, at ? 100 : 0);
		return;
	}
	for (uint32_t i = 0; i < r->disk_count; i++)
		at = swi_min_u64(at, swi_disk_sim_deadline_ns(r->disks[i]));
	if (at != UINT64_MAX)
		r->now = swi_max_u64(r->now, at);
}

/* ---- objects ---- */
struct swarm_oid rig_id(uint64_t n, uint64_t version)
{
	return (struct swarm_oid){{n, version}};
}

static void fill(void *extent, uint64_t n, uint64_t version, uint64_t len)
{
	struct swi_object_head *h = extent;
	uint8_t *p = (uint8_t *)extent + sizeof(*h);
	uint64_t s = n * 1000003 + version * 7919 + len;

	memset(h, 0, sizeof(*h));
	for (uint64_t i = 0; i < len; i += 8) {
		const uint64_t v = swi_splitmix64(&s);

		memcpy(p + i, &v, swi_min_u64(8, len - i));
	}
	h->magic = SWI_OBJ_MAGIC;
	atomic_init(&h->state, SWI_OBJ_SEALED);
	h->oid[0] = n;
	h->oid[1] = version;
	h->gen = (uint32_t)(n & 0xfffff);
	h->home = 3;
	h->epoch = 7;
	h->len = len;
	atomic_init(&h->digest, XXH3_64bits(p, len));
	h->flags = SWI_OBJ_F_DIGEST;
}

void *rig_extent(uint64_t n, uint64_t version, uint64_t len)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, SWI_DISK_ALIGN, swi_align_up(swi_extent_bytes(len), SWI_PAGE)), 0);
	memset(p, 0xee, swi_extent_bytes(len));
	fill(p, n, version, len);
	return p;
}

bool rig_same(const void *extent, uint64_t n, uint64_t version, uint64_t len)
{
	void *want = rig_extent(n, version, len);
	const struct swi_object_head *h = extent;
	struct swi_object_head a, b;
	bool same;

	swi_head_copy(&a, h);
	swi_head_copy(&b, want);
	same = !memcmp(&a, &b, sizeof(a)) && /* NOLINT(bugprone-suspicious-memory-comparison): no padding */
	       !memcmp((const char *)extent + sizeof(*h), (const char *)want + sizeof(*h), len);
	free(want);
	return same;
}

struct look {
	struct swi_platter *p;
	uint64_t n, version, off;
	char *out_name;
	bool found;
};

static void look_into(void *ctx, const char *name)
{
	struct look *l = ctx;
	struct swi_seg_header sh;
	struct swi_object_head h;

	if (l->found || swi_platter_read(l->p, name, 0, &sh, sizeof(sh)) || swi_seg_header_check(&sh))
		return;
	for (uint64_t off = SWI_SEG_DATA_OFF;
	     !swi_platter_read(l->p, name, off, &h, sizeof(h)); off += SWI_GRANULE) {
		if (h.magic != SWI_OBJ_MAGIC || h.oid[0] != l->n || h.oid[1] != l->version ||
		    !swi_seg_record_valid(&h, (struct swi_seg_key){sh.number, sh.nonce}, off, sh.bytes))
			continue;
		l->found = true;
		l->off = off;
		snprintf(l->out_name, SWI_SEG_NAME_LEN, "%s", name);
		return;
	}
}

bool rig_place(struct rig *r, uint64_t n, uint64_t version, uint32_t *out_disk,
	       char out_name[SWI_SEG_NAME_LEN], uint64_t *out_off)
{
	struct look l = {.n = n, .version = version, .out_name = out_name};

	for (uint32_t i = 0; i < r->disk_count && !l.found; i++) {
		l.p = r->platters[i];
		swi_platter_each(l.p, look_into, &l);
		*out_disk = i;
	}
	*out_off = l.off;
	return l.found;
}

void rig_flip(struct rig *r, uint64_t n, uint64_t version, uint64_t bit)
{
	char name[SWI_SEG_NAME_LEN];
	uint32_t disk = 0;
	uint64_t off;
	uint8_t byte;

	assert_true(rig_place(r, n, version, &disk, name, &off));
	assert_int_equal(swi_platter_read(r->platters[disk], name, off + bit / 8, &byte, 1), 0);
	byte ^= (uint8_t)(1u << bit % 8);
	assert_int_equal(swi_platter_write(r->platters[disk], name, off + bit / 8, &byte, 1), 0);
}

static void set_flag(struct swi_spill_io *io)
{
	*(bool *)io->owner = true;
}

static int run(struct rig *r, void *extent, uint64_t n, uint64_t version, uint64_t len,
	       void (*op)(struct swi_spill *sp, struct swi_spill_io *io))
{
	uint32_t turns = 0;
	bool over = false;
	struct swi_spill_io io = {.id = rig_id(n, version), .extent = extent,
				  .extent_bytes = swi_extent_bytes(len), .cb = set_flag,
				  .owner = &over};

	op(r->sp, &io);
	assert_false(over);
	while (!over) {
		assert_true(turns++ < 100000);
		rig_step(r);
	}
	return io.status;
}

int rig_write(struct rig *r, uint64_t n, uint64_t version, uint64_t len)
{
	void *extent = rig_extent(n, version, len);
	int rc = run(r, extent, n, version, len, swi_spill_write);

	free(extent);
	return rc;
}

int rig_restore(struct rig *r, uint64_t n, uint64_t version, uint64_t len)
{
	void *extent = rig_extent(0, 0, len);
	int rc = run(r, extent, n, version, len, swi_spill_restore);

	if (!rc && !rig_same(extent, n, version, len))
		rc = -EBADMSG;
	free(extent);
	return rc;
}
