/* SPDX-License-Identifier: Apache-2.0 */
/* traffic.c - see traffic.h. */
#include <poll.h>

#include "perf/common/data.h"
#include "perf/common/traffic.h"

#define GET_NS	(30 * NS_PER_S)
#define PUT_NS	(10 * NS_PER_S)
#define LOOK_MS 1000 /* the node's death does not wake the descriptor */

/* ---- gets ---- */

int perf_cq_take(struct swarm_cq *cq, struct swarm_completion *rows, uint32_t max)
{
	struct pollfd p = {.fd = swarm_cq_fd(cq), .events = POLLIN};
	int n = 0;

	while (!n) {
		(void)poll(&p, 1, LOOK_MS);
		n = swarm_cq_poll(cq, rows, max);
	}
	return n;
}

int perf_getter_init(struct perf_getter *g, struct swarm_store *st, bool events)
{
	*g = (struct perf_getter){.st = st};
	return events ? swarm_cq_create(st, 1, &g->cq) : 0;
}

int perf_getter_get(struct perf_getter *g, struct swarm_ref ref, uint64_t timeout_ns, struct swarm_view *out_view)
{
	struct swarm_completion c;
	int rc;

	if (!g->cq)
		return swarm_store_get(g->st, ref, timeout_ns, out_view);
	rc = swarm_cq_get(g->cq, ref, timeout_ns, 0, NULL);
	if (rc)
		return rc;
	rc = perf_cq_take(g->cq, &c, 1);
	if (rc < 0)
		return rc;
	*out_view = c.view;
	return c.status;
}

void perf_getter_fini(struct perf_getter *g)
{
	if (g->cq)
		swarm_cq_destroy(g->cq);
	g->cq = NULL;
}

void perf_pull(struct perf_worker *w, const struct perf_pull *p)
{
	struct perf_getter g;

	w->error = perf_getter_init(&g, p->st, p->events);
	for (uint64_t i = p->at; i < p->count && !w->error; i += p->step) {
		const struct swarm_ref ref = perf_ref(p->set, i, p->home);
		struct swarm_view v;

		w->error = perf_getter_get(&g, ref, GET_NS, &v);
		if (w->error)
			break;
		if (v.len != p->size || (p->check && !perf_filled(v.data, v.len, ref)))
			w->error = SWARM_ECORRUPT;
		w->ops++;
		w->bytes += v.len;
		swarm_view_release(p->st, &v);
	}
	perf_getter_fini(&g);
}

/* ---- puts ---- */

static void made(struct perf_worker *w, uint64_t t0, uint64_t n, uint64_t bytes)
{
	const uint64_t ns = perf_now() - t0;

	perf_hist_add(w->hist, ns);
	if (w->arm)
		perf_arm_sample(w->arm, ns);
	w->ops += n;
	w->bytes += bytes;
}

static int make_one(const struct perf_make *m, struct swarm_ref ref)
{
	struct swarm_buf buf;
	const int rc = swarm_store_create(m->st, ref, m->size, PUT_NS, &buf);

	if (rc)
		return rc;
	if (m->check)
		perf_fill(buf.data, m->size, ref);
	else
		memcpy(buf.data, m->data, m->size);
	return swarm_store_seal(m->st, &buf);
}

/* @bytes: room for what the objects of a call contain, when that follows from their ids. */
static int make_many(const struct perf_make *m, uint64_t first, uint32_t n, uint8_t *bytes)
{
	struct swarm_put *rows = calloc(n, sizeof(*rows));

	SWI_BUG_ON(!rows);
	for (uint32_t i = 0; i < n; i++) {
		rows[i] = (struct swarm_put){perf_ref(m->set, first + i * m->step, m->home), m->data, m->size};
		if (!m->check)
			continue;
		perf_fill(bytes + i * m->size, m->size, rows[i].ref);
		rows[i].data = bytes + i * m->size;
	}
	const int rc = swarm_store_put_many(m->st, rows, n, PUT_NS, NULL);

	free(rows);
	return rc == (int)n ? 0 : rc < 0 ? rc : SWARM_EFULL;
}

void perf_make_some(struct perf_worker *w, const struct perf_make *m)
{
	uint8_t *bytes = m->outs > 1 && m->check ? malloc(m->outs * m->size) : NULL;

	SWI_BUG_ON(m->outs > 1 && m->check && !bytes);
	for (uint64_t i = m->at; i < m->count && !w->error;) {
		const uint64_t left = (m->count - i + m->step - 1) / m->step, t0 = perf_now();
		const uint32_t n = (uint32_t)swi_min_u64(m->outs, left);

		w->error = n > 1 ? make_many(m, i, n, bytes) : make_one(m, perf_ref(m->set, i, m->home));
		if (!w->error)
			made(w, t0, n, n * m->size);
		i += n * m->step;
	}
	free(bytes);
}
