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

static int post(struct swi_fetch *f, uint64_t len)
{
	struct swi_pieces *ps = f->pieces;
	struct swi_snode *sn = f->sn;
	struct swi_peer *p = swi_peer_by_epoch(sn, f->holder_epoch);
	struct swi_piece *pc = &ps->piece[ps->next % SWI_PIECES_WINDOW];
	int rc;

	if (!p || !p->chosen)
		return SWARM_EPEERLOST;
	*pc = (struct swi_piece){.rd = {.cb = piece_done, .owner = f}, .end = ps->posted + len};
	sn->fetches.in_flight++;
	rc = swi_conn_read(p->chosen->conn, f->lease.region, f->lease.offset + ps->posted,
			   sn->arena + f->offset + ps->posted, len, &pc->rd);
	if (rc) {
		sn->fetches.in_flight--;
		return rc;
	}
	sn->stats.get_reads++;
	ps->posted += len;
	ps->next++;
	ps->busy++;
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

	while (!ps->status && ps->posted < ps->have && ps->next - ps->first < SWI_PIECES_WINDOW)
		ps->status = post(f, next_len(f));
	return !ps->busy && (ps->status || ps->landed == HEAD + f->len);
}

static void piece_done(struct swi_read *rd, int status)
{
	struct swi_fetch *f = rd->owner;
	struct swi_pieces *ps = f->pieces;
	const uint64_t before = ps->landed;

	f->sn->fetches.in_flight--;
	ps->busy--;
	swi_container_of(rd, struct swi_piece, rd)->done = true;
	if (status && !ps->status)
		ps->status = status;
	while (!ps->status && ps->first < ps->next && ps->piece[ps->first % SWI_PIECES_WINDOW].done)
		ps->landed = ps->piece[ps->first++ % SWI_PIECES_WINDOW].end;
	if (ps->landed > before)
		swi_followers_more(f, 0);
	if (pump(f))
		swi_fetch_read_over(f, ps->status);
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
	f->phase = SWI_FETCH_READ;
	swi_followers_give(f);
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
	if (pump(f))
		swi_fetch_read_over(f, ps->status);
}
