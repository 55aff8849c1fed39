/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - see status.h: gathering, keeping and summing up. */
#include "sched/status.h"

#include "sched/core.h"

#define GATHER_NS (500 * NS_PER_MS)

struct part {
	struct swi_list link;
	uint32_t node;
	char what[16];
	char state[16]; /* "" = alive */
	json_t *doc;
};

struct gather {
	struct swi_list link;
	struct swi_client *cl;
	uint64_t req; /* the client's */
	uint64_t num; /* ours */
	uint64_t deadline_ns;
	uint32_t open;
};

void swi_status_init(struct swi_node *n)
{
	swi_list_init(&n->status.parts);
	swi_list_init(&n->status.gathers);
}

static void gather_free(struct gather *g)
{
	swi_list_del(&g->link);
	free(g);
}

void swi_status_fini(struct swi_node *n)
{
	if (!n->status.parts.next)
		return;
	while (!swi_list_empty(&n->status.parts)) {
		struct part *p = swi_list_first(&n->status.parts, struct part, link);

		swi_list_del(&p->link);
		json_decref(p->doc);
		free(p);
	}
	while (!swi_list_empty(&n->status.gathers))
		gather_free(swi_list_first(&n->status.gathers, struct gather, link));
}

static struct part *part_of(struct swi_node *n, uint32_t node, const char *what)
{
	struct part *p;

	swi_list_for_each(it, &n->status.parts) {
		p = swi_list_entry(it, struct part, link);
		if (p->node == node && !strcmp(p->what, what))
			return p;
	}
	p = calloc(1, sizeof(*p));
	SWI_BUG_ON(!p);
	p->node = node;
	snprintf(p->what, sizeof(p->what), "%s", what);
	swi_list_push_back(&n->status.parts, &p->link);
	return p;
}

void swi_status_keep(struct swi_node *n, uint32_t node, const char *state)
{
	swi_list_for_each_safe(it, &n->status.parts) {
		struct part *p = swi_list_entry(it, struct part, link);

		if (p->node != node)
			continue;
		snprintf(p->state, sizeof(p->state), "%s", state);
		if (!strcmp(p->what, "status"))
			continue;
		swi_list_del(&p->link); /* only its sums are of use to anybody */
		json_decref(p->doc);
		free(p);
	}
}

/* ---- asking ---- */

static void ask(struct swi_node *n, uint32_t to, uint64_t num, const char *what)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	swi_wr_u64(&w, num);
	swi_wr_str(&w, what);
	(void)swi_node_send(n, to, SWI_P_STATUS, &w);
}

static void gather_done(struct swi_node *n, struct gather *g)
{
	uint8_t buf[64];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));

	(void)n;
	swi_wr_u32(&w, 0);
	swi_wr_str(&w, g->open ? "some nodes did not answer in time" : "");
	swi_client_send(g->cl, SWI_L_REPLY, g->req, buf, w.len);
	gather_free(g);
}

void swi_status_gather(struct swi_node *n, struct swi_client *cl, uint64_t req, const char *what)
{
	struct gather *g;

	if (strlen(what) >= 16) {
		swi_client_reply_error(cl, req, -EINVAL, "there is no such document");
		return;
	}
	g = calloc(1, sizeof(*g));
	if (!g) {
		swi_client_reply_error(cl, req, -ENOMEM, "");
		return;
	}
	g->cl = cl;
	g->req = req;
	g->num = ++n->status.next_req;
	g->deadline_ns = swi_node_now(n) + GATHER_NS;
	swi_list_push_back(&n->status.gathers, &g->link);
	for (uint32_t i = 0; i < n->cview.view.count; i++)
		if (n->cview.member[i]->node != n->number) {
			ask(n, n->cview.member[i]->node, g->num, what);
			g->open++;
		}
	if (!g->open)
		gather_done(n, g);
}

void swi_status_client_gone(struct swi_node *n, struct swi_client *cl)
{
	swi_list_for_each_safe(it, &n->status.gathers) {
		struct gather *g = swi_list_entry(it, struct gather, link);

		if (g->cl == cl)
			gather_free(g);
	}
}

int swi_status_on_ask(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const uint64_t num = swi_rd_u64(rd);
	struct swi_wr w;
	char what[16], *text;
	json_t *doc;
	uint32_t cap;

	swi_rd_str(rd, what, sizeof(what));
	if (!swi_rd_done(rd))
		return -EBADMSG;
	doc = swi_status_part(n, what);
	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	if (text && strlen(text) > SWI_MSG_MAX - 64) {
		free(text);
		text = NULL;
	}
	cap = 64 + (uint32_t)(text ? strlen(text) : 0);
	w = swi_wr_init(malloc(cap), cap);
	if (w.buf) {
		swi_wr_u64(&w, num);
		swi_wr_str(&w, what);
		swi_wr_str(&w, text);
		(void)swi_node_send(n, from, SWI_P_STATUS_REPLY, &w);
	}
	free(w.buf);
	free(text);
	return 0;
}

int swi_status_on_reply(struct swi_node *n, uint32_t from, struct swi_rd *rd)
{
	const uint64_t num = swi_rd_u64(rd);
	const char *text;
	struct part *p;
	char what[16];
	uint32_t len;

	swi_rd_str(rd, what, sizeof(what));
	text = swi_rd_bytes(rd, &len);
	if (!swi_rd_done(rd))
		return -EBADMSG;
	p = part_of(n, from, what);
	json_decref(p->doc);
	p->doc = json_loadb(text ? text : "", len, 0, NULL);
	swi_list_for_each_safe(it, &n->status.gathers) {
		struct gather *g = swi_list_entry(it, struct gather, link);

		if (g->num == num && g->open && !--g->open)
			gather_done(n, g);
	}
	return 0;
}

int swi_status_step(struct swi_node *n)
{
	int handled = 0;

	swi_list_for_each_safe(it, &n->status.gathers) {
		struct gather *g = swi_list_entry(it, struct gather, link);

		if (swi_node_now(n) < g->deadline_ns)
			continue;
		gather_done(n, g);
		handled++;
	}
	return handled;
}

uint64_t swi_status_deadline_ns(const struct swi_node *n)
{
	const struct gather *g = swi_list_first(&n->status.gathers, struct gather, link);

	return g ? g->deadline_ns : UINT64_MAX; /* in order of asking, all wait equally long */
}

/* ---- documents ---- */

/* Adds the numbers of @doc, group by group. */
static void add_up(json_t *sum, const json_t *doc)
{
	const char *key, *name;
	json_t *group, *val;

	json_object_foreach((json_t *)(uintptr_t)doc, key, group) {
		json_t *to = json_object_get(sum, key);

		if (!json_is_object(group))
			continue;
		if (!to) {
			to = json_object();
			json_object_set_new(sum, key, to);
		}
		json_object_foreach(group, name, val) {
			const json_int_t before = json_integer_value(json_object_get(to, name));

			if (json_is_integer(val))
				json_object_set_new(to, name, json_integer(before + json_integer_value(val)));
		}
	}
}

static json_t *cluster_doc(struct swi_node *n, const char *what)
{
	json_t *own = swi_status_part(n, what), *list, *sum, *doc;

	if (!own)
		return NULL;
	list = json_array();
	sum = json_object();
	add_up(sum, own);
	json_array_append_new(list, own);
	swi_list_for_each(it, &n->status.parts) {
		struct part *p = swi_list_entry(it, struct part, link);

		if (strcmp(p->what, what) != 0 || !json_is_object(p->doc))
			continue;
		if (p->state[0])
			json_object_set_new(p->doc, "state", json_string(p->state));
		add_up(sum, p->doc);
		json_array_append(list, p->doc);
	}
	doc = json_pack("{s:i,s:o}", "asked", (int)n->number, "nodes", list);
	if (!strcmp(what, "status"))
		json_object_set(doc, "sum", sum);
	json_decref(sum);
	return doc;
}

char *swi_status_json(struct swi_node *n, const char *what)
{
	json_t *doc;
	char *text;

	if (!strncmp(what, "events", 6) && (!what[6] || what[6] == ':'))
		return swi_events_json(n, what[6] ? strtoull(what + 7, NULL, 10) : 0);
	if (!strcmp(what, "nodes"))
		doc = swi_status_nodes(n);
	else if (!strcmp(what, "info"))
		doc = swi_status_info(n);
	else
		doc = cluster_doc(n, what);
	text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	return text;
}
