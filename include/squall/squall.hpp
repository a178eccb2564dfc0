// SPDX-License-Identifier: MIT
//
// All of squall: io_uring file I/O for storage engines. It includes and adds nothing; io.hpp is
// where to start reading.
#pragma once

// First, to refuse a wrong target or language before the standard library trips over it.
#include "squall/config.hpp"

#include "squall/abi.hpp"
#include "squall/arena.hpp"
#include "squall/blocking.hpp"
#include "squall/completion.hpp"
#include "squall/completions.hpp"
#include "squall/counters.hpp"
#include "squall/error.hpp"
#include "squall/file.hpp"
#include "squall/io.hpp"
#include "squall/latency.hpp"
#include "squall/options.hpp"
#include "squall/waker.hpp"
#include "squall/whole.hpp"
