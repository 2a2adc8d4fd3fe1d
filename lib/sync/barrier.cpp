#include <prong/barrier.hpp>

#include "os/fork_depth.hpp"
#include "sync/cell.hpp"
#include "sync/member.hpp"
#include "sync/object.hpp"

#include <prong/error.hpp>

#include <atomic>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

// Each party has a place, which says who arrived there, and in which phase. Arriving is one
// compare-and-swap of a place from an earlier phase. So a phase is complete when all places name
// it. Any party that sees this ends the phase by a compare-and-swap of its number. The places of
// the previous phase tell which process may be missed.

namespace prong {
namespace {

using sync::BarrierWords;
using sync::MemberId;

/// A place: the phase in the upper half, the member in the lower half; 0: no party was there yet.
using Place = std::atomic<std::uint64_t>;
using Places = std::span<Place>;

/// The value of `BarrierWords::phase`.
using Phase = std::uint64_t;

constexpr int most_parties = 65536;
constexpr Phase is_broken_bit = 1;
constexpr std::uint32_t action_done = ~std::uint32_t{0};

std::uint32_t number_of(Phase phase) {
    return static_cast<std::uint32_t>(phase) / 2;
}
bool is_broken(Phase phase) {
    return (phase & is_broken_bit) != 0;
}
/// Returns how many phases were completed.
std::uint32_t completed_before(Phase phase) {
    return static_cast<std::uint32_t>(phase >> 32);
}
Phase make_phase(std::uint32_t completed, std::uint32_t number) {
    return Phase{completed} << 32 | number * 2;
}
std::uint32_t phase_of(std::uint64_t place) {
    return static_cast<std::uint32_t>(place >> 32);
}
std::uint64_t place_for(std::uint32_t number, MemberId member) {
    return std::uint64_t{number} << 32 | member;
}
/// Returns whether a phase comes before another one; their numbers may wrap.
bool is_before(std::uint32_t number, std::uint32_t other) {
    return static_cast<std::int32_t>((number - other) << 1) < 0;
}

void wake_waiters(const BarrierWords& words) {
    sync::wake_all(sync::futex_of(words.phase));
}

/// One wait of one party.
class Arrival {
public:
    Arrival(const detail::ObjectHandle& object, const WorkerHook& action, detail::Deadline deadline)
        : object_(object), action_(action), deadline_(deadline), cell_(object.get()),
          words_(cell_.barrier), places_(places_of(cell_)), member_(sync::this_member()) {}

    int run();

    static Places places_of(const sync::Cell& cell) {
        return sync::further_array<Place>(cell, cell.barrier.parties.load(), most_parties);
    }

private:
    [[nodiscard]] std::optional<int> arrive(std::uint32_t number);
    template <typename Condition>
    [[nodiscard]] std::optional<int> take_place(std::uint32_t number, Condition condition);
    [[nodiscard]] bool is_complete(std::uint32_t number) const;
    void complete(Phase phase);
    void end_phase(Phase phase);
    [[nodiscard]] std::optional<MemberId> find_dead(std::uint32_t number) const;
    void break_phase(Phase phase, std::optional<MemberId> dead);
    void sleep(Phase phase);
    [[noreturn]] void throw_broken(Phase phase, const char* why) const;

    sync::Pin pin_;
    const detail::ObjectHandle& object_;
    const WorkerHook& action_;
    detail::Deadline deadline_;
    sync::Cell& cell_;
    BarrierWords& words_;
    Places places_;
    MemberId member_;
};

int Arrival::run() {
    std::optional<int> index;
    Phase phase = words_.phase.load();
    for (;; phase = words_.phase.load()) {
        if (is_broken(phase)) throw_broken(phase, "is broken");
        index = arrive(number_of(phase));
        if (index) break;
        // All places are taken: the phase is about to end, or there are too many threads.
        if (deadline_.passed()) throw_broken(phase, "had no free place within the timeout");
        sleep(phase);
    }
    for (;;) {
        if (words_.phase.load() == phase && is_complete(number_of(phase))) complete(phase);
        const Phase now = words_.phase.load();
        if (number_of(now) != number_of(phase)) {
            if (completed_before(now) == completed_before(phase)) throw_broken(phase, "was reset");
            return *index;
        }
        if (is_broken(now)) throw_broken(phase, "was broken");
        if (const auto dead = find_dead(number_of(phase))) {
            break_phase(phase, dead);
        } else if (deadline_.passed()) {
            break_phase(phase, std::nullopt);
        } else {
            sleep(phase);
        }
    }
}

/// Takes a place in the phase: the one that this process had in the previous phase if possible, so
/// that places keep telling who took part.
std::optional<int> Arrival::arrive(std::uint32_t number) {
    const std::uint64_t own = place_for(number - 1, member_);
    if (const auto index = take_place(number, [&](std::uint64_t place) { return place == own; }))
        return index;
    const auto is_old = [&](std::uint64_t place) {
        return place == 0 || is_before(phase_of(place), number - 1);
    };
    if (const auto index = take_place(number, is_old)) return index;
    return take_place(number, [](std::uint64_t) { return true; });
}

template <typename Condition>
std::optional<int> Arrival::take_place(std::uint32_t number, Condition condition) {
    for (std::size_t i = 0; i < places_.size(); ++i) {
        std::uint64_t place = places_[i].load();
        if (place != 0 && !is_before(phase_of(place), number)) continue;
        if (condition(place) &&
            places_[i].compare_exchange_strong(place, place_for(number, member_)))
            return static_cast<int>(i);
    }
    return std::nullopt;
}

bool Arrival::is_complete(std::uint32_t number) const {
    for (const Place& place : places_) {
        if (phase_of(place.load()) != number) return false;
    }
    return true;
}

/// Runs the action unless another party does, and ends the phase.
void Arrival::complete(Phase phase) {
    if (!action_) return end_phase(phase);
    const std::uint32_t number = number_of(phase);
    std::uint64_t runner = words_.runner.load();
    if (phase_of(runner) != number || runner == 0) {
        std::uint64_t own = place_for(number, member_);
        if (!words_.runner.compare_exchange_strong(runner, own)) return;
        try {
            action_();
        } catch (...) {
            break_phase(phase, std::nullopt);
            throw;
        }
        // Not if the barrier was reset meanwhile and the action of a later phase runs.
        words_.runner.compare_exchange_strong(own, place_for(number, action_done));
        end_phase(phase);
    } else if (static_cast<std::uint32_t>(runner) == action_done) {
        end_phase(phase); // the party that ran it was killed just then
    }
}

void Arrival::end_phase(Phase phase) {
    Phase expected = phase;
    words_.phase.compare_exchange_strong(
        expected, make_phase(completed_before(phase) + 1, number_of(phase) + 1));
    wake_waiters(words_);
}

/// Returns a party that died after it arrived in this phase, or took part in the previous one and
/// did not end in order.
std::optional<MemberId> Arrival::find_dead(std::uint32_t number) const {
    for (const Place& place : places_) {
        const std::uint64_t taken = place.load();
        const auto member = static_cast<MemberId>(taken);
        if (taken == 0 || sync::lives(member)) continue;
        if (phase_of(taken) == number ||
            (phase_of(taken) == number - 1 && !sync::has_exited_in_order(member)))
            return member;
    }
    return std::nullopt;
}

void Arrival::break_phase(Phase phase, std::optional<MemberId> dead) {
    if (dead) words_.dead.store(place_for(number_of(phase), *dead));
    Phase expected = phase;
    words_.phase.compare_exchange_strong(expected, phase | is_broken_bit);
    wake_waiters(words_);
}

void Arrival::sleep(Phase phase) {
    sync::sleep_on(sync::futex_of(words_.phase), static_cast<std::uint32_t>(phase), deadline_);
    object_.require();
}

void Arrival::throw_broken(Phase phase, const char* why) const {
    std::string text = std::string("the barrier ") + why;
    DeadHolder holder;
    if (const std::uint64_t dead = words_.dead.load(); phase_of(dead) == number_of(phase)) {
        holder = sync::identify(static_cast<MemberId>(dead));
        text += ": " + holder.name + " (pid " + std::to_string(holder.pid) + ") died";
    }
    throw BrokenBarrier(text, holder);
}

} // namespace

std::uint64_t Barrier::further_bytes(int parties) {
    if (parties < 1 || parties > most_parties)
        throw std::invalid_argument("prong::Barrier: 1 to " + std::to_string(most_parties) +
                                    " parties, not " + std::to_string(parties));
    return static_cast<std::uint64_t>(parties) * sizeof(Place);
}

void Barrier::initialise(int parties) const {
    BarrierWords& words = object_.get().barrier;
    words.parties.store(static_cast<std::uint32_t>(parties));
    words.phase.store(make_phase(0, 1));
}

Barrier::Barrier(Parts parts) : object_(detail::ObjectKind::barrier, parts.id) {
    const auto* const type = reinterpret_cast<const detail::TaskType*>(parts.action_type);
    if (type != nullptr) action_ = detail::WorkerHookAccess::make(*type, std::move(parts.action));
}

Barrier::Parts Barrier::parts() const {
    const detail::TaskType* const type = detail::WorkerHookAccess::type(action_);
    if (action_ && type == nullptr)
        throw CodecError("a barrier whose action has captures cannot be passed to another process: "
                         "let the action be a function, with its arguments beside it "
                         "({f, arguments...})");
    return {.id = object_.id(),
            .action_type = reinterpret_cast<std::uintptr_t>(type),
            .action = detail::WorkerHookAccess::encoded(action_)};
}

int Barrier::wait(detail::Deadline deadline) const {
    return Arrival(object_, action_, deadline).run();
}

int Barrier::wait() const {
    return wait(detail::Deadline::never());
}

int Barrier::wait_for(Timeout timeout) const {
    return wait(detail::Deadline::after(timeout));
}

void Barrier::abort() const {
    BarrierWords& words = object_.get().barrier;
    words.phase.fetch_or(is_broken_bit);
    wake_waiters(words);
}

void Barrier::reset() const {
    BarrierWords& words = object_.get().barrier;
    Phase phase = words.phase.load();
    // Leaves out a number, so that no party of the phase before is missed.
    while (!words.phase.compare_exchange_weak(
        phase, make_phase(completed_before(phase), number_of(phase) + 2))) {
    }
    wake_waiters(words);
}

int Barrier::parties() const {
    return static_cast<int>(object_.get().barrier.parties.load());
}

int Barrier::n_waiting() const {
    const sync::Pin pin;
    const sync::Cell& cell = object_.get();
    const Phase phase = cell.barrier.phase.load();
    int waiting = 0;
    for (const Place& place : Arrival::places_of(cell))
        waiting += phase_of(place.load()) == number_of(phase) && !is_broken(phase) ? 1 : 0;
    return waiting;
}

bool Barrier::broken() const {
    return is_broken(object_.get().barrier.phase.load());
}

} // namespace prong
