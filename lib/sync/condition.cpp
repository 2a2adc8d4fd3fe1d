#include <prong/condition.hpp>

#include "sync/cell.hpp"
#include "sync/member.hpp"

#include <stdexcept>

// A waiter sleeps until it is woken. A notification that finds no sleeper is for all waiters: one
// may be about to sleep. A notification may wake a thread whose process is killed before it
// returns, and is lost then; so a crash counts as a notification of all.

namespace prong {

Condition::Ticket Condition::take_ticket() const {
    return {.broadcasts = object_.get().condition.broadcast.load(),
            .crashes = sync::count_crashes()};
}

bool Condition::sleep(Ticket ticket, detail::Deadline deadline) const {
    const sync::ConditionWords& words = object_.get().condition;
    for (;;) {
        const std::uint32_t seen = words.notifications.load();
        object_.require();
        if (words.broadcast.load() != ticket.broadcasts) return true;
        if (sync::count_crashes() != ticket.crashes) return true;
        if (deadline.passed()) return false;
        if (os::futex_wait(words.notifications, seen, deadline.left(sync::slice))) {
            object_.require();
            return true;
        }
    }
}

void Condition::notify_one() const {
    os::FutexWord& notifications = object_.get().condition.notifications;
    notifications.fetch_add(1);
    if (os::futex_wake(notifications, 1) == 0) notify_all();
}

void Condition::notify_all() const {
    sync::ConditionWords& words = object_.get().condition;
    words.broadcast.fetch_add(1);
    words.notifications.fetch_add(1);
    sync::wake_all(words.notifications);
}

void Condition::refuse_guard() {
    throw std::logic_error("prong::Condition: a wait needs a guard that holds its lock, such as "
                           "std::unique_lock guard(condition.lock())");
}

} // namespace prong
