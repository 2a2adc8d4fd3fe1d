/* How workers fall asleep and are woken, while they die, are stopped and continue. No worker needs
 * the bounded waits of the parent, which are left out here. */

#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef TASKS
#define TASKS 2
#endif
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef STOPS
#define STOPS 1
#endif
#ifndef SUBMITTERS
#define SUBMITTERS 2
#endif

/* The queue: what is published, from `head` on, may be claimed. Claiming is one step here. */
bool published[TASKS];
byte head, tail;
#define has_work() (head < TASKS && published[head])
#define drained() false

#include "worker_notifier.pml"

mtype = { alive, dying, dead };
mtype = { nothing, has_stopped, has_continued };

mtype life[WORKERS] = alive;
bool stopped[WORKERS];
mtype event[WORKERS] = nothing; /* not yet handled by the supervisor */
bool busy[WORKERS];             /* with an endless task */
byte faults = FAULTS;

proctype Submitter() {
    byte at, chosen;
    do
    :: atomic { tail < TASKS -> at = tail; tail++ };
       published[at] = true;
       work_arrived()
    :: tail == TASKS -> break
    od
}

proctype Worker(byte w) provided (!stopped[w] || life[w] == dying) {
    byte chosen;
    bool looking;
    do
    :: atomic { life[w] == dying -> life[w] = dead } /* before its first step */
    :: atomic { life[w] == alive -> looking = true };
       {
           insert(searching, w);
           do
           :: atomic { has_work() && looking -> head++; looking = false };
              erase(searching, w);
              if
              :: has_work() -> work_arrived() /* wakes another */
              :: else
              fi
           :: atomic { has_work() && !looking -> head++ }
           :: atomic { !looking -> busy[w] = true; false }
           :: atomic { !has_work() && !looking -> looking = true };
              insert(searching, w)
           :: !has_work() && looking -> park(w)
           od
       } unless {
           atomic { life[w] == dying ->
               chosen = 0; looking = false;
               busy[w] = false; asleep[w] = false; stopped[w] = false; event[w] = nothing;
               life[w] = dead }
       }
    od
}

inline handle(w) {
    if
    :: atomic { life[w] == dead -> skip };
       forget(w);
       life[w] = alive
    :: atomic { event[w] == has_stopped -> event[w] = nothing };
       forget(w)
    :: atomic { event[w] == has_continued -> event[w] = nothing };
       atomic { wake(w) }
    fi
}

proctype Supervisor() {
    byte chosen;
    do
    :: life[0] == dead || event[0] != nothing -> handle(0)
    :: life[1] == dead || event[1] != nothing -> handle(1)
#if WORKERS > 2
    :: life[2] == dead || event[2] != nothing -> handle(2)
#endif
    od
}

inline may_happen(w) {
    if
    :: d_step { life[w] == alive && DEATHS && faults > 0 -> faults--; life[w] = dying }
    :: d_step { life[w] == alive && !stopped[w] && STOPS && faults > 0 ->
           faults--; stopped[w] = true; event[w] = has_stopped }
    :: d_step { life[w] == alive && stopped[w] -> stopped[w] = false; event[w] = has_continued }
    fi
}

proctype Fate() {
    do
    :: may_happen(0)
    :: may_happen(1)
#if WORKERS > 2
    :: may_happen(2)
#endif
    :: d_step { faults > 0 -> faults = 0 }
    :: break
    od
}

#define is_idle(w) (life[w] == alive && !stopped[w] && !busy[w])

/* When nothing can happen any more: no task may wait while a worker sleeps. */
proctype Judge() {
    byte i;
    atomic {
        timeout;
        assert(tail == TASKS);
        do
        :: i < WORKERS -> assert(!has_work() || !is_idle(i)); i++
        :: else -> i = 0; break
        od
    }
}

init {
    byte i;
    atomic {
        do
        :: i < SUBMITTERS -> run Submitter(); i++
        :: else -> i = 0; break
        od;
        do
        :: i < WORKERS -> run Worker(i); i++
        :: else -> i = 0; break
        od;
        run Supervisor();
        run Fate();
        run Judge()
    }
}
