// SPDX-License-Identifier: MIT
//
// The operations as data: one row for each opcode that squall gives the kernel; the first of a kind
// gives it its name. What an operation's
// SQE holds is sqe.hpp's and paths.cpp's, what a caller may expect of it io.hpp's.
#pragma once

#include <array>
#include <cstdint>

#include "squall/abi.hpp"
#include "squall/config.hpp"
#include "squall/latency.hpp"

namespace squall::detail {

struct Operation {
    enum class Data : std::uint8_t {
        none,
        ordinary,  // bytes of the caller's memory, to or from a file
        fixed,     // the same, in registered memory
    };
    const char* call;  // Io's
    const char* name;  // the kernel's, less its IORING_OP_, and the release that brought it
    abi::Op op;
    OpKind kind;
    Data data;
    bool is_required;    // no Io without it
    bool writes_memory;  // of the caller's, until it completes
};

inline constexpr auto operations = [] {
    using Data = Operation::Data;
    using Kind = OpKind;
    using abi::Op;
    // clang-format off
    return std::to_array<Operation>({
    {"nop",        "NOP (5.1)",              Op::nop,              Kind::nop,         Data::none,      true,  false},
    {"fsync",      "FSYNC (5.1)",            Op::fsync,            Kind::fsync,       Data::none,      true,  false},
    {"read",       "READ_FIXED (5.1)",       Op::read_fixed,       Kind::read,        Data::fixed,     true,  true},
    {"write",      "WRITE_FIXED (5.1)",      Op::write_fixed,      Kind::write,       Data::fixed,     true,  false},
    {"readv",      "READV (5.1)",            Op::readv,            Kind::read,        Data::ordinary,  true,  true},
    {"writev",     "WRITEV (5.1)",           Op::writev,           Kind::write,       Data::ordinary,  true,  false},
    {"sync_range", "SYNC_FILE_RANGE (5.2)",  Op::sync_file_range,  Kind::sync_range,  Data::none,      true,  false},
    {"timer",      "TIMEOUT (5.4)",          Op::timeout,          Kind::timer,       Data::none,      true,  false},
    // Queued by teardown.cpp, too, where there is no REGISTER_SYNC_CANCEL.
    {"cancel",     "ASYNC_CANCEL (5.5)",     Op::async_cancel,     Kind::cancel,      Data::none,      true,  false},
    {"deadline",   "LINK_TIMEOUT (5.5)",     Op::link_timeout,     Kind::timer,       Data::none,      true,  false},
    {"fallocate",  "FALLOCATE (5.6)",        Op::fallocate,        Kind::fallocate,   Data::none,      true,  false},
    {"open",       "OPENAT (5.6)",           Op::openat,           Kind::open,        Data::none,      true,  false},
    {"close",      "CLOSE (5.6)",            Op::close,            Kind::close,       Data::none,      true,  false},
    {"statx",      "STATX (5.6)",            Op::statx,            Kind::statx,       Data::none,      true,  true},
    {"read",       "READ (5.6)",             Op::read,             Kind::read,        Data::ordinary,  true,  true},
    {"write",      "WRITE (5.6)",            Op::write,            Kind::write,       Data::ordinary,  true,  false},
    {"advise",     "FADVISE (5.6)",          Op::fadvise,          Kind::advise,      Data::none,      true,  false},
    {"advise",     "MADVISE (5.6)",          Op::madvise,          Kind::advise,      Data::none,      true,  false},
    {"open",       "OPENAT2 (5.6)",          Op::openat2,          Kind::open,        Data::none,      true,  false},
    {"rename",     "RENAMEAT (5.11)",        Op::renameat,         Kind::rename,      Data::none,      true,  false},
    {"unlink",     "UNLINKAT (5.11)",        Op::unlinkat,         Kind::unlink,      Data::none,      true,  false},
    {"mkdir",      "MKDIRAT (5.15)",         Op::mkdirat,          Kind::mkdir,       Data::none,      false, false},
    {"link",       "LINKAT (5.15)",          Op::linkat,           Kind::link,        Data::none,      false, false},
    {"symlink",    "SYMLINKAT (5.15)",       Op::symlinkat,        Kind::link,        Data::none,      false, false},
    {"truncate",   "FTRUNCATE (6.9)",        Op::ftruncate,        Kind::truncate,    Data::none,      false, false},
    {"readv",      "READV_FIXED (6.15)",     Op::readv_fixed,      Kind::read,        Data::fixed,     false, true},
    {"writev",     "WRITEV_FIXED (6.15)",    Op::writev_fixed,     Kind::write,       Data::fixed,     false, false},
    });
    // clang-format on
}();

// The row of an opcode that squall has queued.
inline const Operation& operation(abi::Op op) noexcept {
    const Operation* row = operations.begin();
    while (row != operations.end() && row->op != op) ++row;
    SQUALL_ASSERT(row != operations.end(), "opcode %u is none of squall's",
                  static_cast<unsigned>(op));
    return *row;
}

}  // namespace squall::detail
