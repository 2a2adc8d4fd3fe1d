/* How blocks are taken, freed and trimmed (lib/shm/payload.cpp): two blocks of one size that were
 * used before, the stack of free ones, processes that use blocks, and trimmers. */

#define BLOCKS 2
#ifndef USERS
#define USERS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2 /* how often each user takes a block */
#endif
#ifndef TRIMMERS
#define TRIMMERS 1
#endif
/* How many processes may die. */
#ifndef FAULTS
#define FAULTS 1
#endif

#define none 9 /* no block, no process */
mtype = { owned, free, marked };

/* The blocks' words. */
mtype kind[BLOCKS] = free;
byte owner[BLOCKS] = none;
byte next[BLOCKS];
bool unlinked[BLOCKS];
/* The head of the stack. */
byte first;
byte tag;

/* Whose bytes lie in a block. */
byte bytes[BLOCKS] = none;
byte faults;

inline maybe_die() {
    if
    :: true
    :: faults < FAULTS -> faults++; goto died
    fi
}

/* Each of these is one load or compare-and-swap. `ok` is whether it succeeded. */
inline swap_top(from, from_tag, to) {
    atomic {
        ok = (first == from && tag == from_tag);
        if
        :: ok -> first = to; tag++
        :: else
        fi
    }
}

/* precede; in `push` the block is stored as free before the first attempt. */
inline push(block) {
    d_step { seen = first; seen_tag = tag }
    d_step { kind[block] = free; owner[block] = none; next[block] = seen; unlinked[block] = false }
    do
    :: maybe_die();
       swap_top(seen, seen_tag, block);
       if
       :: ok -> break
       :: else ->
          d_step { seen = first; seen_tag = tag }
          maybe_die();
          atomic {
              if
#ifdef PUSH_BY_STORE
              :: true -> kind[block] = free; next[block] = seen
#else
              :: kind[block] == free -> next[block] = seen
              :: else ->
                 assert(kind[block] == marked);
                 unlinked[block] = true; /* left to the trimmer */
                 ok = true
#endif
              fi
          }
          if
          :: ok -> break
          :: else
          fi
       fi
    od
}

proctype User(byte self) {
    byte rounds, seen, seen_tag, after;
    bool ok;
    do
    :: rounds == ROUNDS -> break
    :: else ->
       rounds++;
       d_step { seen = first; seen_tag = tag }
       do
       :: seen == none -> break /* takes a block that was never used */
       :: else ->
          after = next[seen];
          maybe_die();
          swap_top(seen, seen_tag, after);
          if
          :: ok ->
             maybe_die();
             atomic { /* take_popped */
                 if
                 :: kind[seen] == free ->
                    kind[seen] = owned;
                    owner[seen] = self
                 :: else ->
                    assert(kind[seen] == marked && !unlinked[seen]);
#ifdef TAKE_MARKED
                    kind[seen] = owned;
                    owner[seen] = self
#else
#ifndef FORGET_MARKED
                    unlinked[seen] = true;
#endif
                    ok = false
#endif
                 fi
             }
             if
             :: ok -> break
             :: else -> d_step { seen = first; seen_tag = tag }
             fi
          :: else -> d_step { seen = first; seen_tag = tag }
          fi
       od;
       if
       :: seen == none
       :: else ->
          bytes[seen] = self;
          maybe_die();
          assert(kind[seen] == owned && owner[seen] == self && bytes[seen] == self);
          after = seen;
          push(after)
       fi
    od;
died:
    skip
}

proctype Trimmer() {
    byte block, seen, seen_tag;
    bool ok;
    do
    :: block == BLOCKS -> break
    :: else ->
       maybe_die();
       atomic { /* mark */
           ok = (kind[block] == free);
           if
#ifdef TRIM_UNMARKED
           :: ok
#else
           :: ok -> kind[block] = marked; unlinked[block] = false
#endif
           :: else
           fi
       }
       maybe_die();
       if
       :: ok ->
          assert(kind[block] != owned);
          bytes[block] = none; /* the pages are returned */
          maybe_die();
          atomic { /* unmark */
              ok = !unlinked[block];
#ifndef TRIM_UNMARKED
              if
              :: ok -> kind[block] = free
              :: else
              fi
#endif
          }
          if
          :: ok
          :: else -> push(block)
          fi
       :: else
       fi;
       block++
    od;
died:
    skip
}

init {
    byte process, on_stack, block;
    atomic {
        next[0] = 1;
        next[1] = none;
        for (process : 0 .. USERS - 1) { run User(process) }
        for (process : 1 .. TRIMMERS) { run Trimmer() }
    }
    _nr_pr == 1;
    atomic {
        block = first;
        do
        :: block == none -> break
        :: else ->
           assert(kind[block] == free || faults != 0);
           on_stack++;
           assert(on_stack <= BLOCKS);
           block = next[block]
        od;
        /* A death loses one block. */
        assert(on_stack + faults >= BLOCKS)
    }
}
