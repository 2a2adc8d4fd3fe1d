#include "ring/worker_notifier.hpp"

#include "support/catch.hpp"

#include <array>
#include <span>

using namespace prong::ring;

namespace {

/// A sleepers of which the test sets the bits as workers would who are killed or stopped in
/// between.
struct Notifier {
    NotifierWords words{};
    std::array<WakeWord, 3> wake_words{};
    WorkerNotifier notifier{words, wake_words};

    bool wakes(unsigned worker) {
        wake_words[worker].woken = 0;
        notifier.work_arrived();
        return wake_words[worker].woken == 1;
    }
};

} // namespace

TEST_CASE("Work wakes one that is parked, unless another is searching") {
    Notifier sleepers;
    sleepers.words.parked.insert(2);
    sleepers.words.searching.insert(1);
    CHECK_FALSE(sleepers.wakes(2));
    sleepers.notifier.stop_searching(1);
    CHECK(sleepers.wakes(2));
    CHECK(sleepers.words.searching.contains(2));
    CHECK_FALSE(sleepers.words.parked.contains(2));
}

TEST_CASE("A worker that dies while it chooses another keeps nobody asleep") {
    Notifier sleepers;
    sleepers.words.searching.insert(1); // by 0, which dies here; 1 is busy with a long task
    sleepers.notifier.forget(0);
    CHECK(sleepers.wake_words[2].woken == 1); // looks, finds nothing
    sleepers.words.parked.insert(2);
    CHECK(sleepers.wakes(2));
}

TEST_CASE("A worker that was chosen and is stopped keeps nobody asleep") {
    Notifier sleepers;
    sleepers.words.searching.insert(1); // chosen, stopped
    sleepers.notifier.forget(1);
    sleepers.words.parked.insert(2);
    CHECK(sleepers.wakes(2));
}

TEST_CASE("Nobody chooses a worker that is stopped") {
    Notifier sleepers;
    sleepers.words.parked.insert(1);
    sleepers.words.parked.insert(2);
    sleepers.notifier.forget(1);
    sleepers.words.parked.insert(2);
    CHECK(sleepers.wakes(2));
}
