/* SPDX-License-Identifier: Apache-2.0 */
/* pieces.c - see pieces.h. */
#include "store/pieces.h"
#include "store/cast.h"
#include "store/fetch_impl.h"
#include "store/snode_internal.h"

#define HEAD sizeof(struct swi_object_head)

uint64_t swi_piece_bytes(const struct swi_snode *sn)
{
	return sn->opts.piece_bytes ? sn->opts.piece_bytes : SWI_DIRECT_MAX;
}

bool swi_pieces_flow(const struct swi_fetch *f)
{
	return f->pieces && !f->pieces->status &&
	       (f->phase == SWI_FETCH_READ || f->phase == SWI_FETCH_VERIFY);
}

uint64_t swi_pieces_landed(const struct swi_fetch *f)
{
	return f->pieces->landed > HEAD ? f->pieces->landed - HEAD : 0;
}

static void piece_done(struct swi_read *rd, int status);

static uint32_t *busy_of(struct swi_pieces *ps, struct swi_stripe *from)
{
	return from ? &from->busy : &ps->first_busy;
}

/* READs the piece from where it says. */
static int read_piece(struct swi_fetch *f, struct swi_piece *pc)
{
	struct swi_snode *sn = f->sn;
	const struct swi_stripe *st = pc->from;
	struct swi_peer *p = swi_peer_by_epoch(sn, st ? st->epoch : f->holder_epoch);
	int rc;

	if (!p || !p->chosen)
		return SWARM_EPEERLOST;
	pc->rd = (struct swi_read){.cb = piece_done, .owner = f, .landed = swi_fetch_landed};
	sn->fetches.in_flight++;
	rc = swi_conn_read(p->chosen->conn, st ? st->region : f->lease.region,
			   (st ? st->offset : f->lease.offset) + pc->at,
			   sn->arena + f->offset + pc->at, pc->end - pc->at, &pc->rd);
	if (rc) {
		sn->fetches.in_flight--;
		return rc;
	}
	sn->stats.get_reads++;
	f->pieces->busy++;
	(*busy_of(f->pieces, pc->from))++;
	return 0;
}

/* A stripe that failed leaves its piece to the first holder. */
static int read_or_leave(struct swi_fetch *f, struct swi_piece *pc)
{
	int rc = read_piece(f, pc);

	if (!rc || !pc->from)
		return rc;
	pc->from->usable = false;
	pc->from = NULL;
	return read_piece(f, pc);
}

/* Who has the fewest under way; false: everybody has enough. The header comes from the first holder. */
static bool choose(struct swi_pieces *ps, struct swi_stripe **out_from)
{
	uint32_t least = ps->first_busy;

	*out_from = NULL;
	for (uint32_t i = 0; i < ps->stripes && ps->posted; i++) {
		struct swi_stripe *st = &ps->stripe[i];

		if (!st->usable || st->busy >= least)
			continue;
		least = st->busy;
		*out_from = st;
	}
	return least < SWI_PIECES_WINDOW;
}

static int post(struct swi_fetch *f, struct swi_stripe *from, uint64_t len)
{
	struct swi_pieces *ps = f->pieces;
	struct swi_piece *pc = &ps->piece[ps->next % SWI_PIECES_RING];
	int rc;

	*pc = (struct swi_piece){.at = ps->posted, .end = ps->posted + len, .from = from};
	rc = read_or_leave(f, pc);
	if (rc)
		return rc;
	f->striped |= pc->from != NULL;
	ps->posted += len;
	ps->next++;
	return 0;
}

/* Pieces end at multiples of their size; a short rest goes with the last. */
static uint64_t next_len(const struct swi_fetch *f)
{
	const struct swi_pieces *ps = f->pieces;
	const uint64_t piece = swi_piece_bytes(f->sn), left = HEAD + f->len - ps->posted;

	if (ps->have == HEAD + f->len && left <= piece + piece / 4)
		return left;
	return swi_min_u64(piece - ps->posted % piece, ps->have - ps->posted);
}

/* Posts what can be posted. True: it is over, one way or the other. */
static bool pump(struct swi_fetch *f)
{
	struct swi_pieces *ps = f->pieces;
	struct swi_stripe *from;

	while (!ps->status && ps->posted < ps->have && ps->next - ps->first < SWI_PIECES_RING && choose(ps, &from))
		ps->status = post(f, from, next_len(f));
	return !ps->busy && (ps->status || ps->landed == HEAD + f->len);
}

static void piece_done(struct swi_read *rd, int status)
{
	struct swi_fetch *f = rd->owner;
	struct swi_pieces *ps = f->pieces;
	struct swi_piece *pc = swi_container_of(rd, struct swi_piece, rd);
	const uint64_t before = ps->landed;

	f->sn->fetches.in_flight--;
	ps->busy--;
	(*busy_of(ps, pc->from))--;
	if (status && pc->from && !ps->status) {
		pc->from->usable = false;
		pc->from = NULL;
		status = read_piece(f, pc);
		if (!status)
			return;
	}
	pc->done = true;
	if (status && !ps->status)
		ps->status = status;
	while (!ps->status && ps->first < ps->next && ps->piece[ps->first % SWI_PIECES_RING].done)
		ps->landed = ps->piece[ps->first++ % SWI_PIECES_RING].end;
	if (ps->landed > before) {
		swi_followers_more(f, 0);
		swi_fetch_landed_to(f, swi_pieces_landed(f));
	}
	swi_pieces_go_on(f);
}

void swi_pieces_begin(struct swi_fetch *f)
{
	const bool part = f->from_part;

	if (!f->pieces)
		f->pieces = malloc(sizeof(*f->pieces));
	SWI_BUG_ON(!f->pieces);
	memset(f->pieces, 0, sizeof(*f->pieces));
	f->pieces->have = HEAD + f->lease.have;
	if (part) { /* of an object that is landing at its holder, too: the header there has no name yet */
		swi_head_begin((void *)(f->sn->arena + f->offset), f->ref, f->len);
		f->pieces->posted = f->pieces->landed = HEAD;
	}
	swi_fetch_will_land(f, part || !f->sn->opts.no_verify ? f->len : 0);
	f->phase = SWI_FETCH_READ;
	f->striped = false;
	swi_followers_give(f);
	if (!part && !f->stripe_off && f->len >= SWI_STRIPE_MIN * swi_piece_bytes(f->sn))
		swi_stripes_ask(f);
	swi_pieces_go_on(f);
}

void swi_pieces_go_on(struct swi_fetch *f)
{
	if (pump(f))
		swi_fetch_read_over(f, f->pieces->status);
}

void swi_pieces_more(struct swi_fetch *f, int status, uint64_t have)
{
	struct swi_pieces *ps = f->pieces;

	if (status && !ps->status)
		ps->status = status;
	else if (HEAD + have > ps->have)
		ps->have = HEAD + have;
	swi_pieces_go_on(f);
}
