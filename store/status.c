/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - the store's part of a node's status, as JSON. Owner thread of the node. */
#include <jansson.h>

#include "store/snode_internal.h"
#include "store/spill/segment.h"

static void set(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static json_t *peers_json(struct swi_snode *sn)
{
	json_t *list = json_array();

	swi_list_for_each(it, &sn->peers.list) {
		const struct swi_peer *p = swi_list_entry(it, struct swi_peer, link);
		json_t *o = json_object();

		set(o, "node", p->node);
		json_object_set_new(o, "address", json_string(p->address));
		json_object_set_new(o, "up", json_boolean(p->chosen != NULL));
		if (p->chosen) { /* the transport: not what the node listens on, where both are on one host */
			json_object_set_new(o, "transport", json_string(swi_conn_backend(p->chosen->conn)));
			set(o, "read_bytes", swi_conn_read_bytes(p->chosen->conn));
		}
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *spill_json(struct swi_snode *sn)
{
	const struct swi_spill_stats *s = swi_spill_stats(sn->spill);
	json_t *o = json_object();

	set(o, "objects", s->objects);
	set(o, "live_bytes", s->live_bytes);
	set(o, "segments", s->segment_count);
	set(o, "segment_bytes", s->segment_bytes);
	set(o, "written_objects", s->written_objects);
	set(o, "written_bytes", s->written_bytes);
	set(o, "restored_objects", s->restored_objects);
	set(o, "restored_bytes", s->restored_bytes);
	set(o, "syncs", s->syncs);
	set(o, "compacted_bytes", s->compacted_bytes);
	set(o, "write_errors", s->write_errors);
	set(o, "read_errors", s->read_errors);
	set(o, "corrupt_records", s->corrupt_records);
	return o;
}

static void segment_row(void *ctx, const struct swi_spill_segment *s)
{
	char file[SWI_SEG_NAME_LEN];
	json_t *o = json_object();

	swi_seg_name(s->file, file);
	json_object_set_new(o, "folder", json_string(s->folder));
	json_object_set_new(o, "file", json_string(file));
	set(o, "segment", s->number);
	json_object_set_new(o, "state", json_string(s->compacting ? "compacting" : s->state));
	set(o, "bytes", s->bytes);
	set(o, "live_bytes", s->live_bytes);
	set(o, "dead_bytes", s->dead_bytes);
	set(o, "punched_bytes", s->punched_bytes);
	set(o, "objects", s->objects);
	json_array_append_new(ctx, o);
}

char *swi_snode_segments_json(struct swi_snode *sn)
{
	json_t *o = json_object(), *rows = json_array();
	char *text;

	if (sn->spill)
		swi_spill_each_segment(sn->spill, segment_row, rows);
	json_object_set_new(o, "segments", rows);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

/* Where there are several cards or ports. */
static void paths(json_t *o, const struct swi_tp *tp)
{
	struct swi_path_info row[8];
	const uint32_t n = swi_tp_paths(tp, row, SWI_ARRAY_LEN(row));
	json_t *list = json_array();

	for (uint32_t i = 0; i < n && i < SWI_ARRAY_LEN(row); i++) {
		json_t *p = json_object();

		json_object_set_new(p, "device", json_string(row[i].device));
		set(p, "connections", row[i].legs);
		set(p, "reads", row[i].reads);
		set(p, "read_bytes", row[i].read_bytes);
		set(p, "reposted", row[i].reposted);
		set(p, "joined", row[i].joined);
		set(p, "failures", row[i].failures);
		json_array_append_new(list, p);
	}
	if (n)
		json_object_set(o, "paths", list);
	json_decref(list);
}

static json_t *net_json(struct swi_snode *sn)
{
	const struct swi_tp_counters *c = swi_tp_counters(sn->tp);
	json_t *o = json_object();

	json_object_set_new(o, "backend", json_string(swi_tp_backend(sn->tp)));
	json_object_set_new(o, "device", json_string(swi_tp_device(sn->tp)));
	paths(o, sn->tp);
	json_object_set_new(o, "address", json_string(swi_tp_address(sn->tp)));
	set(o, "msgs_sent", c->msgs_sent);
	set(o, "msgs_received", c->msgs_received);
	set(o, "reads_posted", c->reads_posted);
	set(o, "reads_done", c->reads_done);
	set(o, "reads_failed", c->reads_failed);
	set(o, "read_bytes", c->read_bytes);
	set(o, "auth_failures", c->auth_failures);
	set(o, "proto_errors", c->proto_errors);
	return o;
}

static void counters(struct swi_snode *sn, json_t *o)
{
	struct swi_snode_stats s;

	swi_snode_stats(sn, &s);
	set(o, "arena_bytes", s.arena_bytes);
	set(o, "arena_used", s.arena_used);
	set(o, "arena_largest_free", s.arena_largest_free);
	set(o, "objects", s.objects);
	set(o, "pins", s.pins);
	set(o, "holds", s.holds);
	set(o, "clients", s.clients);
	set(o, "client_errors", s.client_errors);
	set(o, "local_hits", s.local_hits);
	set(o, "gets_local_miss", s.gets_local_miss);
	set(o, "fetches", s.fetches);
	set(o, "fetch_bytes", s.fetch_bytes);
	set(o, "fetch_failures", s.fetch_failures);
	set(o, "warm_gets", s.warm_gets);
	set(o, "cold_gets", s.cold_gets);
	set(o, "message_gets", s.message_gets);
	set(o, "get_reads", s.get_reads);
	set(o, "get_messages", s.get_messages);
	set(o, "direct_misses", s.direct_misses);
	set(o, "cold_misses", s.cold_misses);
	set(o, "locators", s.locators);
	set(o, "locators_stale", s.locators_stale);
	set(o, "cast_sent_on", s.cast_sent_on);
	set(o, "lease_syncs", s.syncs);
	set(o, "revoked", s.revoked);
	set(o, "quarantine_bytes", s.quarantine_bytes);
	set(o, "quarantine_peak", s.quarantine_peak);
	set(o, "moved_objects", s.moved_objects);
	set(o, "moved_bytes", s.moved_bytes);
	set(o, "restores", s.restores);
	set(o, "restore_bytes", s.restore_bytes);
	set(o, "evicted_objects", s.evicted_objects);
	set(o, "evicted_bytes", s.evicted_bytes);
	set(o, "spilled_objects", s.spilled_objects);
	set(o, "spilled_bytes", s.spilled_bytes);
	set(o, "remade_objects", sn->evict.remade_objects);
	set(o, "remade_bytes", sn->evict.remade_bytes);
	set(o, "range_reads", sn->ranges.reads);
	set(o, "range_bytes", sn->ranges.read_bytes);
	set(o, "rooms_waited", sn->clients.served);
	set(o, "rooms_refused", sn->clients.refused);
	set(o, "rooms_refused_late", sn->clients.refused_late);
	set(o, "rooms_waited_ns", sn->clients.waited_ns);
	set(o, "rooms_waited_max_ns", sn->clients.waited_max_ns);
	set(o, "disk_write_bytes_per_s", sn->evict.write.rate);
	set(o, "disk_read_bytes_per_s", sn->evict.read.rate);
	set(o, "served_reads", s.served_reads);
	set(o, "served_bytes", s.served_bytes);
	set(o, "digest_errors", s.digest_errors);
	set(o, "leases", HASH_COUNT(sn->leases.by_num));
	set(o, "pinned_soft", sn->attrs.soft);
	set(o, "pinned_hard", sn->attrs.hard);
	set(o, "pinned_hard_bytes", sn->attrs.hard_bytes);
	set(o, "expiring", sn->attrs.expiring);
	set(o, "expired", sn->attrs.expired);
	set(o, "replicas", sn->attrs.replicas);
	set(o, "quota_refusals", sn->quotas.refused);
	set(o, "records", swi_dir_count(sn));
}

char *swi_snode_status_json(struct swi_snode *sn)
{
	json_t *o = json_object();
	char *text;

	if (!o)
		return NULL;
	set(o, "node", sn->node);
	counters(sn, o);
	json_object_set_new(o, "peers", peers_json(sn));
	if (sn->spill)
		json_object_set_new(o, "spill", spill_json(sn));
	if (sn->tp)
		json_object_set_new(o, "transport", net_json(sn));
	json_object_set_new(o, "draining", json_boolean(sn->draining.d != NULL));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}
