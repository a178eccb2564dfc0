// SPDX-License-Identifier: MIT
//
// The arena's stack of free buffers, between threads that lease buffers and return them, and its end, at any time after the
// last lease was given out. In every interleaving: no buffer is leased twice or lost; whoever leases one comes after all that
// its last user did with it; and the memory is unmapped, once, by the last that lets go, who comes after everybody's accesses
// to it. A ring that keeps the memory is not here: it does no more than a lease that ends late.
//
//   here              the code
//   acquire_buffer()  BufferArena::acquire() (arena.cpp)
//   release_buffer()  detail::release_buffer() (arena.cpp)
//   owner             BufferArena::destroy() (arena.cpp)
//   let_go()          detail::let_go() (arena.cpp)
//
// The memory is as C++ leaves it. `head` and `keepers` are changed by exchanges alone, which see their newest value. A store
// to next[] or to the home waits in its thread's store buffer and leaves it whenever it likes, but before an exchange with
// RELEASE. A load of these behind one of `head` without ACQUIRE may have been made before it. What an exchange with RELEASE tells of, the exchanges that
// follow go on telling of, and a load or an exchange with ACQUIRE hears it. That the exchange which succeeds in acquire()
// has ACQUIRE too is more than is needed: it sees what the load has seen, or the count would differ.

// The mutants: each must be found, in one of the sizes at least.
#define LOAD_RELAXED 1    // acquire() loads the head relaxed
#define RETRY_RELAXED 2   // acquire()'s exchange loads it relaxed where it fails
#define RELEASE_RELAXED 3 // release_buffer()'s exchange is relaxed
#define UNCOUNTED 4       // neither counts the changes: a head that has come back is taken for one that has stayed
#define LINKED_LATE 5     // release_buffer() stores next[] after the exchange
#define UNDER_STALE 6     // acquire() does not read next[] again after an exchange that failed
#define HOME_EARLY 7      // release_buffer() loads the head relaxed
#define UNSTACK_UNRELEASED 8 // destroy()'s exchange has no release
#define UNSTACK_UNACQUIRED 9 // nor this one an acquire
#define HOME_LATE 10      // destroy() stores that there is no home after the exchange
#define HEAD_LEFT 11      // destroy() leaves the head as it is
#define LET_GO_UNRELEASED 12 // let_go()'s exchange has no release
#define LET_GO_UNACQUIRED 13 // nor this one an acquire
#define LEASES_FORGOTTEN 14 // destroy() lets go for the leased buffers, too

#ifndef THREADS
#define THREADS 2
#define BUFFERS 2
#define LEASES 3 /* of each thread, one after another or at once */
#endif

#define bit(n) (1 << (n))
#define everything (bit(BUFFERS) - 1)
#define thread (_pid - 1)
#define OWNER THREADS
#define NO_STACK 255

byte head = 1;      // the low half: the first one's number plus one
byte changes;       // the high half
byte next[BUFFERS]; // as `head`; what all threads see
byte leased;        // a bit each
byte told;          // buffers of whose last use `head` tells
bool homeless;      // there is no home any more, as all threads see it
bool leaving_home;  // and that on its way there
byte keepers = BUFFERS + 1;
byte told_by_keepers; // as `told`
bool unmapped;
byte have_acquired, ended;

typedef Thread {
    byte untold;            // buffers whose last use it does not know of, a bit each
    byte pending;           // stores to next[] that have not left yet
    byte buffered[BUFFERS];
}
Thread side[THREADS + 1];

inline hear() { side[thread].untold = side[thread].untold & ~told }

inline use(buffer) {
    d_step {
        assert(!(side[thread].untold & bit(buffer)) && !unmapped);
        told = told & ~bit(buffer); told_by_keepers = told_by_keepers & ~bit(buffer);
        side[0].untold = side[0].untold | bit(buffer); side[1].untold = side[1].untold | bit(buffer);
        side[THREADS - 1].untold = side[THREADS - 1].untold | bit(buffer);
        side[OWNER].untold = side[OWNER].untold | bit(buffer);
        side[thread].untold = side[thread].untold & ~bit(buffer)
    }
}

// What a load of next[] can have seen that was made too early.
inline look_early() {
    d_step { early[0] = next[0]; early[1] = next[1]; early[BUFFERS - 1] = next[BUFFERS - 1] }
}

inline let_go(number) {
    atomic {
        MUTANT == LET_GO_UNRELEASED || !(side[thread].pending || (thread == OWNER && leaving_home));
        d_step {
            assert(keepers >= number);
            keepers = keepers - number;
            told_by_keepers = told_by_keepers | (MUTANT == LET_GO_UNRELEASED -> 0 : everything & ~side[thread].untold);
            side[thread].untold = side[thread].untold & ~(MUTANT == LET_GO_UNACQUIRED -> 0 : told_by_keepers);
            if
            :: !keepers ->
                assert(!side[thread].untold);
                assert(!(side[0].pending | side[1].pending | side[THREADS - 1].pending) && !leaving_home);
                unmapped = true
            :: else -> skip
            fi
        }
    }
}

inline acquire_buffer() {
    if
    :: MUTANT == LOAD_RELAXED -> look_early(); use_early = true
    :: else -> skip
    fi;
    d_step {
        top = head; count = changes;
        if
        :: MUTANT == LOAD_RELAXED -> skip
        :: else -> hear()
        fi
    }
    do
    :: top == 0 -> break
    :: else ->
        d_step {
            if
            :: use_early -> under = early[top - 1]
            :: MUTANT == UNDER_STALE && retried -> skip
            :: else -> under = (side[thread].pending & bit(top - 1) -> side[thread].buffered[top - 1] : next[top - 1])
            fi;
            use_early = false
        }
        if
        :: MUTANT == RETRY_RELAXED -> look_early()
        :: else -> skip
        fi;
        d_step {
            if
            :: head == top && changes == count ->
                assert(!(leased & bit(top - 1)));
                head = under; changes = changes + (MUTANT == UNCOUNTED -> 0 : 1);
                hear();
                leased = leased | bit(top - 1); mine = mine | bit(top - 1);
                acquired = true
            :: else ->
                top = head; count = changes; retried = true;
                if
                :: MUTANT == RETRY_RELAXED -> use_early = true
                :: else -> hear()
                fi
            fi
        }
        if
        :: acquired -> use(top - 1); break
        :: else -> skip
        fi
    od;
    atomic {
        top = 0; count = 0; under = 0; acquired = false; use_early = false; retried = false;
        early[0] = 0; early[1] = 0; early[BUFFERS - 1] = 0
    }
}

inline link() {
    d_step { side[thread].buffered[buffer] = top; side[thread].pending = side[thread].pending | bit(buffer) }
}

inline release_buffer() {
    use(buffer);
    do
    :: true ->
        if
        :: MUTANT == HOME_EARLY -> homed = !homeless
        :: else -> skip
        fi;
        d_step {
            assert(!unmapped);
            top = head; count = changes;
            if
            :: MUTANT == HOME_EARLY -> skip
            :: else -> hear()
            fi
        }
        if
        :: MUTANT == HOME_EARLY -> skip
        :: else -> homed = !homeless
        fi;
        if
        :: !homed -> leased = leased & ~bit(buffer); let_go(1); mine = mine & ~bit(buffer); break
        :: else -> skip
        fi;
        if
        :: MUTANT == LINKED_LATE -> skip
        :: else -> link()
        fi;
        atomic {
            MUTANT == RELEASE_RELAXED || !side[thread].pending;
            assert(!unmapped);
            if
            :: head == top && changes == count ->
                head = buffer + 1; changes = changes + (MUTANT == UNCOUNTED -> 0 : 1);
                told = (MUTANT == RELEASE_RELAXED -> told : told | (everything & ~side[thread].untold));
                leased = leased & ~bit(buffer); mine = mine & ~bit(buffer);
                break
            :: else -> skip
            fi
        }
    od;
    if
    :: MUTANT == LINKED_LATE -> link()
    :: else -> skip
    fi;
    atomic { top = 0; count = 0; buffer = 0; homed = false }
}

proctype user() {
    byte top, count, under, buffer, mine, left = LEASES;
    byte early[BUFFERS];
    bool acquired, use_early, retried, homed;
    do
    :: left > 0 ->
        left--; acquire_buffer();
        if
        :: left == 0 -> have_acquired++
        :: else -> skip
        fi
    :: mine & bit(0) -> buffer = 0; release_buffer()
    :: mine & bit(1) -> buffer = 1; release_buffer()
    :: BUFFERS > 2 && (mine & bit(2)) -> buffer = 2; release_buffer()
    :: left == 0 && !mine -> break
    od;
    ended++
}

// That nobody calls acquire() any more is for the caller to see to; nothing else is.
proctype owner() {
    byte at, free;
    byte early[BUFFERS];
    have_acquired == THREADS;
    if
    :: MUTANT == HOME_LATE -> skip
    :: else -> leaving_home = true
    fi;
    if
    :: MUTANT == UNSTACK_UNACQUIRED -> look_early()
    :: else -> skip
    fi;
    atomic {
        MUTANT == UNSTACK_UNRELEASED || !leaving_home;
        at = head; head = (MUTANT == HEAD_LEFT -> head : NO_STACK);
        if
        :: MUTANT == UNSTACK_UNACQUIRED -> skip
        :: else -> hear()
        fi;
        told = told | (MUTANT == UNSTACK_UNRELEASED -> 0 : everything & ~side[thread].untold)
    }
    if
    :: MUTANT == HOME_LATE -> leaving_home = true
    :: else -> skip
    fi;
    d_step {
        do
        :: at == 0 || free > BUFFERS -> break
        :: else -> at = (MUTANT == UNSTACK_UNACQUIRED -> early[at - 1] : next[at - 1]); free++
        od;
        assert(free <= BUFFERS)
    }
    let_go((MUTANT == LEASES_FORGOTTEN -> BUFFERS + 1 : free + 1));
    ended++
}

inline leave(who, buffer) {
    d_step {
        side[who].pending & bit(buffer) ->
        next[buffer] = side[who].buffered[buffer];
        side[who].buffered[buffer] = 0; side[who].pending = side[who].pending & ~bit(buffer)
    }
}
proctype store_buffers() {
end:
    do
    :: leave(0, 0)
    :: leave(0, 1)
    :: leave(0, BUFFERS - 1)
    :: leave(1, 0)
    :: leave(1, 1)
    :: leave(1, BUFFERS - 1)
    :: leave(THREADS - 1, 0)
    :: leave(THREADS - 1, 1)
    :: leave(THREADS - 1, BUFFERS - 1)
    :: d_step { leaving_home -> homeless = true; leaving_home = false }
    od
}

init {
    atomic {
        next[0] = 2; next[1] = (BUFFERS > 2 -> 3 : 0); told = everything;
        run user(); run user();
        if
        :: THREADS > 2 -> run user()
        :: else -> skip
        fi;
        run owner(); run store_buffers()
    }
    ended == THREADS + 1;
    assert(unmapped)
}
