/* SPDX-License-Identifier: Apache-2.0 */
/*
 * torn.c - the oracle of the remote path: readers in processes of their own get objects by READ as fast as
 * they can, while the owner creates, deletes, evicts, spills and reuses at full speed, takes the leases of
 * readers away, is killed and begins a new life, and readers are stopped. Every payload proves itself: id
 * and version stand in it and all its words follow from them. One word of another version or object: wrong.
 *
 *	test_store_torn [--gets=N] [--seconds=S] [--transport=ofi|shm] [--verify] [--stops]
 *			 [--life-ms=N] [--revoke-ms=N]
 *
 * Without --verify the readers do not compare digests: then the leases alone keep wrong bytes out. Ends when
 * N gets were fetched from the owner (local hits do not count), or S seconds are over. Fails when a
 * byte was wrong, or when one of the things that it is meant to do did not happen. digest_errors counts gets by message that
 * were told one length by the home and another by the lease: an id that was made again in between.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "store/host.h"
#include "store/snode_internal.h"
#include "store/store_internal.h"

#define SLOTS	     2048u
#define SAME_ID	     (SLOTS / 8) /* these are made again and again under one id, with other bytes; the others under new ones */
#define HOT	     64u	 /* slots that are got most of the time: warm */
#define READERS	     2u
#define IN_FLIGHT    24u
#define WRITERS	     1u
#define OWNER_ARENA  MIB(2) /* half of what all objects take: eviction never rests */
#define READER_ARENA MIB(4)
#define REST_NS	     (2 * NS_PER_MS)
#define DIAL_NS	     (200 * NS_PER_MS)

struct counts { /* of one process; added up by the parent */
	_Atomic uint64_t fetched, warm, cold, message, misses, stale, failed, wrong, digest_errors;
	_Atomic uint64_t made, deleted, evicted, revoked, syncs;
};

struct shared {
	_Atomic uint32_t life; /* of the owner; its address is valid when it is up */
	char address[64];
	_Atomic uint32_t up;
	_Atomic bool stop;
	_Atomic uint64_t version[SLOTS]; /* of the object that is there, 0 = none */
	struct counts owner, reader[READERS];
};

static struct {
	uint64_t gets, seconds;
	const char *transport;
	bool verify, stops;
	uint64_t life_ns, revoke_ns; /* of the owner; between two revocations, about */
	char dir[64];
	uint8_t key[SWI_CLUSTER_KEY_BYTES];
	struct shared *sh;
} t = {.gets = 100000, .seconds = 15, .transport = "ofi", .life_ns = 4 * NS_PER_S, .revoke_ns = 50 * NS_PER_MS};

static struct swarm_ref ref_of(uint64_t slot, uint64_t version)
{
	return (struct swarm_ref){.id = {{slot + 1, slot < SAME_ID ? 1 : version}}, .home = 1};
}

/* ---- payloads ---- */

static uint64_t words_of(uint64_t version)
{
	return 3 + swi_splitmix64(&version) % 480;
}

static uint64_t word_of(uint64_t version, uint64_t i)
{
	uint64_t x = version * 0x9e3779b97f4a7c15ull + i;

	return swi_splitmix64(&x);
}

static void write_payload(uint64_t *w, struct swarm_ref ref, uint64_t version)
{
	const uint64_t n = words_of(version);

	w[0] = ref.id.w[0];
	w[1] = ref.id.w[1];
	w[2] = version;
	for (uint64_t i = 3; i < n; i++)
		w[i] = word_of(version, i);
}

static bool right(const uint64_t *w, uint64_t len, struct swarm_ref ref)
{
	if (len < 24 || w[0] != ref.id.w[0] || w[1] != ref.id.w[1] || len != words_of(w[2]) * 8)
		return false;
	for (uint64_t i = 3; i < len / 8; i++)
		if (w[i] != word_of(w[2], i))
			return false;
	return true;
}

/* ---- both kinds of node ---- */

static struct swi_host *host_open(uint32_t node, uint64_t arena, const char *spill,
				  const struct swi_host_upper *upper)
{
	struct swi_host_opts ho = {.arena_bytes = arena,
				   .objects_max = 4 * SLOTS,
				   .node = node,
				   .no_verify = !t.verify,
				   .log_name = "torn",
				   .tp = {.backend = t.transport, .bind = "127.0.0.1:0"}};
	struct swi_host *h;
	char why[256];

	if (spill) {
		ho.spill_dirs = &spill;
		ho.spill_dir_count = 1;
		ho.spill_bytes = MIB(64);
		ho.segment_bytes = MIB(4);
	}
	memcpy(ho.tp.key, t.key, sizeof(t.key));
	const int rc = swi_host_create(&ho, &h, why, sizeof(why));

	if (rc) {
		fprintf(stderr, "node %u: %s\n", node, why);
		_exit(rc == SWARM_ENOTRANSPORT ? 77 : 1);
	}
	swi_snode_log(swi_host_snode(h))->level = SWI_LOG_NONE;
	swi_host_set_upper(h, upper);
	return h;
}

static void count_up(struct swi_snode *sn, struct counts *c, struct swi_snode_stats *last)
{
	struct swi_snode_stats s;

	swi_snode_stats(sn, &s);
	c->fetched += s.fetches - last->fetches;
	c->warm += s.warm_gets - last->warm_gets;
	c->cold += s.cold_gets - last->cold_gets;
	c->message += s.message_gets - last->message_gets;
	c->misses += s.direct_misses - last->direct_misses;
	c->stale += s.locators_stale - last->locators_stale;
	c->digest_errors += s.digest_errors - last->digest_errors;
	c->evicted += s.evicted_objects - last->evicted_objects;
	c->revoked += s.revoked - last->revoked;
	c->syncs += s.syncs - last->syncs;
	*last = s;
}

/* ---- the owner ---- */

struct owner {
	struct swi_host *h;
	struct swi_lc *lc;
	uint64_t next_ns, rng;
	struct swi_snode_stats last;
};

/* Takes the lease of one connection away, whatever it is at. */
static void revoke_one(struct swi_snode *sn, uint64_t r)
{
	uint64_t n = 0, skip;

	swi_list_for_each(it, &sn->quarantine.standing)
		n++;
	skip = n ? r % n : 0;
	swi_list_for_each_safe(it, &sn->quarantine.standing) {
		struct swi_link *l = swi_list_entry(it, struct swi_link, standing);

		if (skip) {
			skip--;
			continue;
		}
		if (l->revoked)
			continue;
		l->revoked = true;
		sn->stats.revoked++;
		swi_conn_revoke(l->conn, SWARM_ESILENT);
		return;
	}
}

static int owner_step(void *ctx)
{
	struct owner *o = ctx;
	struct swi_snode *sn = swi_host_snode(o->h);

	if (sn->now_ns < o->next_ns)
		return 0;
	o->next_ns = sn->now_ns + t.revoke_ns / 2 + swi_splitmix64(&o->rng) % t.revoke_ns;
	count_up(sn, &t.sh->owner, &o->last);
	revoke_one(sn, swi_splitmix64(&o->rng) | 1);
	return 0;
}

static uint64_t owner_deadline(void *ctx)
{
	return ((struct owner *)ctx)->next_ns;
}

static void *writer(void *arg)
{
	struct owner *o = arg;
	uint64_t rng = (uint64_t)getpid() ^ (uint64_t)(uintptr_t)&rng;

	for (;;) {
		const uint64_t slot = swi_splitmix64(&rng) % SLOTS, version = swi_splitmix64(&rng) | 1;
		const uint64_t old = atomic_exchange(&t.sh->version[slot], 0);
		const struct swarm_ref ref = ref_of(slot, version);
		struct swarm_buf b;

		if (old && swi_lc_delete(o->lc, ref_of(slot, old)) == 0)
			t.sh->owner.deleted++;
		if (swi_lc_create_object(o->lc, ref, words_of(version) * 8, NS_PER_S, &b))
			continue;
		write_payload(b.data, ref, version);
		if (swi_lc_seal(o->lc, &b))
			continue;
		t.sh->owner.made++;
		atomic_store(&t.sh->version[slot], version);
	}
	return NULL;
}

static void *run(void *host)
{
	swi_host_run(host);
	return NULL;
}

static int owner(uint32_t life)
{
	struct owner o = {.rng = life, .next_ns = t.revoke_ns};
	const struct swi_host_upper upper = {
	    .ctx = &o, .step = owner_step, .deadline_ns = owner_deadline};
	static struct swi_attachment at;
	char why[256], spill[96];
	pthread_t th;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(spill, sizeof(spill), "%s/spill-%u", t.dir, life);
	for (uint64_t i = 0; i < SLOTS; i++)
		atomic_store(&t.sh->version[i], 0);
	o.h = host_open(1, OWNER_ARENA, spill, &upper);
	if (swi_host_attach_local(o.h, 0, &at, why, sizeof(why)))
		return 1;
	const struct swi_lc_opts lo = {.arena = at.arena.addr,
				       .index = at.index.addr,
				       .shm = at.client.addr,
				       .ring = swi_attach_ring,
				       .ring_ctx = &at,
				       .wait = swi_attach_wait,
				       .wake_others = swi_attach_wake_others,
				       .wait_ctx = &at};

	if (swi_lc_create(&lo, &o.lc))
		return 1;
	snprintf(t.sh->address, sizeof(t.sh->address), "%s", swi_tp_address(swi_host_snode(o.h)->tp));
	atomic_store(&t.sh->up, life);
	for (uint32_t i = 0; i < WRITERS; i++)
		if (pthread_create(&th, NULL, writer, &o))
			return 1;
	run(o.h); /* until it is killed */
	return 0;
}

/* ---- readers ---- */

struct reader {
	struct swi_host *h;
	struct counts *c;
	uint32_t life;
	uint64_t rng, poll_ns, dial_ns;
	struct get {
		struct swi_want want;
		struct reader *r;
		bool busy;
		uint64_t rest_ns; /* after a failure: the owner is between two lives, say */
	} get[IN_FLIGHT];
	struct swi_snode_stats last;
};

static void got(struct swi_want *w, int status, const char *text, uint64_t offset)
{
	struct get *g = w->owner;
	struct swi_snode *sn = swi_host_snode(g->r->h);
	const struct swi_object_head *h = (void *)(sn->arena + offset);

	(void)text;
	g->busy = false;
	if (status) {
		g->r->c->failed++;
		g->rest_ns = sn->now_ns + REST_NS;
		return;
	}
	if (!right((const void *)(h + 1), h->len, w->ref)) {
		g->r->c->wrong++;
		fprintf(stderr, "WRONG BYTES: object %llu, len %llu, version %016llx\n",
			(unsigned long long)w->ref.id.w[1], (unsigned long long)h->len,
			(unsigned long long)((const uint64_t *)(const void *)(h + 1))[2]);
	}
	swi_hold_drop(sn, offset);
	swi_dir_drop_local(sn, w->ref.id); /* so that the next get of it goes to the owner again */
}

/* Something that is there, or was a moment ago. */
static struct swarm_ref pick(struct reader *r)
{
	for (int tries = 0;; tries++) {
		const uint64_t among = swi_splitmix64(&r->rng) % 8 ? HOT : SLOTS;
		const uint64_t slot = swi_splitmix64(&r->rng) % among;
		const uint64_t version = atomic_load(&t.sh->version[slot * (SLOTS / among)]);

		if (version || tries == 16)
			return ref_of(slot * (SLOTS / among), version | 1);
	}
}

static int reader_step(void *ctx)
{
	struct reader *r = ctx;
	struct swi_snode *sn = swi_host_snode(r->h);
	const uint32_t life = atomic_load(&t.sh->up);
	int n = 0;

	if (life && (life != r->life || (!swi_peer_find(sn, 1) && sn->now_ns >= r->dial_ns))) {
		r->life = life;
		r->dial_ns = sn->now_ns + DIAL_NS;
		(void)swi_peer_dial(sn, t.sh->address);
	}
	for (uint32_t i = 0; i < IN_FLIGHT; i++) {
		struct get *g = &r->get[i];

		if (g->busy || sn->now_ns < g->rest_ns)
			continue;
		g->busy = true;
		g->r = r;
		g->want = (struct swi_want){
		    .ref = pick(r),
		    .deadline_ns = sn->now_ns + 100 * NS_PER_MS,
		    .cb = got,
		    .owner = g};
		swi_want(sn, &g->want);
		n++;
	}
	if (sn->now_ns >= r->poll_ns) {
		count_up(sn, r->c, &r->last);
		r->poll_ns = sn->now_ns + 10 * NS_PER_MS;
		if (atomic_load(&t.sh->stop))
			swi_host_stop(r->h);
	}
	return n;
}

static uint64_t reader_deadline(void *ctx)
{
	const struct reader *r = ctx;
	uint64_t d = r->poll_ns;

	for (uint32_t i = 0; i < IN_FLIGHT; i++)
		if (!r->get[i].busy)
			d = swi_min_u64(d, r->get[i].rest_ns);
	return d;
}

static int reader(uint32_t i)
{
	static struct reader r;
	const struct swi_host_upper upper = {
	    .ctx = &r, .step = reader_step, .deadline_ns = reader_deadline};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r.c = &t.sh->reader[i];
	r.rng = i + 77;
	r.h = host_open(2 + i, READER_ARENA, NULL, &upper);
	swi_host_run(r.h);
	return 0;
}

/* ---- the parent ---- */

static pid_t start(int (*child)(uint32_t), uint32_t arg)
{
	const pid_t pid = fork();

	if (!pid)
		_exit(child(arg));
	return pid;
}

static void owner_dies(pid_t *pid, uint32_t *life)
{
	char cmd[160];

	kill(*pid, SIGKILL);
	waitpid(*pid, NULL, 0);
	snprintf(cmd, sizeof(cmd), "rm -rf '%s/spill-%u'", t.dir, *life);
	if (system(cmd))
		fprintf(stderr, "%s: failed\n", cmd);
	*pid = start(owner, ++*life);
}

static uint64_t sum(size_t field)
{
	uint64_t v = 0;

	for (uint32_t i = 0; i < READERS; i++)
		v += atomic_load((_Atomic uint64_t *)(void *)((char *)&t.sh->reader[i] + field));
	return v;
}
#define SUM(f) ((unsigned long long)sum(offsetof(struct counts, f)))

/* Everything that this is about has happened. */
static bool all_seen(uint32_t lives)
{
	const struct counts *o = &t.sh->owner;

	return SUM(warm) && SUM(cold) && SUM(message) && SUM(misses) && SUM(stale) && o->evicted &&
	       o->revoked && o->syncs && o->made && lives > 1;
}

static int check(uint32_t lives, double seconds)
{
	const struct counts *o = &t.sh->owner;
	const bool busy = all_seen(lives);

	printf("{\"transport\": \"%s\", \"digests\": %s, \"seconds\": %.1f, \"gets_fetched\": %llu, \"warm\": %llu, "
	       "\"cold\": %llu, \"by_message\": %llu, \"reads_refused_by_header\": %llu, \"locators_stale\": %llu, "
	       "\"gets_failed\": %llu, \"digest_errors\": %llu, \"owner_lives\": %u, \"made\": %llu, \"deleted\": %llu, "
	       "\"evicted\": %llu, \"revoked\": %llu, \"syncs\": %llu, \"wrong\": %llu}\n",
	       t.transport, t.verify ? "true" : "false", seconds, SUM(fetched), SUM(warm), SUM(cold),
	       SUM(message), SUM(misses), SUM(stale), SUM(failed), SUM(digest_errors), lives,
	       (unsigned long long)o->made, (unsigned long long)o->deleted,
	       (unsigned long long)o->evicted, (unsigned long long)o->revoked,
	       (unsigned long long)o->syncs, SUM(wrong));
	if (!busy)
		fprintf(stderr, "something that was meant to happen did not\n");
	return SUM(wrong) || !busy;
}

static bool parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--gets=", 7))
			t.gets = strtoull(argv[i] + 7, NULL, 10);
		else if (!strncmp(argv[i], "--seconds=", 10))
			t.seconds = strtoull(argv[i] + 10, NULL, 10);
		else if (!strncmp(argv[i], "--transport=", 12))
			t.transport = argv[i] + 12;
		else if (!strncmp(argv[i], "--life-ms=", 10))
			t.life_ns = strtoull(argv[i] + 10, NULL, 10) * NS_PER_MS;
		else if (!strncmp(argv[i], "--revoke-ms=", 12))
			t.revoke_ns = strtoull(argv[i] + 12, NULL, 10) * NS_PER_MS + 1;
		else if (!strcmp(argv[i], "--verify"))
			t.verify = true;
		else if (!strcmp(argv[i], "--stops"))
			t.stops = true;
		else
			return false;
	}
	return true;
}

static int drive(void)
{
	struct swi_env *env = swi_env_real();
	const uint64_t begin = swi_now(env);
	uint64_t dies = begin + t.life_ns, stops = begin + 5 * NS_PER_S, goes_on = 0;
	pid_t rd[READERS], own;
	uint32_t life = 1;
	int status, rc = 0;

	own = start(owner, life);
	for (uint32_t i = 0; i < READERS; i++)
		rd[i] = start(reader, i);
	while (!rc) {
		const uint64_t now = swi_now(env), spent = now - begin;

		/* On a slow machine: on until everything was seen. */
		if ((SUM(fetched) >= t.gets || spent > t.seconds * NS_PER_S) &&
		    (all_seen(life) || spent > 4 * t.seconds * NS_PER_S))
			break;

		poll(NULL, 0, 20);
		for (uint32_t i = 0; i < READERS; i++)
			if (waitpid(rd[i], &status, WNOHANG) == rd[i])
				rc = WIFEXITED(status) && WEXITSTATUS(status) == 77 ? 77 : 1;
		if (now > dies) {
			owner_dies(&own, &life);
			dies = now + t.life_ns;
		}
		if (t.stops && !goes_on && now > stops) { /* for longer than silence lasts */
			kill(rd[0], SIGSTOP);
			goes_on = now + 2500 * NS_PER_MS;
		} else if (goes_on && now > goes_on) {
			kill(rd[0], SIGCONT);
			goes_on = 0;
			stops = now + 5 * NS_PER_S;
		}
	}
	const double seconds = (double)(swi_now(env) - begin) / 1e9;

	kill(rd[0], SIGCONT);
	atomic_store(&t.sh->stop, true);
	for (uint32_t i = 0; i < READERS && !rc; i++)
		if (waitpid(rd[i], &status, 0) != rd[i] || !WIFEXITED(status) || WEXITSTATUS(status))
			rc = 1;
	kill(own, SIGKILL);
	waitpid(own, NULL, 0);
	for (uint32_t i = 0; i < READERS && rc; i++)
		kill(rd[i], SIGKILL);
	return rc ? rc : check(life, seconds);
}

int main(int argc, char **argv)
{
	char cmd[128];
	int rc;

	if (!parse(argc, argv)) {
		fprintf(stderr, "usage: %s [--gets=N] [--seconds=S] [--transport=ofi|shm] [--verify] [--stops] "
				"[--life-ms=N] [--revoke-ms=N]\n",
			argv[0]);
		return 2;
	}
	snprintf(t.dir, sizeof(t.dir), "/tmp/swarm-torn-XXXXXX");
	t.sh = mmap(NULL, sizeof(*t.sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!mkdtemp(t.dir) || t.sh == MAP_FAILED)
		return 1;
	for (uint32_t i = 0; i < sizeof(t.key); i++)
		t.key[i] = (uint8_t)swi_rand(swi_env_real());
	rc = drive();
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", t.dir);
	return system(cmd) || rc ? (rc ? rc : 1) : 0;
}
