#include <prong/map.hpp>

#include "codec/exception.hpp"
#include "pool/pool_core.hpp"

namespace prong::detail {
namespace {

/// How long a chunk should keep a worker busy: long against what a task costs, short against what
/// waiting for the last chunk costs.
constexpr std::chrono::nanoseconds target_time = std::chrono::microseconds(300);
constexpr std::size_t largest_chunk = 1 << 15;
constexpr std::size_t growth_limit = 8;

/// Elements read ahead however small the chunks are, so that a short input is taken at once.
constexpr std::size_t least_lookahead = 256;
constexpr std::size_t chunks_per_worker = 4;

std::size_t checked(const std::optional<std::size_t>& option, const char* name) {
    if (option && *option == 0) {
        throw std::invalid_argument(std::string("MapOptions::") + name + " must be at least 1");
    }
    return option.value_or(1);
}

} // namespace

void encode_element_failure(Writer& writer) {
    BufferWriter failure;
    codec::encode_current_exception(failure);
    encode(writer, std::uint64_t{failure.size()});
    writer.write(failure.data(), failure.size());
}

std::exception_ptr decode_element_failure(Reader& reader) {
    const auto size = decode<std::uint64_t>(reader);
    Reader failure(std::span(reader.view(size), size));
    return codec::decode_exception(failure);
}

MapRun::MapRun(pool::PoolCore& core, const MapOptions& options, const TaskOptions* task_options,
               std::unique_ptr<MapSource> source)
    : pool_(core), workers_(core.workers()), options_(options), limit_(time_after(options.timeout)),
      source_(std::move(source)), chunksize_(checked(options.chunksize, "chunksize")) {
    if (task_options != nullptr) {
        task_options_ = *task_options;
        options_.chunksize = chunksize_; // what is said of a task is meant of an element
    }
    checked(options.lookahead, "lookahead");
    fill();
    if (chunks_.empty() && input_error_)
        std::rethrow_exception(input_error_); // nothing to wait for
}

MapRun::~MapRun() {
    if (pool_.core().is_copy()) return;
    for (Chunk& chunk : chunks_) {
        if (chunk.task.valid()) chunk.task.cancel();
    }
}

std::size_t MapRun::lookahead() const {
    return options_.lookahead.value_or(
        std::max(least_lookahead, chunks_per_worker * workers_ * chunksize_));
}

void MapRun::fill() {
    while (!input_ended_) {
        const std::size_t most = lookahead();
        const std::size_t elements = std::min(chunksize_, most);
        if (elements_under_way_ + elements > most) return;
        submit_chunk(elements);
    }
}

void MapRun::submit_chunk(std::size_t most) {
    Chunk chunk{.task = {}, .elements = 0};
    try {
        if (source_->at_end()) {
            input_ended_ = true;
            return;
        }
        Draft draft(pool_.core());
        source_->encode_callable(draft);
        std::size_t good = draft.size();
        try {
            do {
                source_->encode_element(draft);
                good = draft.size();
                ++chunk.elements;
            } while (chunk.elements < most && !source_->at_end());
        } catch (...) { // what came before it is as good as ever
            input_error_ = std::current_exception();
            input_ended_ = true;
            draft.rewind(good);
        }
        if (chunk.elements == 0) return;
        chunk.task =
            std::move(draft).submit(source_->type(), task_options_ ? &*task_options_ : nullptr);
    } catch (...) { // the pool takes nothing more
        input_error_ = std::current_exception();
        input_ended_ = true;
        return;
    }
    elements_under_way_ += chunk.elements;
    chunks_.push_back(std::move(chunk));
}

void MapRun::load() {
    if (!options_.ordered && !chunks_.front().task.done()) {
        std::vector<const TaskHandle*> tasks;
        tasks.reserve(chunks_.size());
        for (const Chunk& chunk : chunks_) tasks.push_back(&chunk.task);
        TaskHandle::wait_for_any(tasks, limit_);
        const auto ready = std::ranges::find_if(chunks_, [](Chunk& c) { return c.task.done(); });
        if (ready != chunks_.end()) std::swap(*ready, chunks_.front());
    }
    Chunk& chunk = chunks_.front();
    if (!chunk.task.wait_until(limit_)) {
        throw TimeoutError("the next result of map was not there in time; iterate again to wait "
                           "for it, or drop the range to cancel what has not started");
    }
    loaded_ = true;
    elements_left_ = chunk.elements;
    chunk_error_ = chunk.task.exception();
    if (!chunk_error_) reader_ = chunk.task.result();
}

bool MapRun::at_end() const {
    pool_.core().require_own_process();
    return chunks_.empty() && !input_error_;
}

void MapRun::wait() {
    pool_.core().require_own_process();
    if (!loaded_ && !chunks_.empty()) load();
}

Reader MapRun::element() {
    wait();
    if (chunks_.empty()) std::rethrow_exception(input_error_);
    if (chunk_error_) std::rethrow_exception(chunk_error_);
    Reader reader = reader_;
    std::exception_ptr error;
    try {
        const auto kind = decode<std::uint8_t>(reader);
        if (kind == element_returned) return reader;
        if (kind != element_thrown) throw CodecError("an element of map has no such end");
        error = decode_element_failure(reader);
        element_end_ = reader;
    } catch (const CodecError&) {
        chunk_error_ = std::current_exception();
        throw;
    }
    std::rethrow_exception(error);
}

void MapRun::next() {
    if (chunks_.empty()) {
        input_error_ = nullptr;
        return;
    }
    if (element_end_) reader_ = *element_end_;
    element_end_.reset();
    --elements_under_way_;
    if (--elements_left_ == 0) finish_chunk();
}

void MapRun::finish_chunk() {
    if (!chunk_error_ && reader_.remaining() == sizeof(std::int64_t)) {
        adapt(std::chrono::nanoseconds(decode<std::int64_t>(reader_)), chunks_.front().elements);
    }
    chunks_.front().task.release();
    chunks_.pop_front();
    loaded_ = false;
    fill();
}

void MapRun::adapt(std::chrono::nanoseconds elapsed, std::size_t elements) {
    if (options_.chunksize) return;
    const auto took = static_cast<std::size_t>(std::max<std::int64_t>(elapsed.count(), 1));
    const std::size_t wanted = static_cast<std::size_t>(target_time.count()) * elements / took;
    const std::size_t most = std::min(growth_limit * chunksize_, largest_chunk);
    chunksize_ = std::clamp<std::size_t>(wanted, 1, most);
    if (options_.lookahead) { // leave something for every worker
        chunksize_ = std::clamp<std::size_t>(*options_.lookahead / workers_, 1, chunksize_);
    }
}

} // namespace prong::detail
