/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pin.pml - the promise of pins (store/pin.c, store/index.c, store/hold.c), for spin(1): the bytes of
 * an object that a reader pinned and re-checked are never reused before the reader releases it.
 *
 * Memory model: total store order, as on x86: each reader's pin store waits in its store buffer until
 * a fence or any later moment. The node's compare-and-swap is a full fence. With -DNO_FENCE the
 * reader's fence is left out and the model must fail: the test runs both.
 */
#define READERS 2
#define GENS	3

byte word = 1;	     /* the slot: 0 = EMPTY, else SEALED with this generation */
byte content = 1;    /* whose bytes lie in the extent; 0 = being overwritten */
bool pin[READERS];   /* as the node sees it */
bool buffer[READERS]; /* a pin store that has not left the reader's store buffer */

proctype store_buffer(byte me)
{
end:
	do
	:: atomic { buffer[me] -> pin[me] = true; buffer[me] = false }
	od
}

proctype reader(byte me)
{
	byte seen;
	do
	:: seen = word;
	   if
	   :: seen == 0 -> skip
	   :: else ->
		buffer[me] = true; /* pin[i] = granule + 1 */
#ifndef NO_FENCE
		atomic { if :: buffer[me] -> pin[me] = true; buffer[me] = false :: else -> skip fi }
#endif
		if
		:: word == seen -> /* re-check */
			assert(content == seen);
			assert(content == seen) /* any later moment while pinned */
		:: else -> skip
		fi;
		/* release: the pin store and this one leave the buffer in order */
		atomic { buffer[me] = false; pin[me] = false }
	   fi
	:: break
	od
}

proctype node()
{
	byte gen = 1;
	byte i;
	bool pinned;
	do
	:: gen < GENS ->
		word = 0; /* CAS SEALED -> EMPTY: a full fence */
		do /* limbo: scan until nobody has it pinned */
		:: pinned = false;
		   i = 0;
		   do
		   :: i < READERS -> pinned = pinned || pin[i]; i++
		   :: else -> break
		   od;
		   if
		   :: pinned -> skip
		   :: else -> break
		   fi
		od;
		content = 0; /* the extent is free: somebody writes into it */
		gen++;
		content = gen;
		word = gen /* sealed */
	:: else -> break
	od
}

init {
	byte i = 0;
	atomic {
		do
		:: i < READERS -> run reader(i); run store_buffer(i); i++
		:: else -> break
		od;
		run node()
	}
}
