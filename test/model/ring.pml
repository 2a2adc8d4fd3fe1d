/* The words and steps of lib/ring/ring.cpp and lifecycle.cpp, for the models that include this.
 *
 * A d_step or atomic block is one step: a load, a store, or a compare-and-swap together with the
 * load before it (`change_status` repeats until what it has seen is still true, so all of it is as
 * good as one step) and with what a process does to its own variables. Death and all other
 * processes come between any two steps.
 *
 * The including model chooses WORKERS, RECORDS, ENTRIES and TASKS, and may say what workers do
 * `before_claim`. Its workers have the variables `position`, `index` and `claimed`. */

#ifndef GENERATIONS
#define GENERATIONS 16 /* no wrap */
#endif

#ifndef before_claim
#define before_claim(w)
#endif

mtype = { vacant, queued, running, condemned, returned, died, cancelled, killed, timed_out, lost };

#define is_final(state)                                                                           \
    (state != vacant && state != queued && state != running && state != condemned)
#define is_owned(state) (state == running || state == condemned)

typedef Record {
    mtype state; /* this and the next six are one word */
    byte owner;
    byte generation;
    bool watched;
    bool abandoned; /* the future was dropped */
    bool stop_requested; /* not to be tried again */
    mtype verdict; /* while condemned: the state that it ends in */
    byte result;   /* whose result the bytes are: its position + 1 */
};

/* A real entry holds the lap, from which the position follows. */
typedef Entry {
    byte position; /* + 1 */
    byte record;
};

Record record[RECORDS];
Entry entry[ENTRIES];
byte head;
byte final_tail;    /* + 1 */
byte tail;          /* the parent's own */
byte intent[WORKERS]; /* WorkerIntent::record: what a worker is claiming or has claimed, + 1 */

/* What really happened, for the assertions. */
byte task[RECORDS];  /* the position of the task in the record */
bool ended[TASKS];   /* it has reached a final state */
bool ran[TASKS];     /* it has been claimed */
bool retried[TASKS]; /* it has been requeued */

#define generation_of(position) (position % GENERATIONS)
#define is_published(at) (entry[at % ENTRIES].position == at + 1)
#define has_work() is_published(head)
#define drained() (final_tail != 0 && head >= final_tail - 1)
#define is_queued(r, at) (record[r].state == queued && record[r].generation == generation_of(at))
#define is_owned_by(r, w) (is_owned(record[r].state) && record[r].owner == w)

/* Every final state is reached through here, within the step that reaches it. */
inline end_task(r, final) {
    assert(!ended[task[r]]);
    ended[task[r]] = true;
    record[r].state = final;
    record[r].owner = 0
}

/* The parent's side. */

inline reserve(r, at) {
    at = tail;
    tail++;
    task[r] = at;
    record[r].state = vacant
}

inline publish(r, at) {
    d_step {
        record[r].generation = generation_of(at);
        record[r].state = queued
    }
    d_step {
        entry[at % ENTRIES].record = r;
        entry[at % ENTRIES].position = at + 1
    }
}

/* The worker's side. */

inline advance(from) {
    if
    :: head == from -> head++
    :: else
    fi
}

/* ring::claim: from queued to running with the owner's index. */
inline take(w) {
    if
    :: is_queued(index, position) ->
        assert(!ended[task[index]] && !record[index].stop_requested);
        ran[task[index]] = true;
        record[index].state = running;
        record[index].owner = w;
        claimed = true
    :: else
    fi
}

/* Ring::claim, of the oldest task: sets `claimed`, `index`, `position`. */
inline claim(w) {
    position = head;
    do
    :: d_step { is_published(position) -> index = entry[position % ENTRIES].record };
#if defined(TICKET_THEN_OWNER)
       if
       :: atomic { head == position -> head++ };
          intent[w] = index + 1;
          d_step { take(w) }
       :: else
       fi;
#elif defined(INTENT_AFTER_CLAIM)
       d_step { take(w) };
       intent[w] = index + 1;
       d_step { advance(position) };
#else
       intent[w] = index + 1;
       before_claim(w);
       d_step { take(w) };
       d_step { advance(position) };
#endif
       atomic {
           if
           :: claimed -> position = task[index]; break
           :: else -> position = head
           fi
       }
    :: atomic { !is_published(position) -> index = 0 };
       atomic {
           if
           :: head == position -> position = 0; break /* nothing here yet */
           :: else -> position = head                 /* a later lap */
           fi
       }
    od
}

/* An abandoned task does not end while its result takes memory. */
#ifdef RESULT_OF_ABANDONED_KEPT
#define is_refused(r) false
#else
#define is_refused(r) (record[r].state == running && record[r].abandoned && record[r].result != 0)
#endif

/* Running to returned, unless refused. A worker whose task is condemned waits to be killed. */
inline finish(w) {
    if
    :: is_refused(index)
    :: !is_refused(index) && record[index].state == running && record[index].owner == w &&
           record[index].generation == generation_of(position) ->
        end_task(index, returned);
        claimed = false
    :: else -> assert(record[index].state == condemned && record[index].owner == w); false
    fi
}
