/* How processes meet at a barrier (lib/sync/barrier.cpp), without `reset`, which is a step that
 * begins another phase. */

#ifndef PARTIES
#define PARTIES 2
#endif
#ifndef PHASES
#define PHASES 2
#endif
/* How many deaths there may be. Each is of a process that has taken part: others are not missed. */
#ifndef FAULTS
#define FAULTS 1
#endif
/* Whether there is an action. */
#ifndef ACTION
#define ACTION 1
#endif
/* Whether sleep is bounded by slices, of which one ends only when nothing else can happen. */
#ifndef SLICES
#define SLICES 1
#endif

mtype = { alive, dying, dead };
mtype life[PARTIES] = alive;

/* The word: phases are counted from 1. */
byte number = 1;
bool broken;
/* The places: a phase and who arrived in it. */
byte arrived[PARTIES], who[PARTIES];
/* Who runs the action of which phase. */
byte runner_phase, runner;
#define done 99

byte runs[PHASES + 1]; /* of the action */
bool took_part[PARTIES];
bool asleep[PARTIES];
byte faults = FAULTS;

inline wake_all() {
    d_step {
        k = 0;
        do
        :: k < PARTIES -> asleep[k] = false; k++
        :: else -> break
        od;
        k = 0
    }
}

/* One compare-and-swap of the own place of the phase before, or of a place that nobody has. */
inline arrive(i) {
    atomic {
        k = 0;
        do
        :: k < PARTIES && !(arrived[k] == at - 1 && who[k] == i && at > 1) -> k++
        :: else -> break
        od;
        if
        :: k == PARTIES ->
           k = 0;
           do
           :: k < PARTIES && arrived[k] == at -> k++
           :: else -> break
           od
        :: else
        fi;
        assert(k < PARTIES);
        arrived[k] = at;
        who[k] = i;
        took_part[i] = true;
        k = 0
    }
}

/* The places are looked at one after the other. */
inline look() {
    k = 0;
    complete = true;
    do
    :: atomic { k < PARTIES -> complete = (complete && arrived[k] == at); k++ }
    :: else -> break
    od;
    k = 0
}

inline end_phase() {
    if
    :: atomic { number == at && !broken -> number++ }
    :: else
    fi;
    wake_all()
}

inline run_action() {
    runs[at]++
}

inline complete_phase(i) {
#if !ACTION
    end_phase()
#else
#ifdef END_THEN_ACT
    if
    :: atomic { number == at && !broken -> number++; runner = i };
       wake_all();
       run_action()
    :: else
    fi
#else
    if
    :: atomic { runner_phase != at -> runner_phase = at; runner = i };
#ifdef ANY_RUNS
    :: atomic { runner_phase == at && runner != done -> runner = i };
#endif
       run_action();
       runner = done;
       end_phase()
    :: atomic { runner_phase == at && runner == done -> skip };
       end_phase()
    :: atomic { runner_phase == at && runner != done -> skip }
    fi
#endif
#endif
}

/* Looks for one that died in this phase, or after it took part in the phase before. */
#ifdef FORMER_PARTIES_FORGOTTEN
#define is_missed(k) (life[who[k]] == dead && arrived[k] == at)
#else
#define is_missed(k) (life[who[k]] == dead && arrived[k] != 0 && arrived[k] + 1 >= at)
#endif
inline find_dead() {
    k = 0;
    do
    :: atomic { k < PARTIES && !is_missed(k) -> k++ }
    :: else -> break
    od;
    has_dead = (k < PARTIES);
    k = 0
}

inline break_phase() {
    if
    :: atomic { number == at && !broken -> broken = true }
    :: else
    fi;
    wake_all()
}

proctype Party(byte i) {
    byte at, k;
    bool complete, has_dead;
    {
        do
        :: at < PHASES ->
           atomic { at = number; if :: broken -> goto ended :: else fi };
           arrive(i);
           do
           :: look();
              if
              :: complete && number == at -> complete_phase(i)
              :: else
              fi;
              if
              :: atomic { number != at ->
                     assert(!ACTION || runs[at] == 1) };
                 break
              :: atomic { number == at && broken -> goto ended }
              :: atomic { number == at && !broken -> skip };
                 find_dead();
                 if
                 :: has_dead -> break_phase()
                 :: else ->
                    if
                    :: atomic { number == at && !broken -> asleep[i] = true };
                       if
                       :: !asleep[i]
                       :: atomic { SLICES && timeout ->
                              asleep[i] = false;
                              find_dead();
                              assert(number != at || broken || has_dead) }
                       fi
                    :: else
                    fi
                 fi
              fi
           od
        :: else -> break
        od;
ended:  skip
    } unless {
        atomic { life[i] == dying -> asleep[i] = false; life[i] = dead }
    }
}

#define may_die(k) (life[k] == alive && took_part[k])

proctype Fate() {
end:
    do
    :: d_step { faults > 0 && may_die(0) -> faults--; life[0] = dying }
    :: d_step { faults > 0 && may_die(1) -> faults--; life[1] = dying }
#if PARTIES > 2
    :: d_step { faults > 0 && may_die(2) -> faults--; life[2] = dying }
#endif
    :: d_step { faults > 0 -> faults = 0 }
    od
}

init {
    byte i;
    atomic {
        do
        :: i < PARTIES -> run Party(i); i++
        :: else -> break
        od;
        run Fate()
    }
}
