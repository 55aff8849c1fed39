/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.pml - the promise of a move (store/index.c, store/relocate.c, store/object.c), for spin(1): while the node moves a
 * sealed object from place to place, no look-up misses it, no reader sees bytes of a place that was reused, and
 * who has deleted it finds it no more.
 *
 * Two places, so that a moved object comes back to where it lay; each move gives it a new generation. Memory model as in
 * pin.pml. Broken forms that must fail: NO_FENCE (of the reader), NO_SCAN (the old place is reused without a look at
 * the pins), NO_RETRY (a delete whose kill met a move does not look again), TWO_STEPS (the slot is emptied and
 * filled again instead of one compare-and-swap).
 */
#define MOVES	2
#define PLACE(g) ((g) & 1)
#define DEAD	 10

byte word = 1;	    /* the slot: 0 = EMPTY, g = SEALED with generation g at PLACE(g), DEAD + g */
byte content[2];    /* generation of the object whose bytes lie there; 0 = reused */
byte pin = 0;	    /* 1 + place, as the node sees it */
byte buffer = 0;    /* a pin store that has not left the reader's store buffer */
bool killed;

proctype store_buffer()
{
end:
	do
	:: atomic { buffer != 0 -> pin = buffer; buffer = 0 }
	od
}

proctype reader()
{
	byte seen, looks;
	bool before;
	do
	:: looks < 3 ->
		looks++;
		before = killed;
		seen = word;
		if
		:: seen == 0 || seen > DEAD -> assert(killed || before) /* only a deleted one is missing */
		:: else ->
			buffer = 1 + PLACE(seen);
#ifndef NO_FENCE
			atomic { if :: buffer != 0 -> pin = buffer; buffer = 0 :: else -> skip fi }
#endif
			if
			:: word == seen -> /* re-check */
				assert(content[PLACE(seen)] == seen);
				assert(content[PLACE(seen)] == seen) /* any later moment while pinned */
			:: else -> skip /* looks again */
			fi;
			atomic { buffer = 0; pin = 0 }
		fi
	:: break
	od
}

/* swi_lc_delete(): the header is read without a pin. */
proctype deleter()
{
	byte seen;
	bool it;
	do
	:: seen = word;
	   if
	   :: seen == 0 || seen > DEAD -> break
	   :: else -> skip
	   fi;
	   it = (content[PLACE(seen)] == seen);
	   if
	   :: it ->
		atomic {
			if
			:: word == seen -> word = DEAD + seen; killed = true
			:: else -> skip
			fi
		}
		if
		:: killed -> break
		:: else -> skip
		fi
	   :: else ->
		/* another id with the same key, if the slot still leads there: it never does here */
		assert(word != seen)
	   fi;
#ifdef NO_RETRY
	   break
#endif
	od;
	assert(word == 0 || word > DEAD) /* it vanished at once */
}

inline reuse(place)
{
#ifndef NO_SCAN
	(pin != 1 + place); /* retired: scanned until nobody has it pinned */
#endif
	content[place] = 0
}

proctype node()
{
	byte g = 1, d;
	bool moved;
	do
	:: g <= MOVES ->
		d = PLACE(g + 1);
		content[d] = g + 1; /* the copy is complete before the slot leads to it */
#ifdef TWO_STEPS
		moved = false;
		atomic { if :: word == g -> word = 0; moved = true :: else -> skip fi }
		if :: moved -> word = g + 1 :: else -> skip fi;
#else
		atomic { if :: word == g -> word = g + 1; moved = true :: else -> moved = false fi }
#endif
		if
		:: moved -> reuse(PLACE(g)); g++
		:: else -> content[d] = 0; break /* it was killed */
		fi
	:: else -> break
	od;
	(killed || timeout);
	if
	:: word > DEAD ->
		g = word - DEAD;
		word = 0;
		reuse(PLACE(g))
	:: else -> skip
	fi
}

init {
	atomic {
		content[PLACE(1)] = 1;
		run store_buffer();
		run reader();
		run deleter();
		run node()
	}
}
