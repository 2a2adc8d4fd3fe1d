#include <prong/event.hpp>

#include "sync/cell.hpp"
#include "sync/member.hpp"

// The word counts in its upper bits how often the event was set, and says in bit 0 whether it is
// set. So a wait that began before sees a `set` although `clear` followed it.

namespace prong {
namespace {

constexpr std::uint32_t is_set_bit = 1;

bool has_set_bit(std::uint32_t state) {
    return (state & is_set_bit) != 0;
}

} // namespace

void Event::set() const {
    const sync::Pin pin;
    os::FutexWord& state = object_.get().event.state;
    std::uint32_t seen = state.load();
    while (!has_set_bit(seen) && !state.compare_exchange_weak(seen, (seen | is_set_bit) + 2)) {
    }
    // Also if it was set: the process that set it may have died before it woke the others.
    sync::wake_all(state);
}

void Event::clear() const {
    const sync::Pin pin;
    object_.get().event.state.fetch_and(~is_set_bit);
}

bool Event::is_set() const {
    return has_set_bit(object_.get().event.state.load());
}

bool Event::wait(detail::Deadline deadline) const {
    const os::FutexWord& state = object_.get().event.state;
    const std::uint32_t before = state.load();
    std::uint32_t seen = before;
    while (!has_set_bit(seen) && seen == before) {
        if (deadline.passed()) return false;
        sync::sleep_on(state, seen, deadline);
        object_.require();
        seen = state.load();
    }
    return true;
}

bool Event::wait() const {
    return wait(detail::Deadline::never());
}

bool Event::wait_for(Timeout timeout) const {
    return wait(detail::Deadline::after(timeout));
}

} // namespace prong
