#include <prong/codec.hpp>

#include "codec/samples.hpp"
#include "support/catch.hpp"

#include <cmath>
#include <mutex>
#include <span>
#include <string_view>

using namespace prong;
using namespace prong::test;
using prong::detail::BufferWriter;
using prong::detail::Reader;

namespace {

template <class T>
T round_trip(const T& value) {
    BufferWriter writer;
    detail::encode(writer, value);
    Reader reader(writer.bytes());
    T decoded = detail::decode<T>(reader);
    CHECK(reader.remaining() == 0);
    return decoded;
}

const auto check_round_trip = [](const auto& value) {
    INFO(typeid(value).name());
    CHECK((round_trip(value) == value));
};

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

} // namespace

TEST_CASE("scalars and plain structures come back as they were", "[codec]") {
    for_each_scalar_sample(check_round_trip);
}

TEST_CASE("containers come back as they were", "[codec]") {
    for_each_container_sample(check_round_trip);
}

TEST_CASE("classes come back as they were", "[codec]") {
    for_each_class_sample(check_round_trip);
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

TEST_CASE("values after one another keep apart, whatever their alignment", "[codec]") {
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
    STATIC_REQUIRE(!Transferable<ReferenceInside>);
    STATIC_REQUIRE(!Transferable<ViewInside>);
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
