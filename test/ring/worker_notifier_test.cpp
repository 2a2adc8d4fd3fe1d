#include "ring/worker_notifier.hpp"

#include "support/catch.hpp"

#include <array>
#include <span>

using namespace prong::ring;

namespace {

/// A notifier whose bits the test sets, as workers would that are then killed or stopped.
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
    Notifier workers;
    workers.words.parked.insert(2);
    workers.words.searching.insert(1);
    CHECK_FALSE(workers.wakes(2));
    workers.notifier.stop_searching(1);
    CHECK(workers.wakes(2));
    CHECK(workers.words.searching.contains(2));
    CHECK_FALSE(workers.words.parked.contains(2));
}

TEST_CASE("A worker that dies while it chooses another keeps no other asleep") {
    Notifier workers;
    workers.words.searching.insert(1); // by 0, which dies here; 1 is busy with a long task
    workers.notifier.forget(0);
    CHECK(workers.wake_words[2].woken == 1); // looks, finds nothing
    workers.words.parked.insert(2);
    CHECK(workers.wakes(2));
}

TEST_CASE("A worker that was chosen and is stopped keeps no other asleep") {
    Notifier workers;
    workers.words.searching.insert(1); // chosen, stopped
    workers.notifier.forget(1);
    workers.words.parked.insert(2);
    CHECK(workers.wakes(2));
}

TEST_CASE("A stopped worker is not chosen") {
    Notifier workers;
    workers.words.parked.insert(1);
    workers.words.parked.insert(2);
    workers.notifier.forget(1);
    workers.words.parked.insert(2);
    CHECK(workers.wakes(2));
}
