// A worker is killed at each instruction of a task with buffers; another process at each
// instruction of what it does with some. Nothing may be lost, freed twice, or left.

#include "steps/buffer_trials.hpp"
#include "steps/sync_stage.hpp"

#include <prong/connection.hpp>
#include <prong/pipe.hpp>
#include <prong/queue.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

using namespace prong::test;
using prong::Queue;
using prong::SharedView;
using prong::detail::HandleAccess;

namespace {

using Buffer = prong::SharedBuffer<int>;

constexpr int number = 7;

std::int64_t count_parcels() {
    return BufferMemory::owned();
}

/// A process that is killed, among others that use buffers.
class BufferTrial : public prong::test::SyncTrial {
protected:
    BufferTrial() {
        // New processes take the slots of dead ones. There are few slots to look at then.
        prong::shm::FamilyMemory::get().header().next_member = 0;
        prong::sync::this_member();
        // Mail of an earlier trial that was not received.
        prong::buffer::for_each_parcel([](prong::buffer::Cell& cell) {
            const std::uint64_t word = cell.parcel.holder.load();
            if (prong::buffer::Holder::unpack(word).state == prong::buffer::State::mail)
                prong::buffer::release(cell, word);
        });
    }
    /// `most`: how many parcels may be left beyond those of this process.
    static void check_left(std::int64_t own, std::int64_t most, Invariants& invariants) {
        prong::buffer::sweep();
        const std::int64_t left = count_parcels() - own;
        invariants.require(left >= 0 && left <= most,
                           std::to_string(left) + " blocks of buffers are left");
    }
};

/// Makes a buffer and a view, and ends them.
class Make final : public BufferTrial {
    void act() override {
        SharedView<int> view;
        {
            const auto buffer = filled<Buffer>(number);
            view = buffer.share();
        }
        if (!is_filled(view, number)) throw std::runtime_error("a view is wrong");
    }
    void check(Fate, Invariants& invariants) override { check_left(0, 0, invariants); }
};

/// Has a view of a buffer of this process, which stays whole.
class View final : public BufferTrial {
    void prepare() override {
        BufferTrial::prepare();
        connection_ = std::move(ends_.second);
    }
    void begin() override { ends_.first.send(buffer_.share()); }
    void act() override {
        auto view = connection_.recv<SharedView<int>>();
        const SharedView<int> copy = view;
        view = {};
        if (!is_filled(copy, number)) throw std::runtime_error("a view is wrong");
    }
    void check(Fate fate, Invariants& invariants) override {
        invariants.require(is_filled(buffer_, number), "the buffer is not as it was");
        // Mail that was not received is left.
        check_left(2, fate.returned ? 0 : 1, invariants);
        const SharedView<int> view = buffer_.share();
        buffer_ = Buffer();
        invariants.require(is_filled(view, number), "a view is not as the buffer was");
    }

    Buffer buffer_ = filled<Buffer>(number);
    std::pair<prong::Connection, prong::Connection> ends_ = prong::Pipe();
    prong::Connection connection_;
};

/// Sends a buffer. It arrives, or not at all.
class Send final : public BufferTrial {
    void prepare() override {
        BufferTrial::prepare();
        buffer_ = filled<Buffer>(number);
    }
    void act() override { ends_.second.send(std::move(buffer_)); }
    void check(Fate fate, Invariants& invariants) override {
        const bool has_come = ends_.first.poll();
        invariants.require(has_come || !fate.returned, "a message is lost");
        if (has_come)
            invariants.require(is_filled(ends_.first.recv<Buffer>(), number), "it is wrong");
        // A process that is killed just before it sends the message leaves the buffer.
        check_left(0, has_come ? 0 : 2, invariants);
    }

    Buffer buffer_;
    std::pair<prong::Connection, prong::Connection> ends_ = prong::Pipe();
};

/// Puts a buffer into a queue, from which another process takes it. The queue's end frees the rest.
class PutAndGet final : public BufferTrial {
    void prepare() override {
        BufferTrial::prepare();
        buffer_ = filled<Buffer>(number);
    }
    void act() override {
        queue_->put(std::move(buffer_));
        const Buffer back = queue_->get();
        if (!is_filled(back, number)) throw std::runtime_error("a buffer is wrong");
    }
    void check(Fate, Invariants& invariants) override {
        try {
            while (const auto item = queue_->try_get())
                invariants.require(is_filled(*item, number), "a buffer is wrong");
        } catch (const prong::ObjectGone&) { // the dead one had it
        }
        queue_.reset();
        check_left(0, 0, invariants);
    }

    std::optional<Queue<Buffer>> queue_ = Queue<Buffer>();
    Buffer buffer_;
};

/// Ends a view of a buffer of which others end theirs at the same time.
class EndView final : public BufferTrial {
    void prepare() override {
        BufferTrial::prepare();
        view_ = ends_.second.recv<SharedView<int>>();
    }
    void prepare_beside() override {
        ends_.first.send(buffer_.share());
        mine_ = buffer_.share();
    }
    void act() override { view_ = {}; }
    void strike(Tracee& victim) override {
        buffer_ = Buffer(); // while the victim stands
        victim.kill();
    }
    void check(Fate, Invariants& invariants) override {
        prong::buffer::sweep();
        invariants.require(is_filled(mine_, number), "a view is not as the buffer was");
        mine_ = {};
        check_left(0, 0, invariants);
    }

    Buffer buffer_ = filled<Buffer>(number);
    std::pair<prong::Connection, prong::Connection> ends_ = prong::Pipe();
    SharedView<int> view_;
    SharedView<int> mine_;
};

} // namespace

TEST_CASE("a worker is killed at every instruction of a task with a buffer") {
    if (skipped()) return;
    require_none_wrong(killed_with_buffer, buffer_task<Buffer>, {.few = 60});
    require_none_wrong(killed_with_buffer, view_task, {.few = 40});
}

TEST_CASE("a worker is killed at every instruction of a task with a buffer that is retried") {
    if (skipped()) return;
    require_none_wrong(killed_with_buffer, retried_buffer_task<Buffer>, {.few = 60});
}

TEST_CASE("a task with a buffer is dropped at every instruction of its worker") {
    if (skipped()) return;
    require_none_wrong(dropped_with_buffer, buffer_task<Buffer>, {.few = 40});
    require_none_wrong(dropped_with_buffer, view_task, {.few = 30});
    require_none_wrong(dropped_and_killed_with_buffer, buffer_task<Buffer>, {.few = 40});
    require_none_wrong(dropped_and_killed_with_buffer, retried_buffer_task<Buffer>, {.few = 40});
}

TEST_CASE("a process is killed at every instruction of what it does with buffers") {
    if (skipped()) return;
    require_none_wrong<Make>("make a SharedBuffer and a view", 60);
    require_none_wrong<View>("receive a view", 40);
    require_none_wrong<Send>("send a SharedBuffer", 40);
    require_none_wrong<PutAndGet>("Queue::put and get of a SharedBuffer", 60);
    require_none_wrong<EndView>("end a view", 60);
}
