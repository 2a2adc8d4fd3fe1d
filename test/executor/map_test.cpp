// map: the results of a function for each element of a range.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <prong/prong.hpp>

#include <csignal>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <ranges>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

using namespace prong::test;
using prong::MapOptions;

namespace {

std::vector<int> squares(int count) {
    std::vector<int> result;
    for (int i = 0; i < count; ++i) result.push_back(i * i);
    return result;
}

int odd_throws(int n) {
    if (n % 2 != 0) throw std::out_of_range(std::to_string(n));
    return n;
}

std::unique_ptr<int> in_a_box(int n) {
    return std::make_unique<int>(n);
}

/// A single-pass range of 0, 1, 2 … that counts how many have been read, and may throw.
class Source {
public:
    explicit Source(int& read, int throw_at = -1) : read_(&read), throw_at_(throw_at) {}

    struct Iterator {
        using iterator_concept = std::input_iterator_tag;
        using value_type = int;
        using difference_type = std::ptrdiff_t;
        int operator*() const {
            if (*source->read_ == source->throw_at_) throw std::domain_error("no more input");
            return *source->read_;
        }
        Iterator& operator++() {
            ++*source->read_;
            return *this;
        }
        void operator++(int) { ++*this; }
        Source* source;
    };
    Iterator begin() { return {this}; }
    [[nodiscard]] std::unreachable_sentinel_t end() const { return {}; }

private:
    int* read_;
    int throw_at_;
};

/// Not decodable in the parent for some values.
struct Odd {
    int value = 0;
    template <typename Archive>
    void save(Archive& archive) const {
        archive(value);
    }
    template <typename Archive>
    void load(Archive& archive) {
        archive(value);
        if (value % 5 == 3) throw std::domain_error("decoding fails");
    }
};

/// Counts in the parent how often one is decoded.
struct Counted {
    static inline int decoded = 0;
    int value = 0;
    template <typename Archive>
    void save(Archive& archive) const {
        archive(value);
    }
    template <typename Archive>
    void load(Archive& archive) {
        archive(value);
        ++decoded;
    }
};

} // namespace

TEST_CASE("chunks grow only as far as the pool's memory allows") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .max_payload_bytes = 100'000});
    int count = 0;
    for (const std::string& text :
         pool.map([](int) { return std::string(1000, 'x'); }, std::views::iota(0, 5000)))
        count += text.size() == 1000 ? 1 : 0;
    CHECK(count == 5000);
}

TEST_CASE("map gives the results in the order of the input") {
    ProcessPoolExecutor pool(2);
    CHECK(pool.map(square, std::views::iota(0, 1000)).get() == squares(1000));
    std::vector<int> seen;
    for (const int result : pool.map(square, std::views::iota(0, 100))) seen.push_back(result);
    CHECK(seen == squares(100));
    const std::vector<int> numbers{3, 1, 2};
    CHECK(pool.map(square, numbers).get() == std::vector{9, 1, 4});
    CHECK(pool.map(square, std::list<int>{5}).get() == std::vector{25});
    CHECK(pool.map(square, std::vector<int>()).get().empty());
    CHECK(pool.map([](const std::string& text) { return text.size(); },
                   std::vector<std::string>{"a", "", "ccc"})
              .get() == std::vector<std::size_t>{1, 0, 3});
    int factor = 3;
    CHECK(pool.map(with_captures([factor](int n) { return factor * n; }), std::views::iota(1, 4))
              .get() == std::vector{3, 6, 9});
}

TEST_CASE("an element of map is decoded once, however often it is asked for") {
    ProcessPoolExecutor pool(2);
    Counted::decoded = 0;
    auto results = pool.map([](int n) { return Counted{n}; }, std::views::iota(0, 10));
    auto evens =
        results | std::views::filter([](const Counted& each) { return each.value % 2 == 0; });
    int sum = 0;
    for (const Counted& each : evens) sum += each.value;
    CHECK(sum == 0 + 2 + 4 + 6 + 8);
    CHECK(Counted::decoded == 10);
    auto more = pool.map([](int n) { return Counted{n}; }, std::views::iota(0, 10));
    auto it = more.begin();
    CHECK((*it).value == 0);
    CHECK((*it).value == 0);
    auto moved = std::move(more); // what `*it` refers to stays in its place
    CHECK((*++it).value == 1);
    CHECK(moved.get().size() == 9);
    CHECK(Counted::decoded == 20);
}

TEST_CASE("an element of map that failed or cannot be copied may be asked for again") {
    ProcessPoolExecutor pool(1);
    auto failing = pool.map(odd_throws, std::views::iota(1, 3));
    auto failed = failing.begin();
    for (int i = 0; i < 2; ++i) CHECK_THROWS_WITH(*failed, "1");
    CHECK(*++failed == 2);
    auto boxes = pool.map(in_a_box, std::views::iota(5, 7));
    auto box = boxes.begin();
    for (int i = 0; i < 2; ++i) {
        const std::unique_ptr<int> taken = *box;
        CHECK(*taken == 5);
    }
    CHECK(**++box == 6);
}

TEST_CASE("map reads several ranges in step, up to the end of the shortest") {
    ProcessPoolExecutor pool(2);
    const std::vector<int> first{1, 2, 3, 4};
    const std::vector<double> second{0.5, 0.25};
    CHECK(pool.map(std::multiplies<>(), first, second).get() == std::vector{0.5, 0.5});
    CHECK(pool.map([](int a, int b, int c) { return a + b + c; }, std::views::iota(0), first,
                   std::views::iota(10))
              .get() == std::vector{11, 14, 17, 20});
    CHECK(pool.map(std::plus<>(), std::views::iota(0), std::vector<int>()).get().empty());
}

TEST_CASE("every chunk size and every look-ahead gives the same") {
    ProcessPoolExecutor pool(3);
    std::mt19937_64 random(test_seed());
    for (int round = 0; round < 100; ++round) {
        const int count = static_cast<int>(random() % 200);
        MapOptions options;
        if (random() % 3 != 0) options.chunksize = 1 + random() % 300;
        if (random() % 3 != 0) options.lookahead = 1 + random() % 300;
        options.ordered = random() % 2 == 0;
        CAPTURE(count, options.chunksize.value_or(0), options.lookahead.value_or(0));
        auto results = pool.map(options, square, std::views::iota(0, count)).get();
        if (!options.ordered) std::ranges::sort(results);
        REQUIRE(results == squares(count));
    }
    CHECK_THROWS_AS(pool.map(MapOptions{.chunksize = 0}, square, std::views::iota(0, 1)),
                    std::invalid_argument);
    CHECK_THROWS_AS(pool.map(MapOptions{.lookahead = 0}, square, std::views::iota(0, 1)),
                    std::invalid_argument);
}

TEST_CASE("a chunk is one task, by default too as soon as elements take little time") {
    ProcessPoolExecutor pool(2);
    const auto pid = [](int) { return static_cast<int>(getpid()); };
    const auto pids = pool.map(MapOptions{.chunksize = 10}, pid, std::views::iota(0, 100)).get();
    for (std::size_t i = 0; i < 100; ++i) CHECK(pids[i] == pids[i / 10 * 10]);
    const auto sum_of_ids = [](int n) { return n; };
    const auto large = pool.map(sum_of_ids, std::views::iota(0, 1'000'000)).get();
    CHECK(std::accumulate(large.begin(), large.end(), 0LL) == 499'999'500'000);
    Future<void> next = pool.submit([] { throw std::logic_error("which task was that?"); });
    CHECK_THROWS_AS(next.get(), std::logic_error);
}

TEST_CASE("map begins at once, and reads ahead only so far") {
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(2);
    int read = 0;
    auto results = pool.map(MapOptions{.lookahead = 10}, with_captures([place = runs.get()](int n) {
                                ++*place;
                                return n;
                            }),
                            Source(read));
    CHECK(eventually([&] { return *runs == 10; })); // before any result is taken
    CHECK(read == 10);
    auto it = results.begin();
    for (int i = 0; i < 1000; ++i, ++it) {
        REQUIRE(*it == i);
        REQUIRE(read <= i + 10);
    }
}

TEST_CASE("the look-ahead is bounded by default, so an endless input works") {
    ProcessPoolExecutor pool(2);
    auto results = pool.map(square, std::views::iota(0));
    auto it = results.begin();
    for (int i = 0; i < 40'000; ++i, ++it) REQUIRE(*it == static_cast<int>(i * i));
    int read = 0;
    auto other = pool.map(square, Source(read));
    CHECK(read < 10'000);
    CHECK(*other.begin() == 0);
}

TEST_CASE("a single-pass input is read once") {
    ProcessPoolExecutor pool(2);
    std::istringstream text("3 1 4 1 5 9 2 6");
    CHECK(pool.map(square, std::views::istream<int>(text)).get() ==
          std::vector{9, 1, 16, 1, 25, 81, 4, 36});
}

TEST_CASE("a result may be asked for again, or passed over unseen") {
    ProcessPoolExecutor pool(2);
    auto results = pool.map(square, std::views::iota(0, 300));
    auto it = results.begin();
    CHECK((*it == 0 && *it == 0));
    ++it;
    it++;
    CHECK(*it == 4);
    for (int i = 2; i < 299; ++i) ++it;
    CHECK(*it == 299 * 299);
    ++it;
    CHECK(it == results.end());
    CHECK(results.get().empty());
}

TEST_CASE("an error stands in the place of its element, and the next ones follow") {
    ProcessPoolExecutor pool(2);
    const std::size_t chunksize = GENERATE(1U, 3U, 100U);
    auto results =
        pool.map(MapOptions{.chunksize = chunksize}, odd_throws, std::views::iota(0, 100));
    int n = 0;
    for (auto it = results.begin(); it != results.end(); ++it, ++n) {
        if (n % 2 == 0) {
            CHECK(*it == n);
        } else {
            CHECK_THROWS_AS(*it, std::out_of_range);
            CHECK_THROWS_WITH(*it, std::to_string(n)); // again
        }
    }
    CHECK(n == 100);
    auto skipped =
        pool.map(MapOptions{.chunksize = chunksize}, odd_throws, std::views::iota(0, 100));
    int count = 0;
    for (auto it = skipped.begin(); it != skipped.end(); ++it) ++count; // does not dereference
    CHECK(count == 100);
    CHECK_THROWS_WITH(
        pool.map(MapOptions{.chunksize = chunksize}, odd_throws, std::views::iota(0, 9)).get(),
        "1");
}

TEST_CASE("an input that throws is an error after the results of what came before it") {
    ProcessPoolExecutor pool(2);
    const std::size_t chunksize = GENERATE(1U, 4U, 7U);
    int read = 0;
    auto results = pool.map(MapOptions{.chunksize = chunksize}, square, Source(read, 10));
    auto it = results.begin();
    for (int i = 0; i < 10; ++i, ++it) REQUIRE(*it == i * i);
    REQUIRE(it != results.end());
    CHECK_THROWS_AS(*it, std::domain_error);
    CHECK_THROWS_AS(*it, std::domain_error);
    ++it;
    CHECK(it == results.end());
}

TEST_CASE("results that cannot be decoded fail alone or with the rest of their chunk") {
    ProcessPoolExecutor pool(2);
    const auto task = [](int n) { return Odd{n}; };
    auto results = pool.map(MapOptions{.chunksize = 10}, task, std::views::iota(0, 40));
    int n = 0;
    for (auto it = results.begin(); it != results.end(); ++it, ++n) {
        if (n % 10 < 3) {
            CHECK((*it).value == n);
            continue;
        }
        try {
            const int value = (*it).value;
            CHECK(value == n);
        } catch (const std::domain_error&) {
        }
    }
    CHECK(n == 40);
}

TEST_CASE("the result of a chunk may take as much as max_payload_bytes") {
    constexpr int most = 65536;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_payload_bytes = most});
    const auto task = [](std::int64_t n) { return n; };
    const int count = most / 8 - 2; // beside the values: the number of failures and the time
    CHECK(pool.map(MapOptions{.chunksize = count}, task, std::views::iota(0, count)).get().back() ==
          count - 1);
    auto larger =
        pool.map(MapOptions{.chunksize = count + 1}, task, std::views::iota(0, count + 1));
    CHECK_THROWS_AS(larger.get(), prong::LimitExceeded);
}

TEST_CASE("a result that is just too large fails alone, not with its chunk") {
    constexpr int most = 5000;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_payload_bytes = most});
    const auto text = [](int size) { return std::string(static_cast<std::size_t>(size), 'a'); };
    for (int size = most - 40; size <= most; ++size) {
        CAPTURE(size);
        auto results = pool.map(MapOptions{.chunksize = 2}, text, std::vector{1, size, 2, 3});
        auto it = results.begin();
        CHECK(*it == "a");
        ++it;
        if (size <= most - 27) // with its first neighbour and what belongs to the chunk
            CHECK((*it).size() == static_cast<std::size_t>(size));
        else
            CHECK_THROWS_AS(*it, prong::LimitExceeded);
        ++it;
        CHECK(*it == "aa");
    }
}

TEST_CASE("arguments that cannot be decoded fail their chunk, and no other") {
    const bool captures = GENERATE(false, true);
    ProcessPoolExecutor pool(2);
    const auto task = [](const Odd& odd) { return odd.value; };
    std::vector<Odd> values;
    for (int i = 0; i < 30; ++i) values.push_back({5 * i + (i == 14 ? 3 : 0)});
    auto results = pool.with(TaskOptions{.capture_stack = captures})
                       .map(MapOptions{.chunksize = 10}, task, values);
    auto it = results.begin();
    for (int i = 0; i < 30; ++i, ++it) {
        if (i / 10 == 1)
            CHECK_THROWS_AS(*it, std::domain_error);
        else
            CHECK(*it == 5 * i);
    }
}

TEST_CASE("move-only results, no results and large results come through map") {
    ProcessPoolExecutor pool(2);
    int n = 0;
    for (const auto& box : pool.map(in_a_box, std::views::iota(0, 50))) CHECK(*box == n++);
    CHECK(pool.map(in_a_box, std::views::iota(0, 50)).get().size() == 50);
    const Shared<Counter> runs;
    ProcessPoolExecutor other(2);
    const auto nothing = with_captures([place = runs.get()](int) { ++*place; });
    other.map(nothing, std::views::iota(0, 50)).get();
    CHECK(runs->load() == 50);
    for (std::monostate unit : other.map(nothing, std::views::iota(0, 50))) {
        CHECK(unit == std::monostate());
    }
    CHECK(runs->load() == 100);
    const auto large = [](std::size_t size) { return std::string(size, 's'); };
    const std::vector<std::size_t> sizes{0, 1, 100, 1 << 20, 3, 5 << 20};
    std::size_t i = 0;
    for (const auto& text : pool.map(large, sizes)) CHECK(text.size() == sizes[i++]);
}

TEST_CASE("map goes over a std::map, whose keys are const") {
    ProcessPoolExecutor pool(2);
    const std::map<std::string, int> numbers{{"a", 1}, {"b", 2}, {"c", 3}};
    const auto sum = [](auto results) {
        int total = 0;
        for (const int result : results) total += result;
        return total;
    };
    const auto by_value_type = [](const std::pair<const std::string, int>& pair) {
        return pair.second;
    };
    const auto by_pair = [](std::pair<std::string, int> pair) { return pair.second; };
    const auto generic = [](const auto& pair) { return pair.second; };
    CHECK(sum(pool.map(by_value_type, numbers)) == 6);
    CHECK(sum(pool.map(by_pair, numbers)) == 6);
    CHECK(sum(pool.map(generic, numbers)) == 6);
    CHECK(sum(pool.map(generic, std::multimap<int, int>{{1, 1}, {1, 2}})) == 3);
    CHECK(sum(pool.map(generic, std::unordered_map<int, int>{{1, 1}, {2, 2}})) == 3);
    const auto turned = [](const std::pair<const std::string, int>& pair) {
        return std::pair<const int, std::string>(pair.second, pair.first);
    };
    std::map<int, std::string> back;
    for (const auto& pair : pool.map(turned, numbers)) back.insert(pair);
    CHECK(back == std::map<int, std::string>{{1, "a"}, {2, "b"}, {3, "c"}});
    CHECK(pool.map(turned, numbers).get().size() == 3);
}

TEST_CASE("map goes over tuples of references, as an iterator over several ranges gives them") {
    ProcessPoolExecutor pool(1);
    std::vector<int> numbers{1, 2, 3};
    const std::vector<std::string> texts{"a", "bb", "ccc"};
    const auto both = std::views::iota(0, 3) | std::views::transform([&](int i) {
                          const auto index = static_cast<std::size_t>(i);
                          return std::tuple<int&, const std::string&>(numbers[index], texts[index]);
                      });
    const auto sum = [](const auto& tuple) {
        return std::get<0>(tuple) + static_cast<int>(std::get<1>(tuple).size());
    };
    CHECK(pool.map(sum, both).get() == std::vector{2, 4, 6});
}

TEST_CASE("map with const members in arguments and results") {
    struct Job {
        const std::string name;
        const int number;
    };
    ProcessPoolExecutor pool(1);
    const auto next = [](const Job& job) { return Job{job.name + "!", job.number + 1}; };
    std::vector<std::string> names;
    for (const Job& job : pool.map(next, std::vector<Job>{{"a", 1}, {"b", 2}}))
        names.push_back(job.name);
    CHECK(names == std::vector<std::string>{"a!", "b!"});

    struct Number { // trivially copyable, but cannot be assigned
        const int value;
    };
    const auto number = [](int n) { return Number{n + 1}; };
    const auto numbers = pool.map(MapOptions{.chunksize = 3}, number, std::views::iota(0, 7)).get();
    REQUIRE(numbers.size() == 7);
    CHECK(numbers.front().value == 1);
    CHECK(numbers.back().value == 7);
    prong::Pool simple(1);
    CHECK(simple.map(number, std::views::iota(0, 7)).back().value == 7);
}

TEST_CASE("without order the results come as they are there") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    const auto task = with_captures([place = gate.get()](int n) {
        if (n == 0) place->pass();
        return n;
    });
    auto results =
        pool.map(MapOptions{.chunksize = 1, .ordered = false}, task, std::views::iota(0, 20));
    std::set<int> seen;
    auto it = results.begin();
    for (int i = 0; i < 19; ++i, ++it) seen.insert(*it);
    CHECK(seen.size() == 19);
    CHECK_FALSE(seen.contains(0));
    gate->open();
    CHECK(*it == 0);
    ++it;
    CHECK(it == results.end());
}

TEST_CASE("the end of a map result, and one that was moved from, have no element") {
    ProcessPoolExecutor pool(1);
    auto results = pool.map(square, std::views::iota(0, 0));
    CHECK_THROWS_AS(*results.begin(), std::logic_error);
    auto moved = std::move(results);
    CHECK_THROWS_AS(results.begin(), std::logic_error); // NOLINT(bugprone-use-after-move)
    CHECK(moved.get().empty());
}
