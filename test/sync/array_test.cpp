#include <prong/array.hpp>

#include "support/catch.hpp"
#include "sync/family.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <complex>
#include <concepts>
#include <cstdint>
#include <fstream>
#include <limits>
#include <mutex>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

using namespace prong::test;
using prong::Array;
using prong::ObjectGone;

namespace {

static_assert(std::ranges::contiguous_range<const Array<int>>);
static_assert(std::ranges::sized_range<Array<int>>);
static_assert(std::convertible_to<const Array<int>&, std::span<int>>);
static_assert(std::convertible_to<Array<int>&, std::span<const int>>);
static_assert(!std::convertible_to<Array<int>, std::span<int>>, "would dangle");

template <typename T>
std::vector<T> elements_of(const Array<T>& array) {
    return std::vector<T>(array.begin(), array.end());
}

void accumulate(const Array<int>& array) {
    for (std::size_t i = 1; i < array.size(); ++i) array[i] += array[i - 1];
}

long resident_pages() {
    std::ifstream statm("/proc/self/statm");
    long all = 0;
    long resident = 0;
    statm >> all >> resident;
    return resident;
}

} // namespace

TEST_CASE("what a process writes to an array is seen by the others") {
    const Array<int> array{680, 626, 934, 821, 150, 233, 548, 982, 714, 831};
    std::vector<int> expected = elements_of(array);
    std::partial_sum(expected.begin(), expected.end(), expected.begin());
    CHECK(exitcode_of([&] { accumulate(array); }) == 0);
    CHECK(elements_of(array) == expected);
}

TEST_CASE("an array is made of a size, an element, a list or a range") {
    for (int i = 0; i < 3; ++i) { // also in memory that was used before
        const Array<int> zeros(10);
        CHECK(elements_of(zeros) == std::vector(10, 0));
        std::ranges::fill(zeros, -1);
    }
    CHECK(elements_of(Array<int>(3, 7)) == std::vector{7, 7, 7});
    CHECK(elements_of(Array<int>{3, 7}) == std::vector{3, 7});
    CHECK(elements_of(Array<int>{5}) == std::vector{5});
    CHECK(elements_of(Array<int>(std::vector{1, 2, 3})) == std::vector{1, 2, 3});
    CHECK(elements_of(Array<double>(std::views::iota(0, 3))) == std::vector{0.0, 1.0, 2.0});
    CHECK(elements_of(Array<bool>(std::vector{true, false})) == std::vector{true, false});
    CHECK(elements_of(Array<std::complex<double>>(2)) == std::vector<std::complex<double>>(2));
    struct Seven {
        int number = 7;
    };
    CHECK(Array<Seven>(2)[1].number == 7);
}

TEST_CASE("an array of no elements is one") {
    const Array<int> none(0);
    CHECK(none.size() == 0);
    CHECK(none.empty());
    CHECK(none.begin() == none.end());
    CHECK(std::span<int>(none).empty());
    CHECK_THROWS_AS(none.at(0), std::out_of_range);
    CHECK(Array<int>(std::vector<int>()).empty());
    const std::scoped_lock guard(none.get_lock());
    prong::ProcessPoolExecutor pool(1);
    CHECK(pool.submit([](const Array<int>& array) { return array.size(); }, none).get() == 0);
}

TEST_CASE("spans are the slices of an array") {
    const Array<int> array(std::views::iota(0, 10));
    const std::span<int> all = array;
    CHECK(all.size() == 10);
    std::ranges::fill(all.subspan(2, 3), 9);
    CHECK(elements_of(array) == std::vector{0, 1, 9, 9, 9, 5, 6, 7, 8, 9});
    std::ranges::sort(array, std::greater());
    CHECK(array[0] == 9);
    CHECK(array.data() == &array[0]);
    CHECK(all.data() == array.data());
}

TEST_CASE("at checks the index") {
    const Array<int> array(3);
    array.at(2) = 5;
    CHECK(array[2] == 5);
    CHECK_THROWS_AS(array.at(3), std::out_of_range);
}

TEST_CASE("the lock of an array keeps the changes of processes apart") {
    const Array<int> array(2);
    constexpr int rounds = 5000;
    const auto count = [&] {
        for (int i = 0; i < rounds; ++i) {
            const std::scoped_lock guard(array.get_lock());
            for (int& element : array) element = element + 1;
        }
    };
    std::vector<prong::Process> processes;
    for (int i = 0; i < 3; ++i) processes.emplace_back(count);
    for (prong::Process& process : processes) process.start();
    count();
    for (prong::Process& process : processes) process.join();
    CHECK(elements_of(array) == std::vector(2, 4 * rounds));
    const std::scoped_lock twice(array.get_lock(), array.get_lock());
    CHECK(exitcode_of([&] { std::exit(array.get_lock().try_lock() ? 1 : 0); }) == 0);
}

TEST_CASE("the death of a process that holds an array's lock is reported") {
    const Array<int> array(1);
    Sleeper([&] {
        array.get_lock().lock();
        array[0] = 1;
    }).kill();
    CHECK(array.get_lock().acquire_for(patience).previous_died());
    CHECK(array[0] == 1);
    array.get_lock().unlock();
}

TEST_CASE("arrays pass to tasks, from tasks and through pipes") {
    prong::ProcessPoolExecutor pool(2);
    pool.submit([] {}).get(); // the workers are older than the array
    const Array<int> array{1, 2, 3};
    pool.submit(accumulate, array).get();
    CHECK(elements_of(array) == std::vector{1, 3, 6});
    const Array<int> same = pool.submit([](Array<int> a) { return a; }, array).get();
    CHECK(same == array);
    CHECK(same.data() == array.data());

    auto [ours, theirs] = prong::Pipe();
    ours.send(array);
    CHECK_THROWS_AS(theirs.recv<Array<short>>(), prong::CodecError);
    ours.send(array);
    CHECK_THROWS_AS(theirs.recv<prong::Value<int>>(), prong::CodecError);
}

TEST_CASE("an array that has ended is not given out any more") {
    std::optional<Array<int>> owner(std::in_place, 3);
    const Array<int> copy = *owner;
    owner.reset();
    CHECK(copy.size() == 3);
    CHECK_THROWS_AS(copy.data(), ObjectGone);
    CHECK_THROWS_AS(copy.begin(), ObjectGone);
    CHECK_THROWS_AS(copy.at(0), ObjectGone);
    CHECK_THROWS_AS(std::span<int>(copy), ObjectGone);
    CHECK_THROWS_AS(copy.get_lock().lock(), ObjectGone);
}

TEST_CASE("a large array costs what is touched, and leaves nothing behind") {
    constexpr std::size_t size = std::size_t{1} << 27;
    const long before = resident_pages();
    for (int i = 0; i < 10; ++i) {
        const Array<std::uint64_t> array(size); // 1 GiB
        CHECK(array[size - 1] == 0);
        array[size - 1] = 1;
        array[0] = 1;
        std::ranges::fill(std::span<std::uint64_t>(array).first(100'000), 1U);
        CHECK(exitcode_of([&] { std::exit(array[size - 1] == 1 ? 0 : 1); }) == 0);
    }
    CHECK(resident_pages() - before < 1000);
}

TEST_CASE("an array that is too large is refused in words") {
    const auto text_of = [](std::size_t size) -> std::string {
        try {
            const Array<double> array(size);
        } catch (const prong::Error& error) {
            return error.what();
        }
        return "no exception";
    };
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    CHECK(text_of(std::size_t{1} << 50).starts_with("there is no room for 9007199254740992 bytes"));
    CHECK(text_of(most).starts_with("there is no room for"));
    CHECK(text_of(most / 8 + 2).starts_with("there is no room for"));
}
