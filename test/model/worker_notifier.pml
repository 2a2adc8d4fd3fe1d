/* The words and steps of lib/ring/worker_notifier.cpp. Each process that wakes others has a
 * variable `chosen`. The including model says what `has_work()` and `drained()` are. */

byte searching; /* a bit for each worker */
byte parked;
bool woken[WORKERS];
bool asleep[WORKERS]; /* in futex_wait, which compares and falls asleep in one step */

#define bit(w) (1 << w)
#define is_in(set, w) ((set & bit(w)) != 0)
#define insert(set, w) set = set | bit(w)
#define erase(set, w) set = set & ~bit(w)

/* Store and FUTEX_WAKE as one step: in between the sleeper cannot move, and if the waker dies then,
 * the process that repairs does both again. */
inline wake(w) {
    woken[w] = true;
    asleep[w] = false
}

/* The member of `parked` with the lowest number, or WORKERS. */
inline first_parked() {
    chosen = 0;
    do
    :: chosen < WORKERS && !is_in(parked, chosen) -> chosen++
    :: else -> break
    od
}

/* After a task was published: wakes a worker, unless another is searching already. */
inline work_arrived() {
    do
    :: atomic { first_parked(); if :: chosen == WORKERS -> chosen = 0; break :: else fi };
       atomic { if :: searching != 0 -> chosen = 0; break :: else fi };
       choose();
       atomic { if :: chosen == WORKERS -> chosen = 0; break :: else -> chosen = 0 fi }
    od
}

/* Wakes a parked worker (and sets `chosen`), unless another process does. */
inline choose() {
#ifdef SEARCHING_AFTER_WAKE
    if
    :: atomic { is_in(parked, chosen) -> erase(parked, chosen) };
       atomic { wake(chosen) };
       atomic { insert(searching, chosen); chosen = WORKERS }
    :: atomic { else -> chosen = 0 }
    fi
#else
    insert(searching, chosen);
    if
    :: atomic { is_in(parked, chosen) -> erase(parked, chosen) };
       atomic { wake(chosen); chosen = WORKERS }
    :: else ->
       atomic { erase(searching, chosen); chosen = 0 } /* another process was faster */
    fi
#endif
}

inline wake_all() {
    do
    :: chosen < WORKERS ->
       erase(parked, chosen);
       atomic { wake(chosen); chosen++ }
    :: atomic { else -> chosen = 0; break }
    od
}

/* Takes back the bits that a dead or stopped worker had set, and wakes the others. */
inline forget(w) {
#ifdef FORGET_ONE
    erase(searching, w);
    erase(parked, w);
#elif defined(FORGET_SEARCHING_FIRST)
    searching = 0;
    erase(parked, w);
#else
    erase(parked, w);
    searching = 0;
#endif
#ifndef FORGET_WITHOUT_WAKING
    wake_all()
#endif
}

inline sleep(w) {
    do
    :: woken[w] -> break
    :: atomic { !woken[w] -> asleep[w] = true; !asleep[w] }
    od;
    woken[w] = false
}

/* Sleeps until woken, unless there is work after the worker's bit is set. */
inline park(w) {
#ifdef PARK_WITHOUT_LOOKING
    insert(parked, w);
    erase(searching, w);
    sleep(w);
#else
    insert(parked, w);
    erase(searching, w);
    if
    :: has_work() || drained() ->
       if
       :: atomic { is_in(parked, w) -> erase(parked, w) }
       :: else -> sleep(w)
       fi
    :: else -> sleep(w)
    fi;
#endif
    insert(searching, w);
    erase(parked, w) /* still set after `wake_all` of a worker that is about to park */
}
