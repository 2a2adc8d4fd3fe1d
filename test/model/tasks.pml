/* The life of tasks: submitted, claimed, finished, cancelled, asked to stop, killed, dropped, timed
 * out, retried, repaired, while workers die between any two steps. An idle process waits without polling;
 * that the real ones are woken is in sleeping.pml. */

#ifndef RECORDS
#define RECORDS 2
#endif
#ifndef ENTRIES
#define ENTRIES 2
#endif
#ifndef TASKS
#define TASKS 3
#endif

/* How many deaths, cancels, kills, drops and timeouts there may be in all, and which kinds; beside
 * them at most one request to stop. */
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef CANCELS
#define CANCELS 1
#endif
#ifndef REQUESTS
#define REQUESTS 0
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef DROPS
#define DROPS 1
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 1
#endif
#ifndef RETRIES
#define RETRIES 1
#endif

/* Any worker may be stopped for ever; all tasks have a timeout, and each must end all the same. */
#ifndef STOPS
#define STOPS 0
#endif

#define WORKERS 2
#define has_timeout(at) (STOPS || at % 2 == 0)
#if TIMEOUTS && !defined(STOP_AT_AFTER_CLAIM)
#define before_claim(w) stop_at[w] = has_timeout(position)
#endif
#include "ring.pml"

mtype = { alive, stopped, dying, dead };

mtype life[WORKERS] = alive;
bool doomed[WORKERS];  /* SIGKILL is on its way */
byte retry[WORKERS];   /* in the slot: the record that its dead worker has left, + 1, … */
byte retry_at[WORKERS]; /* … and its generation, in the same word */
bool stop_at[WORKERS]; /* in the slot: the task has a timeout, which may be over any time */
bool notified;             /* SIGUSR1 is pending at the supervisor */

/* `Fate` may set it to 0, so that no fault hides that a process waits for ever. */
byte faults = FAULTS;

/* A thread of the parent, which reuses one record. */
proctype Thread(byte r) {
    byte at;
    do
    :: atomic { tail < TASKS && (tail > 0 || r == 0) && tail - head < ENTRIES -> reserve(r, at) };
       publish(r, at);
       do
       :: d_step { CANCELS && faults > 0 && is_queued(r, at) -> /* cancel */
              faults--;
              assert(!ran[at] || retried[at]);
              end_task(r, cancelled) }
       :: d_step { KILLS && faults > 0 && record[r].state == running -> /* kill */
              faults--;
#ifdef NOTIFIED_FIRST
              notified = true }
       atomic { record[r].state == running ->
#endif
              record[r].verdict = killed;
              record[r].state = condemned };
#ifndef NOTIFIED_FIRST
          notified = true
#endif
       :: atomic { is_final(record[r].state) -> /* get */
              assert(ended[at] && record[r].generation == generation_of(at));
              assert(record[r].state != returned || record[r].result == at + 1);
              ran[at] = false; retried[at] = false;
              record[r].result = 0; record[r].verdict = 0; record[r].stop_requested = false;
              record[r].state = vacant;
              break }
       :: d_step { DROPS && faults > 0 && !is_final(record[r].state) -> /* abandon */
              faults--;
              record[r].abandoned = true };
          d_step { is_final(record[r].state) -> /* a later submit finds the record */
              assert(ended[at] && record[r].generation == generation_of(at));
              assert(record[r].result == 0);
              ran[at] = false; retried[at] = false;
              record[r].abandoned = false; record[r].verdict = 0;
              record[r].stop_requested = false;
              record[r].state = vacant };
          break
       od
    :: tail == TASKS -> break
    od
}

/* Whether the record still holds the task that the request is for. */
#ifdef REQUEST_ANY_GENERATION
#define is_asked_for true
#else
#define is_asked_for (record[0].generation == generation_of(at))
#endif

/* Another thread of the parent, which asks a task to stop that the first may take meanwhile. */
proctype Requester() {
    byte at;
end:
    atomic { record[0].state != vacant -> at = task[0] };
    atomic {
        if
        :: is_asked_for && record[0].state == queued ->
           assert(task[0] == at && (!ran[at] || retried[at]));
           end_task(0, cancelled)
        :: is_asked_for && record[0].state == running ->
           assert(task[0] == at);
           record[0].stop_requested = true
        :: else
        fi;
        at = 0
    }
}

inline write_result(w) {
    d_step {
        assert(is_owned_by(index, w) && task[index] == position);
        record[index].result = position + 1
    }
}

/* Whether a dead worker has left a task that waits to be tried again. */
#define is_left(w) (retry[w] != 0 && is_queued(retry[w] - 1, retry_at[w]))

/* Claims what a dead worker has left. Only a worker that has claimed it, or the slot's own, clears
 * the slot. */
#ifdef RETRY_CLEARED_BY_LOSER
#define may_clear(w) true
#else
#define may_clear(w) (claimed || from == w)
#endif
inline claim_retry(w) {
#ifdef RETRY_CLEARED_FIRST
    d_step { retry[from] = 0; retry_at[from] = 0 };
#endif
    intent[w] = index + 1;
    before_claim(w);
    d_step {
        left = position;
#ifdef RETRY_WITHOUT_GENERATION
        position = task[index];
#endif
        take(w);
        position = task[index]
    };
    d_step {
        if
        :: may_clear(w) && retry[from] == index + 1 && retry_at[from] == left ->
           retry[from] = 0; retry_at[from] = 0
        :: else
        fi;
        from = 0; left = 0;
        if
        :: !claimed -> index = 0; position = 0
        :: else
        fi
    }
}

#ifdef RETRY_LAST
#define may_look_into_queue(w) true
#else
#define may_look_into_queue(w) (retry[w] == 0)
#endif

proctype Worker(byte w) {
    byte position, index, from, left;
    bool claimed;
end:
    do
    :: atomic { life[w] == dying -> doomed[w] = false; life[w] = dead } /* before its first step */
    :: life[w] == alive ->
       {
           do
           :: claimed ->
#ifdef STOP_AT_AFTER_CLAIM
              stop_at[w] = has_timeout(position);
#endif
#if defined(RESULT_AFTER_FINISH)
              stop_at[w] = false;
              atomic { finish(w) };
              record[index].result = position + 1;
#elif defined(STOP_AT_CLEARED_FIRST) /* with DROPS=0 */
              write_result(w);
              stop_at[w] = false;
              atomic { finish(w) };
#else
              write_result(w);
              atomic { finish(w) };
              if
              :: claimed -> record[index].result = 0; atomic { finish(w) } /* refused */
              :: else
              fi;
              stop_at[w] = false;
#endif
              atomic { index = 0; position = 0 }
           :: !claimed ->
end_idle:     if
              :: atomic { retry[w] != 0 -> from = w; index = retry[w] - 1; position = retry_at[w] };
                 claim_retry(w)
              :: atomic { retry[w] == 0 && is_left(1 - w) ->
                     from = 1 - w; index = retry[1 - w] - 1; position = retry_at[1 - w] };
                 claim_retry(w)
              :: has_work() && may_look_into_queue(w) -> claim(w)
              fi
           od
       } unless {
           atomic { life[w] != alive -> position = 0; index = 0; from = 0; left = 0; claimed = false };
end_stopped: atomic { life[w] == dying -> doomed[w] = false; life[w] = dead }
       }
    od
}

/* Sends SIGKILL to a worker, which must run no other task than the one in r. */
inline kill_worker(w) {
    d_step {
        assert(life[w] == dead || (record[r - 1].state == condemned && record[r - 1].owner == w));
        doomed[w] = (life[w] != dead)
    }
}

/* LimitMonitor::look_at: kills a worker whose intent names a record that is condemned and owned by
 * it. */
inline kill_condemned(w) {
    atomic {
        r = intent[w];
        if
        :: r != 0 && record[r - 1].state == condemned && record[r - 1].owner == w
        :: else -> r = 0
        fi
    };
    if
    :: r != 0 -> kill_worker(w)
    :: r == 0
    fi
}

/* Whether the status is still the one that was seen. */
#if defined(CONDEMN_BY_STORE)
#define is_same(r, w) true
#elif defined(CONDEMN_ANY_GENERATION)
#define is_same(r, w) (record[r].state == running && record[r].owner == w)
#else
#define is_same(r, w)                                                                             \
    (record[r].state == running && record[r].owner == w && record[r].generation == generation)
#endif

/* The order matters: `stop_at` belongs to this status or to a later one. */
#ifdef STOP_AT_LOOKED_AT_FIRST
#define is_over over
#else
#define is_over stop_at[w]
#endif

/* LimitMonitor::look_at_time: condemns a worker's overdue task. */
inline time_out(w) {
#ifdef STOP_AT_LOOKED_AT_FIRST
    over = stop_at[w];
#endif
    atomic {
        r = intent[w];
        if
        :: r != 0 && record[r - 1].state == running && record[r - 1].owner == w ->
           generation = record[r - 1].generation
        :: else -> r = 0
        fi
    };
    if
    :: r != 0 && is_over ->
#ifndef KILL_UNCONDEMNED
       d_step {
           if
           :: is_same(r - 1, w) ->
              assert(has_timeout(task[r - 1]));
              record[r - 1].verdict = timed_out;
              record[r - 1].state = condemned
           :: else
           fi
       };
       kill_condemned(w)
#else
       kill_worker(w)
#endif
    :: else
    fi
}

#ifdef REPAIR_ANY_OWNER
#define was_running(r, w) is_owned(record[r].state)
#else
#define was_running(r, w) is_owned_by(r, w)
#endif

#ifdef RETRY_THOUGH_STOPPED
#define may_retry(r) true
#else
#define may_retry(r) (!record[r].stop_requested)
#endif

/* repair_after_death: fail_dead or requeue. */
inline repair(w) {
    if
    :: d_step { r != 0 && was_running(r - 1, w) ->
#ifdef REPAIR_TRIES_ONCE
           was = record[r - 1].state;
#endif
           record[r - 1].result = 0 /* pid, exit code */ };
       atomic {
           if
#ifdef REPAIR_TRIES_ONCE
           :: record[r - 1].state == condemned && was == running
           :: record[r - 1].state == condemned && was == condemned ->
#else
           :: record[r - 1].state == condemned ->
#endif
              end_task(r - 1, record[r - 1].verdict)
           :: record[r - 1].state == running -> end_task(r - 1, died)
           :: RETRIES && record[r - 1].state == running && may_retry(r - 1) ->
              retried[task[r - 1]] = true;
              record[r - 1].owner = 0;
#ifdef RETRY_AT_NEW_POSITION
              record[r - 1].generation = generation_of(tail);
#endif
              assert(!is_left(w)); /* a slot has room for one */
              record[r - 1].state = queued;
              retry[w] = r;
              retry_at[w] = task[r - 1]
           fi
       }
    :: else
    fi
}

/* Forks a worker in the place of another. */
inline start(w) {
    r = 0;
    do
    :: r < RECORDS -> assert(!is_owned_by(r, w)); r++
    :: else -> r = 0; break
    od;
    intent[w] = 0;
    stop_at[w] = false;
    life[w] = alive
}

#define due(w) (stop_at[w] && intent[w] != 0 && record[intent[w] - 1].state == running &&        \
                record[intent[w] - 1].owner == w && life[w] == stopped)

proctype Supervisor() {
    byte w, r, generation;
#ifdef REPAIR_TRIES_ONCE
    mtype was;
#endif
#ifdef STOP_AT_LOOKED_AT_FIRST
    bool over;
#endif
end:
    do
    :: atomic { life[0] == dead || life[1] == dead ->
           if
           :: life[0] == dead
           :: life[1] == dead -> w = 1
           fi;
           r = intent[w] };
       repair(w);
       atomic { start(w); w = 0 }
    :: atomic { notified -> notified = false };
       kill_condemned(0);
       kill_condemned(1);
       r = 0
#if STOPS
    :: atomic { due(0) -> w = 0 };
       time_out(0);
       atomic { w = 0; r = 0; generation = 0 }
    :: atomic { due(1) -> w = 1 };
       time_out(1);
       atomic { w = 0; r = 0; generation = 0 }
#endif
    :: atomic { TIMEOUTS && faults > 0 -> faults--; if :: w = 0 :: w = 1 fi };
       time_out(w);
       atomic { w = 0; r = 0; generation = 0 }
    od
}

proctype Fate() {
end:
    do
    :: atomic { DEATHS && faults > 0 && life[0] == alive -> faults--; life[0] = dying }
    :: atomic { DEATHS && faults > 0 && life[1] == alive -> faults--; life[1] = dying }
    :: d_step { STOPS && faults > 0 && life[0] == alive && life[1] != stopped ->
           faults--; life[0] = stopped }
    :: d_step { STOPS && faults > 0 && life[1] == alive && life[0] != stopped ->
           faults--; life[1] = stopped }
    :: d_step { doomed[0] && life[0] != dead -> doomed[0] = false; life[0] = dying }
    :: d_step { doomed[1] && life[1] != dead -> doomed[1] = false; life[1] = dying }
    :: atomic { faults > 0 -> faults = 0 }
    od
}

init {
    byte i;
    atomic {
        do
        :: i < RECORDS -> record[i].state = vacant; run Thread(i); i++
        :: else -> i = 0; break
        od;
        run Worker(0);
        run Worker(1);
        run Supervisor();
#if REQUESTS
        run Requester();
#endif
        run Fate()
    }
}
