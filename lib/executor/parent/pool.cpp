#include <prong/pool.hpp>

#include "executor/parent/core.hpp"
#include "executor/shared/option_check.hpp"

#include <algorithm>
#include <exception>
#include <stdexcept>

namespace prong {
namespace detail {
namespace {

/// As in Python: small enough that no worker waits long for the others' last chunk.
constexpr std::size_t chunks_per_worker = 4;

} // namespace

Reader result_of(const TaskHandle& task) {
    const Outcome outcome = task.outcome();
    if (outcome.error) std::rethrow_exception(outcome.error);
    outcome.require_memory();
    return outcome.result;
}

std::vector<CallTask> submit_chunks(executor::PoolCore& core, MapSource& source,
                                    std::size_t elements, std::optional<std::size_t> chunksize) {
    const std::size_t chunks = chunks_per_worker * core.known_workers();
    const std::size_t share = elements / chunks + (elements % chunks != 0 ? 1 : 0);
    const std::size_t most = executor::at_least_one(chunksize, "chunksize", share);
    std::vector<CallTask> tasks;
    try {
        while (!source.at_end()) {
            TaskWriter writer(core);
            source.encode_callable(writer);
            std::exception_ptr error;
            const std::size_t count = source.encode_elements(writer, most, error);
            if (error) std::rethrow_exception(error);
            tasks.push_back({.handle = std::move(writer).submit(source.type()), .elements = count});
        }
    } catch (...) {
        for (CallTask& task : tasks) task.handle.cancel();
        throw;
    }
    return tasks;
}

} // namespace detail

Pool::Pool(PoolOptions options) : executor_(std::move(options)), callbacks_(core()) {}

Pool::~Pool() {
    if (core().is_copy()) return;
    try {
        terminate();
    } catch (const std::exception&) {
        // Such as: the supervisor cannot be reached. Then no worker is left.
    }
}

void Pool::require_open() const {
    core().require_own_process();
    if (closed_.load()) throw_closed();
}

void Pool::throw_closed() {
    throw std::logic_error("this Pool is closed: it accepts no calls after close() or terminate(); "
                           "create a new Pool");
}

void Pool::close() {
    core().require_own_process();
    closed_.store(true);
}

void Pool::terminate() {
    close();
    callbacks_.stop();
    executor_.terminate_workers();
}

void Pool::join() {
    core().require_own_process();
    if (!closed_.load()) {
        throw std::logic_error("join() was called before close() or terminate(): the workers of a "
                               "Pool that accepts calls do not exit");
    }
    callbacks_.wait_until_idle();
    executor_.shutdown();
}

} // namespace prong
