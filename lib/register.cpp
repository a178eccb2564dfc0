// SPDX-License-Identifier: MIT
//
// What is asked of a ring and registered with it before it is used: the operations that the kernel
// must have, the file table, and the arena.
#include <fcntl.h>

#include <cerrno>
#include <string>
#include <vector>

#include "arena_control.hpp"
#include "kept_apart.hpp"
#include "message.hpp"
#include "operations.hpp"
#include "patience.hpp"
#include "ring.hpp"
#include "squall/arena.hpp"
#include "sys.hpp"

namespace squall::detail {

// Asks the kernel what it can do, since neither its version nor a header says: distributions carry
// features back.
Result<void> Ring::check_operations() {
    abi::Probe probe{};
    if (const int status =
            sys::io_uring_register(kernel_, fd_.get(), abi::register_probe, &probe, 256);
        status < 0)
        return explain_register(-status, "IORING_REGISTER_PROBE");
    features_.last_op = probe.last_op;
    for (unsigned op = 0; op <= probe.last_op; ++op)
        if ((probe.ops[op].flags & abi::op_supported) != 0)
            features_.operations[op / 64] |= std::uint64_t{1} << op % 64;
    // The flags for that cannot be asked for by name, but this operation came in the same release.
    features_.cancels_many = features_.has(abi::Op::fsetxattr);
    for (const Operation& row : operations)
        if (row.is_required && !features_.has(row.op))
            return explain_missing((std::string("IORING_OP_") + row.name).c_str());
    return {};
}

// Registers the file table. Index 0 holds one end of a pipe that nothing else holds: the
// kernel drops it when it has let go of the ring for good, and then the other end hangs up. That is
// what close_and_wait() waits for. It must be done now, since later only the submitting thread may
// register, and that thread may be gone by then.
Result<void> Ring::register_files(std::uint32_t slots) {
    // Opening into a slot cannot be asked for by name, but this came in the same release; zeros
    // change nothing.
    std::uint32_t no_change[2] = {0, 0};
    if (slots > 0 && sys::io_uring_register(kernel_, fd_.get(), abi::register_iowq_max_workers,
                                            no_change, 2) == -EINVAL)
        return explain_missing("opening into a file slot (5.15)", 15);
    int ends[2] = {-1, -1};
    if (const int status = sys::pipe2(kernel_, ends, O_CLOEXEC); status < 0)
        return explain_pipe(-status);
    hang_up_ = Descriptor(kernel_, ends[0]);
    Descriptor registered_end(kernel_, ends[1]);
    std::vector<std::int32_t> table(std::size_t{slots} + 1, -1);
    table[0] = registered_end.get();
    const int status =
        sys::io_uring_register(kernel_, fd_.get(), abi::register_files, table.data(), slots + 1);
    registered_end.reset();
    if (const int kept = keep_apart(kernel_, hang_up_); kept < 0)
        return explain_keeping_apart(-kept);
    if (status < 0) return explain_table(-status, slots);
    features_.file_slots = slots;
    return {};
}

// Relaxed: the arena is there, and so is a keeper.
void Ring::keep(ArenaControl* arena) noexcept {
    arena_ = arena;
    arena->keepers.fetch_add(1, std::memory_order_relaxed);
}

// Registers a table of buffers, none of which is there yet.
Result<void> Ring::register_table(std::uint32_t parts) {
    // The update of single buffers cannot be asked for by name, but this came in the same release.
    if ((features_.kernel_features & abi::feat_rsrc_tags) == 0)
        return explain_missing("registering parts of an arena (5.13)", 13);
    const std::vector<abi::Iovec> none(parts);
    abi::RsrcRegister table{parts, 0, 0, reinterpret_cast<std::uintptr_t>(none.data()), 0};
    const int status =
        sys::io_uring_register(kernel_, fd_.get(), abi::register_buffers2, &table, sizeof(table));
    return status < 0 ? explain_register(-status, "IORING_REGISTER_BUFFERS2") : Result<void>();
}

// With a companion that has it already its registration is shared, so that it is pinned, and
// counted as locked, once (IORING_REGISTER_CLONE_BUFFERS, 6.12; below that once more).
Result<void> Ring::register_arena(const BufferArena& arena, std::uint32_t parts,
                                  const Ring* companion) {
    ArenaControl* const control = arena.control_;
    SQUALL_ASSERT(control && control->base,
                  "IoOptions::arena was moved from, or made before a fork");
    if (parts > 0) {
        if (auto registered = register_table(parts); !registered) return registered;
        keep(control);
        return {};
    }
    std::vector<abi::Iovec> regions;
    for (std::uint64_t at = 0; at < control->bytes; at += RegisteredMemory::region_bytes) {
        const std::uint64_t left = control->bytes - at;
        regions.push_back(
            {reinterpret_cast<std::uintptr_t>(control->base) + at,
             left < RegisteredMemory::region_bytes ? left : RegisteredMemory::region_bytes});
    }
    int status = -EINVAL;
    if (companion) {
        abi::CloneBuffers of_companion{};
        of_companion.src_fd = static_cast<std::uint32_t>(companion->fd());
        status = sys::io_uring_register(kernel_, fd_.get(), abi::register_clone_buffers,
                                        &of_companion, 1);
    }
    if (status < 0)
        status = patiently(control->bytes, [&] {
            return sys::io_uring_register(kernel_, fd_.get(), abi::register_buffers, regions.data(),
                                          static_cast<std::uint32_t>(regions.size()));
        });
    if (status < 0) return explain_arena(-status, control->bytes, regions.size());
    memory_ = RegisteredMemory(reinterpret_cast<std::uintptr_t>(control->base), control->bytes);
    keep(control);
    features_.fixed_regions = static_cast<std::uint32_t>(regions.size());
    return {};
}

}  // namespace squall::detail
