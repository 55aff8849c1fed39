/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.c - see spec.h. A spec comes from a client or a peer: swi_spec_decode() is the one gate, and what
 * passed it needs no further check. Pure functions, any thread.
 */
#include "sched/spec.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SPEC_VERSION 1u
/* Amounts above these are nonsense; they also keep sums of many needs from wrapping early. */
#define AMOUNT_MAX (1ull << 48)
#define MEMORY_MAX (1ull << 60)

enum spec_res_bit { RES_CPU = 1, RES_GPU = 2, RES_MEMORY = 4 };
enum spec_arg_kind { ARG_BYTES = 0, ARG_REF = 1 };

static struct swarm_oid derive(struct swarm_oid base, uint64_t n, uint64_t seed)
{
	uint8_t buf[24];
	struct swi_wr w = swi_wr_init(buf, sizeof(buf));
	XXH128_hash_t h;

	swi_wr_oid(&w, base);
	swi_wr_u64(&w, n);
	h = XXH3_128bits_withSeed(buf, sizeof(buf), seed);
	/* Zero means "no object": never an id. */
	return (struct swarm_oid){{h.low64 | !(h.low64 | h.high64), h.high64}};
}

struct swarm_oid swi_task_id(struct swarm_oid parent, uint64_t counter)
{
	return derive(parent, counter, 1);
}

struct swarm_oid swi_result_id(struct swarm_oid task, uint32_t i)
{
	return derive(task, i, 2);
}

/* ---- resources ---- */

void swi_resources_encode(struct swi_wr *w, const struct swi_resources *r)
{
	const uint8_t mask = (uint8_t)((r->cpu ? RES_CPU : 0) | (r->gpu ? RES_GPU : 0) |
				       (r->memory ? RES_MEMORY : 0));

	swi_wr_u8(w, mask);
	swi_wr_u8(w, (uint8_t)r->custom_count);
	if (r->cpu)
		swi_wr_u64(w, r->cpu);
	if (r->gpu)
		swi_wr_u64(w, r->gpu);
	if (r->memory)
		swi_wr_u64(w, r->memory);
	for (uint32_t i = 0; i < r->custom_count; i++) {
		swi_wr_str(w, r->custom[i].name);
		swi_wr_u64(w, r->custom[i].amount);
	}
}

static uint64_t amount_decode(struct swi_rd *rd, bool there, uint64_t max)
{
	const uint64_t v = there ? swi_rd_u64(rd) : 0;

	if (v > max)
		rd->bad = true;
	return rd->bad ? 0 : v;
}

static bool custom_known(const struct swi_resources *r, uint32_t n, const char *name)
{
	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(r->custom[i].name, name))
			return true;
	return false;
}

void swi_resources_decode(struct swi_rd *rd, struct swi_resources *out)
{
	struct swi_resources r = {0};
	const uint8_t mask = swi_rd_u8(rd);
	const uint8_t n = swi_rd_u8(rd);

	if (n > SWI_CUSTOM_MAX || mask > (RES_CPU | RES_GPU | RES_MEMORY))
		rd->bad = true;
	r.cpu = amount_decode(rd, mask & RES_CPU, AMOUNT_MAX);
	r.gpu = amount_decode(rd, mask & RES_GPU, AMOUNT_MAX);
	r.memory = amount_decode(rd, mask & RES_MEMORY, MEMORY_MAX);
	/* One encoding for one value: an amount of 0 is told by its absence. */
	if ((mask & RES_CPU && !r.cpu) || (mask & RES_GPU && !r.gpu) || (mask & RES_MEMORY && !r.memory))
		rd->bad = true;
	for (uint32_t i = 0; i < n && !rd->bad; i++) {
		swi_rd_str(rd, r.custom[i].name, sizeof(r.custom[i].name));
		r.custom[i].amount = amount_decode(rd, true, AMOUNT_MAX);
		if (!r.custom[i].name[0] || custom_known(&r, i, r.custom[i].name))
			rd->bad = true;
		r.custom_count = i + 1;
	}
	*out = rd->bad ? (struct swi_resources){0} : r;
}

static uint64_t custom_amount(const struct swi_resources *r, const char *name)
{
	for (uint32_t i = 0; i < r->custom_count; i++)
		if (!strcmp(r->custom[i].name, name))
			return r->custom[i].amount;
	return 0;
}

bool swi_resources_fit(const struct swi_resources *have, const struct swi_resources *need)
{
	if (have->cpu < need->cpu || have->gpu < need->gpu || have->memory < need->memory)
		return false;
	for (uint32_t i = 0; i < need->custom_count; i++)
		if (custom_amount(have, need->custom[i].name) < need->custom[i].amount)
			return false;
	return true;
}

static uint64_t sat_sub(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void swi_resources_sub(struct swi_resources *have, const struct swi_resources *need)
{
	have->cpu = sat_sub(have->cpu, need->cpu);
	have->gpu = sat_sub(have->gpu, need->gpu);
	have->memory = sat_sub(have->memory, need->memory);
	for (uint32_t i = 0; i < need->custom_count; i++)
		for (uint32_t j = 0; j < have->custom_count; j++)
			if (!strcmp(have->custom[j].name, need->custom[i].name))
				have->custom[j].amount =
				    sat_sub(have->custom[j].amount, need->custom[i].amount);
}

static void custom_add(struct swi_resources *have, const char *name, uint64_t amount)
{
	uint32_t j = 0;

	while (j < have->custom_count && strcmp(have->custom[j].name, name))
		j++;
	if (j == SWI_CUSTOM_MAX)
		return;
	if (j == have->custom_count) {
		memset(&have->custom[j], 0, sizeof(have->custom[j]));
		snprintf(have->custom[j].name, sizeof(have->custom[j].name), "%s", name);
		have->custom_count++;
	}
	have->custom[j].amount = swi_sat_add(have->custom[j].amount, amount);
}

void swi_resources_add(struct swi_resources *have, const struct swi_resources *give)
{
	have->cpu = swi_sat_add(have->cpu, give->cpu);
	have->gpu = swi_sat_add(have->gpu, give->gpu);
	have->memory = swi_sat_add(have->memory, give->memory);
	for (uint32_t i = 0; i < give->custom_count; i++)
		custom_add(have, give->custom[i].name, give->custom[i].amount);
}

/* 15000 -> "1.5" */
static void unit_str(uint64_t v, char *buf, size_t len)
{
	const unsigned int frac = (unsigned int)(v % SWARM_RESOURCE_UNIT);
	int n = snprintf(buf, len, "%llu.%04u", (unsigned long long)(v / SWARM_RESOURCE_UNIT), frac);

	while (n > 0 && buf[n - 1] == '0')
		buf[--n] = 0;
	if (n > 0 && buf[n - 1] == '.')
		buf[n - 1] = 0;
}

static void memory_str(uint64_t v, char *buf, size_t len)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	uint32_t u = 0;

	while (u + 1 < SWI_ARRAY_LEN(unit) && v && v % 1024 == 0) {
		v /= 1024;
		u++;
	}
	snprintf(buf, len, "%llu%s", (unsigned long long)v, unit[u]);
}

static void append(char *buf, size_t len, const char *name, const char *amount)
{
	const size_t at = strlen(buf);

	if (at < len)
		snprintf(buf + at, len - at, "%s%s=%s", at ? " " : "", name, amount);
}

const char *swi_resources_str(const struct swi_resources *r, char *buf, size_t len)
{
	char num[32];

	if (!len)
		return "";
	buf[0] = 0;
	if (r->cpu) {
		unit_str(r->cpu, num, sizeof(num));
		append(buf, len, "cpu", num);
	}
	if (r->gpu) {
		unit_str(r->gpu, num, sizeof(num));
		append(buf, len, "gpu", num);
	}
	if (r->memory) {
		memory_str(r->memory, num, sizeof(num));
		append(buf, len, "memory", num);
	}
	for (uint32_t i = 0; i < r->custom_count; i++) {
		unit_str(r->custom[i].amount, num, sizeof(num));
		append(buf, len, r->custom[i].name, num);
	}
	if (!buf[0])
		snprintf(buf, len, "nothing");
	return buf;
}

/* ---- the spec ---- */

void swi_spec_encode(struct swi_wr *w, const struct swi_spec *s, const struct swarm_arg *args)
{
	uint32_t refs = 0;

	for (uint32_t i = 0; i < s->arg_count; i++)
		refs += !args[i].data;
	swi_wr_u8(w, SPEC_VERSION);
	swi_wr_oid(w, s->task);
	swi_wr_oid(w, s->parent);
	swi_wr_u32(w, s->home);
	swi_wr_u32(w, s->flags);
	swi_wr_u32(w, s->retries);
	swi_wr_u64(w, s->timeout_ns);
	swi_wr_ref(w, s->module);
	swi_wr_str(w, s->function);
	swi_resources_encode(w, &s->need);
	swi_wr_u32(w, s->return_count);
	swi_wr_u32(w, s->arg_count);
	swi_wr_u32(w, refs);
	for (uint32_t i = 0; i < s->arg_count; i++) {
		if (!args[i].data) {
			swi_wr_u8(w, ARG_REF);
			swi_wr_ref(w, args[i].ref);
		} else {
			swi_wr_u8(w, ARG_BYTES);
			swi_wr_bytes(w, args[i].data, (uint32_t)args[i].len);
		}
	}
}

static void arg_decode(struct swi_rd *rd, struct swi_spec_arg *out)
{
	const uint8_t kind = swi_rd_u8(rd);

	*out = (struct swi_spec_arg){0};
	if (kind == ARG_REF) {
		out->is_ref = true;
		out->ref = swi_rd_ref(rd);
		if (swi_oid_is_zero(out->ref.id))
			rd->bad = true;
	} else if (kind == ARG_BYTES) {
		out->data = swi_rd_bytes(rd, &out->len);
	} else {
		rd->bad = true;
	}
}

static void args_check(struct swi_rd *rd, const struct swi_spec *s)
{
	uint64_t inline_bytes = 0;
	uint32_t refs = 0;

	for (uint32_t i = 0; i < s->arg_count && !rd->bad; i++) {
		struct swi_spec_arg a;

		arg_decode(rd, &a);
		refs += a.is_ref;
		inline_bytes += a.len;
	}
	if (refs != s->ref_count || inline_bytes > SWARM_INLINE_MAX)
		rd->bad = true;
}

static bool head_valid(const struct swi_spec *s)
{
	return !swi_oid_is_zero(s->task) && s->home && !(s->flags & ~SWARM_TASK_RETRY_ERRORS) &&
	       !swi_oid_is_zero(s->module.id) && s->function[0] && s->return_count &&
	       s->return_count <= SWARM_RETURNS_MAX && s->arg_count <= SWARM_ARGS_MAX;
}

int swi_spec_decode(const void *bytes, uint32_t len, struct swi_spec *out)
{
	struct swi_rd rd = swi_rd_init(bytes, len);
	struct swi_spec s = {.bytes = bytes, .bytes_len = len};

	if (swi_rd_u8(&rd) != SPEC_VERSION)
		return -EBADMSG;
	s.task = swi_rd_oid(&rd);
	s.parent = swi_rd_oid(&rd);
	s.home = swi_rd_u32(&rd);
	s.flags = swi_rd_u32(&rd);
	s.retries = swi_rd_u32(&rd);
	s.timeout_ns = swi_rd_u64(&rd);
	s.module = swi_rd_ref(&rd);
	swi_rd_str(&rd, s.function, sizeof(s.function));
	swi_resources_decode(&rd, &s.need);
	s.return_count = swi_rd_u32(&rd);
	s.arg_count = swi_rd_u32(&rd);
	s.ref_count = swi_rd_u32(&rd);
	if (rd.bad || !head_valid(&s))
		return -EBADMSG;
	s.args = s.bytes + rd.pos;
	s.args_len = len - rd.pos;
	args_check(&rd, &s);
	if (!swi_rd_done(&rd))
		return -EBADMSG;
	*out = s;
	return 0;
}

bool swi_spec_next_arg(const struct swi_spec *s, uint32_t *pos, struct swi_spec_arg *out)
{
	struct swi_rd rd = swi_rd_init(s->args, s->args_len);

	if (*pos >= s->args_len)
		return false;
	rd.pos = *pos;
	arg_decode(&rd, out);
	*pos = rd.pos;
	return !rd.bad;
}
