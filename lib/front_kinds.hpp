// SPDX-License-Identifier: MIT
//
// The two kinds of front, for the one who chooses (Front::create, which has checked the options),
// and how either is made.
#pragma once

#include <new>

#include "squall/front.hpp"

namespace squall::detail {

// One io_uring: single.cpp.
Result<Front*> make_single(const IoOptions& options, sys::Kernel* kernel);
// Two, one of them polled: polled.cpp.
Result<Front*> make_polled(const IoOptions& options, sys::Kernel* kernel);

// A front of this kind, in a page of its own.
template <class Kind>
Result<Front*> make_front(const IoOptions& options, sys::Kernel* kernel) {
    static_assert(sizeof(Kind) <= Front::page_bytes);
    auto page = Front::map_page();
    if (!page) return page.error();
    auto* const front = ::new (*page) Kind(kernel);
    if (auto made = front->set_up(options); !made) {
        front->~Kind();
        Front::unmap_page(*page);
        return made.error();
    }
    return front;
}

}  // namespace squall::detail
