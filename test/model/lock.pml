/* How processes hand a lock over, and take it over from the dead (lib/sync/lock.cpp). */

#ifndef THREADS
#define THREADS 3 /* each in a process of its own */
#endif
#ifndef ROUNDS
#define ROUNDS 1 /* how often each acquires the lock */
#endif
/* How many deaths there may be. */
#ifndef FAULTS
#define FAULTS 1
#endif
/* 1: only holders die, within what the lock protects; 2: only before the lock was ever handed over. */
#ifndef HOLDERS_ONLY
#define HOLDERS_ONLY 0
#endif
/* Whether sleep is bounded by slices, of which one ends only when nothing else can happen. */
#ifndef SLICES
#define SLICES 1
#endif

mtype = { alive, dying, dead };
mtype life[THREADS] = alive;
bool noted[THREADS]; /* somebody has found it dead */

/* The word. Holders are counted from 1; 0: free. */
byte holder;
bool waiters;
#define unnamed 99

/* Who sleeps: on the word and on the life of the holder that it has seen. */
bool asleep[THREADS];
byte watched[THREADS];

bool inside[THREADS];
bool handed_over;
byte died_inside; /* the holder that died, until somebody is told */
byte faults = FAULTS;

inline enter(i) {
    d_step {
        w = 0;
        do
        :: w < THREADS -> assert(w == i || !inside[w] || life[w] == dead); w++
        :: else -> break
        od;
        w = 0;
        inside[i] = true
    }
}

/* At most one of those that sleep and watch `target`; of all if it is 0. */
inline wake_one(target) {
    atomic {
        if
        :: asleep[0] && (target == 0 || watched[0] == target) -> asleep[0] = false
        :: asleep[1] && (target == 0 || watched[1] == target) -> asleep[1] = false
#if THREADS > 2
        :: asleep[2] && (target == 0 || watched[2] == target) -> asleep[2] = false
#endif
        :: else
        fi
    }
}

inline wake_watchers(target) {
    d_step {
        w = 0;
        do
        :: w < THREADS ->
           if
           :: asleep[w] && watched[w] == target -> asleep[w] = false
           :: else
           fi;
           w++
        :: else -> break
        od;
        w = 0
    }
}

/* sync::lives, of one that is dead */
inline note_death(target) {
    if
    :: !noted[target - 1] ->
       noted[target - 1] = true;
#ifndef NOTED_WITHOUT_WAKING
       wake_watchers(target)
#endif
    :: else
    fi
}

inline take_over(i) {
    assert(died_inside == 0 || died_inside == seen);
    died_inside = 0;
    holder = i + 1;
    waiters = true
}

/* acquire_contended */
inline acquire(i) {
    do
    :: atomic { holder == 0 ->
           assert(died_inside == 0); /* else its death would not be told */
#ifdef TAKE_THEN_NAME
           holder = unnamed };
       atomic {
#endif
           holder = i + 1;
#ifdef WAITERS_FORGOTTEN
           waiters = false
#else
           waiters = kept
#endif
       };
       break
    :: atomic { holder != 0 -> seen = holder };
       if
       :: seen != unnamed && life[seen - 1] == dead ->
          note_death(seen);
#ifdef TAKE_OVER_BY_STORE
          atomic { take_over(i) };
          break
#else
          if
          :: atomic { holder == seen -> take_over(i) }; break
          :: else
          fi
#endif
       :: else ->
          if
          :: atomic { holder == seen -> waiters = true };
             if
             :: atomic { holder == seen && waiters && (seen == unnamed || life[seen - 1] != dead) ->
                    asleep[i] = true; watched[i] = seen };
                kept = true;
                if
                :: !asleep[i]
                :: atomic { SLICES && timeout ->
                       assert(holder == 0 || (holder != unnamed && life[holder - 1] == dead));
                       asleep[i] = false }
                fi
             :: else
             fi
          :: else
          fi
       fi
    od
}

inline release(i) {
    atomic { must_wake = waiters; holder = 0; waiters = false; handed_over = true };
    if
    :: must_wake -> wake_one(0)
    :: else
    fi
}

proctype Thread(byte i) {
    byte seen, rounds, w;
    bool kept, must_wake;
    {
        do
        :: rounds < ROUNDS ->
           rounds++;
           acquire(i);
           enter(i);
           inside[i] = false;
           release(i);
           kept = false
        :: else -> break
        od
    } unless {
        atomic { life[i] == dying ->
            life[i] = dead;
            asleep[i] = false;
            inside[i] = false;
            if
            :: holder == i + 1 -> died_inside = i + 1
            :: else
            fi;
            /* the kernel wakes one */
            wake_one(i + 1)
        }
    }
}

#define may_die(k) \
    (life[k] == alive && (!HOLDERS_ONLY || inside[k]) && !(HOLDERS_ONLY == 2 && handed_over))

proctype Fate() {
end:
    do
    :: d_step { faults > 0 && may_die(0) -> faults--; life[0] = dying }
    :: d_step { faults > 0 && may_die(1) -> faults--; life[1] = dying }
#if THREADS > 2
    :: d_step { faults > 0 && may_die(2) -> faults--; life[2] = dying }
#endif
    :: d_step { faults > 0 -> faults = 0 }
    od
}

init {
    atomic {
        run Thread(0);
        run Thread(1);
#if THREADS > 2
        run Thread(2);
#endif
        run Fate()
    }
}
