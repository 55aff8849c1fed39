/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_sim.c - the simulated disk: see disk_sim.h.
 *
 * Transfers move their bytes when they end, and end in order of their virtual time, then of their
 * submission. What a power failure leaves is the platter's business (platter.c). Single thread.
 */
#include "store/spill/platter.h"

#define FAULTS_MAX 16u
#define PUNCH_NS   (2 * NS_PER_MS) /* a file system that frees blocks: no bandwidth, but a journal */

struct swi_file {
	struct sim_disk *s;
	struct platter_file *pf;
};

struct flight {
	struct swi_list link; /* by due, then in order of submission */
	struct swi_dio *dio;
	uint64_t due;
	uint64_t cover; /* a sync: the last write that had reached the file when it was submitted */
	int status;
	bool flip, second_part;
};

struct sim_disk {
	struct swi_disk disk;
	struct swi_platter *p;
	struct swi_env *env;
	struct swi_disk_sim_opts opts;
	uint64_t rng, busy_until;
	uint64_t counts[SWI_DIO_OPS];
	struct swi_sim_fault faults[FAULTS_MAX];
	uint64_t struck[FAULTS_MAX]; /* transfers seen by each fault */
	size_t fault_count;
	struct swi_list flights;
	uint32_t open_files;
	bool dead;
};

static struct sim_disk *sim_of(struct swi_disk *d)
{
	return swi_container_of(d, struct sim_disk, disk);
}

/* ---- control calls ---- */
static int sim_open(struct swi_disk *d, const char *name, bool create, uint64_t bytes,
		    struct swi_file **out_file)
{
	struct sim_disk *s = sim_of(d);
	struct platter_file *pf = swi_platter_find(s->p, name);
	struct swi_file *f;
	int rc = 0;

	if (s->dead || strlen(name) >= PLATTER_NAME)
		return -EIO;
	if (create ? pf != NULL : pf == NULL)
		return create ? -EEXIST : -ENOENT;
	if (bytes && swi_platter_used(s->p) + (bytes - (pf ? swi_min_u64(bytes, pf->bytes) : 0)) >
			     s->p->capacity)
		return -ENOSPC;
	f = calloc(1, sizeof(*f));
	if (f && !pf)
		pf = swi_platter_new(s->p, name);
	if (!f || !pf) {
		free(f);
		return -ENOMEM;
	}
	if (bytes > pf->bytes)
		rc = swi_platter_resize(pf, bytes);
	if (rc) {
		free(f);
		return rc;
	}
	*f = (struct swi_file){.s = s, .pf = pf};
	s->open_files++;
	*out_file = f;
	return 0;
}

static uint64_t sim_file_bytes(struct swi_file *f)
{
	return f->pf->bytes;
}

static uint64_t sim_held_bytes(struct swi_file *f)
{
	return f->pf->bytes - f->pf->punched;
}

static void sim_close(struct swi_file *f)
{
	f->s->open_files--;
	free(f);
}

static int sim_unlink(struct swi_disk *d, const char *name)
{
	struct platter_file *pf = swi_platter_find(sim_of(d)->p, name);

	if (sim_of(d)->dead)
		return -EIO;
	if (!pf)
		return -ENOENT;
	swi_platter_remove(sim_of(d)->p, pf);
	return 0;
}

static int sim_list(struct swi_disk *d, void (*each)(void *ctx, const char *name), void *ctx)
{
	return sim_of(d)->dead ? -EIO : swi_platter_each(sim_of(d)->p, each, ctx);
}

static int sim_space(struct swi_disk *d, uint64_t *out_free, uint64_t *out_total)
{
	const struct sim_disk *s = sim_of(d);
	const uint64_t used = swi_platter_used(s->p);

	if (s->dead)
		return -EIO;
	*out_total = s->p->capacity;
	*out_free = s->p->capacity > used ? s->p->capacity - used : 0;
	return 0;
}

static int sim_register_memory(struct swi_disk *d SWI_UNUSED, void *addr SWI_UNUSED,
			       uint64_t len SWI_UNUSED)
{
	return 0;
}

/* ---- transfers ---- */
static void flight_insert(struct sim_disk *s, struct flight *fl)
{
	struct swi_list *at = &s->flights;

	while (at->prev != &s->flights &&
	       swi_list_entry(at->prev, struct flight, link)->due > fl->due)
		at = at->prev;
	swi_list_insert(at, &fl->link);
}

static void strike(struct sim_disk *s, struct flight *fl)
{
	for (size_t i = 0; i < s->fault_count; i++) {
		const struct swi_sim_fault *f = &s->faults[i];
		uint64_t n;

		if (f->op != fl->dio->op)
			continue;
		n = s->struck[i]++;
		if (n < f->after || n - f->after >= f->count)
			continue;
		if (f->kind == SWI_SIM_EIO)
			fl->status = -EIO;
		else if (f->kind == SWI_SIM_ENOSPC)
			fl->status = -ENOSPC;
		else if (f->kind == SWI_SIM_SHORT)
			fl->second_part = true;
		else if (f->kind == SWI_SIM_FLIP)
			fl->flip = true;
		else
			fl->due += f->arg;
	}
}

static bool is_transfer(const struct swi_dio *dio)
{
	return dio->op == SWI_DIO_READ || dio->op == SWI_DIO_WRITE;
}

static int sim_submit(struct swi_disk *d, struct swi_dio *dio)
{
	struct sim_disk *s = sim_of(d);
	const uint64_t now = swi_now(s->env);
	struct flight *fl;

	if (!swi_dio_valid(dio))
		return -EINVAL;
	fl = calloc(1, sizeof(*fl));
	if (!fl)
		return -ENOMEM;
	s->counts[dio->op]++;
	fl->dio = dio;
	fl->cover = dio->file->pf->writes;
	fl->status = s->dead ? -EIO : 0;
	s->busy_until = swi_max_u64(s->busy_until, now) +
			(is_transfer(dio) ? dio->len * NS_PER_S / s->opts.bytes_per_second : 0);
	fl->due = s->busy_until + s->opts.latency_ns +
		  swi_splitmix64(&s->rng) % (s->opts.latency_ns / 2 + 1) +
		  (dio->op == SWI_DIO_PUNCH ? PUNCH_NS : 0);
	strike(s, fl);
	flight_insert(s, fl);
	return 0;
}

static void flip_bit(struct sim_disk *s, uint8_t *p, uint64_t len)
{
	const uint64_t bit = swi_splitmix64(&s->rng) % (len * 8);

	p[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* Moves the bytes [from, to) of the transfer. */
static void move_bytes(struct sim_disk *s, struct flight *fl, uint64_t from, uint64_t to)
{
	struct swi_dio *dio = fl->dio;
	struct platter_file *pf = dio->file->pf;
	uint8_t *p = (uint8_t *)dio->buf + from;

	if (dio->op == SWI_DIO_READ) {
		swi_map_read(&pf->now, dio->off + from, p, to - from);
		if (fl->flip)
			flip_bit(s, p, to - from);
		return;
	}
	swi_platter_put(pf, dio->off + from, p, to - from);
	if (fl->flip) { /* on the medium; the caller's memory stays as it is */
		const uint64_t at = dio->off + from + swi_splitmix64(&s->rng) % (to - from);
		uint8_t byte;

		swi_map_read(&pf->now, at, &byte, 1);
		byte ^= (uint8_t)(1u << swi_splitmix64(&s->rng) % 8);
		swi_map_write(&pf->now, at, &byte, 1);
	}
}

static void land(struct sim_disk *s, struct flight *fl)
{
	struct swi_dio *dio = fl->dio;
	const struct platter_file *pf = dio->file->pf;
	const uint64_t half = swi_align_down(dio->len / 2, SWI_DISK_ALIGN);

	if (dio->op == SWI_DIO_SYNC) {
		swi_platter_sync(dio->file->pf, fl->cover);
		swi_platter_name(s->p, dio->file->pf);
	} else if (dio->off > pf->bytes || dio->len > pf->bytes - dio->off) {
		fl->status = -EIO; /* past the end of the file */
	} else if (dio->op == SWI_DIO_PUNCH && s->opts.no_punch) {
		fl->status = -EOPNOTSUPP;
	} else if (dio->op == SWI_DIO_PUNCH) {
		swi_platter_punch(dio->file->pf, dio->off, dio->len);
	} else if (fl->second_part && half) { /* a transfer, then */
		move_bytes(s, fl, 0, half);
	} else {
		move_bytes(s, fl, 0, dio->len);
	}
}

static void end_flight(struct sim_disk *s, struct flight *fl)
{
	struct swi_dio *dio = fl->dio;
	const uint64_t half = swi_align_down(dio->len / 2, SWI_DISK_ALIGN);

	swi_list_del(&fl->link);
	if (s->dead && !fl->status)
		fl->status = -EIO;
	if (!fl->status) {
		land(s, fl);
		if (!fl->status && fl->second_part && half && is_transfer(dio)) {
			fl->second_part = false;
			move_bytes(s, fl, half, dio->len);
		}
	}
	dio->status = fl->status;
	free(fl);
	dio->cb(dio);
}

/* A short transfer: its first part arrives, the rest flies on. */
static bool first_part(struct sim_disk *s, struct flight *fl)
{
	const uint64_t half = swi_align_down(fl->dio->len / 2, SWI_DISK_ALIGN);

	if (!fl->second_part || !half || fl->status || s->dead || !is_transfer(fl->dio))
		return false;
	land(s, fl);
	fl->second_part = false;
	if (fl->status)
		return false;
	swi_list_del(&fl->link);
	fl->due += s->opts.latency_ns;
	flight_insert(s, fl);
	return true;
}

static int sim_progress(struct swi_disk *d)
{
	struct sim_disk *s = sim_of(d);
	const uint64_t now = swi_now(s->env);
	struct flight *fl;
	int n = 0;

	while ((fl = swi_list_first(&s->flights, struct flight, link)) != NULL && fl->due <= now) {
		if (first_part(s, fl))
			continue;
		end_flight(s, fl);
		n++;
	}
	return n;
}

static int sim_wait(struct swi_disk *d)
{
	struct sim_disk *s = sim_of(d);
	struct flight *fl = swi_list_first(&s->flights, struct flight, link);

	if (!fl)
		return 0;
	end_flight(s, fl);
	return 1;
}

static int sim_fd(struct swi_disk *d SWI_UNUSED)
{
	return -1;
}

static const char *sim_path(struct swi_disk *d)
{
	return sim_of(d)->p->name;
}

static void sim_destroy(struct swi_disk *d)
{
	struct sim_disk *s;

	if (!d)
		return;
	s = sim_of(d);
	while (sim_wait(d))
		;
	SWI_BUG_ON(s->open_files);
	s->p->in_use = false;
	free(s);
}

static const struct swi_disk_ops sim_ops = {
	.size = sizeof(struct swi_disk_ops),
	.name = "sim",
	.open = sim_open,
	.file_bytes = sim_file_bytes,
	.held_bytes = sim_held_bytes,
	.close = sim_close,
	.unlink = sim_unlink,
	.list = sim_list,
	.space = sim_space,
	.register_memory = sim_register_memory,
	.submit = sim_submit,
	.progress = sim_progress,
	.wait = sim_wait,
	.fd = sim_fd,
	.path = sim_path,
	.destroy = sim_destroy,
};

int swi_disk_sim_create(const struct swi_disk_sim_opts *opts, struct swi_platter *p,
			struct swi_env *env, struct swi_disk **out_disk)
{
	struct sim_disk *s;

	if (p->in_use)
		return -EBUSY;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->disk.ops = &sim_ops;
	s->p = p;
	s->env = env;
	s->opts = *opts;
	if (!s->opts.latency_ns)
		s->opts.latency_ns = 80 * NS_PER_US;
	if (!s->opts.bytes_per_second)
		s->opts.bytes_per_second = GIB(2);
	s->rng = opts->seed;
	swi_list_init(&s->flights);
	p->in_use = true;
	swi_platter_forget_gone(p);
	*out_disk = &s->disk;
	return 0;
}

int swi_disk_sim_faults(struct swi_disk *d, const struct swi_sim_fault *faults, size_t count)
{
	struct sim_disk *s = sim_of(d);

	if (count > FAULTS_MAX)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		s->faults[i] = faults[i];
		s->struck[i] = 0;
	}
	s->fault_count = count;
	return 0;
}

/* Not yet, wholly, or any of its blocks. */
static void crash_punch(struct sim_disk *s, const struct swi_dio *dio)
{
	const uint64_t dice = swi_splitmix64(&s->rng) % 3;

	for (uint64_t at = 0; !s->opts.no_punch && dice && at < dio->len; at += SWI_DISK_ALIGN)
		if (dice == 1 || swi_splitmix64(&s->rng) % 2)
			swi_platter_punch(dio->file->pf, dio->off + at, SWI_DISK_ALIGN);
}

void swi_disk_sim_crash(struct swi_disk *d)
{
	struct sim_disk *s = sim_of(d);

	if (s->dead)
		return;
	/* What is in flight may have reached the medium, in part or whole. */
	swi_list_for_each(it, &s->flights) {
		const struct flight *fl = swi_list_entry(it, struct flight, link);
		const struct platter_file *pf = fl->dio->file->pf;

		if (fl->dio->op == SWI_DIO_SYNC || fl->status || fl->dio->off > pf->bytes ||
		    fl->dio->len > pf->bytes - fl->dio->off)
			continue;
		if (fl->dio->op == SWI_DIO_WRITE)
			swi_platter_put(fl->dio->file->pf, fl->dio->off, fl->dio->buf, fl->dio->len);
		else if (fl->dio->op == SWI_DIO_PUNCH)
			crash_punch(s, fl->dio);
	}
	s->dead = true;
	swi_platter_power_cut(s->p, &s->rng);
}

uint64_t swi_disk_sim_deadline_ns(struct swi_disk *d)
{
	const struct flight *fl = swi_list_first(&sim_of(d)->flights, struct flight, link);

	return fl ? fl->due : UINT64_MAX;
}

uint64_t swi_disk_sim_count(struct swi_disk *d, enum swi_dio_op op)
{
	return sim_of(d)->counts[op];
}
