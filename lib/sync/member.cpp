#include "sync/member.hpp"

#include "base/file.hpp"
#include "os/child.hpp"
#include "os/fork_depth.hpp"
#include "os/fork_safe_mutex.hpp"
#include "proc/process_state.hpp"
#include "shm/family_memory.hpp"
#include "sync/object.hpp"

#include <prong/error.hpp>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <string>
#include <system_error>

namespace prong::sync {

[[gnu::tls_model("initial-exec")]] constinit thread_local ThisThread this_thread_cache{};
constinit std::atomic<bool> is_watched{false};

namespace {

constexpr unsigned slot_bits = 12;
constexpr std::uint32_t slot_count = 1U << slot_bits;
constexpr std::uint32_t last_generation = (1U << 18) - 1;
constexpr std::uint64_t pin_limit = 1 << 16;

struct Slot {
    pthread_mutex_t life;
    std::atomic<std::uint32_t> generation; ///< of the process that has, or had, the slot
    std::atomic<std::uint32_t> dead;       ///< the last generation that was found dead
    std::atomic<std::uint32_t> watches;    ///< odd while the watching thread has ended
    std::atomic<std::uint32_t> left;       ///< the last generation that exited with exit code 0
    std::atomic<std::uint32_t> awaiting;   ///< threads that another one may wake instead of others
    std::atomic<std::uint32_t> described;  ///< the generation that the following describes, or 0
    std::atomic<pid_t> pid;
    std::atomic<std::uint64_t> pid_namespace;
    /// The number of pins in the lower 16 bits; above them, how often it has become 0.
    std::atomic<std::uint64_t> pins;
    std::array<char, 32> name; ///< ends with a zero

    /// The word of the robust mutex: holder and bits, as the kernel defines them.
    [[nodiscard]] std::atomic_ref<std::uint32_t> life_word() {
        return std::atomic_ref(reinterpret_cast<std::uint32_t&>(life.__data.__lock));
    }
};
static_assert(sizeof(Slot) <= shm::FamilyMemory::members_bytes / slot_count);

const shm::FamilyMemory& memory() {
    return shm::FamilyMemory::get();
}

Slot& slot_at(std::uint32_t index) noexcept {
    constexpr std::uint64_t stride = shm::FamilyMemory::members_bytes / slot_count;
    std::byte* const place = shm::FamilyMemory::find()->members() + index % slot_count * stride;
    return *reinterpret_cast<Slot*>(place);
}

Slot& slot_of(MemberId member) noexcept {
    return slot_at(member % slot_count);
}

std::uint32_t generation_of(MemberId member) noexcept {
    return (member & member_mask) >> slot_bits;
}

/// Returns the namespace that process numbers of this process belong to.
std::uint64_t pid_namespace() noexcept {
    struct stat info {};
    return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

/// Makes the slot's mutex usable. A new one is all zeros but for its kind, so to write the kind
/// again does no harm, and a process that is killed here leaves the slot usable.
void initialise(Slot& slot) noexcept {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_t model;
    pthread_mutex_init(&model, &attributes);
    pthread_mutexattr_destroy(&attributes);
    std::atomic_ref(slot.life.__data.__kind).store(model.__data.__kind);
}

/// Tries to lock the slot's mutex, which is free or has a holder that died.
bool try_lock(Slot& slot) noexcept {
    initialise(slot);
    const int result = pthread_mutex_trylock(&slot.life);
    if (result == EOWNERDEAD) pthread_mutex_consistent(&slot.life);
    return result == 0 || result == EOWNERDEAD;
}

/// This process as a member.
struct Self {
    unsigned depth; ///< `os::fork_depth()` of the process that this describes
    MemberId member;
};
constinit os::ForkSafeMutex self_mutex;
constinit Self self{};

/// Calls `end_watch` at the end of the watching thread, but not when the process exits.
constinit pthread_key_t watch_key{};
constinit bool has_watch_key = false;

/// `depth`: the fork depth of the process that the ending thread watches over. A thread of a child
/// may be a copy of such a thread.
void end_watch(void* depth) noexcept {
    if (reinterpret_cast<std::uintptr_t>(depth) != os::fork_depth()) return;
    slot_of(self.member).watches.fetch_add(1);
    is_watched.store(false);
}

/// Notes that this thread holds the life mutex from now on.
void begin_watch() noexcept {
    if (!has_watch_key) has_watch_key = pthread_key_create(&watch_key, end_watch) == 0;
    const auto depth = static_cast<std::uintptr_t>(self.depth);
    if (has_watch_key) pthread_setspecific(watch_key, reinterpret_cast<const void*>(depth));
    is_watched.store(true);
}

/// Takes over the life mutex of a thread that has ended. Until it has ended altogether, the slot
/// stays unwatched: to wait for it could take for ever.
void try_take_over_watch() noexcept {
    Slot& slot = slot_of(self.member);
    if (!try_lock(slot)) return;
    slot.watches.fetch_add(1);
    begin_watch();
}

bool process_lives(Slot& slot) noexcept {
    if (slot.pid_namespace.load() != pid_namespace()) return true; // there is no way to know
    try {
        const os::PidFd process = os::PidFd::of(slot.pid.load());
        return !os::wait_for_end(process, detail::Deadline::now());
    } catch (const std::system_error& error) {
        return error.code() != std::errc::no_such_process;
    }
}

void note_death(Slot& slot, std::uint32_t generation) noexcept {
    std::uint32_t dead = slot.dead.load();
    if (dead == generation) return;
    // Counted first: a process that is killed in between leaves the death to be counted again.
    memory().header().deaths.fetch_add(1);
    // A thread that was woken just now may have left no other one awake.
    if (slot.left.load() != generation || slot.awaiting.load() != 0)
        memory().header().crashes.fetch_add(1);
    slot.dead.compare_exchange_strong(dead, generation);
    os::futex_wake(reinterpret_cast<const os::FutexWord&>(slot.life.__data.__lock), os::everyone);
}

/// Returns whether the process of the given generation has died. It has, or had, this slot.
bool find_death(Slot& slot, std::uint32_t generation) noexcept {
    if (slot.dead.load() == generation) return true;
    const std::uint32_t watches = slot.watches.load();
    if (watches % 2 != 0) {
        if (process_lives(slot)) return false;
    } else if ((slot.life_word().load() & FUTEX_OWNER_DIED) == 0 ||
               slot.watches.load() != watches) { // the watch has passed to another thread
        return false;
    }
    note_death(slot, generation);
    return true;
}

/// Takes the slot for this process, if it is free or that of a dead process.
bool take(Slot& slot) noexcept {
    const std::uint32_t before = slot.generation.load();
    return (before == 0 || find_death(slot, before)) && try_lock(slot);
}

MemberId join() {
    shm::FamilyMemory::Header& header = memory().header();
    const std::string name = proc::name(*proc::current());
    for (std::uint32_t attempt = 0; attempt < slot_count; ++attempt) {
        const std::uint32_t index = header.next_member.fetch_add(1) % slot_count;
        Slot& slot = slot_at(index);
        if (!take(slot)) continue;
        const std::uint32_t before = slot.generation.load();
        if (before != 0) {
            note_death(slot, before);
            // The objects that the slot's former process has left. Others could use them until now.
            end_objects_of(before << slot_bits | index);
        }
        const std::uint32_t generation = before == last_generation ? 1 : before + 1;
        slot.described.store(0);
        slot.watches.store((slot.watches.load() | 1) + 1);
        slot.pins.store((slot.pins.load() / pin_limit + 1) * pin_limit);
        slot.awaiting.store(0);
        slot.pid_namespace.store(pid_namespace());
        slot.pid.store(getpid());
        slot.name[name.copy(slot.name.data(), slot.name.size() - 1)] = '\0';
        slot.described.store(generation);
        slot.generation.store(generation);
        std::uint32_t members = header.members.load();
        while (members <= index && !header.members.compare_exchange_weak(members, index + 1)) {
        }
        return generation << slot_bits | index;
    }
    throw Error(
        "more than 4096 processes of this program use locks, queues or other shared objects");
}

/// Runs as the process exits with exit code 0.
void leave_in_order() noexcept {
    if (self.depth != 0 && self.depth == os::fork_depth())
        slot_of(self.member).left.store(generation_of(self.member));
}

/// Returns this process's member; joins the family if the process is new, and restores the watch.
MemberId find_member() {
    const std::lock_guard lock(self_mutex);
    const unsigned depth = os::fork_depth();
    if (self.depth != depth) {
        self = {.depth = 0, .member = 0};
        is_watched.store(false);
        const MemberId member = join();
        self = {.depth = depth, .member = member};
        begin_watch();
        os::before_exit_in_order(leave_in_order);
    } else if (!is_watched.load()) {
        try_take_over_watch();
    }
    return self.member;
}

} // namespace

ThreadId find_thread() {
    const unsigned depth = os::fork_depth();
    const MemberId member = find_member();
    const ThreadId id = static_cast<ThreadId>(static_cast<std::uint32_t>(gettid())) << 32 | member;
    ThisThread& cache = this_thread_cache;
    // In a process that a Process or a pool has started, the parent's stack is never unwound.
    if (cache.depth != depth) cache.forking = proc::entered_at() == depth ? 0 : cache.id;
    cache.depth = depth;
    cache.id = id;
    return id;
}

Pinned::Pinned() {
    const std::uint32_t members = std::min(memory().header().members.load(), slot_count);
    for (std::uint32_t index = 0; index < members; ++index) {
        const Slot& slot = slot_at(index);
        const std::uint64_t word = slot.pins.load();
        if (word % pin_limit != 0)
            seen_.push_back({.member = slot.generation.load() << slot_bits | index, .word = word});
    }
}

bool Pinned::has_ended() {
    std::erase_if(seen_, [](const Seen& seen) {
        const std::uint64_t word = slot_of(seen.member).pins.load();
        return word % pin_limit == 0 || word / pin_limit != seen.word / pin_limit ||
               !lives(seen.member);
    });
    return seen_.empty();
}

bool lives(MemberId member) noexcept {
    Slot& slot = slot_of(member);
    const std::uint32_t generation = generation_of(member);
    return slot.generation.load() == generation && !find_death(slot, generation);
}

bool lives(ThreadId thread) noexcept {
    const MemberId member = member_of(thread);
    if (!lives(member)) return false;
    const Slot& slot = slot_of(member);
    if (slot.pid_namespace.load() != pid_namespace()) return true;
    const auto number = static_cast<pid_t>(thread >> 32);
    return syscall(SYS_tgkill, slot.pid.load(), number, 0) == 0 || errno != ESRCH;
}

bool has_ended(MemberId member) noexcept {
    if (lives(member)) return false;
    Slot& slot = slot_of(member);
    // A slot passes to another process long after that.
    return slot.generation.load() != generation_of(member) || !process_lives(slot);
}

DeadHolder identify(MemberId member) {
    const Slot& slot = slot_of(member);
    if (slot.described.load() != generation_of(member)) return {};
    auto name = slot.name;
    name.back() = '\0';
    DeadHolder holder{.pid = slot.pid.load(), .name = name.data()};
    return slot.described.load() == generation_of(member) ? holder : DeadHolder{};
}

bool has_exited_in_order(MemberId member) noexcept {
    return slot_of(member).left.load() == generation_of(member);
}

std::uint32_t count_deaths() noexcept {
    const shm::FamilyMemory::Header& header = memory().header();
    const std::uint32_t members = std::min(header.members.load(), slot_count);
    for (std::uint32_t index = 0; index < members; ++index) {
        Slot& slot = slot_at(index);
        if (const std::uint32_t generation = slot.generation.load()) find_death(slot, generation);
    }
    return header.deaths.load();
}

std::uint32_t count_crashes() noexcept {
    static_cast<void>(count_deaths());
    return memory().header().crashes.load();
}

void sleep_on(const os::FutexWord& word, std::uint32_t expected, const detail::Deadline& deadline,
              MemberId suspect) noexcept {
    const std::chrono::nanoseconds time = deadline.left(slice);
    if (suspect == 0) {
        os::futex_wait(word, expected, time);
        return;
    }
    Slot& slot = slot_of(suspect);
    auto life = slot.life_word();
    std::uint32_t seen = life.load();
    // The kernel wakes a sleeper at the holder's death only if this bit is set.
    const auto is_held = [&] {
        return (seen & FUTEX_TID_MASK) != 0 && (seen & FUTEX_OWNER_DIED) == 0;
    };
    while (is_held() && (seen & FUTEX_WAITERS) == 0 &&
           !life.compare_exchange_weak(seen, seen | FUTEX_WAITERS)) {
    }
    if (!is_held()) {
        if (lives(suspect)) os::futex_wait(word, expected, time); // unwatched
        return;
    }
    const std::array<os::FutexWaiter, 2> words{
        {{.word = &word, .expected = expected},
         {.word = &reinterpret_cast<const os::FutexWord&>(slot.life.__data.__lock),
          .expected = seen | FUTEX_WAITERS}}};
    os::futex_wait_any(words, time);
}

void wake_all(const os::FutexWord& word) noexcept {
    os::futex_wake(word, os::everyone);
}

} // namespace prong::sync

namespace prong::detail {

Awaiting::Awaiting() : count_(sync::slot_of(sync::this_member()).awaiting) {
    count_.fetch_add(1);
}

Awaiting::~Awaiting() {
    count_.fetch_sub(1);
}

Pin::Pin() : word_(sync::slot_of(sync::this_member()).pins) {
    word_.fetch_add(1);
}

Pin::~Pin() {
    std::uint64_t seen = word_.load();
    std::uint64_t next = 0;
    do {
        next = seen - 1;
        if (next % sync::pin_limit == 0) next += sync::pin_limit;
    } while (!word_.compare_exchange_weak(seen, next));
}

} // namespace prong::detail
