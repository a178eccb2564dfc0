// SPDX-License-Identifier: MIT
//
// An Io's Wakers and its owner, who polls, parks, or sleeps on the poll_fd, and closes the Io at any time. In every
// interleaving: each wake that was sent is handed out once, unless the Io goes before, and each sender's come in its order;
// the owner never sleeps for ever while there is a wake or a completion, nor, with nothing else to wait for, when the last
// Waker has gone; a park that returns with nothing has left nothing; no node is used by two at once, and whoever has one comes
// after all that was done with it before; and the memory is unmapped, once, by the last that lets go, who comes after
// everybody's accesses to it.
//
//   here                      the code
//   wake()                    WakeBox::wake() (waker.cpp)
//   take_node(), give_back()  WakeBox::take_node(), give_back() (waker.cpp), pop() (free_stack.hpp)
//   add_waker()               WakeBox::add_waker() (waker.cpp)
//   remove_waker(), let_go()  WakeBox::remove_waker(), let_go() (waker.cpp)
//   arm(), collect()          WakeBox::arm(), collect(), take_all() (waker.cpp)
//   park()                    Front::park_for_wakes() (front.cpp)
//   settle()                  Front::settle(), choose(), settle_poll_fd() (front.cpp), Readiness::settle() (readiness.hpp)
//   owner: asks               Front::poll_fd(), waker() (front.cpp)
//   owner: ends               WakeBox::close() (waker.cpp)
//   kernel                    io_eventfd_signal()
//
// The poll_fd is asked for at any time, or never. Where that is before the Waker is made it is as if it were right after that:
// either call raises the event. Left out: a park for more than one completion, and one that begins without a Waker; nodes that
// are used for the first time, which a counter hands out, so that all are on the free stack at first; and what a ring must be
// looked at for beside completions.
//
// The memory is as C++ leaves it. What changes a word by an exchange sees its newest value. A load may not, and nor may an
// exchange that fails:
// - The owner may miss a wake on top of `idle` or `armed`, of which it has not heard yet. It hears of it from the event, where
//   that sender has rung; from the count, when no Waker is left; and by seeing it once. Its exchange of `idle` for `armed`
//   does not succeed beside a wake: it sees that, or else the `armed` below it.
// - The last Waker may miss that the owner is not armed any more, and ring for nothing.
// - Where the arming and the count of Wakers are not SEQ_CST, what is looked at second may have been looked at first.
// - A sender whose load of the head is old finds that its exchange fails, as if the head had changed since. So what wake()
//   loads before it takes a node is here only looked at for `closed`, and loaded again after that.
// Nodes are refused to whoever does not come after their last use. An exchange with RELEASE that puts a node onto a stack
// tells of it and, since exchanges go on telling of it, so do those that follow. Who takes it off hears it by ACQUIRE.

// The mutants: each must be found, in one of the sizes at least.
#define PUSH_RELAXED 1     // wake()'s exchange is relaxed
#define TAKE_RELAXED 2     // so is take_all()'s
#define GIVE_BACK_RELAXED 3 // so is give_back()'s
#define UNCOUNTED 4        // the free stack's changes are not counted
#define RINGS_NOT 5        // wake() does not ring on top of `armed`
#define RINGS_FIRST 6      // it rings before it has put the wake there
#define RINGS_STALE 7      // whether it rings goes by the head that it loaded first
#define CLOSED_UNSEEN 8    // it looks whether the Io is gone only before the first exchange
#define ARMS_NOT 9         // park() sleeps unarmed
#define ARMS_LATE 10       // it arms after it has looked whether there are Wakers
#define ARMS_RELAXED 11    // arm()'s exchange is relaxed, or has_wakers()'s load
#define GOES_RELAXED 12    // remove_waker()'s exchange is relaxed, or its load
#define GOES_SILENTLY 13   // the last Waker does not ring
#define GOES_EARLY 14      // remove_waker() lets go before it looks at the head
#define ASKS_NOT 15        // park() does not look whether there are Wakers
#define ARMS_BLIND 16      // arm() does not look at the wakes that were taken and are not in the queue
#define DISARMS_BLIND 17   // disarm() stores, and does not exchange
#define TAKES_BLIND 18     // take_all() loads the head, then stores `idle`
#define TAKES_NEWEST 19    // it does not turn round what it takes
#define TAKES_MORE 20      // collect() takes more while there are some of those that it took
#define GIVES_BACK_EARLY 21 // collect() gives a node back before it reads it
#define CLEARS_FIRST 22    // park() clears the event before it sleeps on it
#define LOOKS_FIRST 23     // after a sleep it looks for completions before it clears it
#define CLEARS_LATE 24     // settle() clears it after it has looked
#define RAISES_NOT 25      // it does not raise it where there is something to look at
#define TURN_FORGOTTEN 26  // it does not look at completions that wakes went before
#define ASKED_SILENTLY 27  // poll_fd() does not raise it where a Waker had it made
#define MADE_SILENTLY 28   // nor waker() where poll_fd() had
#define CLOSES_LATE 29     // close() lets go before it stores `closed`
#define COPY_UNHELD 30     // add_waker() does not count who holds the memory
#define COPY_UNCOUNTED 31  // nor the Wakers
#define LET_GO_UNRELEASED 32 // let_go()'s exchange has no release
#define LET_GO_UNACQUIRED 33 // nor this one an acquire

#ifndef SENDERS
#define SENDERS 2
#define WAKES 2 /* of each sender, at most */
#define NODES 2
#define BATCH 2 /* wakes that the queue has room for */
#define FLIGHT 0 /* operations in flight at first */
#define POLL_FD true /* somebody may ask for it */
#endif

#define bit(n) (1 << (n))
#define everybody (bit(SENDERS + 1) - 1)
#define OWNER 0 /* senders are 1 and so on */
#define CLOSED 0
#define IDLE 1
#define ARMED 2
#define FIRST 3

byte head = IDLE;
byte unheard;        // whose wake on top of `idle` or `armed` the owner has not heard of; OWNER: nobody's
bool on_armed;       // which of the two it is on top of
byte free = FIRST;   // the low half; 0: none
byte changes;        // the high half
byte next[NODES];
byte token[NODES];   // a sender and the number of its wake
byte used;           // nodes that are not free, a bit each
byte untold;         // nodes of whose last use the head of the stack that they are on does not tell
byte wakers = 1, holders = 2;
byte told_by_holders; // threads of whose accesses to the memory it tells
bool unmapped;
bool rung = (MUTANT != MADE_SILENTLY); // the event; false: somebody has looked since poll_fd() raised it
bool rung_for_unheard; // also by whose wake it has not heard of
byte completed;      // what the CQ holds
byte pending;        // wakes sent and not handed out
byte handed_out[SENDERS + 1]; // of each sender's
byte gone, ended;    // senders; and the owner and the kernel, too

#define token_of(sender, number) ((sender) * 16 + (number))
#define bit_of(name) bit((name) - FIRST)

inline heard() { unheard = OWNER; on_armed = false; rung_for_unheard = false }

// Of one's own.
inline use(name) { assert(used & untold & bit_of(name) && !unmapped) }

inline ring() {
    d_step {
        assert(!unmapped);
        rung = true; rung_for_unheard = rung_for_unheard || unheard == me
    }
}

inline let_go() {
    d_step {
        assert(!unmapped && holders > 0);
        holders--;
        told_by_holders = told_by_holders | (MUTANT == LET_GO_UNRELEASED -> 0 : bit(me));
        if
        :: !holders ->
            assert(((MUTANT == LET_GO_UNACQUIRED -> 0 : told_by_holders) | bit(me)) == everybody); // else some are untold
            unmapped = true
        :: else -> skip
        fi
    }
}

// --- Nodes ----------------------------------------------------------------------------------------------------------------

// The stack itself is arena.pml's, in more steps. Here they are fewer: an exchange of give_back()'s that fails leaves nothing
// behind, and what was read under a node matters only where the head has stayed since.

inline look_at_free() {
    assert(!unmapped);
    top = free; count = changes; under = (top -> next[top - FIRST] : 0)
}

// After look_at_free(). Sets `name`; 0: there is none.
inline take_node() {
    do
    :: atomic { top == 0 -> count = 0; break }
    :: atomic {
            top != 0 ->
            if
            :: free == top && changes == count ->
                free = under; changes = changes + (MUTANT == UNCOUNTED -> 0 : 1);
                name = top;
                assert(!(used & bit_of(name))); // else two have it
                assert(!(untold & bit_of(name)));
                used = used | bit_of(name); untold = untold | bit_of(name);
                top = 0; count = 0; under = 0;
                break
            :: else -> look_at_free()
            fi
        }
    od
}

inline give_back(name) {
    use(name);
    next[name - FIRST] = free;
    free = name; changes = changes + (MUTANT == UNCOUNTED -> 0 : 1);
    used = used & ~bit_of(name); untold = untold & ~(MUTANT == GIVE_BACK_RELAXED -> 0 : bit_of(name))
}

// --- Senders --------------------------------------------------------------------------------------------------------------

inline push() {
    assert(head != CLOSED);
    if
    :: head < FIRST -> unheard = me; on_armed = (head == ARMED)
    :: else -> skip
    fi;
    head = name; untold = untold & ~(MUTANT == PUSH_RELAXED -> 0 : bit_of(name));
    pending++; number++;
    rings = ((MUTANT == RINGS_STALE -> first : seen) == ARMED && MUTANT != RINGS_NOT && MUTANT != RINGS_FIRST)
}

inline wake() {
    atomic {
        assert(!unmapped);
        if
        :: head != CLOSED -> look_at_free()
        :: else -> skip
        fi
    }
    take_node();
    if
    :: name ->
        d_step { assert(!unmapped); seen = head; first = (MUTANT == RINGS_STALE -> seen : 0) }
        do
        :: atomic {
                seen == CLOSED && MUTANT != CLOSED_UNSEEN ->
                token[name - FIRST] = 0; give_back(name);
                break
            }
        :: atomic { MUTANT == RINGS_FIRST && seen == ARMED && !rings -> ring(); rings = true }
        :: atomic {
                (seen != CLOSED || MUTANT == CLOSED_UNSEEN) && (MUTANT != RINGS_FIRST || seen != ARMED || rings) ->
                use(name);
                token[name - FIRST] = token_of(me, number); next[name - FIRST] = seen;
                if
                :: head == seen -> push(); break
                :: else -> seen = head
                fi
            }
        od;
        if
        :: rings -> ring()
        :: else -> skip
        fi
    :: else -> skip
    fi;
    atomic { name = 0; seen = 0; first = 0; rings = false }
}

inline add_waker() {
    assert(!unmapped);
    holders = holders + (MUTANT == COPY_UNHELD -> 0 : 1);
    wakers = wakers + (MUTANT == COPY_UNCOUNTED -> 0 : 1)
}

inline remove_waker() {
    if
    :: MUTANT == GOES_EARLY -> let_go()
    :: MUTANT == GOES_RELAXED -> seen = head
    :: else -> skip
    fi;
    d_step { assert(!unmapped && wakers > 0); wakers--; rings = (wakers == 0 && MUTANT != GOES_SILENTLY) }
    if
    :: atomic {
            rings ->
            assert(!unmapped);
            if
            :: true // armed, or it was
            :: head != ARMED || (MUTANT == GOES_RELAXED && seen != ARMED) -> rings = false
            fi
        }
    :: else -> skip
    fi;
    if
    :: rings -> ring()
    :: else -> skip
    fi;
    if
    :: MUTANT != GOES_EARLY -> let_go()
    :: else -> skip
    fi
}

// The first sender has the Waker that Io::waker() made, and makes the others'.
proctype sender(byte me) {
    byte left = WAKES, copies = (me == 1 -> SENDERS - 1 : 0), number;
    byte seen, first, top, count, under, name;
    bool rings;
    do
    :: left > 0 -> left--; wake()
    :: copies > 0 -> atomic { add_waker(); run sender(me + copies); copies-- }
    :: copies == 0 -> break
    od;
    remove_waker();
    d_step { gone++; ended++ }
}

// --- The owner ------------------------------------------------------------------------------------------------------------

// Whether it could; sets `armed`.
inline arm() {
    assert(!unmapped);
    if
    :: oldest && MUTANT != ARMS_BLIND -> armed = false
    :: else ->
        if
        :: head == IDLE -> head = ARMED; armed = true
        :: head == ARMED -> armed = true
        :: head >= FIRST -> heard(); armed = false
        :: head >= FIRST && unheard && on_armed -> armed = true
        fi
    fi
}

inline disarm() {
    d_step {
        assert(!unmapped);
        if
        :: head == ARMED || MUTANT == DISARMS_BLIND -> head = IDLE
        :: else -> skip
        fi
    }
}

inline look_for_wakers() {
    d_step {
        assert(!unmapped);
        if
        :: !in_flight && MUTANT != ASKS_NOT -> has_wakers = (wakers != 0)
        :: else -> has_wakers = true
        fi;
        if
        :: !has_wakers && MUTANT != ARMS_RELAXED -> heard()
        :: else -> skip
        fi
    }
}

inline take_all() {
    if
    :: head < FIRST
    :: head >= FIRST && unheard
    :: atomic {
            head >= FIRST ->
            if
            :: MUTANT == TAKES_BLIND -> name = head
            :: else -> skip
            fi
        }
        d_step {
            name = (MUTANT == TAKES_BLIND -> name : head); head = IDLE;
            heard();
            do
            :: name < FIRST -> break
            :: else ->
                assert(!(untold & bit_of(name)) && MUTANT != TAKE_RELAXED); // else what was done with it is untold
                untold = untold | bit_of(name);
                under = next[name - FIRST];
                if
                :: MUTANT != TAKES_NEWEST -> next[name - FIRST] = oldest; oldest = name
                :: else -> oldest = (oldest -> oldest : name)
                fi;
                name = under
            od;
            name = 0; under = 0
        }
    fi
}

inline hand_out() {
    use(name);
    assert(token[name - FIRST] == token_of(token[name - FIRST] / 16, handed_out[token[name - FIRST] / 16]));
    handed_out[token[name - FIRST] / 16]++;
    pending--; token[name - FIRST] = 0;
    oldest = (next[name - FIRST] >= FIRST -> next[name - FIRST] : 0)
}

inline collect() {
    do
    :: collected == BATCH -> break
    :: collected < BATCH && (!oldest || MUTANT == TAKES_MORE) && !took -> take_all(); took = true
    :: collected < BATCH && !oldest && took -> break
    :: atomic {
            collected < BATCH && oldest && (MUTANT != TAKES_MORE || took) ->
            name = oldest; collected++; took = false;
            if
            :: MUTANT != GIVES_BACK_EARLY -> hand_out(); give_back(name); name = 0
            :: else -> give_back(name)
            fi
        }
        if
        :: MUTANT == GIVES_BACK_EARLY -> d_step { hand_out(); name = 0 }
        :: else -> skip
        fi
    od;
    took = false
}

inline clear() {
    d_step {
        rung = false; raised = false;
        if
        :: rung_for_unheard -> heard()
        :: else -> skip
        fi
    }
}

// Sets `looks`.
inline must_look() {
    arm();
    looks = (!armed || (came_last && completed && MUTANT != TURN_FORGOTTEN)); armed = false
}

inline raise() { d_step { rung = true; raised = true } }

inline settle_poll_fd() {
    if
    :: atomic { raised -> must_look() }
    :: else -> skip
    fi;
    if
    :: looks -> skip
    :: else ->
        if
        :: MUTANT == CLEARS_LATE -> atomic { must_look() } clear()
        :: else -> clear(); atomic { must_look() }
        fi;
        if
        :: looks && MUTANT != RAISES_NOT -> raise()
        :: else -> skip
        fi
    fi;
    looks = false
}

// And what the caller is handed: the wakes in the queue, or the completions.
inline settle() {
    if
    :: !came_last || !completed -> collect()
    :: else -> skip
    fi;
    came_last = (collected > 0);
    if
    :: has_poll_fd -> settle_poll_fd()
    :: else -> skip
    fi;
    atomic {
        if
        :: !came_last -> collected = completed; in_flight = in_flight - completed; completed = 0
        :: else -> skip
        fi;
        assert(collected || !parked || !(pending || in_flight || wakers));
        parked = false; collected = 0
    }
}

// With a timeout it may end whenever it likes, and with a signal a sleep of it may.
inline park() {
    do
    :: atomic { is_over || completed -> is_over = false; has_slept = false; break }
    :: atomic {
            !is_over && !completed ->
            if
            :: MUTANT == ARMS_LATE || MUTANT == ARMS_RELAXED -> look_for_wakers()
            :: else -> skip
            fi
        }
        atomic {
            if
            :: has_slept && MUTANT == LOOKS_FIRST -> clear()
            :: else -> skip
            fi;
            if
            :: MUTANT == ARMS_NOT -> armed = !(oldest || head >= FIRST)
            :: else -> arm()
            fi;
            if
            :: !armed -> has_wakers = false; has_slept = false; break
            :: else -> armed = false
            fi
        }
        if
        :: is_over = true; parked = false
        :: has_slept = true
        :: atomic {
                true ->
                if
                :: MUTANT != ARMS_LATE -> look_for_wakers()
                :: MUTANT == ARMS_LATE
                :: MUTANT == ARMS_RELAXED
                fi;
                is_over = !has_wakers
            }
            if
            :: has_wakers ->
                if
                :: MUTANT == CLEARS_FIRST -> clear()
                :: else -> skip
                fi;
                atomic { rung -> has_slept = true } // ppoll()
            :: else -> skip
            fi
        fi;
        atomic { has_wakers = false; disarm() }
        if
        :: atomic { has_slept && MUTANT != LOOKS_FIRST -> clear() } // once it has polled
        :: else -> skip
        fi
    od
}

proctype owner(byte me) {
    byte in_flight = FLIGHT, oldest, collected;
    byte name, under;
    // With MADE_SILENTLY the poll_fd was asked for, and looked at, before the Waker was made.
    bool raised = (MUTANT != MADE_SILENTLY), has_poll_fd = (MUTANT == MADE_SILENTLY), came_last;
    bool took, armed, looks, has_wakers, has_slept, parked, is_over;
    do
    :: true ->
        if
        :: true -> skip // poll()
        :: parked = true; park()
        :: has_poll_fd -> rung || (gone == SENDERS && !pending && !in_flight) // sleeps elsewhere, then poll()
        fi;
        settle()
    :: atomic {
            POLL_FD && !has_poll_fd -> // poll_fd()
            has_poll_fd = true;
            if
            :: MUTANT != ASKED_SILENTLY -> raise()
            :: else -> skip
            fi
        }
    :: true -> break
    od;
    if
    :: MUTANT != CLOSES_LATE -> d_step { assert(!unmapped); head = CLOSED; heard() }
    :: else -> skip
    fi;
    let_go();
    if
    :: MUTANT == CLOSES_LATE -> d_step { assert(!unmapped); head = CLOSED }
    :: else -> skip
    fi;
    ended++
}

// It signals after it has posted.
proctype kernel() {
    byte left = FLIGHT;
    do
    :: left > 0 -> d_step { completed++; left-- } rung = true
    :: left == 0 -> break
    od;
    ended++
}

init {
    atomic {
        next[0] = (NODES > 1 -> FIRST + 1 : 0); next[1] = (NODES > 2 -> FIRST + 2 : 0);
        run owner(OWNER); run sender(1);
        if
        :: FLIGHT > 0 -> run kernel()
        :: else -> ended++
        fi
    }
    ended == SENDERS + 2;
    assert(unmapped)
}
