// SPDX-License-Identifier: MIT
//
// See disk.hpp.
#include "disk.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "child.hpp"

namespace squall::test {

namespace {

// Not in every machine's headers: linux/ext4.h is young.
constexpr unsigned long ext4_ioc_shutdown = 0x8004587d;  // _IOR('X', 125, __u32)
constexpr std::uint32_t without_the_journal = 2;         // EXT4_GOING_FLAGS_NOLOGFLUSH

int run(const std::vector<const char*>& words) {
    std::vector<char*> arguments;
    for (const char* const word : words) arguments.push_back(const_cast<char*>(word));
    arguments.push_back(nullptr);
    const pid_t child = fork_or_abort();
    if (child == 0) {
        const int nowhere = ::open("/dev/null", O_RDWR);
        for (const int fd : {0, 1, 2}) ::dup2(nowhere, fd);
        ::setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        ::execvp(arguments[0], arguments.data());
        ::_exit(127);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

LoopDevice::LoopDevice(const std::string& file) {
    const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    const Fd backing(::open(file.c_str(), O_RDWR | O_CLOEXEC));
    // Another process may take the one that was free.
    for (int tries = 0; control >= 0 && backing >= 0 && !attached() && tries < 1000; ++tries) {
        const int free = ::ioctl(control, LOOP_CTL_GET_FREE);
        if (free < 0) return;
        path_ = "/dev/loop" + std::to_string(free);
        const int fd = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
        if (fd < 0) return;
        loop_config config{};
        config.fd = static_cast<std::uint32_t>(static_cast<int>(backing));
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        if (::ioctl(fd, LOOP_CONFIGURE, &config) == 0)
            fd_ = fd;
        else
            ::close(fd);
    }
}

LoopDevice::~LoopDevice() {
    if (attached()) ::close(fd_);
}

std::string Disk::make_image(const std::string& path, std::uint64_t bytes) {
    const Fd image(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (image < 0 || ::ftruncate(image, static_cast<off_t>(bytes)) != 0) return path;
    run({"mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", "nodiscard", path.c_str()});
    return path;
}

Disk::Disk(const std::string& in, std::uint64_t bytes, const std::string& options)
    : mount_point_(in + "/mounted"), options_(options), device_(make_image(in + "/image", bytes)) {
    ::unlink((in + "/image").c_str());  // it goes with the device
    ::mkdir(mount_point_.c_str(), 0700);
    (void)mount();
}

Disk::~Disk() {
    if (mounted_) ::umount2(mount_point_.c_str(), MNT_DETACH);
}

int Disk::mount() {
    if (!device_.attached()) return ENODEV;
    mounted_ = ::mount(device_.path().c_str(), mount_point_.c_str(), "ext4", 0, options_.c_str()) == 0;
    return mounted_ ? 0 : errno;
}

int Disk::unmount(int flags) {
    for (int tries = 0; mounted_; ++tries) {
        if (::umount2(mount_point_.c_str(), flags) == 0)
            mounted_ = false;
        else if (errno != EBUSY || tries == 12'000)
            return errno;
        else
            ::usleep(5000);
    }
    return 0;
}

std::uint64_t Disk::bytes_free() const {
    struct ::statvfs found {};
    EXPECT_EQ(::statvfs(mount_point_.c_str(), &found), 0);
    return found.f_bavail * found.f_frsize;
}

void Disk::break_down() {
    const Fd root(::open(mount_point_.c_str(), O_RDONLY | O_CLOEXEC));
    std::uint32_t how = without_the_journal;
    ASSERT_EQ(::ioctl(root, ext4_ioc_shutdown, &how), 0) << std::strerror(errno);
}

void Disk::find_an_error() {
    std::ofstream trigger("/sys/fs/ext4/" + device_.name() + "/trigger_fs_error");
    trigger << "a test" << std::flush;
    ASSERT_TRUE(trigger.good());
}

Frozen::Frozen(const Disk& disk) {
    const Pipe ready;
    helper_ = fork_or_abort();
    if (helper_ == 0) {
        ::close(hold_.write_end);
        const int root = ::open(disk.mount_point().c_str(), O_RDONLY | O_CLOEXEC);
        const bool frozen = ::ioctl(root, FIFREEZE, 0) == 0;
        char byte = frozen ? 'y' : 'n';
        const bool said = ::write(ready.write_end, &byte, 1) == 1;
        while (said && ::read(hold_.read_end, &byte, 1) < 0 && errno == EINTR) {
        }
        ::_exit(frozen && ::ioctl(root, FITHAW, 0) == 0 ? 0 : 1);
    }
    char answer = 'n';
    EXPECT_EQ(::read(ready.read_end, &answer, 1), 1);
    EXPECT_EQ(answer, 'y') << "it could not be frozen";
}

void Frozen::thaw() {
    if (helper_ < 0) return;
    ::close(std::exchange(hold_.write_end, -1));
    int status = -1;
    ::waitpid(std::exchange(helper_, -1), &status, 0);
    EXPECT_EQ(status, 0) << "it could not be thawed";
}

void have_mounts_alone(const std::string& at, const std::string& options) {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0) << std::strerror(errno);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0) << std::strerror(errno);
    ASSERT_EQ(::mount("none", at.c_str(), "tmpfs", 0, options.c_str()), 0) << std::strerror(errno);
}

const std::string& why_no_disk() {
    static const std::string why = in_child([]() -> std::string {
        if (run({"mkfs.ext4", "-V"}) != 0) return "mkfs.ext4 (e2fsprogs) is not installed";
        const TempDir dir;
        if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
            return "no file system may be mounted here (root)";
        const Disk disk(dir.path(), 8 << 20);
        if (!disk.device().attached()) return "no loop device may be had here (root)";
        return disk.mounted() ? "" : "no ext4 on a loop device may be mounted here";
    });
    return why;
}

}  // namespace squall::test
