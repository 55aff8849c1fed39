/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.pml - the promise of the shared index (store/index.c), for spin(1): however many processes
 * seal the same id at once, and whichever of them is killed between any two steps, at most one object
 * is SEALED under that id; whoever is told -EEXIST is told the truth; and while one of them lives to
 * the end, one is sealed.
 *
 * One probe sequence of SLOTS slots (2 inserters x 3 slots by default; -DINSERTERS=3 -DSLOTS=2 takes minutes); every inserter has the same key. A killed inserter leaves its
 * claim, which the node finds by its word and clears (grant.c). With -DNO_RESCAN step (3) is left out and the
 * model must fail: the test runs both. Every atomic block holds one access to shared memory.
 */
#ifndef INSERTERS
#define INSERTERS 2
#endif
#ifndef SLOTS
#define SLOTS 3
#endif
#define EMPTY	  0
#define NOBODY	  255

/* word: EMPTY, CLAIMED by i as 1 + i, SEALED by i as 11 + i */
byte word[SLOTS];
bool key[SLOTS];    /* the key is stored after the claim */
byte sealed_count;
byte finished;
bool killed[INSERTERS];
byte other[INSERTERS]; /* a rival's claim as it was seen */

#define IS_SEALED(w)  ((w) > 10)
#define IS_CLAIMED(w) ((w) > 0 && (w) <= 10)

proctype inserter(byte me)
{
	byte i, slot;
	{
	skip;
again_from_start:
	/* (1) sealed already? */
	atomic { i = 0; slot = NOBODY }
	do
	:: atomic { i < SLOTS && IS_SEALED(word[i]) && key[i] -> goto exists }
	:: atomic { i < SLOTS && !(IS_SEALED(word[i]) && key[i]) -> i++ }
	:: atomic { i == SLOTS -> i = 0; break }
	od;
	/* (2) claim the first empty slot; the intent (intent.pml) names the object already */
	do
	:: atomic { i < SLOTS && word[i] == EMPTY -> skip }
	   if
	   :: atomic { word[i] == EMPTY -> word[i] = 1 + me; key[i] = false; slot = i; break }
	   :: atomic { word[i] != EMPTY -> i++ }
	   fi
	:: atomic { i < SLOTS && word[i] != EMPTY -> i++ }
	:: atomic { i == SLOTS -> goto again_from_start }
	od;
	/* the key: stored even if the claim was taken away meanwhile (then it is a foreign slot's: same key here) */
	key[slot] = true;
#ifndef NO_RESCAN
	/* (3) who else is here? */
rescan:
	i = 0;
	do
	:: atomic { i < SLOTS && (i == slot || !key[i] || word[i] == EMPTY) -> i++ }
	:: atomic { i < SLOTS && i != slot && key[i] && IS_SEALED(word[i]) -> i = NOBODY }
	   atomic { if :: word[slot] == 1 + me -> word[slot] = EMPTY; key[slot] = false :: else -> skip fi; goto exists }
	:: atomic { i < SLOTS && i != slot && key[i] && IS_CLAIMED(word[i]) ->
		/* behind us: taken away at once; before us: after a while (any moment here) */
		other[me] = word[i] }
	   atomic { if :: word[i] == other[me] -> word[i] = EMPTY; key[i] = false :: else -> skip fi; goto rescan }
	:: atomic { i == SLOTS -> break }
	od;
#endif
	/* (4) publish */
	if
	:: atomic { word[slot] == 1 + me -> word[slot] = 11 + me; sealed_count++; assert(sealed_count == 1) }
	:: atomic { word[slot] != 1 + me -> goto again_from_start }
	fi;
	goto done;
exists:
	assert(sealed_count == 1);
done:
	finished++
	} unless {
		/* SIGKILL between any two steps; the node then clears the claim */
		killed[me];
		atomic {
			i = 0;
			do
			:: i < SLOTS && word[i] == 1 + me -> word[i] = EMPTY; key[i] = false; i++
			:: i < SLOTS && word[i] != 1 + me -> i++
			:: i == SLOTS -> break
			od
		}
	}
}

/* SIGKILL for all inserters but the first, each at any moment or never */
proctype killer(byte victim)
{
	if
	:: killed[victim] = true
	:: skip
	fi
}

init {
	byte i = 0;
	atomic {
		do
		:: i < INSERTERS ->
			run inserter(i);
			if :: i > 0 -> run killer(i) :: else -> skip fi;
			i++
		:: else -> break
		od
	}
	(_nr_pr == 1); /* everybody ended */
	assert(finished > 0 && sealed_count == 1)
}
