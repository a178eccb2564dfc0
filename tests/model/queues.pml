// SPDX-License-Identifier: MIT
//
// The SQ and the CQ between squall and a kernel that runs at the same time, as the SQPOLL thread does and as completions
// do in every mode. In every interleaving: no SQE is read before it is written, or written while it is being read; no CQE
// is written over while it is being read or may still be; the CQ does not overflow (I2); no completion is lost or seen
// twice, nor an SQ slot lost; and nothing changes where the indices wrap. The poller's sleep is sleep.pml's.
//
//   here                the code
//   queue()             Io::queue() (io.hpp), Front::has_room(), push() (front.hpp), SqeCursor (queue.hpp)
//   make_room()         Queues::free_sqes(), SubmissionQueue::free_sqes(), CompletionQueue::taken() (queue.hpp)
//   publish()           SubmissionQueue::publish() (queue.hpp); publish_and_check_sleep() is no weaker
//   reap()              Front::hand_out() (front.hpp), CompletionQueue::ready(), take() and advance() (queue.hpp)
//   kernel: takes       io_sqring_entries(), io_get_sqe(), io_commit_sqring()
//   kernel: posts       io_cqe_cache_refill(), io_commit_cqring()
//
// The kernel orders its load of the CQ head before its stores to CQEs by a control dependency: ACQUIRE stands for that.
//
// -DALONE is the CQ alone, with a kernel that posts whenever it finds room. What advance() owes it shows only there: in a
// ring of squall's every CQE is owed to an operation (I2), which was queued after the slot had been given back, so that
// publish() orders the same once more.

// The mutants: each must be found, in one of the sizes at least.
#define PUBLISH_RELAXED 1      // publish() stores the SQ tail relaxed
#define LOOK_RELAXED 2        // free_sqes() loads the SQ head relaxed
#define READY_RELAXED 3        // ready() loads the CQ tail relaxed
#define ADVANCE_RELAXED 4    // advance() stores the CQ head relaxed
#define GIVEN_BACK_EARLY 5     // take() gives the CQ slots back at once
#define FLIGHT_FORGOTTEN 6     // make_room() does not count operations in flight
#define CQ_FORGOTTEN 7         // free_sqes() looks at the SQ's room alone
#define SQ_FORGOTTEN 8         // free_sqes() looks at the CQ's room alone
#define END_FORGOTTEN 9        // free_sqes() goes beyond the end of the SQE array
#define TAKE_FORGOTTEN 10      // take() does not move the head: completions are handed out again
#define INDICES_COMPARED 11    // ready() compares indices as numbers, which is wrong where they wrap
#define KERNEL_TAIL_RELAXED 12 // the kernel loads the SQ tail relaxed
#define KERNEL_HEAD_RELAXED 13 // the kernel stores the SQ head relaxed
#define KERNEL_POST_RELAXED 14 // the kernel stores the CQ tail relaxed
#define KERNEL_ROOM_RELAXED 15 // the kernel's load of the CQ head orders nothing
#define KERNEL_FORGETS 16      // the kernel drops an operation

#include "memory.pml"

// Entries, and the number at which indices wrap, really 2^32. All powers of two.
#ifndef SQ
#define SQ 2
#define CQ 2
#define WRAP 4
#endif
#ifndef ALONE
#define ALONE false
#endif
#define START (WRAP - 1)
#define distance(from, to) (((to) - (from)) & (WRAP - 1))
#define smaller(a, b) ((a) < (b) -> (a) : (b))

byte sqe[SQ];     // in each a token, a small number
byte cqe[CQ];
byte outstanding; // tokens that were queued and not seen completed, a bit each

inline make_room() {
    atomic {
        promised = (MUTANT == FLIGHT_FORGOTTEN -> 0 : in_flight) + distance(own(CQ_HEAD), head);
        load(SQ_HEAD, room, weakened(ACQUIRE, LOOK_RELAXED, RELAXED));
        room = SQ - distance(room, tail);
        assert(room <= SQ);
        promised = (promised < CQ -> CQ - promised : 0);
        room = (MUTANT == CQ_FORGOTTEN -> room : (MUTANT == SQ_FORGOTTEN -> promised : smaller(room, promised)));
        next = tail % SQ;
        stop = next + (MUTANT == END_FORGOTTEN -> room : smaller(room, SQ - next));
        room = 0; promised = 0
    }
}

inline queue() {
    if
    :: next == stop -> make_room()
    :: else -> skip
    fi;
    if
    :: next == stop
    :: else ->
        atomic {
            assert(next < SQ);
            access(USER, next);
            token = 0;
            do
            :: outstanding & bit(token) -> token++
            :: else -> break
            od;
            sqe[next] = token; outstanding = outstanding | bit(token); token = 0;
            next++; in_flight++; tail = distance(0, tail + 1)
        }
    fi
}

inline publish() {
    if
    :: tail != flushed ->
        atomic { store(SQ_TAIL, tail, weakened(RELEASE, PUBLISH_RELAXED, RELAXED)); flushed = tail }
    :: else -> skip
    fi
}

inline reap() {
    atomic {
        load(CQ_TAIL, count, weakened(ACQUIRE, READY_RELAXED, RELAXED));
        count = (MUTANT == INDICES_COMPARED && count < head -> 0 : distance(head, count));
        assert(count <= CQ && (count > 0 || !parked));
        parked = false;
        assert(count <= in_flight);
        in_flight = in_flight - (ALONE -> 0 : count);
        at = head; last = distance(0, head + count); count = 0;
        head = (MUTANT == TAKE_FORGOTTEN -> head : last)
    }
    if
    :: MUTANT == GIVEN_BACK_EARLY -> store(CQ_HEAD, head, RELEASE)
    :: else -> skip
    fi;
    do
    :: at != last ->
        atomic {
            access(USER, SQ + at % CQ);
            assert(outstanding & bit(cqe[at % CQ]));
            outstanding = outstanding & ~bit(cqe[at % CQ]);
            at = distance(0, at + 1)
        }
        if // the body of a loop over the completions may queue
        :: true -> queue()
        :: true
        fi
    :: else -> break
    od;
    at = 0; last = 0;
    store(CQ_HEAD, head, weakened(RELEASE, ADVANCE_RELAXED, RELAXED))
}

proctype user() {
    byte tail = START, flushed = START, next, stop;
    byte head = START, at, last;
    byte in_flight = (ALONE -> CQ : 0), promised, room, count, token;
    bool parked;
    do
    :: true -> queue()
    :: true -> publish(); reap() // poll()
    :: in_flight > 0 ->          // park(): whoever lost a completion stays here for ever
        publish();
        memory[CQ_TAIL] != head; parked = true;
        reap()
    :: in_flight == 0 && next == stop -> memory[SQ_HEAD] == tail // the last SQ slot comes back as well
    od
}

inline post() {
    atomic {
        load(CQ_HEAD, room, weakened(ACQUIRE, KERNEL_ROOM_RELAXED, RELAXED));
        assert(distance(room, cq_tail) < CQ); // else the CQ overflows
        room = 0
    }
    atomic {
        access(KERNEL, SQ + cq_tail % CQ);
        cqe[cq_tail % CQ] = token; running = running & ~bit(token); token = 0;
        cq_tail = distance(0, cq_tail + 1)
    }
    store(CQ_TAIL, cq_tail, weakened(RELEASE, KERNEL_POST_RELAXED, RELAXED))
}

proctype kernel() {
    byte sq_head = START, cq_tail = START, batch, room, token;
    byte running; // tokens, a bit each
    bool taken;
end:
    do
    :: batch == 0 && memory[SQ_TAIL] != sq_head ->
        atomic {
            load(SQ_TAIL, batch, weakened(ACQUIRE, KERNEL_TAIL_RELAXED, RELAXED));
            batch = distance(sq_head, batch);
            assert(batch <= SQ)
        }
    :: batch > 0 -> // takes an SQE, and the path that it leads to (SUBMIT_STABLE)
        atomic {
            access(KERNEL, sq_head % SQ);
            token = sqe[sq_head % SQ];
            assert((outstanding & bit(token)) && !(running & bit(token)));
            running = (MUTANT == KERNEL_FORGETS -> running : running | bit(token)); token = 0;
            sq_head = distance(0, sq_head + 1); batch--; taken = true
        }
    :: taken -> // gives back the slots of the batch, or of a part of it
        atomic {
            batch = 0; taken = false;
            store(SQ_HEAD, sq_head, weakened(RELEASE, KERNEL_HEAD_RELAXED, RELAXED))
        }
    :: running -> // posts, in any order
        if
        :: running & bit(0) -> token = 0
        :: running & bit(1) -> token = 1
        :: running & bit(2) -> token = 2
        :: running & bit(3) -> token = 3
        fi;
        post()
    :: ALONE && distance(memory[CQ_HEAD], cq_tail) < CQ ->
        atomic {
            do
            :: outstanding & bit(token) -> token++
            :: else -> break
            od;
            outstanding = outstanding | bit(token)
        }
        post()
    od
}

init {
    atomic {
        memory[SQ_HEAD] = START; memory[SQ_TAIL] = START; memory[CQ_HEAD] = START; memory[CQ_TAIL] = START;
        run user(); run kernel()
    }
}
