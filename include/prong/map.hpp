#pragma once

#include <prong/detail/completion_set.hpp>
#include <prong/detail/pool_reference.hpp>
#include <prong/detail/task.hpp>
#include <prong/detail/task_writer.hpp>
#include <prong/error.hpp>
#include <prong/task_options.hpp>
#include <prong/timeout.hpp>

#include <cxxabi.h>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace prong {

/// Options of one `map`.
struct MapOptions {
    /// Number of elements per task. A dying worker fails all elements of its task: set 1 for work
    /// that may crash. *Default:* adapts to about 300 µs of work per task, starting with one
    /// element; with `TaskOptions`, one. 0 throws `std::invalid_argument`.
    std::optional<std::size_t> chunksize = std::nullopt;

    /// Bounds all waits together, counted from the call of `map`. On expiry the first missing
    /// result throws `TimeoutError` once, from `*`, `++` or `get`. Later waits have no limit:
    /// iterate again to continue. After expiry `map` and `++` do not wait for room in the queue. No
    /// input is lost. *Default:* no limit.
    Timeout timeout = std::nullopt;

    /// Limits the elements that are read from the input but not yet passed on as results.
    /// *Default:* enough to keep all workers busy, at least 256. 0 throws `std::invalid_argument`.
    std::optional<std::size_t> lookahead = std::nullopt;

    /// Returns results in input order; false: chunk by chunk as chunks finish. *Default:* true.
    bool ordered = true;
};

namespace detail {

/// The exception that is being handled, for an element of a chunk; and back.
PRONG_API void encode_element_failure(Writer& writer);
PRONG_API std::exception_ptr decode_element_failure(Reader& reader);

/// Returns whether the running task has `TaskOptions::capture_stack`.
PRONG_API bool captures_stack() noexcept;
/// Calls `function(argument)` for an element in such a task.
PRONG_API void call_with_capture(void (*function)(void*), void* argument);

inline constexpr std::uint8_t element_returned = 0;
inline constexpr std::uint8_t element_thrown = 1;

/// Begins to read an element of a chunk: its value follows, or returns what it has thrown.
PRONG_API std::exception_ptr read_element(Reader& reader);

/// What a worker runs for a chunk: the callable, then arguments until they end. The result: for
/// each element a byte that tells how it ended and its value or exception; then the nanoseconds it
/// took.
template <class F, class TheCall>
struct ChunkFunctions {
    static void run(Reader& arguments, Writer& result) {
        const auto start = std::chrono::steady_clock::now();
        const bool captures = captures_stack();
        auto callable = CallableCodec<F>::decode(arguments);
        for (bool is_first = true; arguments.remaining() != 0; is_first = false) {
            auto element = TheCall::decode_arguments(arguments);
            const bool is_alone = is_first && arguments.remaining() == 0;
            const std::size_t before = result.size();
            const auto fail = [&] {
                end_copy_of_worker(1);
                result.rewind(before);
                encode(result, element_thrown);
                encode_element_failure(result);
            };
            auto run_element = [&] {
                if constexpr (std::is_void_v<typename TheCall::Result>) {
                    TheCall::invoke(callable, element);
                    end_copy_of_worker(0);
                } else {
                    const typename TheCall::Result value = TheCall::invoke(callable, element);
                    end_copy_of_worker(0);
                    encode(result, value);
                }
            };
            try {
                encode(result, element_returned);
                if (captures) [[unlikely]] {
                    using Run = decltype(run_element);
                    call_with_capture([](void* run) { (*static_cast<Run*>(run))(); }, &run_element);
                } else {
                    run_element();
                }
            } catch (abi::__forced_unwind&) { // pthread_exit: no element's failure
                throw;
            } catch (const std::bad_alloc&) {
                if (is_alone) throw; // the task may be at its limit
                fail();
            } catch (...) {
                fail();
            }
        }
        const std::chrono::nanoseconds elapsed = std::chrono::steady_clock::now() - start;
        encode(result, static_cast<std::int64_t>(elapsed.count()));
    }

    static constexpr TaskType type{&run, &TaskFunctions<F, TheCall>::name,
                                   TaskFunctions<F, TheCall>::begins_with_address};
};

/// The input of a `map`: its callable and ranges, without their types.
class MapSource {
public:
    MapSource() = default;
    MapSource(const MapSource&) = delete;
    MapSource& operator=(const MapSource&) = delete;
    virtual ~MapSource() = default;

    virtual bool at_end() = 0;
    virtual const TaskType& type() const = 0;
    virtual void encode_callable(Writer& writer) const = 0;
    /// Encodes the next element, then goes on to the one after it.
    virtual void encode_element(Writer& writer) = 0;
};

template <class F, class... Views>
class MapSourceOf final : public MapSource {
public:
    using Call = TaskCall<F, std::ranges::range_reference_t<Views>...>;

    template <class... Ranges>
    explicit MapSourceOf(F callable, Ranges&&... ranges)
        : callable_(std::move(callable)), views_(std::views::all(std::forward<Ranges>(ranges))...),
          positions_(
              std::apply([](auto&... view) { return std::tuple(view.begin()...); }, views_)) {}

    bool at_end() override {
        return [this]<std::size_t... Index>(std::index_sequence<Index...>) {
            return (... ||
                    (std::get<Index>(positions_) == std::ranges::end(std::get<Index>(views_))));
        }(std::index_sequence_for<Views...>{});
    }
    const TaskType& type() const override { return ChunkFunctions<F, Call>::type; }
    void encode_callable(Writer& writer) const override {
        CallableCodec<F>::encode(writer, callable_);
    }
    void encode_element(Writer& writer) override {
        std::apply(
            [&writer](auto&... position) {
                Call::encode_arguments(writer, *position...);
                (static_cast<void>(++position), ...);
            },
            positions_);
    }

private:
    F callable_;
    std::tuple<Views...> views_;
    std::tuple<std::ranges::iterator_t<Views>...> positions_;
};

/// The part of a `map` that does not depend on types: which chunks are under way, and how large the
/// next one shall be.
class PRONG_API MapRun {
public:
    /// `task_options`: null for none.
    MapRun(executor::PoolCore& core, const MapOptions& options, const TaskOptions* task_options,
           std::unique_ptr<MapSource> source);
    /// Cancels what no worker has claimed.
    ~MapRun();
    MapRun(const MapRun&) = delete;
    MapRun& operator=(const MapRun&) = delete;

    /// Whether all results have been passed on.
    [[nodiscard]] bool at_end() const;

    /// Waits until the current element is there. Throws `TimeoutError`.
    void wait();

    /// The encoded current element, its kind already read. Waits for it. Throws what the element
    /// threw, what ended its whole chunk, `TimeoutError`.
    Reader element();

    /// Says that the current element ends where this reader stands, so that `next` need not look.
    void set_element_end(const Reader& reader) { element_end_ = reader; }
    [[nodiscard]] const std::optional<Reader>& element_end() const { return element_end_; }

    /// The rest of the chunk cannot be decoded.
    void fail_chunk(std::exception_ptr error) { chunk_error_ = std::move(error); }

    /// On to the next element; the current one has been looked at.
    void next();

private:
    struct Chunk {
        TaskHandle task;
        std::size_t elements = 0;
    };
    /// A chunk for which there was no room in time.
    struct Unsent {
        explicit Unsent(executor::PoolCore& core) : writer(core) {}

        TaskWriter writer;
        std::size_t elements = 0;
    };

    void fill();
    void read_chunk(std::size_t most);
    bool send_chunk();
    void keep(TaskHandle task, std::size_t elements);
    void load();
    void finish_chunk();
    void adapt(std::chrono::nanoseconds elapsed, std::size_t elements);
    [[nodiscard]] std::size_t lookahead() const;

    PoolReference pool_;
    unsigned workers_;
    MapOptions options_;
    std::optional<TaskOptions> task_options_;
    Deadline limit_; ///< `never` once its TimeoutError was thrown
    std::unique_ptr<MapSource> source_;
    std::exception_ptr input_error_; ///< comes after all results
    bool input_ended_ = false;
    std::size_t chunksize_;

    std::optional<Unsent> unsent_;
    std::deque<Chunk> chunks_;      ///< each stays in its place; some places are free
    std::vector<std::size_t> free_; ///< places
    std::deque<std::size_t> next_;  ///< places of chunks in order; without order: of what has ended
    CompletionSet pending_;         ///< without order: the others
    std::size_t elements_under_way_ = 0;

    // The first of the next chunks, once it is there.
    bool loaded_ = false;
    std::exception_ptr chunk_error_;
    std::size_t elements_left_ = 0;
    Reader reader_;
    std::optional<Reader> element_end_;
};

/// A `map` and its current element, which is decoded at most once.
template <class T>
struct MapProgress {
    MapProgress(executor::PoolCore& core, const MapOptions& options,
                const TaskOptions* task_options, std::unique_ptr<MapSource> source)
        : run(core, options, task_options, std::move(source)) {}

    MapRun run;
    std::optional<T> element;
};

} // namespace detail

/// Results of `map`: a move-only input range, in input order by default. Advancing the iterator
/// submits further chunks.
///
/// `*it` blocks until the result is there, then returns it or throws the task's exception. It
/// refers to a result that is decoded once and stays until `++it`; `std::move(*it)` takes it. A
/// result that cannot be copied is decoded and returned by value each time. `++it` continues with
/// the next element, also after an exception. For a `void` function `*it` returns `std::monostate`.
///
/// An error in reading or encoding the input is thrown after all earlier results; by `map` itself
/// if there are none. A worker's death fails all elements of its chunk (`MapOptions::chunksize`).
///
/// The destructor cancels unclaimed chunks. A `MapResult` may outlive the pool. After `shutdown`,
/// elements already read still yield results; then `PoolShutdown` is thrown if the input has more.
///
/// Thread safety: one thread at a time.
///
/// Process safety: in a process forked later, every step throws `std::logic_error`.
template <class R>
class MapResult {
public:
    /// One result; `std::monostate` for a `void` function.
    using value_type = std::conditional_t<std::is_void_v<R>, std::monostate, R>;
    /// Type that `*it` returns.
    using reference =
        std::conditional_t<std::copy_constructible<value_type>, value_type&, value_type>;
    /// The map and its current element.
    using Progress = detail::MapProgress<value_type>;

    /// Called by `map`.
    explicit MapResult(std::unique_ptr<Progress> progress) : progress_(std::move(progress)) {}

    /// Iterates once; `++` blocks until the current element has ended.
    class Iterator {
    public:
        using iterator_concept = std::input_iterator_tag;
        using value_type = MapResult::value_type;
        using difference_type = std::ptrdiff_t;

        explicit Iterator(Progress& progress) : progress_(&progress) {}

        reference operator*() const { return read(*progress_); }
        Iterator& operator++() {
            skip(*progress_);
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const Iterator& it, std::default_sentinel_t) {
            return it.progress_->run.at_end();
        }

    private:
        Progress* progress_;
    };

    /// Returns the position of the next unread result.
    Iterator begin() {
        if (progress_ == nullptr) throw std::logic_error("this map result was moved from");
        return Iterator(*progress_);
    }
    /// Reached after the last result.
    [[nodiscard]] std::default_sentinel_t end() const { return {}; }

    /// Blocks until all remaining results are there and returns them; returns nothing if `f`
    /// returns `void`. *Throws* the first error and keeps the results gathered before. Call it
    /// again after `TimeoutError`. After any other error skip that element with `++begin()` first.
    std::conditional_t<std::is_void_v<R>, void, std::vector<value_type>> get() {
        if constexpr (std::is_void_v<R>) {
            for (Iterator it = begin(); it != end(); ++it) static_cast<void>(*it);
        } else {
            for (Iterator it = begin(); it != end(); ++it)
                gathered_.push_back(std::ranges::iter_move(it));
            return std::exchange(gathered_, {});
        }
    }

private:
    static reference read(Progress& progress) {
        progress.run.wait();
        if constexpr (std::is_reference_v<reference>) {
            if (!progress.element) progress.element.emplace(decode(progress.run));
            return *progress.element;
        } else {
            return decode(progress.run);
        }
    }

    static value_type decode(detail::MapRun& run) {
        detail::Reader reader = run.element();
        if constexpr (std::is_void_v<R>) {
            run.set_element_end(reader);
            return {};
        } else {
            try {
                value_type value = detail::decode<R>(reader);
                run.set_element_end(reader);
                return value;
            } catch (const CodecError&) { // the next one's place is unknown
                run.fail_chunk(std::current_exception());
                throw;
            }
        }
    }

    static void skip(Progress& progress) {
        progress.run.wait();
        if (!progress.run.element_end()) {
            try {
                static_cast<void>(decode(progress.run));
            } catch (...) { // was to be had by *it
            }
        }
        progress.element.reset();
        progress.run.next();
    }

    std::unique_ptr<Progress> progress_;
    /// Results of a call of `get` that ended with an error.
    std::conditional_t<std::is_void_v<R>, std::monostate, std::vector<value_type>> gathered_;
};

/// Result of `map(f, ranges...)`.
template <class F, class... Ranges>
using map_result_t = MapResult<task_result_t<F, std::ranges::range_reference_t<Ranges>...>>;

namespace detail {

template <class F, class... Ranges>
map_result_t<F, Ranges...> make_map_result(executor::PoolCore& core, const MapOptions& options,
                                           const TaskOptions* task_options, F callable,
                                           Ranges&&... ranges) {
    using Source = MapSourceOf<F, std::views::all_t<Ranges>...>;
    using Result = map_result_t<F, Ranges...>;
    if constexpr (require_task<F, std::ranges::range_reference_t<Ranges>...>()) {
        auto source =
            std::make_unique<Source>(std::move(callable), std::forward<Ranges>(ranges)...);
        return Result(std::make_unique<typename Result::Progress>(core, options, task_options,
                                                                  std::move(source)));
    } else {
        return Result(nullptr); // so that the refusal is the only error
    }
}

} // namespace detail
} // namespace prong
