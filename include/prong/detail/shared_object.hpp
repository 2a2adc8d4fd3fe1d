#pragma once

#include <prong/detail/export.hpp>

#include <atomic>
#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

/// \file
/// Handles of objects that lie in the memory that a program shares with everything forked from it.

/// Its presence in a program makes the library map that memory before the first fork.
extern "C" PRONG_API inline void prong_uses_family_memory() noexcept {}

namespace prong::detail {

/// Names an object of the family in each of its processes.
struct ObjectId {
    std::uint64_t offset;
    std::uint64_t stamp; ///< no other object has it, now or later
};

/// The kinds of objects: an id that comes from elsewhere must name the right one.
enum class ObjectKind : std::uint32_t {
    lock = 1,
    recursive_lock,
    semaphore,
    bounded_semaphore,
    event,
    condition,
    barrier,
    queue,
    value,
    array,
    buffer,
    view, ///< a reference to a buffer
};

struct SharedCell;

/// Refers to an object of the family. The handle that made the object owns it, in the process that
/// made it: its end is the object's end. A copy only refers to the object, and so does the owner's
/// copy in a forked process. Moving passes ownership on.
class PRONG_API ObjectHandle {
public:
    /// Makes an object with `bytes` of further memory. Throws `Error` if there is no room.
    explicit ObjectHandle(ObjectKind kind, std::uint64_t bytes = 0)
        : ObjectHandle(kind, bytes, &prong_uses_family_memory) {}
    /// Refers to an object made elsewhere. Throws `CodecError` if it is no object of this kind, or
    /// not in memory that this process has; `ObjectGone` if it has ended.
    ObjectHandle(ObjectKind kind, ObjectId id);

    ObjectHandle(const ObjectHandle& other) noexcept
        : cell_(other.cell_), stamp_(other.stamp_), owner_depth_(0) {}
    ObjectHandle(ObjectHandle&& other) noexcept
        : cell_(other.cell_), stamp_(other.stamp_),
          owner_depth_(std::exchange(other.owner_depth_, 0U)) {}
    ObjectHandle& operator=(const ObjectHandle& other) noexcept {
        if (this != &other) *this = ObjectHandle(other);
        return *this;
    }
    ObjectHandle& operator=(ObjectHandle&& other) noexcept {
        if (this == &other) return *this;
        end();
        cell_ = other.cell_;
        stamp_ = other.stamp_;
        owner_depth_ = std::exchange(other.owner_depth_, 0U);
        return *this;
    }
    ~ObjectHandle() { end(); }

    /// Returns the object. Throws `ObjectGone` if it has ended.
    [[nodiscard]] SharedCell& get() const {
        if (SharedCell* const cell = find()) return *cell;
        throw_gone();
    }
    /// Throws `ObjectGone` if the object has ended.
    void require() const { static_cast<void>(get()); }
    /// Returns the object, or null if it has ended.
    [[nodiscard]] SharedCell* find() const noexcept {
        // A cell begins with its stamp.
        const auto& stamp = *reinterpret_cast<const std::atomic<std::uint64_t>*>(cell_);
        return stamp.load() == stamp_ ? cell_ : nullptr;
    }
    [[nodiscard]] ObjectId id() const;
    [[nodiscard]] std::uint64_t stamp() const noexcept { return stamp_; }

    /// Returns whether both refer to the same object.
    friend bool operator==(const ObjectHandle& a, const ObjectHandle& b) noexcept {
        return a.cell_ == b.cell_ && a.stamp_ == b.stamp_;
    }

private:
    ObjectHandle(ObjectKind kind, std::uint64_t bytes, void (*mark)() noexcept);
    void end() noexcept;
    [[noreturn]] static void throw_gone();

    SharedCell* cell_;
    std::uint64_t stamp_;
    unsigned owner_depth_; ///< `os::fork_depth()` of the owning process; 0: does not own
};

/// Keeps the memory of objects that end meanwhile from being used again, as long as it lives: for
/// those who access an object's memory beside its cell. Ends with its process.
class PRONG_API Pin {
public:
    Pin();
    ~Pin();
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;

private:
    std::atomic<std::uint64_t>& word_;
};

/// A wait of this thread for a wake-up that reaches one of several threads. If the process exits
/// while one exists, also with exit code 0, that counts as a crash: the wake-up may be lost.
class PRONG_API Awaiting {
public:
    Awaiting();
    ~Awaiting();
    Awaiting(const Awaiting&) = delete;
    Awaiting& operator=(const Awaiting&) = delete;

private:
    std::atomic<std::uint32_t>& count_;
};

class Writer;

/// How the codec takes a handle apart and makes one again: by a private type `Parts`, which can be
/// transferred, a private function `parts` and a private constructor. For a parcel, `parts` is
/// given the writer, and `is_moved_by_encoding` says whether the handle is empty afterwards.
struct HandleAccess {
    // (In functions: clang refuses an alias of the private type.)
    template <typename T>
    static auto parts(const T& handle)
        -> std::conditional_t<true, typename T::Parts, decltype(handle.parts())> {
        return handle.parts();
    }
    template <typename T>
    static auto parts(const T& handle, Writer& writer)
        -> std::conditional_t<true, typename T::Parts, decltype(handle.parts(writer))> {
        return handle.parts(writer);
    }
    template <typename T>
    static auto parts_type(int) -> decltype(parts(std::declval<const T&>()));
    template <typename T>
    static auto parts_type(long)
        -> decltype(parts(std::declval<const T&>(), std::declval<Writer&>()));
    template <typename T>
    using Parts = decltype(parts_type<T>(0));
    template <typename T>
    static consteval bool is_moved_by_encoding() {
        return T::is_moved_by_encoding;
    }
    template <typename T>
    static T make(Parts<T> parts) {
        return T(std::move(parts));
    }
};

/// A class whose objects own a buffer, or a reference to one.
template <typename T>
concept Parcel = requires(const T& handle, Writer& writer) { HandleAccess::parts(handle, writer); };

/// A class whose objects refer to an object of the family.
template <typename T>
concept Handle = Parcel<T> || requires(const T& handle) { HandleAccess::parts(handle); };

} // namespace prong::detail
