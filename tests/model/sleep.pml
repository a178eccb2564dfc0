// SPDX-License-Identifier: MIT
//
// The SQPOLL thread's sleep, against a user who publishes at any moment, parks or polls, is refused wake-ups, and goes away.
// In every interleaving: nobody waits for ever. The rings themselves are queues.pml's: here an operation is a number.
//
//   here                 the code
//   publish_and_check()  SubmissionQueue::publish_and_check_sleep() (queue.hpp)
//   enter()              Ring::enter_beside_poller() (enter.cpp), io_uring_enter()
//   user: polls, parks   Front::poll(), park() (front.hpp), Single::poll(), park() (single.cpp)
//   user: ends           Ring::cancel_and_wait() (teardown.cpp), SubmissionQueue::close() (queue.hpp)
//   poller               io_sq_thread()

// The mutants: each must be found.
#define TAIL_RELEASED 1    // publish_and_check_sleep() stores the tail with release order: the load of the flags passes it
#define FLAGS_RELAXED 2    // it loads the flags relaxed: the same
#define LOOKS_FIRST 3      // it looks at the flags before it publishes
#define NOTED_EARLY 4      // enter() takes the tail for seen before it knows that the wake-up was not refused
#define PARK_LOOKS_NOT 5   // park() waits without a look at the flags
#define END_WAKES_NOT 6    // cancel_and_wait() does not wake the poller
#define END_DROPS_ALL 7    // close() takes what was published for dropped: ~Io returns while the kernel still writes
#define POLLER_NO_FENCE 8  // the poller has no fence between NEED_WAKEUP and its last look at the tail
#define POLLER_LOOKS_NOT 9 // the poller does not look at the tail once more
#define POLLER_LATE 10     // the poller goes onto the wait queue after its last look

#include "memory.pml"

#ifndef FLIGHT
#define FLIGHT 2 /* operations in flight at most */
#endif
// More than the operations that are queued between two wake-ups that were not refused; the real indices' 2^32 are, too.
#define WRAP 8
#define distance(from, to) (((to) - (from)) & (WRAP - 1))

byte done;     // completions that are ready
bool sleeping; // on the wait queue
bool ended;    // ~Io has returned

inline publish_and_check() {
    if
    :: MUTANT == LOOKS_FIRST -> load(FLAGS, flags, SEQ_CST)
    :: else -> skip
    fi;
    store(SQ_TAIL, tail, weakened(SEQ_CST, TAIL_RELEASED, RELEASE));
    if
    :: MUTANT != LOOKS_FIRST -> load(FLAGS, flags, weakened(SEQ_CST, FLAGS_RELAXED, RELAXED))
    :: else -> skip
    fi
}

// io_uring_enter(SQ_WAKEUP), which may be refused by a filter.
inline wake() {
    if
    :: true -> sleeping = false
    :: refusals > 0 -> refusals--; answered = false
    fi
}

inline enter() {
    if
    :: tail != flushed ->
        publish_and_check();
        if
        :: flags -> flags = 0; wake()
        :: else -> skip
        fi;
        flushed = (answered || MUTANT == NOTED_EARLY -> tail : flushed)
    :: else -> skip
    fi
}

inline reap() { atomic { in_flight = in_flight - done; done = 0 } }

proctype user() {
    byte tail, flushed, in_flight, flags;
    byte refusals = 2; // of wake-ups, before they are let through
    bool answered = true; // the last enter
    do
    :: in_flight < FLIGHT -> atomic { tail = distance(0, tail + 1); in_flight++ }
    :: in_flight > 0 -> // park(), until it has a completion or an error
        if
        :: MUTANT == PARK_LOOKS_NOT -> store(SQ_TAIL, tail, SEQ_CST); flushed = tail
        :: else -> enter()
        fi;
        if
        :: answered -> done > 0; reap()
        :: else -> answered = true
        fi
    :: tail != flushed -> enter(); answered = true; reap() // poll(); with nothing to show it enters nothing, and goes on until
    :: tail == flushed && in_flight > 0 -> done > 0; reap()
    :: true -> break
    od;
    // What was published and not consumed is still owed; the rest is dropped.
    in_flight = in_flight - distance((MUTANT == END_DROPS_ALL -> memory[SQ_HEAD] : own(SQ_TAIL)), tail);
    if
    :: in_flight > 0 && MUTANT != END_WAKES_NOT -> sleeping = false
    :: else -> skip
    fi;
    done >= in_flight;
    ended = true
}

proctype poller() {
    byte head, seen;
    bool idle;
    do
    :: true -> // as long as it is not idle
        atomic {
            load(SQ_TAIL, seen, ACQUIRE);
            assert(!ended || seen == head); // else it writes to memory that its owner has back
            done = done + distance(head, seen); head = seen; seen = 0
        }
        store(SQ_HEAD, head, RELEASE)
    :: true -> // idle for long enough
        sleeping = (MUTANT != POLLER_LATE); // prepare_to_wait()
        store(FLAGS, 1, RELAXED);
        if
        :: MUTANT != POLLER_NO_FENCE -> full_fence(KERNEL)
        :: else -> skip
        fi;
        atomic { load(SQ_TAIL, seen, ACQUIRE); idle = (seen == head || MUTANT == POLLER_LOOKS_NOT); seen = 0 }
        if
        :: idle ->
            sleeping = (MUTANT == POLLER_LATE -> true : sleeping);
end:        !sleeping // schedule()
        :: else -> skip
        fi;
        atomic { store(FLAGS, 0, RELAXED); sleeping = false; idle = false }
    od
}

init { atomic { run user(); run poller() } }
