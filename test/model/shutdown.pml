/* How a pool ends: the queue is closed, workers leave or are recycled, die on the way, and the
 * supervisor leaves last. */

#ifndef TASKS
#define TASKS 2
#endif
/* How many deaths there may be. */
#ifndef FAULTS
#define FAULTS 1
#endif
/* The number of tasks after which a worker leaves; 0: it stays. */
#ifndef RECYCLE
#define RECYCLE 1
#endif
#ifndef RETRIES
#define RETRIES 1
#endif
/* Whether the parent may also cancel queued tasks and end the workers. */
#ifndef HASTE
#define HASTE 1
#endif
/* Tasks do not end by themselves; the parent ends the workers. */
#ifndef ENDLESS
#define ENDLESS 0
#endif
#define WORKERS 2

mtype = { none, queued, running, ended };             /* tasks */
mtype = { alive, dying, dead, absent };               /* workers */
mtype = { keep, drain, terminate };                   /* StopMode; see `is_later` */
#define is_later(a, b) ((a == drain && b == keep) || (a == terminate && b != terminate))

/* The queue. Claiming is one step here, and a task is in the record of its number. */
mtype state[TASKS] = none;
byte owner[TASKS];
bool published[TASKS];
byte head, tail;
byte final_tail; /* + 1 */
bool closed;

mtype life[WORKERS] = alive;
bool doomed[WORKERS]; /* a signal that ends it is on its way */
byte retry[WORKERS];  /* in the slot: the task that its dead worker has left, + 1 */
#define is_left(w) (retry[w] != 0 && state[retry[w] - 1] == queued)
#ifdef RETRIES_ARE_FOR_ONE
#define is_any_left() false
#else
#define is_any_left() (is_left(0) || is_left(1))
#endif

mtype stop_mode = keep;
bool notified;       /* SIGUSR1 or SIGCHLD is pending at the supervisor */
bool supervisor_gone;
byte faults = FAULTS;

#define has_work() (head < TASKS && published[head])
#ifdef DRAINED_WHEN_EMPTY
#define drained() (final_tail != 0 && !has_work())
#else
#define drained() (final_tail != 0 && head >= final_tail - 1)
#endif

/* The notifier as sleeping.pml shows it to be: a worker that sets its bit and then checks again
 * misses no task. */
bool woken[WORKERS] = true;

inline work_arrived() {
    atomic {
        if
        :: !woken[0] -> woken[0] = true
        :: !woken[1] -> woken[1] = true
        :: else
        fi
    }
}

inline wake_all() {
    d_step { woken[0] = true; woken[1] = true }
}

inline park(w) {
    woken[w] = false;
    if
    :: has_work() || is_any_left() || drained()
    :: else -> woken[w]
    fi
}

inline end_task(at) {
    assert(state[at] == queued || state[at] == running);
    state[at] = ended
}

proctype Submitter() {
    byte at;
    do
    :: atomic { !closed && tail < TASKS -> at = tail; tail++ }; /* reserve */
       d_step { state[at] = queued; published[at] = true };     /* publish */
       work_arrived()
    :: closed || tail == TASKS -> break
    od
}

/* The parent's end: shutdown(true, …) or terminate_workers(). */
inline request_stop(mode) {
#ifdef SIGNAL_BEFORE_STOP_MODE
    notified = true;
    stop_mode = mode;
#else
    stop_mode = mode;
#endif
#ifndef STOP_WITHOUT_WAKING
    wake_all();
#endif
#ifndef SIGNAL_BEFORE_STOP_MODE
    notified = true
#endif
}

proctype Closer() {
    byte at, last;
    bool hasty;
    atomic { closed = true; last = tail };
#ifndef FINAL_TAIL_LAST
    final_tail = last + 1;
#endif
    if
    :: HASTE -> /* cancel_queued */
       hasty = true;
       at = head;
       do
       :: atomic { at < last && published[at] && state[at] == queued -> end_task(at); at++ }
       :: atomic { at < last && !(published[at] && state[at] == queued) -> at++ }
       :: atomic { at >= last -> at = 0; break }
       od
    :: !ENDLESS
    fi;
    request_stop(drain);
    if
    :: hasty -> request_stop(terminate)
    :: !ENDLESS -> hasty = false
    fi;
#ifdef FINAL_TAIL_LAST
    final_tail = last + 1;
#endif
    supervisor_gone;
    atomic {
        do
        :: at < last ->
           assert(state[at] == ended || hasty); /* what is left then is lost */
           at++
        :: else -> at = 0; break
        od
    }
}

/* Claims what `from` has left. */
inline claim_retry(from) {
    at = retry[from] - 1;
    state[at] = running; owner[at] = w; claimed = true;
    retry[from] = 0
}

proctype Worker(byte w) {
    byte at, served;
    bool claimed;
end:
    do
    :: atomic { life[w] == dying -> doomed[w] = false; life[w] = dead; notified = true }
    :: life[w] == alive ->
       {
           atomic { /* a new worker checks all slots before it may leave */
               if
               :: is_left(w) -> claim_retry(w)
#ifndef RETRIES_ARE_FOR_ONE
               :: !is_left(w) && is_left(1 - w) -> claim_retry(1 - w)
#endif
               :: else
               fi
           };
           do
           :: atomic { claimed && !ENDLESS -> /* finish */
                  end_task(at);
                  at = 0; claimed = false;
                  served++;
                  if
                  :: RECYCLE && served == RECYCLE -> break
                  :: else -> served = 0
                  fi
              }
#ifndef RETRIES_ARE_FOR_ONE
           :: atomic { !claimed && is_left(0) -> claim_retry(0) }
           :: atomic { !claimed && is_left(1) -> claim_retry(1) }
#endif
           :: atomic { !claimed && has_work() -> /* claim */
                  at = head;
                  head++;
                  if
                  :: state[at] == queued -> state[at] = running; owner[at] = w; claimed = true
                  :: else -> at = 0
                  fi
              };
              if
              :: has_work() -> work_arrived() /* wakes another */
              :: else
              fi
           :: !claimed && !has_work() && !is_any_left() && drained() && stop_mode != keep ->
#ifndef LEAVE_WITHOUT_WAKING
              wake_all();
#endif
              break
           :: !claimed && !has_work() && !is_any_left() && drained() && stop_mode == keep ->
progress:     wake_all(); /* is replaced until the parent has set the stop mode */
              break
           :: !claimed && !has_work() && !is_any_left() && !drained() -> park(w)
           od;
           atomic { served = 0; doomed[w] = false; life[w] = dead; notified = true }
       } unless {
           atomic { life[w] == dying ->
               at = 0; served = 0; claimed = false; doomed[w] = false;
               life[w] = dead;
               notified = true }
       }
    od
}

/* Whether any task is left: in the queue, or in a slot. */
#ifdef RETRIES_NOT_WAITED_FOR
#define is_work_left (!drained())
#else
#define is_work_left (!drained() || is_left(0) || is_left(1))
#endif
#ifdef DRAINING_REPLACES_NOBODY
#define is_replaced(w) (mode == keep)
#else
#define is_replaced(w) (mode == keep || (mode == drain && is_work_left))
#endif
#define is_over() (life[0] == absent && life[1] == absent && !is_replaced(0) && !is_replaced(1))

inline collect(w) {
    if
    :: atomic { life[w] == dead -> /* repair */
           do
           :: at < TASKS && !(state[at] == running && owner[at] == w) -> at++
           :: else -> break
           od;
           if
           :: at < TASKS -> end_task(at)
           :: RETRIES && at < TASKS -> state[at] = queued; retry[w] = at + 1
           :: at == TASKS
           fi;
           at = 0 };
       atomic {
#ifndef LEAVE_WITHOUT_WAKING
           wake_all();
#endif
           life[w] = absent
       }
    :: else
    fi
}

inline fill_up(w) {
    if
    :: life[w] == absent && is_replaced(w) -> life[w] = alive
    :: else
    fi
}

proctype Supervisor() {
    byte at;
    mtype mode = keep;
    do
    :: atomic {
           if
           :: is_later(stop_mode, mode) -> mode = stop_mode
           :: else
           fi;
           if
           :: mode == terminate ->
              doomed[0] = (life[0] == alive || life[0] == dying);
              doomed[1] = (life[1] == alive || life[1] == dying)
           :: else
           fi
       };
       atomic { fill_up(0); fill_up(1) };
       if
       :: is_over() -> break
       :: else
       fi;
       atomic { notified -> notified = false };
       collect(0);
       collect(1)
    od;
    supervisor_gone = true
}

proctype Fate() {
end:
    do
    :: d_step { faults > 0 && life[0] == alive -> faults--; life[0] = dying }
    :: d_step { faults > 0 && life[1] == alive -> faults--; life[1] = dying }
    :: d_step { doomed[0] && life[0] == alive -> life[0] = dying }
    :: d_step { doomed[1] && life[1] == alive -> life[1] = dying }
    :: d_step { faults > 0 -> faults = 0 }
    od
}

init {
    atomic {
        run Submitter();
        run Closer();
        run Worker(0);
        run Worker(1);
        run Supervisor();
        run Fate()
    }
}
