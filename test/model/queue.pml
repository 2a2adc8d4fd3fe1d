/* How items pass through a queue (lib/sync/queue.cpp), and how their blocks are freed. How threads
 * sleep is that of waiting.pml: here they wait until something has changed. */

#ifndef PLACES
#define PLACES 1
#endif
#ifndef ITEMS
#define ITEMS 2 /* each is put by a process of its own, in a block of its own */
#endif
#ifndef CONSUMERS
#define CONSUMERS 2 /* the last one does not die */
#endif
/* Processes that look for the blocks of dead ones, as any process does after a death. */
#ifndef RECLAIMERS
#define RECLAIMERS 1
#endif
/* How many deaths there may be. */
#ifndef FAULTS
#define FAULTS 1
#endif
/* Producers, consumers, reclaimers, and the one that comes at the end. */
#define ALL (ITEMS + CONSUMERS + RECLAIMERS + 1)
#define last (ALL - 1)
#define nobody 99

mtype = { alive, dying, dead };
mtype = { is_free, offered, taken, finished, past, future };
mtype life[ALL] = alive;
#define is_dead(process) (life[process] == dead)

/* The places. A content is a lap and an item, counted from 1; 0: free. A taker is a lap and a
 * process, counted from 1; 0: none. */
byte content_lap[PLACES], content[PLACES];
byte taker_lap[PLACES], taker[PLACES];
byte tail, next;

/* The items' blocks. */
bool is_written[ITEMS];
byte holder[ITEMS];
byte position_of[ITEMS]; /* where the item is, was, or is put next */
byte frees[ITEMS];

byte finishes[ITEMS];
bool is_put[ITEMS]; /* its producer has returned */
byte over;          /* producers that have returned or died */
byte faults = FAULTS;

#define place(p) ((p) % PLACES)
#define lap(p) ((p) / PLACES)
#define is_in(p, n) (content_lap[place(p)] == lap(p) && content[place(p)] == (n))

/* phase_of: reads the content, then the taker. */
inline look(p) {
    atomic { seen_lap = content_lap[place(p)]; seen = content[place(p)] };
    if
    :: atomic { seen_lap > lap(p) -> phase = past }
    :: atomic { seen_lap < lap(p) -> phase = future }
    :: atomic { seen_lap == lap(p) && seen == 0 -> phase = is_free }
    :: atomic { seen_lap == lap(p) && seen != 0 ->
           who = taker[place(p)];
           if
           :: taker_lap[place(p)] != lap(p) -> phase = finished
           :: taker_lap[place(p)] == lap(p) && who == 0 -> phase = offered
           :: else -> phase = taken
           fi }
    fi
}

inline release(n) {
    atomic { frees[(n) - 1]++; assert(frees[(n) - 1] == 1) }
}

/* Of a finished item that this process holds. */
inline free_place(p) {
    atomic {
        won = content[place(p)];
        if
        :: content_lap[place(p)] == lap(p) && won != 0 ->
           content[place(p)] = 0;
           content_lap[place(p)] = lap(p) + 1
        :: else -> won = 0
        fi
    };
    if
    :: won != 0 -> release(won)
    :: else
    fi;
    won = 0
}

/* take_over of the block of item `n`, unless it is not `left`. */
#ifdef TAKE_OVER_BY_STORE
#define may_replace(n) true
#else
#define may_replace(n) (holder[(n) - 1] == who)
#endif
inline take_over(n, left) {
    claimed = false;
    who = holder[(n) - 1];
    if
#ifdef FREE_FOR_LIVING
    :: left ->
#else
    :: is_dead(who) && left ->
#endif
       atomic {
           if
           :: may_replace(n) -> holder[(n) - 1] = me; claimed = true
           :: else
           fi
       }
    :: else
    fi
}

/* The place of a finished item, if its holder has died. */
inline free_for_dead(p) {
    atomic { won = content[place(p)]; seen_lap = content_lap[place(p)] };
    if
    :: seen_lap == lap(p) && won != 0 ->
       take_over(won, is_in(p, won));
       if
       :: claimed -> free_place(p)
       :: else
       fi
    :: else
    fi;
    atomic { claimed = false; won = 0 }
}

inline forget() {
    phase = past; seen = 0; seen_lap = 0; who = 0; won = 0; p = 0; q = 0; claimed = false
}

#define has_dead_holder(k) (content[k] != 0 && taker_lap[k] > content_lap[k] && \
                            is_dead(holder[content[k] - 1]))

proctype Producer(byte me) {
    mtype phase;
    byte p, q, seen, seen_lap, who, won;
    bool claimed;
    {
        atomic { is_written[me] = true; holder[me] = me };
        p = tail;
        do
        :: look(p);
           if
           :: phase == is_free ->
              position_of[me] = p;
              atomic {
                  if
                  :: is_in(p, 0) -> content[place(p)] = me + 1; claimed = true
                  :: else
                  fi
              };
              if
              :: claimed -> break
              :: else
              fi
           :: phase == future -> /* the item of the lap before is still there */
              q = p - PLACES;
              look(q);
              if
              :: phase == finished -> free_for_dead(q)
              :: else
              fi;
              (content_lap[place(p)] >= lap(p) || has_dead_holder(place(p)))
           :: else -> p++
           fi
        od;
        atomic {
            if
            :: tail < p + 1 -> tail = p + 1
            :: else
            fi
        };
        atomic { is_put[me] = true; over++; forget() }
    } unless {
        atomic { life[me] == dying -> life[me] = dead; over++; forget() }
    }
}

inline move_next(p) {
    atomic {
        if
        :: next < p + 1 -> next = p + 1
        :: else
        fi
    }
}

inline claim_from_dead(end) {
    q = 0;
    do
    :: q < end && !claimed ->
       look(q);
       if
       :: phase == finished -> free_for_dead(q)
       :: phase == taken && who != nobody && is_dead(who - 1) ->
#ifdef TAKE_FROM_DEAD_BY_STORE
          atomic { taker[place(q)] = me + 1; taker_lap[place(q)] = lap(q); claimed = true; p = q }
#else
          atomic {
              if
              :: taker_lap[place(q)] == lap(q) && taker[place(q)] == who ->
                 taker[place(q)] = me + 1; claimed = true; p = q
              :: else
              fi
          }
#endif
       :: else
       fi;
       q++
    :: else -> break
    od
}

inline claim() {
    p = next;
    do
    :: look(p);
       if
       :: phase == offered ->
          atomic {
              if
              :: taker_lap[place(p)] == lap(p) && taker[place(p)] == 0 ->
#ifdef TAKE_THEN_NAME
                 taker[place(p)] = nobody; claimed = true
              :: else
              fi
          };
          if
          :: claimed -> taker[place(p)] = me + 1; break
#else
                 taker[place(p)] = me + 1; claimed = true
              :: else
              fi
          };
          if
          :: claimed -> break
#endif
          :: else -> p++
          fi
       :: phase == taken || phase == finished || phase == past -> p++
       :: else -> claim_from_dead(p); break
       fi
    od;
    if
    :: claimed -> move_next(p)
    :: else
    fi
}

/* While no process has found this one dead, the compare-and-swap succeeds in the end. */
inline hold() {
    atomic { holder[item - 1] = me }
}

inline finish() {
#ifdef FREE_BEFORE_FINISH
    free_place(p);
#endif
    atomic {
        assert(taker_lap[place(p)] == lap(p) && taker[place(p)] == me + 1);
        taker[place(p)] = 0;
        taker_lap[place(p)] = lap(p) + 1;
        finishes[item - 1]++;
        assert(finishes[item - 1] == 1)
    };
#ifdef HOLD_LATE
    hold();
#endif
    free_place(p)
}

/* Is there anything for a consumer to do? */
#define waits(k) (content[k] != 0 && taker_lap[k] == content_lap[k] && \
                  (taker[k] == 0 || (taker[k] != nobody && is_dead(taker[k] - 1))))
#define any_waits (waits(0) || waits(PLACES - 1))
#define any_left (has_dead_holder(0) || has_dead_holder(PLACES - 1))
#define all_over (over == ITEMS && content[0] == 0 && content[PLACES - 1] == 0)

proctype Consumer(byte me) {
    mtype phase;
    byte p, q, seen, seen_lap, who, won, item;
    bool claimed;
    {
        do
        :: any_waits || any_left ->
           claim();
           if
           :: claimed ->
              item = content[place(p)];
              assert(item != 0 && frees[item - 1] == 0);
#if !defined(HOLD_LATE) && !defined(HELD_BY_PRODUCER)
              hold();
#endif
              assert(frees[item - 1] == 0); /* it is decoded */
              finish()
           :: else
           fi;
           atomic { forget(); item = 0 }
        :: all_over -> break
        od
    } unless {
        atomic { life[me] == dying -> life[me] = dead; item = 0; forget() }
    }
}

/* reclaim_abandoned */
#ifdef RECLAIM_WITHOUT_LOOKING
#define is_left(i) (frees[i] == 0)
#elif defined(RECLAIM_WHATEVER_IS_THERE)
#define is_left(i) (!is_in(position_of[i], i + 1))
#else
#define is_left(i) (frees[i] == 0 && !is_in(position_of[i], i + 1))
#endif
proctype Reclaimer(byte me) {
    byte i, who;
    bool claimed;
    {
        do
        :: i < ITEMS ->
           if
           :: is_written[i] && frees[i] == 0 && is_dead(holder[i]) ->
              take_over(i + 1, is_left(i));
              if
              :: claimed -> release(i + 1)
              :: else
              fi
           :: else
           fi;
           atomic { i++; who = 0; claimed = false }
        :: else -> break
        od;
        i = 0
    } unless {
        atomic { life[me] == dying -> life[me] = dead; i = 0; who = 0; claimed = false }
    }
}

#define may_die(k) (faults > 0 && life[k] == alive)

proctype Fate() {
end:
    do
    :: d_step { may_die(0) -> faults--; life[0] = dying }
#if ITEMS + CONSUMERS > 2
    :: d_step { may_die(1) -> faults--; life[1] = dying }
#endif
#if ITEMS > 1 && CONSUMERS > 1
    :: d_step { may_die(ITEMS) -> faults--; life[ITEMS] = dying }
#endif
#if RECLAIMERS > 0
    :: d_step { may_die(ITEMS + CONSUMERS) -> faults--; life[ITEMS + CONSUMERS] = dying }
#endif
    :: d_step { faults > 0 -> faults = 0 }
    od
}

/* An item is lost only with its producer. */
#define is_right(n) (finishes[n] == 1 || (finishes[n] == 0 && !is_put[n]))
#define is_freed(n) (frees[n] == 1 || !is_written[n])

init {
    byte i;
    atomic {
        do
        :: i < ITEMS -> run Producer(i); i++
        :: i >= ITEMS && i < ITEMS + CONSUMERS -> run Consumer(i); i++
        :: i >= ITEMS + CONSUMERS && i < last -> run Reclaimer(i); i++
        :: i == last -> break
        od;
        run Fate()
    };
    timeout;
    assert(all_over);
    atomic {
        faults = 0;
        i = 0;
        do
        :: i < ITEMS -> assert(is_right(i)); i++
        :: else -> break
        od;
        run Reclaimer(last)
    };
    timeout;
    d_step {
        i = 0;
        do
        :: i < ITEMS -> assert(is_freed(i)); i++
        :: else -> break
        od
    }
}
