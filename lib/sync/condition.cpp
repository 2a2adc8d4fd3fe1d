#include <prong/condition.hpp>

#include "sync/cell.hpp"
#include "sync/member.hpp"

#include <stdexcept>

// A wait remembers the number of notifications before it releases the lock, and sleeps until it
// changes. A notification may wake a thread whose process is killed before it returns, and is lost
// then; so a death counts as a notification of all.

namespace prong {

Condition::Ticket Condition::take_ticket() const {
    const sync::ConditionWords& words = object_.get().condition;
    return {.notifications = words.notifications.load(), .deaths = sync::count_deaths()};
}

bool Condition::sleep(Ticket ticket, detail::Deadline deadline) const {
    const os::FutexWord& notifications = object_.get().condition.notifications;
    for (;;) {
        sync::sleep_on(notifications, ticket.notifications, deadline);
        object_.require();
        if (notifications.load() != ticket.notifications) return true;
        if (sync::count_deaths() != ticket.deaths) return true;
        if (deadline.passed()) return false;
    }
}

void Condition::notify_one() const {
    os::FutexWord& notifications = object_.get().condition.notifications;
    notifications.fetch_add(1);
    os::futex_wake(notifications, 1);
}

void Condition::notify_all() const {
    os::FutexWord& notifications = object_.get().condition.notifications;
    notifications.fetch_add(1);
    sync::wake_all(notifications);
}

void Condition::refuse_guard() {
    throw std::logic_error("prong::Condition: a wait needs a guard that holds its lock, such as "
                           "std::unique_lock guard(condition.lock())");
}

} // namespace prong
