#pragma once

#include <prong/detail/export.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

/// \file
/// Memory with a name, for programs that are no relatives.

namespace prong {

/// Memory that programs share by its name, as Python's `multiprocessing.shared_memory`, also with a
/// program in Python. Processes that are forked from the program use `Value` and `Array` instead,
/// which need no name and leave nothing behind.
///
///     auto memory = prong::SharedMemory::create("readings", 4096);  // one program
///     auto memory = prong::SharedMemory::open("readings");          // another one
///
/// The memory stays when all programs have closed it, until `unlink()` removes it, or the machine
/// restarts. If its creator is killed, `create` with the same name replaces it as soon as no
/// process uses it.
///
/// A name has 1 to 250 bytes without `/`, except that it may begin with one, which makes no
/// difference. Each program that may read and write the memory runs as the same user.
///
/// Thread safety: one thread at a time for one object; any thread for what `bytes()` returns.
///
/// Process safety: a process may be killed at any instruction. In a forked child, the object refers
/// to the same memory.
class PRONG_API SharedMemory {
public:
    /// Creates memory with a new name. *Throws* like the other.
    [[nodiscard]] static SharedMemory create(std::size_t size);

    /// Creates memory of `size` bytes, which are zero, and allocates all of it, so that no later
    /// access fails for lack of memory. Other programs can open it when this is done. Replaces
    /// memory of this name that killed processes have left. *Throws* `std::invalid_argument` if the
    /// name is not valid or the size is 0; `std::system_error` if memory of this name exists
    /// (`EEXIST`), or there is no room in `/dev/shm` (`ENOSPC`) or for files of this size
    /// (RLIMIT_FSIZE, `EFBIG`).
    [[nodiscard]] static SharedMemory create(const std::string& name, std::size_t size);

    /// Opens memory that a program has created. *Throws* `std::invalid_argument` if the name is not
    /// valid; `std::system_error` if there is no memory of this name, or it is being created
    /// (`ENOENT`), or belongs to another user (`EACCES`).
    [[nodiscard]] static SharedMemory open(const std::string& name);

    /// Takes over the memory; `other` is closed afterwards.
    SharedMemory(SharedMemory&& other) noexcept;
    /// Closes this memory, then takes over the other's.
    SharedMemory& operator=(SharedMemory&& other) noexcept;
    /// Closes the memory. Does not unlink it.
    ~SharedMemory();

    /// Returns the name by which other programs open the memory.
    [[nodiscard]] std::string name() const;
    /// Returns the size in bytes; 0 when closed.
    [[nodiscard]] std::size_t size() const noexcept { return bytes().size(); }
    /// Returns the memory; nothing when closed.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept;

    /// Ends the use of the memory by this object: what `bytes()` has returned dangles. May be
    /// repeated. The memory stays until it is unlinked, also when its creator has closed it.
    void close() noexcept;

    /// Removes the name, before or after `close()`. Programs that have opened the memory keep it;
    /// it is freed when all of them have closed it. *Throws* `std::system_error` (`ENOENT`) if the
    /// memory has been unlinked already, also if its name is that of other memory by now.
    void unlink() const;

private:
    struct Segment;
    explicit SharedMemory(std::unique_ptr<Segment> segment);

    std::unique_ptr<Segment> segment_; ///< null when moved away
};

} // namespace prong
