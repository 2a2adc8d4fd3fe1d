// Here the parent is a child of the test, so that it can be stepped through and killed.

#include "steps/parent_trial.hpp"
#include "support/catch.hpp"

using namespace prong::test;

TEST_CASE("a worker is killed at every instruction of its parent") {
    if (skipped()) return;
    require_none_wrong(worker_dies_under_parent, everything, {.few = 60});
    require_none_wrong(worker_dies_under_parent, batch_of_two, {.few = 30});
    require_none_wrong(worker_dies_under_parent, shutdown_script, {.few = 30});
    require_none_wrong(worker_dies_under_parent, shutdown_and_cancel, {.few = 30});
}

TEST_CASE("a worker is killed at every instruction while its parent sleeps") {
    if (skipped()) return;
    require_none_wrong(worker_dies_under_sleeper, one_small, {.few = 30});
    require_none_wrong(worker_dies_under_sleeper, one_large, {.few = 20});
}

TEST_CASE("the parent is killed at every instruction of a worker") {
    if (skipped()) return;
    require_none_wrong(parent_dies, one_small, {.few = 30});
    require_none_wrong(parent_dies, one_large, {.few = 20});
    require_none_wrong(parent_dies, batch_of_two, {.few = 20});
}
