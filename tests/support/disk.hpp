// SPDX-License-Identifier: MIT
//
// A disk of the test's own to fill up, break and pull away: an ext4 file system on a loop device over a sparse file. It is
// mounted in a mount namespace of the process's own, and the device clears itself, so that nothing is left behind however
// the process ends. Root's, and so a test first asks why_no_disk().
#pragma once

#include <cstdint>
#include <string>

#include "support.hpp"

namespace squall::test {

// Why there can be no Disk here; empty when there can.
const std::string& why_no_disk();

// Gives this process mounts of its own, which end with it, and a file system in memory at `at`, where disks have their
// files: for a child that is to make some.
void have_mounts_alone(const std::string& at, const std::string& options = "");

// A block device over a file.
class LoopDevice {
public:
    explicit LoopDevice(const std::string& file);
    ~LoopDevice();
    LoopDevice(const LoopDevice&) = delete;
    LoopDevice& operator=(const LoopDevice&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] bool attached() const { return fd_ >= 0; }
    // "loop7", as /sys names it.
    [[nodiscard]] std::string name() const { return path_.substr(path_.rfind('/') + 1); }

private:
    std::string path_;
    int fd_ = -1;
};

class Disk {
public:
    // `in` is where its file and its mount point are made, and `options` are mount(8)'s.
    Disk(const std::string& in, std::uint64_t bytes, const std::string& options = "");
    ~Disk();
    Disk(const Disk&) = delete;
    Disk& operator=(const Disk&) = delete;

    [[nodiscard]] bool mounted() const { return mounted_; }
    [[nodiscard]] std::string file(const std::string& name) const { return mount_point_ + "/" + name; }
    [[nodiscard]] const std::string& mount_point() const { return mount_point_; }
    [[nodiscard]] const LoopDevice& device() const { return device_; }
    [[nodiscard]] std::uint64_t bytes_free() const;

    // Takes it away and brings it back, so that what is read is what was kept. 0 or an errno. A thread of the kernel's may
    // let go of a file a moment after the operation on it was answered, which is waited for.
    int unmount(int flags = 0);
    int mount();
    // From now on everything on it is answered EIO: the file system is shut down as it stands.
    void break_down();
    // As after an error that it found in its own metadata: it is read-only from now on, also to files that are open.
    void find_an_error();

private:
    static std::string make_image(const std::string& path, std::uint64_t bytes);

    std::string mount_point_;
    std::string options_;
    LoopDevice device_;
    bool mounted_ = false;
};

// While it lives, all that would change the disk has to wait, as while a snapshot is taken. A process of its own thaws it,
// also when this one is killed.
class Frozen {
public:
    explicit Frozen(const Disk& disk);
    ~Frozen() { thaw(); }
    Frozen(const Frozen&) = delete;
    Frozen& operator=(const Frozen&) = delete;
    void thaw();

private:
    Pipe hold_;
    int helper_ = -1;
};

}  // namespace squall::test
