/* How threads of the parent wait: for one task, for one of several, and for room in the queue. */

/* How many deaths there may be. */
#ifndef FAULTS
#define FAULTS 1
#endif
/* Whether the waits have a bound, which is used only when nothing else can happen any more. */
#ifndef BOUNDED
#define BOUNDED 1
#endif
#define WORKERS 2
#define TASKS 2 /* one thread waits for the first, one for the second and others */

mtype = { queued, running, ended };
mtype = { alive, dying, dead };

mtype state[TASKS] = queued;
byte owner[TASKS];
bool watched[TASKS]; /* a flag in the same word as the state */
bool asleep[TASKS];  /* a thread that waits for that task */
bool asleep_for_room;

byte completions, waiting_for_completions; /* words of `Control` */
byte head, room, waiting_for_room;         /* of `Cursor`, `RoomWords` */

mtype life[WORKERS] = alive;
byte faults = FAULTS;
bool waited_long; /* the bound of a wait has been used */

/* FUTEX_WAIT: `same` says whether the word still has the expected value. A bounded wait ends when
 * nothing else happens; its condition must have come true then. */
inline futex_wait(same, sleeper, came_true) {
    if
    :: atomic { same -> sleeper = true };
       if
       :: !sleeper
       :: atomic { BOUNDED && timeout -> assert(came_true); sleeper = false; waited_long = true }
       fi
    :: else
    fi
}

/* PoolCore::wait */
proctype WaitForOne() {
    mtype seen;
    do
    :: state[0] == ended -> break
    :: else ->
       d_step { watched[0] = (watched[0] || state[0] != ended); seen = state[0] };
       if
       :: seen == ended -> break
       :: else
       fi;
#ifdef SLEEP_WITHOUT_COMPARING
       futex_wait(true, asleep[0], state[0] == ended)
#else
       futex_wait(state[0] == seen, asleep[0], state[0] == ended)
#endif
    od
}

/* CompletionSet: sets `watched` once, then checks what the head has passed, and all tasks when it
 * has waited long. */
proctype WaitForAny() {
    byte seen;
    bool looks;
    d_step { watched[1] = (watched[1] || state[1] != ended); looks = (state[1] == ended) };
    do
    ::
#ifndef SEEN_AFTER_LOOKING
       seen = completions;
#endif
       looks = (looks || waited_long || head > 1);
       if
       :: looks && state[1] == ended -> break
       :: else
       fi;
#ifdef SEEN_AFTER_LOOKING
       seen = completions;
#endif
#ifdef COUNTED_LATE
       if
       :: atomic { completions == seen -> asleep[1] = true };
          waiting_for_completions++;
          !asleep[1]
       :: else -> waiting_for_completions++
       fi;
#else
       waiting_for_completions++;
       futex_wait(completions == seen, asleep[1], state[1] == ended);
#endif
       waiting_for_completions--
    od
}

/* PoolCore::wait_for_position: both tasks are queued, and the queue is full. */
proctype WaitForRoom() {
    byte seen;
    waiting_for_room++;
    do
    :: seen = room;
       if
       :: head > 0 -> break
       :: else -> futex_wait(room == seen, asleep_for_room, head > 0)
       fi
    od;
    waiting_for_room--
}

inline announce(t, flag) {
    if
    :: flag && t == 0 -> asleep[0] = false
    :: flag && t == 1 ->
       completions++;
       if
       :: waiting_for_completions != 0 -> asleep[1] = false
       :: else
       fi
    :: else
    fi
}

/* Head: t to t + 1. */
inline advance(t) {
    if
    :: atomic { head == t -> head++ };
       if
       :: waiting_for_room != 0 ->
          room++;
          asleep_for_room = false
       :: else
       fi
    :: else
    fi
}

proctype Worker(byte w) {
    byte t;
    bool flag, claimed;
end:
    do
    :: atomic { life[w] == dying -> life[w] = dead }
    :: life[w] == alive ->
       {
end_idle:  do
           :: atomic { head < TASKS -> t = head };
              d_step {
                  claimed = (state[t] == queued);
                  if
                  :: claimed -> state[t] = running; owner[t] = w
                  :: else
                  fi
              };
#ifndef HEAD_LAST
              advance(t);
#endif
              if
              :: claimed ->
#ifdef FLAGS_READ_BEFORE_FINISH
                 flag = watched[t];
                 state[t] = ended;
#else
                 d_step { flag = watched[t]; state[t] = ended }; /* finish */
#endif
                 announce(t, flag)
              :: else
              fi;
#ifdef HEAD_LAST
              advance(t);
#endif
              d_step { t = 0; flag = false; claimed = false }
           od
       } unless {
           atomic { life[w] == dying -> t = 0; flag = false; claimed = false; life[w] = dead }
       }
    od
}

proctype Supervisor() {
    byte t, w;
    bool flag;
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
       if
       :: t < TASKS -> announce(t, flag)
       :: else
       fi;
       atomic { t = 0; flag = false; life[w] = alive; w = 0 }
    od
}

proctype Fate() {
end:
    do
    :: d_step { faults > 0 && life[0] == alive -> faults--; life[0] = dying }
    :: d_step { faults > 0 && life[1] == alive -> faults--; life[1] = dying }
    :: d_step { faults > 0 -> faults = 0 }
    od
}

init {
    atomic {
        if /* they do not touch each other, so one at a time is enough */
        :: run WaitForOne()
        :: run WaitForAny()
        :: run WaitForRoom()
        fi;
        run Worker(0);
        run Worker(1);
        run Supervisor();
        run Fate()
    }
}
