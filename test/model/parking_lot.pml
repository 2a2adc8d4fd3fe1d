/* The words and steps of lib/sync/parking_lot.cpp. Each process that wakes others has the variables
 * `chosen` and `won`.
 *
 * A futex: who sleeps is in `asleep`; FUTEX_WAIT compares and falls asleep in one step. */

byte searching; /* a bit for each worker */
byte parked;
bool woken[WORKERS];
bool asleep[WORKERS];

#define bit(w) (1 << w)
#define insert(set, w) set = set | bit(w)
#define erase(set, w) set = set & ~bit(w)

inline wake(w) {
    woken[w] = true;
    asleep[w] = false
}

/* The member with the lowest number, or WORKERS. */
inline first_parked() {
    chosen = 0;
    do
    :: chosen < WORKERS && !(parked & bit(chosen)) -> chosen++
    :: else -> break
    od
}

inline choose() {
    insert(searching, chosen);
    d_step { won = (parked & bit(chosen)) != 0; erase(parked, chosen) };
    if
    :: won -> wake(chosen)
    :: !won -> erase(searching, chosen)
    fi
}

inline work_arrived() {
    do
    :: atomic { first_parked(); if :: chosen == WORKERS -> chosen = 0; break :: else fi };
       atomic { if :: searching != 0 -> chosen = 0; break :: else fi };
       choose();
       atomic { chosen = 0; if :: won -> won = false; break :: else fi }
    od
}

/* For those who sleep: when a wake may have gone to somebody who does not come. */
inline wake_parked() {
    do
    :: atomic { first_parked(); if :: chosen == WORKERS -> chosen = 0; break :: else fi };
       choose();
       atomic { chosen = 0; won = false }
    od
}

inline wake_all() {
    chosen = 0;
    do
    :: chosen < WORKERS ->
       erase(parked, chosen);
       wake(chosen);
       chosen++
    :: else -> chosen = 0; break
    od
}

inline forget(w) {
#ifdef FORGET_ONE
    erase(searching, w);
#else
    searching = 0;
#endif
    erase(parked, w);
    wake_all()
}

/* Sleeps until woken. Some work may be there when it returns. */
inline park(w) {
#ifdef SEARCHING_ERASED_FIRST
#endif
    insert(parked, w);
    erase(searching, w);
#ifndef PARK_WITHOUT_LOOKING
    if
    :: atomic { work_visible ->
           skip };
       d_step { won = (parked & bit(w)) != 0; erase(parked, w) }
    :: else
    fi;
#endif
    do
    :: atomic { won || woken[w] -> break }
    :: atomic { !won && !woken[w] -> asleep[w] = true };
       !asleep[w]
    od;
    atomic { if :: !won -> woken[w] = false :: else -> won = false fi };
    insert(searching, w);
    erase(parked, w)
}
