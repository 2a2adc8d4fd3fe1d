#pragma once

#include <prong/detail/chunk.hpp>
#include <prong/detail/completion_set.hpp>
#include <prong/detail/pool_reference.hpp>
#include <prong/detail/task_writer.hpp>
#include <prong/error.hpp>
#include <prong/task_options.hpp>
#include <prong/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
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
    /// Encodes at most `most` of the next elements, and returns their number: at least one unless
    /// it sets `error`, to what the input or the encoding has thrown after these. Not at the end.
    virtual std::size_t encode_elements(Writer& writer, std::size_t most,
                                        std::exception_ptr& error) = 0;
    /// Returns how many elements are left, as far as that is known.
    [[nodiscard]] virtual std::size_t size_hint() const = 0;
};

/// Writes into memory that is large enough. As a local object it takes a tenth less time for each
/// element than the writer that has reserved the memory.
class PlaceWriter final : public Writer {
public:
    PlaceWriter(std::byte* place, std::size_t size) : Writer(default_max_nesting) {
        set_window(place, 0, size);
    }

private:
    void grow(std::size_t /*more*/) override {
        throw std::logic_error("prong: a full PlaceWriter");
    }
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

    bool at_end() override { return is_end(positions_); }
    const TaskType& type() const override { return ChunkFunctions<F, Call>::type; }
    void encode_callable(Writer& writer) const override {
        CallableCodec<F>::encode(writer, callable_);
    }
    std::size_t encode_elements(Writer& writer, std::size_t most,
                                std::exception_ptr& error) override {
        if constexpr (is_one_piece) {
            auto& position = std::get<0>(positions_);
            const std::size_t count = std::min(most, least_left());
            writer.write(std::to_address(position), count * row);
            position += static_cast<std::ptrdiff_t>(count);
            return count;
        } else if constexpr (row != 0 && are_sized) {
            const std::size_t start = writer.size();
            const std::size_t room = std::min(most, least_left()) * row;
            PlaceWriter place(writer.reserve(room), room);
            const std::size_t count = encode_one_by_one(place, room / row, error);
            writer.rewind(start + count * row);
            return count;
        } else {
            return encode_one_by_one(writer, most, error);
        }
    }
    std::size_t size_hint() const override {
        if constexpr (are_sized) {
            return [this]<std::size_t... Index>(std::index_sequence<Index...>) {
                return std::min({static_cast<std::size_t>(
                    std::ranges::end(std::get<Index>(views_)) - std::get<Index>(positions_))...});
            }(std::index_sequence_for<Views...>{});
        } else {
            return 0;
        }
    }

private:
    using Positions = std::tuple<std::ranges::iterator_t<Views>...>;

    static constexpr std::size_t row = row_bytes<typename Call::Arguments>;
    static constexpr bool are_sized =
        (std::sized_sentinel_for<std::ranges::sentinel_t<Views>, std::ranges::iterator_t<Views>> &&
         ...);
    /// Do the elements lie in memory as they are encoded?
    static constexpr bool is_one_piece =
        are_sized && row != 0 && (std::ranges::contiguous_range<Views> && ...) &&
        std::same_as<typename Call::Arguments, std::tuple<std::ranges::range_value_t<Views>...>> &&
        sizeof...(Views) == 1;

    /// Returns how many elements are left: not at the end, at least one, whatever the views say.
    [[nodiscard]] std::size_t least_left() const {
        return std::max<std::size_t>(MapSourceOf::size_hint(), 1);
    }

    [[nodiscard]] bool is_end(const Positions& positions) {
        return [&]<std::size_t... Index>(std::index_sequence<Index...>) {
            return (... ||
                    (std::get<Index>(positions) == std::ranges::end(std::get<Index>(views_))));
        }(std::index_sequence_for<Views...>{});
    }

    std::size_t encode_one_by_one(Writer& writer, std::size_t most, std::exception_ptr& error) {
        std::size_t count = 0;
        std::size_t end = writer.size();
        Positions positions = std::move(positions_); // local: no other code changes it
        try {
            for (; count < most && !is_end(positions); ++count) {
                if constexpr (moves_parcels && !are_references) writer.pledges().forget_handles();
                std::apply(
                    [&writer](auto&... position) {
                        Call::encode_arguments(writer, *position...);
                        (static_cast<void>(++position), ...);
                    },
                    positions);
                end = writer.size();
            }
        } catch (...) {
            error = std::current_exception();
            writer.rewind(end);
            if constexpr (moves_parcels)
                are_references ? writer.pledges().take_back(end) : writer.pledges().drop(end);
        }
        positions_ = std::move(positions);
        return count;
    }

    /// Whether elements may have buffers, and whether these outlive their encoding.
    static constexpr bool moves_parcels =
        (is_moved_by_encoding<std::ranges::range_value_t<Views>>() || ...);
    static constexpr bool are_references =
        ((std::is_reference_v<std::ranges::range_reference_t<Views>> ||
          !is_moved_by_encoding<std::ranges::range_value_t<Views>>()) &&
         ...);

    F callable_;
    std::tuple<Views...> views_;
    Positions positions_;
};

/// The part of a `map` that does not depend on types: which chunks are under way, and how large the
/// next one shall be.
class PRONG_API MapRun {
public:
    /// `task_options`: null for none. `value_bytes`: see `ChunkReader`. Unless it `may_block`, it
    /// never waits for room, and `element` is called only when `is_ready`.
    MapRun(executor::PoolCore& core, const MapOptions& options, const TaskOptions* task_options,
           std::unique_ptr<MapSource> source, std::size_t value_bytes, bool may_block = true);
    /// Cancels what no worker has claimed.
    ~MapRun();
    MapRun(const MapRun&) = delete;
    MapRun& operator=(const MapRun&) = delete;

    [[nodiscard]] executor::PoolCore& pool() const { return pool_.core(); }

    /// Whether all results have been passed on.
    [[nodiscard]] bool at_end() const;

    // For event loops.

    /// Reads ahead. Returns whether `element` does not block now.
    bool is_ready();
    /// If it is not: returns the task that the element waits for; null if any of several tasks, or
    /// room in the queue, will do.
    [[nodiscard]] const TaskHandle* awaited() const;
    /// Returns whether `is_ready` may have changed. Reads no input.
    bool poll();

    /// Waits until the current element is there. Throws `TimeoutError`.
    void wait();

    /// Waits for the current element and returns where its value begins. Throws what the element
    /// threw, what ended its whole chunk, `TimeoutError`.
    Reader element();

    /// Says that the current element ends where this reader stands, so that `next` need not look.
    void set_element_end(const Reader& reader) { chunk_.set_end(reader); }
    [[nodiscard]] bool knows_element_end() const { return chunk_error_ || chunk_.knows_end(); }

    /// Makes `error` the error of the chunk's remaining elements.
    void fail_chunk(std::exception_ptr error) { chunk_error_ = std::move(error); }

    /// Plain values of the current element and of others after it; none if it has thrown. Waits for
    /// the current element.
    std::span<const std::byte> values();

    /// Returns how many elements are to come, as far as that is known.
    [[nodiscard]] std::size_t size_hint() const {
        return elements_under_way_ + source_->size_hint();
    }

    /// Advances by `count` elements, which have been looked at.
    void next(std::size_t count = 1);

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

    [[nodiscard]] bool has_sent() const { return !next_.empty() || pending_.pending() != 0; }
    [[nodiscard]] bool has_result() const;
    void fill();
    void read_chunk(std::size_t most);
    bool send_chunk();
    void keep(TaskHandle task, std::size_t elements);
    void load();
    void finish_chunk();
    void adapt(std::chrono::nanoseconds elapsed, std::size_t elements);
    void note_size(std::size_t bytes, std::size_t elements);
    [[nodiscard]] std::size_t lookahead() const;

    PoolReference pool_;
    unsigned workers_;
    MapOptions options_;
    std::optional<TaskOptions> task_options_;
    Deadline limit_; ///< `never` once its TimeoutError was thrown
    bool may_block_;
    std::unique_ptr<MapSource> source_;
    std::size_t value_bytes_;
    std::exception_ptr input_error_; ///< comes after all results
    bool input_ended_ = false;
    std::size_t chunksize_;
    std::size_t bytes_per_element_ = 1; ///< the most so far, of arguments or results

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
    ChunkReader chunk_;
};

/// A `map` and its current element, which is decoded at most once.
template <class T>
struct MapProgress {
    MapProgress(executor::PoolCore& core, const MapOptions& options,
                const TaskOptions* task_options, std::unique_ptr<MapSource> source,
                bool may_block = true)
        : run(core, options, task_options, std::move(source), plain_bytes<T>, may_block) {}

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
            Iterator it = begin();
            gathered_.reserve(gathered_.size() + std::min(progress_->run.size_hint(), most_hint));
            while (it != end()) {
                if (take_values()) continue;
                gathered_.push_back(std::ranges::iter_move(it));
                ++it;
            }
            return std::exchange(gathered_, {});
        }
    }

private:
    /// For how many results `get` makes room before it has them.
    static constexpr std::size_t most_hint = (64 << 20) / sizeof(value_type) + 1;

    /// Takes plain results that lie in one piece. Returns false if there are none.
    bool take_values() {
        if constexpr (detail::plain_bytes<R> != 0) {
            if (progress_->element) return false; // it may have been changed
            const std::span<const std::byte> bytes = progress_->run.values();
            detail::append_values(gathered_, bytes);
            if (!bytes.empty()) progress_->run.next(bytes.size() / detail::plain_bytes<R>);
            return !bytes.empty();
        } else {
            return false;
        }
    }

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
            } catch (...) { // the next one's place is unknown
                run.fail_chunk(std::current_exception());
                throw;
            }
        }
    }

    static void skip(Progress& progress) {
        progress.run.wait();
        if (!progress.run.knows_element_end()) {
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
