// SPDX-License-Identifier: MIT
//
// The system calls of lib/sys.hpp as a processor gets them for which squall has no instructions of its own: through libc's
// syscall(), whose convention must end there. The other tests go the processor's own way.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <vector>

// Nothing behind here asks which processor it is but sys.hpp. It gets a namespace of its own, since the library has the same
// functions compiled in the other way.
#undef __x86_64__
#undef __aarch64__
#define squall squall_elsewhere
#include "sys.hpp"

namespace squall_elsewhere {

constinit sys::Kernel* sys::host = nullptr;

namespace {

TEST(Portable, AFailureIsANegativeErrnoAndErrnoIsLeftAsItWas) {
    errno = EXDEV;
    EXPECT_EQ(sys::close(nullptr, -1), -EBADF);
    EXPECT_EQ(errno, EXDEV);
    EXPECT_EQ(sys::openat(nullptr, "", O_RDONLY, 0), -ENOENT);
    EXPECT_EQ(sys::mkdirat(nullptr, abi::at_fdcwd, "/", 0), -EEXIST);
    EXPECT_EQ(sys::madvise(nullptr, 4096, -1), -EINVAL);
    EXPECT_EQ(sys::io_uring_register(nullptr, 1'000'000'000, 0, nullptr, 0), -EBADF);
    EXPECT_EQ(sys::io_uring_enter(nullptr, -1, 0, 0, 0, nullptr, 0), -EBADF);
    EXPECT_EQ(errno, EXDEV);
    EXPECT_EQ(sys::getpid(), ::getpid());
    EXPECT_EQ(sys::gettid(), ::gettid());
    EXPECT_GT(sys::time_of_day(nullptr).count(), 0);
    EXPECT_EQ(errno, EXDEV);
}

TEST(Portable, AllSixArgumentsReachTheKernel) {
    const int fd = ::memfd_create("file", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(fd, 8192), 0);
    ASSERT_EQ(::pwrite(fd, "second page", 11, 4096), 11);
    const long at = sys::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 4096);
    ASSERT_FALSE(sys::is_error(at));
    const char* const text = reinterpret_cast<const char*>(static_cast<std::uintptr_t>(at));
    EXPECT_STREQ(text, "second page");
    EXPECT_EQ(sys::munmap(nullptr, reinterpret_cast<void*>(static_cast<std::uintptr_t>(at)), 4096), 0);
    EXPECT_EQ(sys::close(nullptr, fd), 0);
    EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

TEST(Portable, TheLast4095NumbersAreErrorsAndAddressesAreNone) {
    EXPECT_TRUE(sys::is_error(-1) && sys::is_error(-ENOMEM) && sys::is_error(-4095));
    EXPECT_FALSE(sys::is_error(-4096) || sys::is_error(0) || sys::is_error(4096) || sys::is_error(INT64_MIN));
}

class Answering : public sys::Kernel {
public:
    Answering() : Kernel(&answer) {}
    std::vector<std::uintptr_t> seen;

private:
    static long answer(Kernel& self, long number, std::uintptr_t a, std::uintptr_t b, std::uintptr_t c,
                       std::uintptr_t d, std::uintptr_t e, std::uintptr_t f) noexcept {
        static_cast<Answering&>(self).seen = {static_cast<std::uintptr_t>(number), a, b, c, d, e, f};
        return 42;
    }
};

TEST(Portable, AKernelThatIsNotLinuxIsAskedInItsPlace) {
    Answering kernel;
    EXPECT_EQ(sys::io_uring_enter(&kernel, -1, 2, 3, 4, nullptr, 6), 42);
    EXPECT_EQ(kernel.seen, (std::vector<std::uintptr_t>{426, UINTPTR_MAX, 2, 3, 4, 0, 6}));
    EXPECT_EQ(sys::close(nullptr, -1), -EBADF) << "who is not asked does not answer";
}

TEST(Portable, TheHostAnswersForTheProcess) {
    Answering kernel;
    sys::host = &kernel;
    EXPECT_EQ(sys::getpid(), 42);
    EXPECT_EQ(kernel.seen, (std::vector<std::uintptr_t>{SYS_getpid, 0, 0, 0, 0, 0, 0})) << "zero where nothing is said";
    sys::host = nullptr;
    EXPECT_EQ(sys::getpid(), ::getpid());
}

}  // namespace

}  // namespace squall_elsewhere
