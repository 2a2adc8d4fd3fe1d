#include <prong/map.hpp>

#include "executor/parent/core.hpp"
#include "executor/shared/option_check.hpp"

#include <algorithm>
#include <cstdint>
#include <stdexcept>

namespace prong::detail {
namespace {

/// How long a chunk should keep a worker busy: long compared to what a task costs, short compared
/// to the wait for the last chunk.
constexpr std::chrono::nanoseconds target_time = std::chrono::microseconds(300);
constexpr std::size_t largest_chunk = 1 << 15;
constexpr std::size_t growth_limit = 8;

/// The least number of elements that are read ahead, so that a short input is read at once.
constexpr std::size_t least_lookahead = 256;
constexpr std::size_t chunks_ahead_per_worker = 4;

} // namespace

MapRun::MapRun(executor::PoolCore& core, const MapOptions& options, const TaskOptions* task_options,
               std::unique_ptr<MapSource> source, std::size_t value_bytes, bool may_block)
    : pool_(core), workers_(core.known_workers()), options_(options),
      limit_(Deadline::after(options.timeout)), may_block_(may_block), source_(std::move(source)),
      value_bytes_(value_bytes),
      chunksize_(executor::at_least_one(options.chunksize, "MapOptions::chunksize", 1)) {
    if (task_options != nullptr) {
        task_options_ = *task_options;
        options_.chunksize = chunksize_; // per-task options apply to each element
    }
    executor::at_least_one(options.lookahead, "MapOptions::lookahead", 1);
    fill();
    if (elements_under_way_ == 0 && input_error_)
        std::rethrow_exception(input_error_); // no chunk is left to wait for
}

MapRun::~MapRun() {
    if (pool_.core().is_copy()) return;
    for (Chunk& chunk : chunks_) {
        if (chunk.task.valid()) chunk.task.cancel();
    }
}

std::size_t MapRun::lookahead() const {
    return options_.lookahead.value_or(
        std::max(least_lookahead, chunks_ahead_per_worker * workers_ * chunksize_));
}

void MapRun::fill() {
    while (!unsent_ || send_chunk()) {
        const std::size_t most = lookahead();
        const std::size_t elements = std::min(chunksize_, most);
        if (input_ended_ || elements_under_way_ + elements > most) return;
        read_chunk(elements);
    }
}

void MapRun::read_chunk(std::size_t most) {
    try {
        if (source_->at_end()) {
            input_ended_ = true;
            return;
        }
        Unsent& chunk = unsent_.emplace(pool_.core());
        source_->encode_callable(chunk.writer);
        chunk.elements = source_->encode_elements(chunk.writer, most, input_error_);
        if (input_error_) input_ended_ = true;
        elements_under_way_ += chunk.elements;
        note_size(chunk.writer.size(), chunk.elements);
        if (chunk.elements == 0) unsent_.reset();
    } catch (...) { // the pool accepts no more tasks
        input_error_ = std::current_exception();
        input_ended_ = true;
        unsent_.reset();
    }
}

/// Queues the chunk that has been read; returns false if there is no room before the limit.
bool MapRun::send_chunk() {
    try {
        auto task =
            unsent_->writer.try_submit(source_->type(), task_options_ ? &*task_options_ : nullptr,
                                       may_block_ ? limit_ : Deadline::now());
        if (!task) return false;
        keep(std::move(*task), unsent_->elements);
    } catch (...) { // the pool accepts no more tasks
        input_error_ = std::current_exception();
        input_ended_ = true;
        elements_under_way_ -= unsent_->elements;
    }
    unsent_.reset();
    return true;
}

void MapRun::keep(TaskHandle task, std::size_t elements) {
    if (free_.empty()) {
        free_.push_back(chunks_.size());
        chunks_.emplace_back();
    }
    const std::size_t place = free_.back();
    free_.pop_back();
    chunks_[place] = {.task = std::move(task), .elements = elements};
    if (options_.ordered)
        next_.push_back(place);
    else
        pending_.add(chunks_[place].task, place);
}

void MapRun::load() {
    if (next_.empty() && pending_.wait(limit_))
        next_.assign(pending_.ended().begin(), pending_.ended().end());
    if (next_.empty() || !chunks_[next_.front()].task.wait_until(limit_)) {
        limit_ = Deadline::never();
        throw TimeoutError("the next result of map was not ready in time; iterate again to wait "
                           "for it, or destroy the range to cancel what has not started");
    }
    const Chunk& chunk = chunks_[next_.front()];
    const Outcome outcome = chunk.task.outcome();
    chunk_error_ = outcome.error;
    if (!chunk_error_) {
        try {
            chunk_ = ChunkReader(outcome.result, chunk.elements, value_bytes_);
            note_size(outcome.result.remaining(), chunk.elements);
        } catch (const CodecError&) {
            chunk_error_ = std::current_exception();
        }
    }
    // Only now: without memory, the next call tries again.
    loaded_ = true;
    elements_left_ = chunk.elements;
}

bool MapRun::at_end() const {
    pool_.core().require_own_process();
    return elements_under_way_ == 0 && !input_error_;
}

void MapRun::wait() {
    pool_.core().require_own_process();
    if (loaded_) return;
    if (!has_sent() && unsent_) fill();
    if (elements_under_way_ != 0) load();
}

bool MapRun::has_result() const {
    if (loaded_ || elements_under_way_ == 0) return true; // at the end, or at an error of the input
    return !next_.empty() && chunks_[next_.front()].task.done();
}

bool MapRun::is_ready() {
    pool_.core().require_own_process();
    if (!has_sent() && unsent_) fill();
    return has_result() || (poll() && has_result());
}

const TaskHandle* MapRun::awaited() const {
    return next_.empty() ? nullptr : &chunks_[next_.front()].task;
}

bool MapRun::poll() {
    const executor::LoopNotifier& loops = pool_.core().state().loops;
    if (!has_sent() && unsent_) {
        loops.want_room();
        return send_chunk();
    }
    loops.arm();
    if (next_.empty() && pending_.wait(Deadline::now()))
        next_.assign(pending_.ended().begin(), pending_.ended().end());
    return has_result();
}

Reader MapRun::element() {
    wait();
    if (elements_under_way_ == 0) {
        if (input_error_) std::rethrow_exception(input_error_);
        throw std::logic_error("a map result has no element at its end");
    }
    if (chunk_error_) std::rethrow_exception(chunk_error_);
    try {
        return chunk_.value();
    } catch (...) {
        if (!chunk_.knows_end()) chunk_error_ = std::current_exception();
        throw;
    }
}

std::span<const std::byte> MapRun::values() {
    wait();
    if (elements_under_way_ == 0 || chunk_error_) return {};
    return chunk_.values();
}

void MapRun::next(std::size_t count) {
    if (elements_under_way_ == 0) { // at the end, or at an error of the input
        input_error_ = nullptr;
        return;
    }
    if (!chunk_error_) chunk_.next(count);
    elements_under_way_ -= count;
    elements_left_ -= count;
    if (elements_left_ == 0) finish_chunk();
}

void MapRun::finish_chunk() {
    const std::size_t place = next_.front();
    Chunk& chunk = chunks_[place];
    if (!chunk_error_) {
        if (const auto elapsed = chunk_.elapsed()) adapt(*elapsed, chunk.elements);
    }
    chunk.task.release();
    next_.pop_front();
    free_.push_back(place);
    loaded_ = false;
    fill();
}

void MapRun::adapt(std::chrono::nanoseconds elapsed, std::size_t elements) {
    workers_ = pool_.core().known_workers();
    if (options_.chunksize) return;
    const auto took = static_cast<std::size_t>(std::max<std::int64_t>(elapsed.count(), 1));
    const std::size_t wanted = static_cast<std::size_t>(target_time.count()) * elements / took;
    // All chunks under way, with their results, shall fit into the pool's shared memory.
    const std::uint64_t chunk_bytes =
        pool_.core().state().payload.largest() / (4 * chunks_ahead_per_worker * workers_);
    const std::size_t fitting = std::max<std::size_t>(chunk_bytes / bytes_per_element_, 1);
    const std::size_t most = std::min({growth_limit * chunksize_, largest_chunk, fitting});
    chunksize_ = std::clamp<std::size_t>(wanted, 1, most);
    if (options_.lookahead) { // leave elements for every worker
        chunksize_ = std::clamp<std::size_t>(*options_.lookahead / workers_, 1, chunksize_);
    }
}

void MapRun::note_size(std::size_t bytes, std::size_t elements) {
    if (elements != 0) bytes_per_element_ = std::max(bytes_per_element_, bytes / elements);
}

} // namespace prong::detail
