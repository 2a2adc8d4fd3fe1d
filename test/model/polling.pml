/* How a loop polls for tasks before it waits for the port, while another thread awaits them. The
 * loop has no tick here. `loops.pml` has what happens if workers die, and several loops. */

#define TASKS 2

mtype = { queued, ended };
mtype = { unused, notified, armed };

mtype state[TASKS] = queued;
bool watched[TASKS]; /* a flag in the same word as the state */
bool awaited[TASKS]; /* private memory of the parent, as the next ones */
bool told[TASKS];

mtype port = unused; /* LoopWords::port */
bool readable;       /* there is a byte in the pipe */

bool locked; /* the mutex of LoopService */
inline lock() { atomic { !locked -> locked = true } }
inline unlock() { locked = false }
bool is_polling;
bool poll_is_queued; /* a handler */

inline tell(t) {
    d_step {
        if
        :: awaited[t] && state[t] == ended -> awaited[t] = false; assert(!told[t]); told[t] = true
        :: else
        fi
    }
}

/* CompletionPort::State::take_ended */
inline look(arms) {
    if
    :: awaited[0] || awaited[1] ->
       if
       :: arms -> port = armed
       :: else
       fi;
       tell(0);
       tell(1)
    :: else
    fi
}

/* LoopService::await, CompletionPort::State::add */
inline await(t) {
    lock();
    if
    :: is_polling
    :: else -> is_polling = true; poll_is_queued = true
    fi;
    awaited[t] = true;
    d_step { late = (state[t] == ended); watched[t] = !late };
    if
    :: late -> tell(t)
    :: else
    fi;
    unlock()
}

proctype Awaiter() {
    bool late;
    await(0);
end_first:
    told[0];
    await(1);
end_second:
    told[1]
}

/* LoopService::on_poll */
inline poll() {
    poll_is_queued = false;
    if
    :: goes_on = true; look(false)
    :: goes_on = false
#ifdef DRAIN_BEFORE_LOCKING
       ; readable = false; look(true)
#endif
    fi;
    lock();
    is_polling = false;
    has_awaited = awaited[0] || awaited[1];
    if
    :: has_awaited && goes_on -> is_polling = true; poll_is_queued = true
    :: else
    fi;
    unlock();
#ifndef DRAIN_BEFORE_LOCKING
    if
    :: has_awaited && !goes_on -> readable = false; look(true)
    :: else
    fi;
#endif
    goes_on = false;
    has_awaited = false
}

proctype Loop() {
    bool goes_on, has_awaited;
end:
    do
    :: poll_is_queued -> poll()
    :: readable -> readable = false; look(true)
    od
}

/* LoopNotifier::task_ended */
proctype Worker(byte t) {
    bool flag;
    mtype was = unused;
    d_step { flag = watched[t]; state[t] = ended };
    if
    :: flag && port == armed ->
       d_step { was = port; port = notified };
       if
       :: was == armed -> readable = true
       :: else
       fi
    :: else
    fi
}

/* When nothing can happen any more, all has been told. */
proctype Judge() {
end:
    atomic { timeout -> assert(told[0] && told[1]) }
}

init {
    atomic {
        run Awaiter();
        run Loop();
        run Worker(0);
        run Worker(1);
        run Judge()
    }
}
