#include <prong/codec.hpp>

#include "codec/samples.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <cmath>
#include <functional>
#include <mutex>
#include <queue>
#include <random>
#include <ranges>
#include <source_location>
#include <span>
#include <string_view>
#include <system_error>
#include <thread>
#include <typeindex>

using namespace prong;
using namespace prong::test;
using prong::detail::BufferWriter;
using prong::detail::Reader;

namespace {

void check_at_end(const Reader& reader) {
    CHECK(reader.remaining() == 0);
}

template <class T>
T round_trip(const T& value) {
    BufferWriter writer;
    detail::encode(writer, value);
    Reader reader(writer.bytes());
    T decoded = detail::decode<T>(reader);
    check_at_end(reader);
    return decoded;
}

void check_round_trips(const Samples& samples) {
    for (const auto& sample : samples) {
        INFO(sample->type());
        CHECK(sample->comes_back());
    }
}

struct PointerInside {
    int* pointer;
};
struct PointerDeepInside {
    int number;
    PointerInside inside;
};
struct PointersInArray {
    char text[8];
    int* pointers[2];
};
struct PointerAfterMany {
    char text[200];
    int* pointer;
};
struct Picture {
    unsigned char pixels[5000];
    bool done;
};
struct ReferenceInside {
    int& reference;
};
struct Fragile {
    Fragile() = default;
    explicit Fragile(int value) { throw value; }
    std::string text;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(text);
    }
};
struct ViewInside {
    int number;
    std::string_view view;
};
class PointerHidden {
public:
    [[nodiscard]] int value() const { return *pointer_; }

private:
    int* pointer_ = nullptr;
};
struct HiddenInArray {
    PointerHidden hidden[2];
};
struct HiddenInBase : PointerHidden {
    int number;
};
union Number {
    int integer;
    float real;
};
union IntegerOrPointer {
    long integer;
    int* pointer;
};
template <class T>
class Money {
public:
    Money() = default;
    explicit Money(T amount) : amount_(amount) {}
    bool operator==(const Money&) const = default;

private:
    T amount_{};
};
struct Invoice {
    int number;
    Money<int> sum;
    Number other;
};

class Reversed final { // empty, without a default constructor
public:
    explicit Reversed(int) {}
    bool operator()(int a, int b) const { return a > b; }
};
struct Ranking { // a comparison that is not bytes
    std::vector<int> ranks;
    bool operator()(std::size_t a, std::size_t b) const { return ranks.at(a) < ranks.at(b); }
};
class PrivateDirection { // one that knows how to be serialized
public:
    PrivateDirection() = default;
    explicit PrivateDirection(bool down) : down_(down) {}
    bool operator()(int a, int b) const { return down_ ? a > b : a < b; }
    template <class Archive>
    void serialize(Archive& archive) {
        archive(down_);
    }

private:
    bool down_ = false;
};
template <class Less>
using Heap = std::priority_queue<int, std::vector<int>, Less>;

struct Counter { // can neither be copied nor moved
    std::atomic<int> count = 0;
    std::array<std::atomic<int>, 2> more = {};
    std::string name;
};

template <class T>
std::size_t encoded_size(const T& value) {
    BufferWriter writer;
    detail::encode(writer, value);
    return writer.size();
}

} // namespace

template <>
inline constexpr bool prong::is_bitwise_transferable<Number> = true;
template <class T>
inline constexpr bool prong::is_bitwise_transferable<Money<T>> = true;

namespace {} // namespace

TEST_CASE("scalars and plain structures come back as they were", "[codec]") {
    check_round_trips(scalar_samples());
}

TEST_CASE("containers come back as they were", "[codec]") {
    check_round_trips(container_samples());
}

TEST_CASE("classes come back as they were", "[codec]") {
    check_round_trips(class_samples());
}

TEST_CASE("a value that is not equal to itself comes back", "[codec]") {
    CHECK(std::isnan(round_trip(std::nan(""))));
}

TEST_CASE("types without a comparison come back as they were", "[codec]") {
    std::priority_queue<int> queue;
    queue.push(1);
    queue.push(3);
    CHECK(round_trip(queue).top() == 3);
    CHECK(round_trip(std::valarray<double>{1, 2})[1] == 2);
    CHECK(round_trip(std::valarray<std::string>{"a", "b"})[1] == "b");
    CHECK(round_trip(std::valarray<int>()).size() == 0);
}

TEST_CASE("containers come back in the order that their comparison's state gives", "[codec]") {
    const std::set<int, Direction> descending({1, 2, 3}, Direction{true});
    CHECK(*round_trip(descending).begin() == 3);
    CHECK(*round_trip(std::set<int, Direction>({1, 2, 3})).begin() == 1);
    const std::multimap<int, int, PrivateDirection> pairs({{1, 1}, {2, 2}}, PrivateDirection(true));
    CHECK(round_trip(pairs).begin()->first == 2);
    const std::set<std::size_t, Ranking> ranked({0, 1, 2}, Ranking{{3, 1, 2}});
    const auto ranked_back = round_trip(ranked);
    CHECK(std::vector(ranked_back.begin(), ranked_back.end()) == std::vector<std::size_t>{1, 2, 0});
    Heap<Direction> heap(Direction{true});
    for (const int number : {2, 1, 3}) heap.push(number);
    auto heap_back = round_trip(heap);
    CHECK(heap_back.top() == 1);
    heap_back.push(0);
    CHECK(heap_back.top() == 0);
    const auto nested = round_trip(std::vector{std::pair(1, descending)});
    CHECK(*nested[0].second.begin() == 3);
}

TEST_CASE("the state of a hash and of an equality comes back", "[codec]") {
    const std::unordered_map<int, int, Seeded, Seeded> map({{1, 2}}, 0, Seeded{5}, Seeded{6});
    const auto back = round_trip(map);
    CHECK(back.hash_function().seed == 5);
    CHECK(back.key_eq().seed == 6);
    CHECK(back.at(1) == 2);
}

TEST_CASE("a function object without members takes no bytes", "[codec]") {
    const std::set<int, Reversed> reversed({1, 2}, Reversed(0));
    CHECK(*round_trip(reversed).begin() == 2);
    CHECK(encoded_size(reversed) == encoded_size(std::set<int>{1, 2}));
    CHECK(encoded_size(Heap<std::less<>>()) == encoded_size(std::vector<int>()));
    const auto less = [&](int a, int b) { return a > b; }; // captures nothing, but might
    CHECK(*round_trip(std::set<int, decltype(less)>({1, 2}, less)).begin() == 2);
}

TEST_CASE("containers of std::pmr arrive with the default memory resource", "[codec]") {
    std::pmr::monotonic_buffer_resource memory;
    const std::pmr::vector<std::pmr::string> texts({"a", "b"}, &memory);
    const auto back = round_trip(texts);
    CHECK(back == texts);
    CHECK(back.get_allocator().resource() == std::pmr::get_default_resource());
    CHECK(back[0].get_allocator().resource() == std::pmr::get_default_resource());
}

TEST_CASE("classes whose authors vouch for them cross as bytes", "[codec]") {
    CHECK(round_trip(Money(5)) == Money(5));
    CHECK(round_trip(std::vector<Money<double>>(3, Money(1.5)))[2] == Money(1.5));
    const Invoice back = round_trip(Invoice{1, Money(2), {.integer = 3}});
    CHECK(back.sum == Money(2));
    CHECK(back.other.integer == 3);
}

TEST_CASE("classes of the standard library that hold only numbers cross as bytes", "[codec]") {
    using namespace std::chrono_literals;
    const auto date = 2024y / 2 / 29;
    CHECK(round_trip(date) == date);
    CHECK(round_trip(std::chrono::hh_mm_ss(5025s)).minutes() == 23min);
    CHECK(round_trip(1 <=> 2) == std::strong_ordering::less);
    std::mt19937_64 random(7);
    auto same = round_trip(random);
    CHECK(random() == same());
    STATIC_REQUIRE(Transferable<std::minstd_rand>);
    STATIC_REQUIRE(Transferable<std::ranlux48>);
    STATIC_REQUIRE(Transferable<std::knuth_b>);
    STATIC_REQUIRE(Transferable<std::normal_distribution<double>>);
    STATIC_REQUIRE(Transferable<std::filesystem::file_status>);
    STATIC_REQUIRE(Transferable<std::ranges::iota_view<int, int>>);
}

TEST_CASE("what is behind a pointer is made where it stays, if it cannot be moved", "[codec]") {
    const auto counter = std::make_unique<Counter>();
    counter->count = 3;
    counter->more[1] = 4;
    counter->name = "name";
    const auto back = round_trip(counter);
    CHECK(back->count == 3);
    CHECK(back->more[1] == 4);
    CHECK(back->name == "name");
    CHECK(round_trip(std::make_shared<Counter>())->count == 0);
    CHECK(round_trip(std::make_unique<Job>(Job{"a", 1}))->name == "a");
    CHECK(*round_trip(std::make_unique<const std::string>("a")) == "a");
}

TEST_CASE("what can only be moved comes back", "[codec]") {
    CHECK(*round_trip(std::make_unique<int>(4)) == 4);
    CHECK(round_trip(std::unique_ptr<int>()) == nullptr);
    CHECK(round_trip(std::make_unique<Constructed>(4))->value() == 4);
    MoveOnly value;
    value.text = std::make_unique<std::string>("text");
    value.numbers.push_back(std::make_unique<int>(9));
    CHECK(round_trip(value) == value);
    CHECK(round_trip(std::optional<std::unique_ptr<int>>(std::make_unique<int>(1))).has_value());
}

TEST_CASE("shared objects are still shared", "[codec]") {
    const auto shared = std::make_shared<std::string>("text");
    const auto both =
        round_trip(std::vector{shared, shared, std::make_shared<std::string>("text")});
    CHECK(both[0] == both[1]);
    CHECK(both[0] != both[2]);
    CHECK(*both[0] == "text");
}

TEST_CASE("a registered derived class comes back by a pointer to its base", "[codec]") {
    const std::unique_ptr<Shape> shape = std::make_unique<Square>(3.0);
    CHECK(round_trip(shape)->area() == 9);
    const std::shared_ptr<Shape> shared = std::make_shared<Square>(2.0);
    CHECK(round_trip(shared)->area() == 4);
}

TEST_CASE("nested containers of numbers go in one piece", "[codec]") {
    static_assert(detail::encoding_of<std::vector<Record>>() == detail::Encoding::contiguous);
    BufferWriter writer;
    detail::encode(writer, std::vector<std::vector<char>>{{'a', 'b', 'c'}});
    CHECK(writer.size() == 8 + 8 + 3);
}

TEST_CASE("values after one another stay separate with any alignment", "[codec]") {
    BufferWriter writer;
    detail::encode(writer, 'x');
    detail::encode(writer, std::vector<double>{1, 2});
    detail::encode(writer, std::string("abc"));
    detail::encode(writer, std::vector<OverAligned>{{7}});
    Reader reader(writer.bytes());
    CHECK(detail::decode<char>(reader) == 'x');
    CHECK(detail::decode<std::vector<double>>(reader) == std::vector<double>{1, 2});
    CHECK(detail::decode<std::string>(reader) == "abc");
    CHECK(detail::decode<std::vector<OverAligned>>(reader)[0].value == 7);
    CHECK(reader.remaining() == 0);
}

TEST_CASE("what cannot cross to another process is not Transferable", "[codec]") {
    STATIC_REQUIRE(Transferable<int>);
    STATIC_REQUIRE(Transferable<Tree>);
    STATIC_REQUIRE(Transferable<MoveOnly>);
    STATIC_REQUIRE(!Transferable<const int>);
    STATIC_REQUIRE(!Transferable<int&>);
    STATIC_REQUIRE(!Transferable<int*>);
    STATIC_REQUIRE(!Transferable<const char*>);
    STATIC_REQUIRE(!Transferable<std::unique_ptr<int[]>>);
    STATIC_REQUIRE(!Transferable<std::string_view>);
    STATIC_REQUIRE(!Transferable<std::span<const int>>);
    STATIC_REQUIRE(!Transferable<std::reference_wrapper<int>>);
    STATIC_REQUIRE(!Transferable<std::function<void()>>);
    STATIC_REQUIRE(!Transferable<std::mutex>);
    STATIC_REQUIRE(!Transferable<std::atomic<int>>);
    STATIC_REQUIRE(!Transferable<std::vector<int>::iterator>);
    STATIC_REQUIRE(!Transferable<std::vector<bool>::reference>);
    STATIC_REQUIRE(!Transferable<std::map<int, std::mutex>>);
    STATIC_REQUIRE(!Transferable<std::vector<std::vector<int*>>>);
    STATIC_REQUIRE(!Transferable<std::optional<std::string_view>>);
    STATIC_REQUIRE(!Transferable<PointerInside>);
    STATIC_REQUIRE(!Transferable<PointerDeepInside>);
    STATIC_REQUIRE(!Transferable<PointersInArray>);
    STATIC_REQUIRE(!Transferable<PointerAfterMany>);
    STATIC_REQUIRE(detail::Bitwise<Picture>);
    STATIC_REQUIRE(!Transferable<ReferenceInside>);
    STATIC_REQUIRE(!Transferable<ViewInside>);
    STATIC_REQUIRE(!Transferable<PointerHidden>);
    STATIC_REQUIRE(!Transferable<std::vector<PointerHidden>>);
    STATIC_REQUIRE(!Transferable<HiddenInArray>);
    STATIC_REQUIRE(!Transferable<HiddenInBase>);
    STATIC_REQUIRE(!Transferable<IntegerOrPointer>);
    STATIC_REQUIRE(!Transferable<std::error_code>);
    STATIC_REQUIRE(!Transferable<std::source_location>);
    STATIC_REQUIRE(!Transferable<std::type_index>);
    STATIC_REQUIRE(!Transferable<std::thread::id>);
    STATIC_REQUIRE(!Transferable<std::ranges::single_view<int*>>);
    STATIC_REQUIRE(!Transferable<std::ranges::iota_view<const int*, const int*>>);
    STATIC_REQUIRE(!Transferable<std::set<int, bool (*)(int, int)>>);
    STATIC_REQUIRE(!Transferable<std::unordered_map<int, int, std::size_t (*)(int)>>);
    STATIC_REQUIRE(!Transferable<Heap<bool (*)(int, int)>>);
    STATIC_REQUIRE(!Transferable<Heap<std::function<bool(int, int)>>>);
    STATIC_REQUIRE(!Transferable<std::unique_ptr<int, void (*)(int*)>>);
    STATIC_REQUIRE(!Transferable<std::shared_ptr<Job>>);
    STATIC_REQUIRE(!Transferable<std::pair<const int&, int&>>);
}

TEST_CASE("a variant that is valueless by exception is refused", "[codec]") {
    std::variant<std::string, Fragile> value("a");
    CHECK_THROWS_AS(value.emplace<Fragile>(1), int);
    REQUIRE(value.valueless_by_exception());
    BufferWriter writer;
    CHECK_THROWS_AS(detail::encode(writer, value), CodecError);
}

TEST_CASE("an unregistered derived class is refused", "[codec]") {
    struct Unknown final : Shape {
        [[nodiscard]] double area() const override { return 0; }
    };
    const std::unique_ptr<Shape> shape = std::make_unique<Unknown>();
    BufferWriter writer;
    CHECK_THROWS_AS(detail::encode(writer, shape), CodecError);
}

TEST_CASE("half a gigabyte comes back as it was", "[codec]") {
    const std::vector<char> value(std::size_t{1} << 29, 'x');
    CHECK((round_trip(value) == value));
}
