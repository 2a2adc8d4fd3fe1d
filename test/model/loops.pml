/* How event loops of the parent, which have no tick here, are told of the tasks that they await. */

/* How many workers die, or are stopped for ever. */
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef STOPS
#define STOPS 1
#endif
#ifndef LOOPS
#define LOOPS 2 /* each awaits one task */
#endif
#ifndef POLLS
#define POLLS 0 /* of the loops: they poll before they sleep */
#endif
#ifndef TASKS
#define TASKS 2 /* from LOOPS on: awaited by nobody */
#endif
#define WORKERS 2

mtype = { queued, running, ended };
mtype = { alive, dying, dead, stopping, stopped };
mtype = { unused, notified, armed };

mtype state[TASKS] = queued;
byte owner[TASKS];
bool watched[TASKS]; /* a flag in the same word as the state */
bool awaited[TASKS]; /* private memory of the parent, as the next one */
bool told[TASKS];

mtype port = unused; /* LoopWords::port */
bool readable;       /* there is a byte in the pipe */

mtype life[WORKERS] = alive;
byte faults = FAULTS;
bool stop_unseen; /* by the supervisor */

/* LoopNotifier::task_ended */
inline announce(flag, was) {
    if
    :: flag && port == armed ->
#ifdef NOTIFIED_LAST
       readable = true;
       port = notified
#else
       d_step { was = port; port = notified };
       if
       :: was == armed -> readable = true
       :: else
       fi
#endif
    :: else
    fi
}

/* LoopNotifier::repair */
inline repair() {
#ifdef REPAIR_IF_ARMED
    if
    :: port == armed -> readable = true
    :: else
    fi
#else
    if
    :: port != unused -> readable = true
    :: else
    fi
#endif
}

/* CompletionPort::State::take_ended, under its mutex; tells any loop. */
inline look(t) {
    t = 0;
    do
    :: t < TASKS ->
       if
       :: awaited[t] && state[t] == ended -> d_step { awaited[t] = false; assert(!told[t]); told[t] = true }
       :: else
       fi;
       t++
    :: else -> t = 0; break
    od
}

bool locked;
inline lock() { atomic { !locked -> locked = true } }
inline unlock() { locked = false }

proctype Loop(byte own) {
    byte t;
    bool late;
    /* CompletionPort::State::add */
    lock();
    awaited[own] = true;
#ifndef ARM_AFTER_WATCH
    if
    :: own < POLLS
    :: else -> port = armed
    fi;
#endif
    unlock();
    d_step { late = (state[own] == ended); watched[own] = !late };
#ifdef ARM_AFTER_WATCH
    port = armed;
#endif
    if
    :: late -> lock(); d_step { told[own] = (told[own] || awaited[own]); awaited[own] = false }; unlock()
    :: else
    fi;
    /* CompletionPort::State::poll: once, and for the last time */
    if
    :: own < POLLS ->
       lock();
       look(t);
       unlock();
#ifndef POLL_WITHOUT_ARMING
       lock();
       port = armed;
       look(t);
       unlock()
#endif
    :: else
    fi;
    do
    :: told[own] -> break
    :: else ->
end_asleep:
       if
       :: readable /* epoll_wait */
       :: told[own] -> break /* another loop has posted it */
       fi;
       /* CompletionPort::drain */
#ifndef READ_LAST
       readable = false;
#endif
       lock();
#ifdef ARM_LAST
       look(t);
       port = armed;
#else
       port = armed;
       look(t);
#endif
#ifdef READ_LAST
       readable = false;
#endif
       unlock()
    od
}

proctype Worker(byte w) {
    byte t;
    bool flag;
    mtype was = unused;
end:
    do
    :: atomic { life[w] == dying -> life[w] = dead }
    :: atomic { life[w] == stopping -> life[w] = stopped; stop_unseen = true }
    :: life[w] == alive ->
       {
end_idle:  do
           :: atomic {
                  state[0] == queued || state[TASKS - 1] == queued ->
                  if
                  :: state[0] == queued -> t = 0
                  :: else -> t = TASKS - 1
                  fi;
                  state[t] = running; owner[t] = w
              };
#ifdef FLAGS_READ_BEFORE_FINISH
              flag = watched[t];
              state[t] = ended;
#else
              d_step { flag = watched[t]; state[t] = ended }; /* finish */
#endif
              announce(flag, was);
              d_step { flag = false; was = unused; t = 0 }
           od
       } unless {
           atomic { life[w] == dying || life[w] == stopping -> t = 0; flag = false; was = unused }
       }
    od
}

/* PoolDelegate::ended, stopped */
proctype Supervisor() {
    byte t, w;
    bool flag;
    mtype was = unused;
end:
    do
    :: atomic { life[0] == dead || life[1] == dead ->
           if
           :: life[0] == dead -> w = 0
           :: life[1] == dead -> w = 1
           fi };
       d_step {
           t = 0;
           do
           :: t < TASKS && !(state[t] == running && owner[t] == w) -> t++
           :: else -> break
           od;
           if
           :: t < TASKS -> state[t] = ended; flag = watched[t]
           :: else
           fi
       };
       announce(flag, was);
#ifndef NO_REPAIR
       repair();
#endif
       atomic { t = 0; flag = false; was = unused; life[w] = alive; w = 0 }
    :: atomic { stop_unseen -> stop_unseen = false };
#ifndef STOP_WITHOUT_REPAIR
       repair()
#else
       skip
#endif
    od
}

proctype Fate() {
end:
    do
    :: d_step { faults > 0 && life[0] == alive -> faults--; life[0] = dying }
    :: d_step { faults > 0 && life[1] == alive -> faults--; life[1] = dying }
    :: d_step { STOPS && faults > 0 && life[1] == alive -> faults--; life[1] = stopping }
    :: d_step { faults > 0 -> faults = 0 }
    od
}

/* When nothing can happen any more, no loop sleeps whose task has ended, and only a task of a
 * stopped worker has not. */
proctype Judge() {
    byte t;
end:
    atomic {
        timeout ->
        do
        :: t < LOOPS ->
           assert(state[t] != ended || told[t]);
           assert(state[t] == ended || life[owner[t]] == stopped);
           t++
        :: else -> break
        od
    }
}

init {
    atomic {
        run Loop(0);
        if
        :: LOOPS > 1 -> run Loop(1)
        :: else
        fi;
        run Worker(0);
        run Worker(1);
        run Supervisor();
        run Fate();
        run Judge()
    }
}
