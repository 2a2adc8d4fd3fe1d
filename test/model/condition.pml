/* How processes wait for a condition and notify (lib/sync/condition.cpp). The lock is that of
 * lock.pml, acquired in one step: when it is free, or its holder is dead. */

#ifndef WAITERS
#define WAITERS 2
#endif
#ifndef ITEMS
#define ITEMS 2 /* each is put by a process of its own, which notifies one */
#endif
/* How many deaths there may be. */
#ifndef FAULTS
#define FAULTS 1
#endif
/* Whether sleep is bounded by slices, of which one ends only when nothing else can happen. */
#ifndef SLICES
#define SLICES 1
#endif
#define ALL (WAITERS + ITEMS)

mtype = { alive, dying, dead };
mtype life[ALL] = alive;
byte deaths; /* as `count_deaths` finds them */

byte holder; /* of the lock, counted from 1 */
byte items;  /* what is waited for */
byte notifications;
byte broadcasts; /* how many of them were for all */
bool asleep[WAITERS];
bool woken[WAITERS]; /* by a notification, and not by the end of a slice */
byte faults = FAULTS;

inline acquire(i) {
    atomic { holder == 0 || life[holder - 1] == dead -> holder = i + 1 }
}

inline count_notification() {
#ifndef NOTIFY_WITHOUT_COUNT
    notifications++
#else
    skip
#endif
}

inline wake(w) { asleep[w] = false; woken[w] = true }

inline notify_all() {
    broadcasts++;
    count_notification();
    atomic {
        if
        :: asleep[0] -> wake(0)
        :: else
        fi;
#if WAITERS > 1
        if
        :: asleep[1] -> wake(1)
        :: else
        fi
#endif
    }
}

/* One that finds nobody asleep is for all. */
inline notify_one() {
    count_notification();
    if
    :: atomic { asleep[0] -> wake(0) }
#if WAITERS > 1
    :: atomic { asleep[1] -> wake(1) }
#endif
    :: atomic { !asleep[0] && (WAITERS < 2 || !asleep[WAITERS - 1]) -> skip };
#ifndef WAKES_ONE_OR_NOBODY
       notify_all()
#endif
    fi
}

#ifdef DEATH_IS_NO_NOTIFICATION
#define has_changed (broadcasts != seen_broadcasts)
#else
#define has_changed (broadcasts != seen_broadcasts || deaths != seen_deaths)
#endif

inline take_ticket() {
    seen_broadcasts = broadcasts;
    seen_deaths = deaths
}

/* One wait: releases the lock, sleeps, acquires it. */
inline wait(i) {
#ifndef TICKET_AFTER_UNLOCK
    take_ticket();
#endif
    woken[i] = false;
    holder = 0;
#ifdef TICKET_AFTER_UNLOCK
    take_ticket();
#endif
    do
    :: woken[i] -> break
    :: else ->
       seen = notifications;
       if
       :: has_changed -> break
       :: else ->
          if
          :: atomic { notifications == seen -> asleep[i] = true };
             if
             :: !asleep[i]
             :: atomic { SLICES && timeout && items > 0 -> assert(has_changed); asleep[i] = false }
             :: atomic { timeout && items == 0 -> asleep[i] = false; goto nothing_more }
             fi
          :: else
          fi
       fi
    od;
    acquire(i)
}

proctype Waiter(byte i) {
    byte seen, seen_broadcasts, seen_deaths;
    {
        acquire(i);
        do
        :: items == 0 -> wait(i)
        :: else -> break
        od;
        items--;
        holder = 0;
nothing_more:
        skip
    } unless {
        atomic { life[i] == dying -> asleep[i] = false; life[i] = dead; deaths++ }
    }
}

proctype Producer(byte i) {
    {
        acquire(i);
        items++;
        holder = 0;
        notify_one()
    } unless {
        atomic { life[i] == dying -> life[i] = dead; deaths++ }
    }
}

#define may_die(k) (life[k] == alive)

proctype Fate() {
end:
    do
    :: d_step { faults > 0 && may_die(0) -> faults--; life[0] = dying }
    :: d_step { faults > 0 && may_die(1) -> faults--; life[1] = dying }
#if ALL > 2
    :: d_step { faults > 0 && may_die(2) -> faults--; life[2] = dying }
#endif
#if ALL > 3
    :: d_step { faults > 0 && may_die(3) -> faults--; life[3] = dying }
#endif
    :: d_step { faults > 0 -> faults = 0 }
    od
}

init {
    byte i;
    atomic {
        do
        :: i < ALL ->
           if
           :: i < WAITERS -> run Waiter(i)
           :: else -> run Producer(i)
           fi;
           i++
        :: else -> break
        od;
        run Fate()
    }
}
