/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intent.pml - the promise of intents and chunks (store/object.c, store/grant.c, store/walk.c), for spin(1): one
 * process makes an object in its chunk and seals it, another deletes it; either is killed between any two steps, or
 * never. When the node has dealt with everything: the slot is EMPTY or SEALED; the bytes are free if and only if
 * the object is not there, and were freed once; the number of objects is right; and who waits for the
 * object was told of it while it was there.
 *
 * Every statement outside of atomic is one access to shared memory or one message. -DNO_TELL: the undo does not
 * announce; -DNO_REMOVED: the undo takes a removed object for one that was never sealed; -DLATE_INTENT: the intent is
 * stored after the claim; -DEARLY_DROP: the intent is dropped before the count. Each of them must fail.
 */
#define EMPTY	0
#define CLAIMED 1
#define SEALED	2
#define DEAD	3

#define WRITING	 1 /* the header's state; SEALED as above */
#define ABORTED	 4
#define REMOVED	 5

byte word = EMPTY;	/* the slot */
byte state;		/* of the header */
bool link;		/* the header's generation is written: the chain has it */
bool intent;		/* the maker's: it names the object */
byte sealed;		/* the maker's count */
bool intent_del;	/* the deleter's */
bool told, del_msg;	/* messages to the node */
bool killed_maker, killed_deleter, ended_maker, ended_deleter;

int objects;		/* the node's count */
bool grant_open = true;
byte freed;
bool undone_maker, undone_deleter;

proctype maker()
{
	{
		state = WRITING;
		link = true;
		if
		:: state = ABORTED; goto end /* abort() */
		:: skip
		fi;
#ifndef LATE_INTENT
		intent = true;
#endif
		state = SEALED;
		if
		:: state = ABORTED; goto drop /* somebody sealed the id before */
		:: skip
		fi;
		word = CLAIMED;
#ifdef LATE_INTENT
		intent = true;
#endif
		word = SEALED;
#ifdef EARLY_DROP
		intent = false;
#endif
		sealed++;
		told = true;
drop:		intent = false;
end:		ended_maker = true
	} unless { killed_maker }
}

proctype deleter()
{
	{
		if
		:: word == SEALED
		:: ended_maker || undone_maker -> goto end
		fi;
		intent_del = true;
		atomic { if :: word == SEALED -> word = DEAD :: else -> skip fi };
		del_msg = true;
		intent_del = false;
end:		ended_deleter = true
	} unless { killed_deleter }
}

proctype killer()
{
	if :: killed_maker = !ended_maker :: skip fi;
	if :: killed_deleter = !ended_deleter :: skip fi
}

/* The node: one thread, but the others go on between its steps. */
bool there, was;

inline remove_dead()
{
	if
	:: atomic { word == DEAD -> word = EMPTY; objects-- };
	   if
	   :: grant_open -> state = REMOVED
	   :: else -> freed++
	   fi
	:: atomic { word != DEAD -> skip }
	fi
}

inline undo_maker()
{
	objects = objects + sealed;
	if
	:: intent ->
		atomic { if :: word == CLAIMED -> word = EMPTY :: else -> skip fi };
		there = (word == SEALED || word == DEAD);
#ifdef NO_REMOVED
		was = false;
#else
		was = (state == REMOVED);
#endif
		if
		:: (there || was) && sealed == 0 -> objects++
		:: else -> skip
		fi;
#ifndef NO_TELL
		told = told || there
#endif
	:: else -> skip
	fi;
	/* the walk of the chunk: what the index leads to stays; removal is the node's own, nothing comes between */
	if
	:: link && (word == SEALED || word == DEAD) -> skip
	:: else -> freed++
	fi;
	grant_open = false;
	undone_maker = true
}

proctype node()
{
end_node:
	do
	:: del_msg -> del_msg = false; remove_dead()
	:: killed_maker && !undone_maker -> undo_maker()
	:: killed_deleter && !undone_deleter ->
		if
		:: intent_del -> remove_dead()
		:: else -> skip
		fi;
		undone_deleter = true
	od
}

init {
	atomic { run maker(); run deleter(); run killer(); run node() };
	timeout; /* nobody can do anything any more */
	assert(word == EMPTY || word == SEALED);
	assert(objects + (undone_maker -> 0 : sealed) == (word == SEALED -> 1 : 0));
	assert(!undone_maker || freed == (word == SEALED -> 0 : 1));
	assert(undone_maker || freed == 0);
	assert(word != SEALED || told)
}
