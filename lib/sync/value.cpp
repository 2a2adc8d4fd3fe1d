#include <prong/value.hpp>

#include "sync/cell.hpp"
#include "sync/member.hpp"
#include "sync/object.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

// A value of at most 8 bytes lies in the object's word: each change is one step. A larger value has
// several copies in further memory. The word says which copy is the value (the lower bits), and
// counts the changes. A writer claims another copy, fills it, and makes it the value by one
// compare-and-swap of the word.
//
// Writers hold the lock, so two copies would do, if the dead wrote nothing. But a thread of a
// process that is being killed may still run for a moment after the lock has passed to another
// process. So the copy that it claimed is left alone until the process has ended, and its
// compare-and-swap fails if the value has changed since.

namespace prong::detail {
namespace {

using sync::Cell;
using sync::ThreadId;
using Word = std::atomic<std::uint64_t>;

constexpr std::uint64_t copies = 4; ///< the value, the next one, and two that the dead had claimed
constexpr std::uint64_t word_bytes = sizeof(Word);

/// How often a value is read before the reader keeps writers away for a moment.
constexpr int reads = 100;

bool is_small(std::uint64_t bytes) {
    return bytes <= word_bytes;
}

/// Returns the words that so many bytes need. Copies begin at cache lines.
std::uint64_t words_for(std::uint64_t bytes) {
    constexpr std::uint64_t line_bytes = 64;
    return (bytes + line_bytes - 1) / line_bytes * (line_bytes / word_bytes);
}

std::uint64_t bytes_for(std::uint64_t bytes) {
    return is_small(bytes)
               ? 0
               : (words_for(copies * word_bytes) + copies * words_for(bytes)) * word_bytes;
}

/// Returns the number that names the next value, which lies in the given copy.
std::uint64_t successor(std::uint64_t version, std::uint64_t copy) {
    return (version / copies + 1) * copies + copy;
}

/// The copies of a large value. Other processes may write anything into this memory.
class Copies {
public:
    Copies(const Cell& cell, std::uint64_t bytes)
        : bytes_(bytes),
          words_(reinterpret_cast<Word*>(sync::further_memory(cell, bytes_for(bytes)))) {}

    // The loads and stores of the words pair: a reader of what a writer has written to a copy
    // that is no longer the value, finds the version changed.
    void load(std::uint64_t copy, std::byte* to) const {
        const Word* word = begin(copy);
        for (std::uint64_t at = 0; at < bytes_; at += word_bytes) {
            const std::uint64_t part = (word++)->load(std::memory_order_acquire);
            std::memcpy(to + at, &part, std::min(word_bytes, bytes_ - at));
        }
    }
    void store(std::uint64_t copy, const std::byte* from) const {
        Word* word = begin(copy);
        for (std::uint64_t at = 0; at < bytes_; at += word_bytes) {
            std::uint64_t part = 0;
            std::memcpy(&part, from + at, std::min(word_bytes, bytes_ - at));
            (word++)->store(part, std::memory_order_release);
        }
    }

    /// Claims a copy other than `value` for the thread.
    [[nodiscard]] std::uint64_t claim(std::uint64_t value, ThreadId thread) const {
        constexpr int patience_ms = 1000; // no process takes longer to end
        for (int waited_ms = 0;; ++waited_ms) {
            for (std::uint64_t copy = 0; copy < copies; ++copy) {
                ThreadId claimed = writer(copy).load();
                if (copy == value || (claimed != 0 && waited_ms < patience_ms &&
                                      !sync::has_ended(sync::member_of(claimed))))
                    continue;
                if (writer(copy).compare_exchange_strong(claimed, thread)) return copy;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    void release(std::uint64_t copy, ThreadId thread) const {
        writer(copy).compare_exchange_strong(thread, 0);
    }

private:
    [[nodiscard]] Word& writer(std::uint64_t copy) const { return words_[copy]; }
    [[nodiscard]] Word* begin(std::uint64_t copy) const {
        return words_ + words_for(copies * word_bytes) + copy * words_for(bytes_);
    }

    std::uint64_t bytes_;
    Word* words_;
};

std::uint64_t small(std::span<const std::byte> value) {
    std::uint64_t word = 0;
    std::memcpy(&word, value.data(), value.size());
    return word;
}

} // namespace

std::uint64_t BasicValue::further_bytes(std::uint64_t bytes) noexcept {
    return bytes_for(bytes);
}

void BasicValue::initialise(std::span<const std::byte> initial) const {
    Cell& cell = object_.get();
    cell.value.bytes.store(initial.size());
    if (is_small(initial.size())) {
        cell.value.word.store(small(initial));
    } else {
        Copies(cell, initial.size()).store(0, initial.data());
    }
}

BasicValue::BasicValue(Ids ids, std::uint64_t bytes)
    : lock_(HandleAccess::make<RLock>(ids.lock)), object_(ObjectKind::value, ids.value) {
    if (object_.get().value.bytes.load() != bytes)
        throw CodecError("the encoded bytes are a prong::Value of another type");
}

BasicValue::Version BasicValue::read(std::span<std::byte> to) const {
    if (is_small(to.size())) {
        const std::uint64_t value = object_.get().value.word.load(std::memory_order_acquire);
        object_.require(); // else it may be something else by now that was read
        std::memcpy(to.data(), &value, to.size());
        return value;
    }
    const Pin pin;
    const Cell& cell = object_.get();
    const Word& word = cell.value.word;
    const Copies all(cell, to.size());
    Version version = 0;
    const auto try_read = [&] {
        version = word.load(std::memory_order_acquire);
        all.load(version % copies, to.data());
        return word.load(std::memory_order_relaxed) == version;
    };
    for (int attempt = 1; !try_read(); ++attempt) {
        if (attempt % reads != 0) continue;
        // In vain if a process is stopped while it holds the lock; but then it changes nothing.
        const std::unique_lock without_writers(lock_, std::chrono::milliseconds(1));
        if (try_read()) break;
    }
    object_.require();
    return version;
}

void BasicValue::write(std::span<const std::byte> from) const {
    if (is_small(from.size())) {
        object_.get().value.word.store(small(from), std::memory_order_release);
        return;
    }
    const std::scoped_lock guard(lock_);
    while (!replace(object_.get().value.word.load(std::memory_order_acquire), from)) {
    }
}

bool BasicValue::replace(Version before, std::span<const std::byte> from) const {
    const Pin pin;
    Cell& cell = object_.get();
    Word& word = cell.value.word;
    Version expected = before;
    if (is_small(from.size()))
        return word.compare_exchange_strong(expected, small(from), std::memory_order_acq_rel);
    const Copies all(cell, from.size());
    const ThreadId thread = sync::this_thread();
    const std::uint64_t copy = all.claim(before % copies, thread);
    // If the value is unchanged, no other thread can make the claimed copy the value.
    bool is_done = word.load(std::memory_order_acquire) == before;
    if (is_done) {
        all.store(copy, from.data());
        is_done = word.compare_exchange_strong(expected, successor(before, copy),
                                               std::memory_order_acq_rel);
    }
    all.release(copy, thread);
    return is_done;
}

} // namespace prong::detail
