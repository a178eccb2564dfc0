// SPDX-License-Identifier: MIT
//
// The memory between the two sides of a ring, as C++ and the kernel's own rules leave it, with the store buffers written
// out. What the sides do with it is for queues.pml and sleep.pml.
//
// Words (heads, tails, flags): each has one writer. A store goes into its writer's store buffer and leaves it later:
// RELAXED whenever it likes, before or after the writer's stores to other words; RELEASE only when all older ones have
// left; SEQ_CST as RELEASE, and no SEQ_CST load of its writer passes it. Two stores to one word leave in their order. This
// is weaker than x86, whose buffer is a queue, and no stronger than arm64. A load reads what has left.
//
// Slots (SQEs, CQEs): plain memory that both sides use. Each access must come after the other side's last one to that
// slot, and `after` means what it means in C++: since that access the other side made a RELEASE store, and an ACQUIRE load
// of ours read it. Where that is lacking a compiler or a processor may load early, load late or write early; which of these
// it would be does not matter, so the access itself is refused here.

#define USER 0
#define KERNEL 1

#define SQ_TAIL 0 /* written by the user */
#define CQ_HEAD 1
#define SQ_HEAD 2 /* written by the kernel */
#define CQ_TAIL 3
#define FLAGS 4
#define WORDS 5

#define bit(n) (1 << (n))
#define owner(word) ((word) < SQ_HEAD -> USER : KERNEL)
#define words_of(side) ((side) == USER -> bit(SQ_TAIL) | bit(CQ_HEAD) : bit(SQ_HEAD) | bit(CQ_TAIL) | bit(FLAGS))

#define RELAXED 0
#define ACQUIRE 1
#define RELEASE 1
#define SEQ_CST 2

// Which fault the model has, if any: -DMUTANT=NAME. `order` is what the code has unless `mutant` weakens it.
#ifndef MUTANT
#define MUTANT 0
#endif
#define weakened(order, mutant, to) (MUTANT == mutant -> to : order)

byte memory[WORDS];    // what the other side sees
byte buffered[WORDS];  // what is on its way there
byte pending;          // the words that have something on its way, a bit each
byte pending_sc;       // and with SEQ_CST
byte waits_for[WORDS]; // the words that have to leave before this one
byte untold[2];        // a side's accesses to slots that the other does not know of, a bit each
byte told[WORDS];      // those of which a load of this word tells
byte told_buffered[WORDS];

#define own(word) ((pending & bit(word)) -> buffered[word] : memory[word])
#define waited_for(word) ((waits_for[0] | waits_for[1] | waits_for[2] | waits_for[3] | waits_for[4]) & bit(word))

inline store(word, value, order) {
    atomic {
        !waited_for(word); // an older store of this word that others wait for leaves first
        buffered[word] = value;
        waits_for[word] = waits_for[word] | (order >= RELEASE -> pending & words_of(owner(word)) & ~bit(word) : 0);
        told_buffered[word] = (order >= RELEASE -> untold[owner(word)] : 0);
        pending = pending | bit(word);
        pending_sc = (order == SEQ_CST -> pending_sc | bit(word) : pending_sc & ~bit(word))
    }
}

// Of one of the other side's words.
inline load(word, into, order) {
    atomic {
        order < SEQ_CST || !(pending_sc & words_of(1 - owner(word)));
        into = memory[word];
        if
        :: order >= ACQUIRE ->
            untold[owner(word)] = untold[owner(word)] & ~told[word];
            tell_no_more(SQ_TAIL); tell_no_more(CQ_HEAD); tell_no_more(SQ_HEAD); tell_no_more(CQ_TAIL)
        :: else -> skip
        fi
    }
}
// What is known need not be told: without this one state would be looked at under many guises.
inline tell_no_more(word) {
    told[word] = told[word] & untold[owner(word)];
    told_buffered[word] = told_buffered[word] & untold[owner(word)]
}

inline full_fence(side) { !(pending & words_of(side)) }

inline access(side, slot) {
    d_step {
        assert(!(untold[1 - side] & bit(slot)));
        untold[side] = untold[side] | bit(slot);
        // What was stored before this access does not tell of it.
        not_told(SQ_TAIL, side, slot); not_told(CQ_HEAD, side, slot);
        not_told(SQ_HEAD, side, slot); not_told(CQ_TAIL, side, slot)
    }
}
inline not_told(word, side, slot) {
    told[word] = told[word] & ~(owner(word) == side -> bit(slot) : 0);
    told_buffered[word] = told_buffered[word] & ~(owner(word) == side -> bit(slot) : 0)
}

inline leave(word) {
    d_step {
        (pending & bit(word)) && !waits_for[word] ->
        memory[word] = buffered[word]; told[word] = told_buffered[word];
        buffered[word] = 0; told_buffered[word] = 0;
        pending = pending & ~bit(word); pending_sc = pending_sc & ~bit(word);
        waits_for[0] = waits_for[0] & ~bit(word); waits_for[1] = waits_for[1] & ~bit(word);
        waits_for[2] = waits_for[2] & ~bit(word); waits_for[3] = waits_for[3] & ~bit(word);
        waits_for[4] = waits_for[4] & ~bit(word)
    }
}
active proctype store_buffers() {
end:
    do
    :: leave(SQ_TAIL)
    :: leave(CQ_HEAD)
    :: leave(SQ_HEAD)
    :: leave(CQ_TAIL)
    :: leave(FLAGS)
    od
}
