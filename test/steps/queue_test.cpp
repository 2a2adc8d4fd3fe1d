// A process is killed at each instruction of each operation on queues. No item may be lost, torn or
// doubled, no other process may wait for ever, and all memory must come back.

#include "steps/queue_trials.hpp"
#include "steps/sync_trials.hpp"

using namespace prong::test;
using prong::JoinableQueue;
using prong::Queue;

namespace {

constexpr auto put = [](const Queue<int>& queue) { queue.put(1); };
constexpr auto is_empty = [](const Queue<int>& queue) { return queue.empty(); };

} // namespace

TEST_CASE("a process is killed at every instruction of putting an item") {
    if (skipped()) return;
    require_none_wrong<Put<Queue<Parcel>>>("Queue::put", 35);
    require_none_wrong<PutForWaiter<Queue<Parcel>>>("Queue::put with a waiter", 25);
    require_none_wrong<PutWhileFull<Queue<Parcel>>>("Queue::put, waiting for room", 25);
    require_none_wrong<PutWhileFull<JoinableQueue<Parcel>>>("JoinableQueue::put, waiting for room");
}

TEST_CASE("a process is killed at every instruction of taking an item") {
    if (skipped()) return;
    require_none_wrong<Get<Queue<Parcel>>>("Queue::get", 35);
    require_none_wrong<Get<JoinableQueue<Parcel>>>("JoinableQueue::get and task_done", 25);
    require_none_wrong<Get<JoinableQueue<Parcel>, true>>("the same, of the only item", 25);
    require_none_wrong<GetWhileEmpty<Queue<Parcel>>>("Queue::get, waiting", 25);
    require_none_wrong<GetFromDead<Queue<Parcel>>>("Queue::get after a death", 25);
    require_none_wrong<GetFromDead<JoinableQueue<Parcel>>>("JoinableQueue::get after a death", 25);
}

TEST_CASE("a process is killed at every instruction of task_done, join and close") {
    if (skipped()) return;
    require_none_wrong<TaskDone<JoinableQueue<Parcel>>>("JoinableQueue::task_done with a waiter");
    require_none_wrong<JoinItems>("JoinableQueue::join");
    require_none_wrong<CloseWhileFull>("Queue::close with one that waits for room");
    require_none_wrong<CloseWhileEmpty>("Queue::close with one that waits for an item");
}

TEST_CASE("a process is killed at every instruction of freeing what a dead one has left") {
    if (skipped()) return;
    require_none_wrong<Reclaim>("a producer's block", 25);
}

TEST_CASE("a queue ends at every instruction of one that uses it") {
    if (skipped()) return;
    require_none_wrong<Ends<Queue<int>, put, is_empty>>("Queue::put, it ends", 25);
}
