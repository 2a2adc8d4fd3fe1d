#pragma once

#include <prong/detail/task.hpp>

#include <cxxabi.h>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

/// \file
/// A chunk: elements of a `map` that one task runs, and their results.

namespace prong::detail {

// ---- in the worker ------------------------------------------------------------------------------

/// Encodes the exception that is being handled, for an element of a chunk.
PRONG_API void encode_element_failure(Writer& writer);

/// Returns whether the running task has `TaskOptions::capture_stack`.
PRONG_API bool captures_stack() noexcept;
/// Calls `function(argument)` for an element in such a task.
PRONG_API void call_with_capture(void (*function)(void*), void* argument);

/// The size of values that lie as they are, one after another, in the result of a chunk; 0 for
/// other types, such as those that cannot be copied into a vector together.
template <class R>
inline constexpr std::size_t plain_bytes = 0;
template <Bitwise R>
    requires(std::copyable<R> && !std::is_empty_v<R> && !is_all_bool<R>())
inline constexpr std::size_t plain_bytes<R> = sizeof(R);

/// The bytes that one element's arguments take; 0 if that depends on the element.
template <class Arguments>
inline constexpr std::size_t row_bytes = 0;
template <Bitwise... Held>
    requires(!std::is_empty_v<Held> && ...)
inline constexpr std::size_t row_bytes<std::tuple<Held...>> = (sizeof(Held) + ... + 0);

// How an element has ended whose value is not plain.
inline constexpr std::uint8_t element_returned = 0;
inline constexpr std::uint8_t element_thrown = 1;

/// What a worker runs for a chunk: the callable, then arguments until they end.
///
/// The result of plain values: the values, with zeros in place of those that have thrown; the
/// number of these, and for each its position and exception. The result of other values: for each
/// element a byte that says how it ended, and its value or exception. At the end of both: the
/// nanoseconds that the chunk took; then the list of the parcels, if there may be any.
template <class F, class TheCall>
struct ChunkFunctions {
    static void run(Reader& arguments, Writer& result) {
        const auto start = std::chrono::steady_clock::now();
        Callable callable = CallableCodec<F>::decode(arguments);
        if constexpr (plain_bytes<R> != 0) {
            run_plain(callable, arguments, result);
        } else {
            run_others(callable, arguments, result);
        }
        const std::chrono::nanoseconds elapsed = std::chrono::steady_clock::now() - start;
        encode(result, static_cast<std::int64_t>(elapsed.count()));
        if constexpr (returns_parcels) write_pledges(result);
    }

private:
    using Functions = TaskFunctions<F, TheCall>;
    static constexpr bool returns_parcels = Functions::returns_parcels;

public:
    static constexpr TaskType type{&run, &Functions::name, Functions::begins_with_address,
                                   returns_parcels};

private:
    using R = typename TheCall::Result;
    using Arguments = typename TheCall::Arguments;
    using Callable = typename TheCall::Callable;

    /// Elements whose arguments all take the same number of bytes.
    struct Rows {
        static constexpr std::size_t bytes = row_bytes<Arguments>;

        explicit Rows(Reader& arguments)
            : left(arguments.remaining() / bytes), next(arguments.view(left * bytes)) {}
        [[nodiscard]] bool at_end() const { return left == 0; }
        Arguments take() {
            Reader row({next, bytes});
            next += bytes;
            --left;
            return TheCall::decode_arguments(row);
        }

        std::size_t left;
        const std::byte* next;
    };

    /// Elements that must be decoded to find the next one.
    struct Sequence {
        [[nodiscard]] bool at_end() const { return arguments.remaining() == 0; }
        Arguments take() { return TheCall::decode_arguments(arguments); }

        Reader& arguments;
    };

    /// The number of failures and the time. There is room for them from the beginning, so that a
    /// full block is not moved for them.
    static constexpr std::size_t bytes_behind_values = 2 * sizeof(std::uint64_t);

    static void run_plain(Callable& callable, Reader& arguments, Writer& result) {
        if constexpr (row_bytes<Arguments> != 0) {
            Rows rows(arguments);
            result.make_room(rows.left * sizeof(R) + bytes_behind_values);
            std::byte* place = result.reserve(rows.left * sizeof(R));
            run_plain(callable, rows, result,
                      [&] { return std::exchange(place, place + sizeof(R)); });
        } else {
            run_plain(callable, Sequence{arguments}, result,
                      [&] { return result.reserve(sizeof(R)); });
        }
    }

    /// `next_place` returns where the next value goes.
    template <class Elements, class NextPlace>
    static void run_plain(Callable& callable, Elements elements, Writer& result,
                          NextPlace next_place) {
        BufferWriter failures(result.max_nesting());
        std::uint64_t failed = 0;
        std::uint64_t position = 0;
        run_elements(
            callable, elements,
            [&](const R& value) {
                std::memcpy(next_place(), std::addressof(value), sizeof(R));
                ++position;
            },
            [&] {
                encode(failures, position);
                encode_element_failure(failures);
                std::memset(next_place(), 0, sizeof(R));
                ++position;
                ++failed;
            });
        encode(result, failed);
        result.write(failures.data(), failures.size());
    }

    static void run_others(Callable& callable, Reader& arguments, Writer& result) {
        std::size_t end = result.size(); // of the last element
        const auto end_element = [&] {
            result.make_room(sizeof(std::int64_t)); // for the time: else the whole chunk would fail
            end = result.size();
        };
        run_elements(
            callable, Sequence{arguments},
            [&](const auto&... value) {
                encode(result, element_returned);
                (encode(result, value), ...);
                end_element();
            },
            [&] {
                result.rewind(end);
                if constexpr (returns_parcels) result.pledges().drop(end);
                encode(result, element_thrown);
                encode_element_failure(result);
                end_element();
            });
    }

    /// How far `run_elements` has come.
    struct Progress {
        bool is_first = true;    ///< no element has ended
        bool is_decoded = false; ///< the current one: what is thrown now is its failure
    };

    /// Calls the callable for each element. Passes the value to `store`, or calls `fail` while the
    /// element's exception is being handled.
    template <class Elements, class Store, class Fail>
    static void run_elements(Callable& callable, Elements elements, Store store, Fail fail) {
        const bool captures = captures_stack();
        const CopyCheck copy_check;
        Progress progress;
        while (!elements.at_end()) {
            try {
                if (captures) [[unlikely]]
                    run_captured(callable, elements, copy_check, store, progress);
                else
                    run_until_one_throws(callable, elements, copy_check, store, progress);
            } catch (abi::__forced_unwind&) { // pthread_exit: no element's failure
                throw;
            } catch (const std::bad_alloc&) {
                const bool is_alone = progress.is_first && elements.at_end();
                if (!progress.is_decoded || is_alone) throw; // the task may be at its limit
                end_copy_of_worker(1);
                fail();
            } catch (...) {
                if (!progress.is_decoded) throw;
                end_copy_of_worker(1);
                fail();
            }
            progress.is_first = false;
        }
    }

    /// Apart from `run_captured`, which takes the address of the element and of its call: here they
    /// can stay in registers.
    template <class Elements, class Store>
    static void run_until_one_throws(Callable& callable, Elements& elements,
                                     const CopyCheck& copy_check, Store& store,
                                     Progress& progress) {
        for (; !elements.at_end(); progress.is_first = false) {
            progress.is_decoded = false;
            Arguments element = elements.take();
            progress.is_decoded = true;
            run_element(callable, element, copy_check, store);
        }
    }

    /// Runs one element in a task with `TaskOptions::capture_stack`.
    template <class Elements, class Store>
    static void run_captured(Callable& callable, Elements& elements, const CopyCheck& copy_check,
                             Store& store, Progress& progress) {
        progress.is_decoded = false;
        Arguments element = elements.take();
        progress.is_decoded = true;
        auto run = [&] { run_element(callable, element, copy_check, store); };
        using Run = decltype(run);
        call_with_capture([](void* place) { (*static_cast<Run*>(place))(); }, &run);
    }

    template <class Store>
    static void run_element(Callable& callable, Arguments& element, const CopyCheck& copy_check,
                            Store& store) {
        if constexpr (std::is_void_v<R>) {
            TheCall::invoke(callable, element);
            copy_check.end_copy();
            store();
        } else {
            const R value = TheCall::invoke(callable, element);
            copy_check.end_copy();
            store(value);
        }
    }
};

// ---- in the parent ------------------------------------------------------------------------------

/// Goes through the result of a chunk, element by element. Throws `CodecError` for bytes that are
/// no such result.
class PRONG_API ChunkReader {
public:
    ChunkReader() = default;
    /// `value_bytes`: the `plain_bytes` of the result type.
    ChunkReader(const Reader& result, std::size_t elements, std::size_t value_bytes);

    /// Returns the number of elements from the current one on.
    [[nodiscard]] std::size_t left() const { return left_; }

    /// Returns where the current element's value begins. Throws what the element threw.
    Reader value();

    /// Says that the current element's value ends where this reader stands.
    void set_end(const Reader& reader) {
        if (value_bytes_ == 0) end_ = reader;
    }
    /// Returns whether `next` may be called.
    [[nodiscard]] bool knows_end() const { return value_bytes_ != 0 || end_.has_value(); }

    /// Advances by `count` elements; by more than one only among `values`.
    void next(std::size_t count = 1);

    /// Returns the plain values of the current element and of those after it until one has thrown.
    [[nodiscard]] std::span<const std::byte> values() const;

    /// Returns the time that the chunk took. Only at the end.
    [[nodiscard]] std::optional<std::chrono::nanoseconds> elapsed();

private:
    /// An element that has thrown, and its exception.
    struct Failure {
        std::uint64_t position;
        Reader exception;
    };

    std::size_t value_bytes_ = 0;
    std::size_t left_ = 0;
    Reader reader_; ///< at the current element; of plain values, behind everything but the time
    std::optional<Reader> end_;
    // Of plain values:
    std::span<const std::byte> values_;
    std::uint64_t position_ = 0;
    std::deque<Failure> failures_; ///< from the current element on
};

/// Appends values that lie as they are in encoded bytes.
template <class R>
void append_values(std::vector<R>& results, std::span<const std::byte> bytes) {
    const EncodedElements<R> values{bytes.data(), bytes.size() / sizeof(R)};
    if (values.is_aligned()) {
        results.insert(results.end(), values.objects(), values.objects() + values.count);
    } else {
        Reader reader(bytes);
        for (std::size_t i = 0; i < values.count; ++i) results.push_back(decode_bitwise<R>(reader));
    }
}

} // namespace prong::detail
