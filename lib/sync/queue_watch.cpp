#include <prong/detail/queue_watch.hpp>

#include "base/errno.hpp"
#include "base/fd.hpp"
#include "os/blocked_signals.hpp"
#include "os/descriptor.hpp"
#include "os/fork_depth.hpp"
#include "os/fork_safe_mutex.hpp"
#include "os/futex.hpp"
#include "sync/change_count.hpp"
#include "sync/member.hpp"

#include <prong/error.hpp>
#include <prong/queue.hpp>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace prong::detail {

/// A queue, and the watches of one of its changes in the order of their arrival.
struct WatchedQueue {
    ItemQueue queue;
    QueueChange change;
    std::list<QueueWatch*> watches = {};

    bool is_ready() const;
    void look(std::vector<os::FutexWaiter>& words);
};

namespace {

/// What this process watches. Never destroyed: other static objects may still need it.
struct Watched {
    std::list<WatchedQueue> queues;
    bool has_thread = false;
    unsigned home = 0; ///< `os::fork_depth()` of the process that this describes
};

constinit os::ForkSafeMutex watched_mutex;
constinit Watched* the_watched = nullptr;
/// Counts the watches that were added. The thread sleeps on it, and on the words of the queues.
constinit os::FutexWord added{0};

/// Returns what this process watches; the caller holds `watched_mutex`. What a parent watched,
/// which may be half written, is left alone.
Watched& watched() {
    if (the_watched == nullptr || the_watched->home != os::fork_depth())
        the_watched = new Watched{.queues = {}, .home = os::fork_depth()};
    return *the_watched;
}

/// Serves the watches, until there has been none for a while.
void serve() noexcept {
    std::vector<os::FutexWaiter> words;
    for (bool was_idle = false;;) {
        words.clear();
        words.push_back({.word = &added, .expected = added.load()});
        {
            const std::lock_guard lock(watched_mutex);
            Watched& all = watched();
            if (all.queues.empty() && was_idle) {
                all.has_thread = false;
                return;
            }
            was_idle = all.queues.empty();
            for (WatchedQueue& one : all.queues) one.look(words);
        }
        // (Of words beyond the limit of the call, a change is noticed after the slice.)
        os::futex_wait_any(words, sync::slice);
    }
}

void start_thread(Watched& all) {
    if (all.has_thread) return;
    const os::BlockedSignals blocked; // in the new thread
    std::thread(serve).detach();
    all.has_thread = true;
}

} // namespace

/// Returns whether an attempt would succeed or throw.
bool WatchedQueue::is_ready() const {
    try {
        const sync::Pin pin;
        return change == QueueChange::item ? queue.has_item() : queue.has_room();
    } catch (const Error&) { // the queue has ended or is corrupt
        return true;
    }
}

/// Notifies a watch if the queue is ready, another one each time: the loop of the last one may be
/// stopped. Adds the word that says when to look again.
void WatchedQueue::look(std::vector<os::FutexWaiter>& words) {
    os::FutexWord* const word = queue.find_changes(change);
    // From here on an announcement changes the word, so none is missed.
    if (word != nullptr) {
        const std::uint32_t seen = word->fetch_or(sync::has_waiters) | sync::has_waiters;
        words.push_back({.word = word, .expected = seen});
    }
    if (!is_ready()) return;
    const auto next = std::ranges::find(watches, false, &QueueWatch::is_readable_);
    if (next != watches.end()) (*next)->notify();
}

QueueWatch::QueueWatch(const ItemQueue& queue, QueueChange change)
    : event_(-1), home_(os::fork_depth()) {
    base::UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) base::throw_errno("eventfd");
    event = os::lift(std::move(event));
    std::list<QueueWatch*> one{this};
    place_ = one.begin();
    const std::lock_guard lock(watched_mutex);
    Watched& all = watched();
    start_thread(all);
    auto found = all.queues.begin();
    while (found != all.queues.end() && !(found->change == change && found->queue == queue))
        ++found;
    if (found == all.queues.end()) {
        all.queues.push_back({.queue = queue, .change = change});
        found = std::prev(all.queues.end());
    }
    found->watches.splice(found->watches.end(), one);
    watched_ = &*found;
    event_ = event.release();
    added.fetch_add(1);
    os::futex_wake(added, 1);
}

QueueWatch::~QueueWatch() {
    const base::UniqueFd owner(event_);
    if (home_ != os::fork_depth()) return;
    const std::lock_guard lock(watched_mutex);
    auto& watches = watched_->watches;
    watches.erase(place_);
    if (!watches.empty()) {
        if (has_news_) watches.front()->notify();
        return;
    }
    // The wake-up of this process was perhaps meant for another one.
    const os::FutexWord* const word = watched_->queue.find_changes(watched_->change);
    if (has_news_ && word != nullptr) os::futex_wake(*word, 1);
    std::erase_if(watched().queues, [this](const auto& queue) { return &queue == watched_; });
}

int QueueWatch::copy_descriptor() const {
    base::UniqueFd copy(fcntl(event_, F_DUPFD_CLOEXEC, 0));
    if (!copy) base::throw_errno("fcntl(F_DUPFD_CLOEXEC)");
    return os::lift(std::move(copy)).release();
}

void QueueWatch::notify() noexcept {
    constexpr std::uint64_t one = 1;
    has_news_ = true;
    if (!std::exchange(is_readable_, true)) static_cast<void>(::write(event_, &one, sizeof(one)));
}

void QueueWatch::clear() noexcept {
    if (home_ != os::fork_depth()) return;
    const std::lock_guard lock(watched_mutex);
    std::uint64_t count = 0;
    if (std::exchange(is_readable_, false))
        static_cast<void>(::read(event_, &count, sizeof(count)));
}

} // namespace prong::detail
