/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c - see place.h. A node's cost is wait + move + cold. Only the few nodes that hold bytes of the
 * task differ in what must be moved, so they are priced one by one and all others in one pass: over
 * columns where the task needs only cpu, over the rows otherwise. Pure functions, any thread.
 */
#include "sched/place.h"

#include <math.h>

#include "transport/base/env.h"

#define NET_DEFAULT  (1000ull * 1000 * 1000)
#define DISK_DEFAULT (500ull * 1000 * 1000)
#define COLD_NS	     (5 * NS_PER_MS) /* a worker process from fork to its first task */
#define HOLDERS_MAX  64u
#define BLOCKS_MAX   128u
#define NO_COST	     UINT64_MAX

typedef float v4f __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));

struct holder { /* a node that has bytes of the task */
	uint32_t row;
	uint64_t memory, disk;
};

struct question {
	const struct swi_view *view;
	enum swi_place_policy policy;
	const struct swi_resources *need;
	struct holder holder[HOLDERS_MAX];
	uint32_t holders;
	uint64_t total_bytes;
	uint64_t rnd;
};

struct best {
	uint32_t row, ties, candidates;
	uint64_t cost;
};

int swi_view_hot_init(struct swi_view_hot *hot, uint32_t cap)
{
	const uint32_t n = (uint32_t)swi_align_up(cap ? cap : 4, 4);
	float *p = aligned_alloc(64, swi_align_up((size_t)n * 5 * sizeof(float), 64));

	if (!p)
		return -ENOMEM;
	for (uint32_t i = 0; i < 5 * n; i++)
		p[i] = 0;
	*hot = (struct swi_view_hot){.free_cpu = p,
				     .park_cpu = p + n,
				     .idle_ns = p + 2 * n,
				     .wait_ns = p + 3 * n,
				     .ns_per_byte = p + 4 * n,
				     .count = n};
	/* Rows beyond the view never fit, not even a task that needs nothing. */
	for (uint32_t i = 0; i < n; i++)
		hot->free_cpu[i] = hot->park_cpu[i] = -1;
	return 0;
}

void swi_view_hot_fini(struct swi_view_hot *hot)
{
	free(hot->free_cpu);
	*hot = (struct swi_view_hot){0};
}

static uint64_t net_rate(const struct swi_view_node *n)
{
	return n->net_bytes_per_s ? n->net_bytes_per_s : NET_DEFAULT;
}

void swi_view_sync(struct swi_view *view, uint32_t row)
{
	const struct swi_view_node *n = &view->node[row];
	struct swi_view_hot *h = &view->hot;
	const uint64_t cold = n->idle_workers ? 0 : COLD_NS;

	if (row >= h->count)
		return;
	h->free_cpu[row] = n->draining ? -1 : (float)n->free.cpu;
	h->park_cpu[row] = n->draining || n->queued >= n->queue_max ? -1 : (float)n->total.cpu;
	h->idle_ns[row] = (float)cold;
	h->wait_ns[row] = (float)n->queue_ns + (float)cold;
	h->ns_per_byte[row] = 1e9f / (float)net_rate(n);
}

int64_t swi_view_row(const struct swi_view *v, uint32_t node)
{
	uint32_t lo = 0, hi = v->count;

	while (lo < hi) {
		const uint32_t mid = (lo + hi) / 2;

		if (v->node[mid].node < node)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->count && v->node[lo].node == node ? (int64_t)lo : -(int64_t)lo - 1;
}

static struct holder *holder_of(struct question *q, uint32_t row)
{
	for (uint32_t i = 0; i < q->holders; i++)
		if (q->holder[i].row == row)
			return &q->holder[i];
	if (q->holders == HOLDERS_MAX)
		return NULL;
	q->holder[q->holders] = (struct holder){.row = row};
	return &q->holder[q->holders++];
}

static void add_args(struct question *q, const struct swi_place_arg *args, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct swi_place_arg *a = &args[i];

		q->total_bytes = swi_sat_add(q->total_bytes, a->len);
		for (uint32_t c = 0; c < a->copy_count && c < SWI_ARRAY_LEN(a->copy_node); c++) {
			const int64_t row = swi_view_row(q->view, a->copy_node[c]);
			struct holder *h = row < 0 ? NULL : holder_of(q, (uint32_t)row);

			if (h && a->spilled_mask >> c & 1)
				h->disk += a->len;
			else if (h)
				h->memory += a->len;
		}
	}
}

static uint64_t transfer_ns(uint64_t bytes, uint64_t rate)
{
	return (uint64_t)((double)bytes * 1e9 / (double)rate);
}

/* What the row would cost, and its parts; NO_COST when the task cannot go there now. */
static uint64_t price(const struct question *q, uint32_t row, const struct holder *h,
		      struct swi_place_why *why)
{
	const struct swi_view_node *n = &q->view->node[row];
	const uint64_t disk = n->disk_bytes_per_s ? n->disk_bytes_per_s : DISK_DEFAULT;
	struct swi_place_why w = {.missing_bytes = q->total_bytes};
	const bool runs = swi_resources_fit(&n->free, q->need);

	if (n->draining || (!runs && (n->queued >= n->queue_max ||
				      !swi_resources_fit(&n->total, q->need))))
		return NO_COST;
	w.wait_ns = runs ? 0 : n->queue_ns;
	w.cold_ns = n->idle_workers ? 0 : COLD_NS;
	if (h) {
		const uint64_t here = h->memory + h->disk;

		w.missing_bytes -= swi_min_u64(w.missing_bytes, here);
		w.move_ns = transfer_ns(h->disk, disk);
	}
	w.move_ns += transfer_ns(w.missing_bytes, net_rate(n));
	w.cost_ns = w.wait_ns + w.move_ns + w.cold_ns;
	if (q->policy == SWI_PLACE_BYTES)
		w.cost_ns = w.missing_bytes;
	if (q->policy == SWI_PLACE_RANDOM)
		w.cost_ns = 0;
	if (why)
		*why = w;
	return w.cost_ns;
}

/* One of @n, by the n-th candidate's turn: reservoir sampling over words mixed from one. */
static bool wins_tie(uint64_t rnd, uint32_t n)
{
	uint64_t s = rnd ^ (uint64_t)n << 32;

	return (swi_splitmix64(&s) >> 33) % n == 0;
}

static void consider(struct best *b, uint32_t row, uint64_t cost, uint64_t rnd)
{
	if (cost == NO_COST)
		return;
	b->candidates++;
	if (cost < b->cost) {
		*b = (struct best){row, 1, b->candidates, cost};
	} else if (cost == b->cost) {
		b->ties++;
		if (wins_tie(rnd, b->ties))
			b->row = row;
	}
}

static void scan_rows(const struct question *q, struct best *b)
{
	for (uint32_t i = 0; i < q->view->count; i++)
		consider(b, i, price(q, i, NULL, NULL), q->rnd);
}

static v4f pick(v4i mask, v4f a, v4f b)
{
	return (v4f)(((v4i)a & mask) | ((v4i)b & ~mask));
}

static v4f columns_cost(const struct swi_view_hot *h, uint32_t i, v4f need, v4f bytes)
{
	const v4f inf = {INFINITY, INFINITY, INFINITY, INFINITY};
	const v4f runs = *(const v4f *)&h->idle_ns[i], parked = *(const v4f *)&h->wait_ns[i];
	const v4i fits = *(const v4f *)&h->free_cpu[i] >= need;
	const v4i parks = *(const v4f *)&h->park_cpu[i] >= need;

	return pick(fits, runs, pick(parks, parked, inf)) + bytes * *(const v4f *)&h->ns_per_byte[i];
}

static float least_of(const struct swi_view_hot *h, uint32_t from, uint32_t to, v4f need, v4f bytes)
{
	v4f a = {INFINITY, INFINITY, INFINITY, INFINITY}, b = a;
	uint32_t i = from;

	for (; i + 8 <= to; i += 8) {
		const v4f c = columns_cost(h, i, need, bytes), d = columns_cost(h, i + 4, need, bytes);

		a = pick(c < a, c, a);
		b = pick(d < b, d, b);
	}
	for (; i < to; i += 4) {
		const v4f c = columns_cost(h, i, need, bytes);

		a = pick(c < a, c, a);
	}
	a = pick(b < a, b, a);
	a[0] = a[1] < a[0] ? a[1] : a[0];
	a[2] = a[3] < a[2] ? a[3] : a[2];
	return a[2] < a[0] ? a[2] : a[0];
}

/* How many rows of [from, to) cost @min. */
static uint32_t ties_of(const struct swi_view_hot *h, uint32_t from, uint32_t to, v4f need, v4f bytes,
			float min)
{
	const v4f m = {min, min, min, min};
	v4i n = {0, 0, 0, 0};

	for (uint32_t i = from; i < to; i += 4)
		n -= columns_cost(h, i, need, bytes) <= m;
	return (uint32_t)(n[0] + n[1] + n[2] + n[3]);
}

/* The @nth row of [from, to) that costs @min. */
static uint32_t nth_tie(const struct swi_view_hot *h, uint32_t from, uint32_t to, v4f need, v4f bytes,
			float min, uint32_t nth)
{
	for (uint32_t i = from; i < to; i += 4) {
		const v4f c = columns_cost(h, i, need, bytes);

		for (uint32_t k = 0; k < 4; k++)
			if (c[k] <= min && !nth--)
				return i + k;
	}
	return from;
}

/* The same as scan_rows() by cost, for needs of cpu alone: the least of each block, then the ties in the best blocks. */
static void scan_columns(const struct question *q, struct best *b)
{
	const struct swi_view_hot *h = &q->view->hot;
	const float nf = (float)q->need->cpu, bf = (float)q->total_bytes;
	const v4f need = {nf, nf, nf, nf}, bytes = {bf, bf, bf, bf};
	const uint32_t end = (uint32_t)swi_align_up(q->view->count, 4);
	const uint32_t block = (uint32_t)swi_align_up(end / BLOCKS_MAX + 32, 32);
	const uint32_t blocks = (end + block - 1) / block;
	float least[BLOCKS_MAX], min = INFINITY;
	uint32_t ties[BLOCKS_MAX], sum = 0, nth;

	for (uint32_t k = 0; k < blocks; k++) {
		const uint32_t to = k + 1 < blocks ? (k + 1) * block : end;

		least[k] = least_of(h, k * block, to, need, bytes);
		min = least[k] < min ? least[k] : min;
	}
	if (isinf(min))
		return;
	for (uint32_t k = 0; k < blocks; k++) {
		const uint32_t to = k + 1 < blocks ? (k + 1) * block : end;

		ties[k] = least[k] > min ? 0 : ties_of(h, k * block, to, need, bytes, min);
		sum += ties[k];
	}
	SWI_BUG_ON(!sum); /* the least is somewhere */
	nth = (uint32_t)((q->rnd >> 16) % sum);
	for (uint32_t k = 0; k < blocks; k++) {
		const uint32_t to = k + 1 < blocks ? (k + 1) * block : end;

		if (nth < ties[k]) {
			const uint32_t row = nth_tie(h, k * block, to, need, bytes, min, nth);

			*b = (struct best){row, sum, q->view->count, (uint64_t)min};
			return;
		}
		nth -= ties[k];
	}
}

static bool fits_some_total(const struct question *q)
{
	for (uint32_t i = 0; i < q->view->count; i++)
		if (!q->view->node[i].draining &&
		    swi_resources_fit(&q->view->node[i].total, q->need))
			return true;
	return false;
}

static bool columns_do(const struct question *q)
{
	return q->policy == SWI_PLACE_COST && q->view->hot.count >= q->view->count &&
	       !q->need->gpu && !q->need->memory && !q->need->custom_count;
}

uint32_t swi_place(const struct swi_view *view, enum swi_place_policy policy,
		   const struct swi_resources *need, const struct swi_place_arg *args,
		   uint32_t arg_count, uint64_t rnd, struct swi_place_why *out_why)
{
	struct question q;
	struct best b = {.cost = NO_COST};

	q.view = view;
	q.policy = policy;
	q.need = need;
	q.holders = 0;
	q.total_bytes = 0;
	q.rnd = rnd;
	add_args(&q, args, arg_count);
	if (columns_do(&q))
		scan_columns(&q, &b);
	else
		scan_rows(&q, &b);
	/* The random arm must not see the holders twice. */
	for (uint32_t i = 0; i < q.holders && policy != SWI_PLACE_RANDOM; i++) {
		const uint64_t cost = price(&q, q.holder[i].row, &q.holder[i], NULL);

		if (cost < b.cost)
			b = (struct best){q.holder[i].row, 1, b.candidates, cost};
	}
	if (b.cost == NO_COST)
		return fits_some_total(&q) ? SWI_PLACE_NONE : SWI_PLACE_NEVER;
	if (out_why) {
		const struct holder *h = NULL;

		for (uint32_t i = 0; i < q.holders; i++)
			if (q.holder[i].row == b.row)
				h = &q.holder[i];
		price(&q, b.row, h, out_why);
		out_why->candidates = b.candidates;
	}
	return view->node[b.row].node;
}
