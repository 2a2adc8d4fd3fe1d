#include <prong/shared_memory.hpp>

#include "base/errno.hpp"
#include "base/fd.hpp"
#include "os/descriptor.hpp"
#include "os/file_size.hpp"
#include "os/fork_depth.hpp"
#include "os/seed.hpp"

#include <boost/interprocess/mapped_region.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

// A segment is a file in /dev/shm. Each process that uses it holds a shared lock (flock) of it, and
// its creator an exclusive one until it is complete. While its creator has not closed it, the file
// has a mark, the sticky bit. So a file that has the mark, and that no process has locked, was left
// by a creator that was killed. Segments of other libraries have no mark.
//
// (Boost.Interprocess's shared_memory_object could neither lock, nor mark, nor allocate.)

namespace prong {
namespace {

namespace bip = boost::interprocess;

constexpr std::size_t longest_name = 250;
constexpr mode_t mark = S_ISVTX;
constexpr mode_t permissions = S_IRUSR | S_IWUSR;

/// Returns the name as the system wants it.
std::string path_of(const std::string& name) {
    const std::string bare = name.starts_with('/') ? name.substr(1) : name;
    const bool has_length = !bare.empty() && bare.size() <= longest_name;
    if (!has_length || bare.find_first_of(std::string("/\0", 2)) != std::string::npos ||
        bare == "." || bare == "..")
        throw std::invalid_argument("prong::SharedMemory: a name has 1 to " +
                                    std::to_string(longest_name) +
                                    " bytes, and no '/' except at the beginning: \"" + name + "\"");
    return "/" + bare;
}

[[noreturn]] void throw_error(int error, const std::string& call, const std::string& path,
                              const std::string& advice = {}) {
    base::throw_errno((call + "(\"" + path + "\")" + advice).c_str(), error);
}

struct stat status_of(int fd) {
    struct stat status {};
    if (fstat(fd, &status) != 0) base::throw_errno("fstat");
    return status;
}

bool is_unlinked(int fd) {
    return status_of(fd).st_nlink == 0;
}

bool try_lock(int fd, int operation) {
    return base::retry_interrupted([&] { return flock(fd, operation | LOCK_NB); }) == 0;
}

/// Locks the file, which other processes have locked for a moment only. Returns false if one of
/// them is stopped at that moment.
bool lock(int fd, int operation) {
    using namespace std::chrono_literals;
    const auto end = std::chrono::steady_clock::now() + 1s;
    for (auto pause = 10us; !try_lock(fd, operation); pause = std::min(2 * pause, 1000us)) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(pause);
    }
    return true;
}

/// Removes the segment if killed processes have left it. Returns whether there is none now.
bool remove_leftover(const std::string& path) {
    const base::UniqueFd fd(shm_open(path.c_str(), O_RDWR, 0));
    if (!fd) return errno == ENOENT;
    if (!try_lock(fd.get(), LOCK_EX)) return false;
    // From here on no other process unlinks it, if the name is still its own.
    const struct stat status = status_of(fd.get());
    if (status.st_nlink == 0) return true;
    return (status.st_mode & mark) != 0 && shm_unlink(path.c_str()) == 0;
}

void allocate(int fd, std::size_t size, const std::string& path) {
    if (os::change_file_size([&] { return fallocate(fd, 0, 0, static_cast<off_t>(size)); }) == 0)
        return;
    const int error = errno;
    std::string advice;
    if (error == ENOSPC) advice = ": /dev/shm has too little room";
    if (error == EFBIG) advice = ": allow larger files (RLIMIT_FSIZE, `ulimit -f`)";
    throw_error(error, "fallocate of " + std::to_string(size) + " bytes", path, advice);
}

/// Creates a segment, which this process has locked. Returns nothing if another one has taken the
/// incomplete segment for a leftover.
base::UniqueFd try_create(const std::string& path, std::size_t size) {
    base::UniqueFd fd(shm_open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, permissions | mark));
    if (!fd) throw_error(errno, "shm_open", path);
    try {
        fd = os::lift(std::move(fd));
        if (!lock(fd.get(), LOCK_EX)) throw_error(errno, "flock", path);
        if (is_unlinked(fd.get())) return {};
        allocate(fd.get(), size, path);
        // Not in one step: for a moment no process has it locked.
        if (!lock(fd.get(), LOCK_SH)) throw_error(errno, "flock", path);
        if (is_unlinked(fd.get())) return {};
        return fd;
    } catch (...) {
        if (fd && !is_unlinked(fd.get())) shm_unlink(path.c_str());
        throw;
    }
}

base::UniqueFd create_segment(const std::string& path, std::size_t size) {
    for (;;) {
        try {
            if (base::UniqueFd fd = try_create(path, size)) return fd;
        } catch (const std::system_error& error) {
            if (error.code() != std::errc::file_exists) throw;
            if (!remove_leftover(path))
                throw_error(EEXIST, "shm_open", path,
                            ": a process uses the memory, or its creator has closed it; unlink it "
                            "first");
        }
    }
}

base::UniqueFd open_segment(const std::string& path) {
    for (;;) {
        base::UniqueFd fd(shm_open(path.c_str(), O_RDWR, 0));
        if (!fd) throw_error(errno, "shm_open", path);
        fd = os::lift(std::move(fd));
        const bool is_locked = lock(fd.get(), LOCK_SH);
        const struct stat status = status_of(fd.get());
        if (status.st_nlink == 0) continue; // there may be another one
        if (!is_locked || status.st_size == 0)
            throw_error(ENOENT, "shm_open", path, ": the memory is being created");
        const auto size = static_cast<std::size_t>(status.st_size);
        // Another library may not have allocated it.
        if (static_cast<std::size_t>(status.st_blocks) * 512 < size) allocate(fd.get(), size, path);
        return fd;
    }
}

/// Adapts a descriptor to what Boost.Interprocess can map.
struct Mappable {
    int fd;

    [[nodiscard]] bip::mapping_handle_t get_mapping_handle() const {
        return {.handle = fd, .is_xsi = false};
    }
};

bip::mapped_region map(int fd) {
    try {
        return {Mappable{fd}, bip::read_write};
    } catch (const bip::interprocess_exception& error) {
        base::throw_errno("mmap", error.get_native_error());
    }
}

} // namespace

struct SharedMemory::Segment {
    Segment(std::string its_name, base::UniqueFd file, unsigned creator)
        : name(std::move(its_name)), id(*os::FileId::of(file.get())), memory(map(file.get())),
          fd(std::move(file)), creator_depth(creator) {}
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;
    ~Segment() { close(); }

    void close() noexcept {
        bip::mapped_region().swap(memory);
        if (const int open = fd.get(); open >= 0 && creator_depth == os::fork_depth())
            fchmod(open, permissions); // without the mark
        fd.reset();
    }

    std::string name;
    os::FileId id;
    bip::mapped_region memory;
    os::GuardedFd fd;
    unsigned creator_depth; ///< `os::fork_depth()` of the process that created it; else 0
};

SharedMemory::SharedMemory(std::unique_ptr<Segment> segment) : segment_(std::move(segment)) {}
SharedMemory::SharedMemory(SharedMemory&& other) noexcept = default;
SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept = default;
SharedMemory::~SharedMemory() = default;

SharedMemory SharedMemory::create(std::size_t size) {
    std::array<char, 32> name{};
    std::snprintf(name.data(), name.size(), "prong-%016llx",
                  static_cast<unsigned long long>(os::fresh_seed()));
    return create(name.data(), size);
}

SharedMemory SharedMemory::create(const std::string& name, std::size_t size) {
    const std::string path = path_of(name);
    if (size == 0) throw std::invalid_argument("prong::SharedMemory: the size must not be 0");
    base::UniqueFd fd = create_segment(path, size);
    try {
        return SharedMemory(std::make_unique<Segment>(name, std::move(fd), os::fork_depth()));
    } catch (...) { // it cannot be mapped
        shm_unlink(path.c_str());
        throw;
    }
}

SharedMemory SharedMemory::open(const std::string& name) {
    return SharedMemory(std::make_unique<Segment>(name, open_segment(path_of(name)), 0U));
}

std::string SharedMemory::name() const {
    return segment_ ? segment_->name : std::string();
}

std::span<std::byte> SharedMemory::bytes() const noexcept {
    if (!segment_) return {};
    return {static_cast<std::byte*>(segment_->memory.get_address()), segment_->memory.get_size()};
}

void SharedMemory::close() noexcept {
    if (segment_) segment_->close();
}

void SharedMemory::unlink() const {
    if (!segment_) throw std::logic_error("prong::SharedMemory: unlink() after a move");
    const std::string path = path_of(segment_->name);
    const base::UniqueFd fd(shm_open(path.c_str(), O_RDONLY, 0));
    if (!fd) throw_error(errno, "shm_open", path);
    if (os::FileId::of(fd.get()) != segment_->id)
        throw_error(ENOENT, "shm_unlink", path, ": the name is that of other memory by now");
    if (shm_unlink(path.c_str()) != 0) throw_error(errno, "shm_unlink", path);
}

} // namespace prong
