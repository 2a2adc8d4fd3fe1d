#include <prong/detail/task.hpp>

#include "support/catch.hpp"

#include <unistd.h>

#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <string_view>
#include <thread>

using namespace prong;
using detail::BufferWriter;
using detail::Reader;

namespace {

/// Runs `f(args...)` as a worker does: from nothing but the bytes and the constant object.
template <class F, class... Args>
prong::task_result_t<F, Args...> run(F&& f, Args&&... args) {
    BufferWriter arguments;
    detail::encode_task(arguments, std::forward<F>(f), std::forward<Args>(args)...);
    Reader reader(arguments.bytes());
    BufferWriter result;
    detail::task_type<F, Args...>().run(reader, result);
    CHECK(reader.remaining() == 0);
    Reader result_reader(result.bytes());
    if constexpr (std::is_void_v<prong::task_result_t<F, Args...>>) {
        CHECK(result.size() == 0);
    } else {
        return detail::decode<prong::task_result_t<F, Args...>>(result_reader);
    }
}

template <class F, class... Args>
std::string name_of(F&& f, Args&&... args) {
    BufferWriter arguments;
    detail::encode_task(arguments, f, args...);
    return detail::task_type<F, Args...>().name(Reader(arguments.bytes()));
}

int square(int n) {
    return n * n;
}

int square_noexcept(int n) noexcept {
    return n * n;
}

std::string shout(const std::string& text) {
    return text + "!";
}

const std::string& same(const std::string& text) {
    return text;
}

std::string take(std::string&& text) {
    return std::move(text);
}

double sum(std::span<const double> numbers) {
    return std::accumulate(numbers.begin(), numbers.end(), 0.0);
}

int third(std::span<const int, 3> numbers) {
    return numbers[2];
}

std::size_t length(std::string_view text) {
    return text.size();
}

std::uintptr_t address(std::span<const long double> numbers) {
    return reinterpret_cast<std::uintptr_t>(numbers.data());
}

std::unique_ptr<int> increment(std::unique_ptr<int> number) {
    ++*number;
    return number;
}

int call_count = 0;
void count_call() {
    ++call_count;
}

int twice(int (*f)(int), int n) {
    return f(f(n));
}

struct Point {
    int x;
    int y;
    [[nodiscard]] int norm() const noexcept { return x * x + y * y; }
    int bump() { return ++x; }
    int bump_lvalue() & { return ++x; }
    int take() && { return x; }
};

struct Shape {
    int id = 0;
    virtual ~Shape() = default;
    [[nodiscard]] virtual int area() const { return 0; }
    template <class Archive>
    void serialize(Archive& archive) {
        archive(id);
    }
};

struct Square : Shape {
    int side = 4;
    [[nodiscard]] int area() const override { return side * side; }
    template <class Archive>
    void serialize(Archive& archive) {
        archive(side);
    }
};

int area_of(const Shape& shape) {
    return shape.area();
}

struct Scale { // a function object with state
    int factor;
    int operator()(int n) const { return factor * n; }
};

class Adder { // one whose state cannot be seen
public:
    explicit Adder(int number) : number_(number) {}
    int operator()(int other) const { return number_ + other; }

private:
    int number_;
};

struct Greeter { // one that is not bytes, and changes when it is called
    std::string greeting;
    std::string operator()(const std::string& name) { return greeting += name; }
};

struct Overloaded {
    int operator()(int) { return 1; }
    int operator()(const std::string&) { return 2; }
};

/// Tells copies from moves.
struct Tracked {
    bool was_moved_from = false;
    Tracked() = default;
    Tracked(const Tracked&) = default;
    Tracked& operator=(const Tracked&) = default;
    Tracked(Tracked&& other) noexcept { other.was_moved_from = true; }
    Tracked& operator=(Tracked&&) = default;
    ~Tracked() = default;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(was_moved_from);
    }
};

int alive = 0;
struct Counted {
    Counted() { ++alive; }
    Counted(const Counted&) { ++alive; }
    Counted& operator=(const Counted&) = default;
    ~Counted() { --alive; }
    template <class Archive>
    void serialize(Archive&) {}
};
int alive_when_saved = -1;
struct SaysHowManyAreAlive {
    template <class Archive>
    void save(Archive& archive) const {
        alive_when_saved = alive;
        archive(alive);
    }
    template <class Archive>
    void load(Archive& archive) {
        int ignored = 0;
        archive(ignored);
    }
};

} // namespace

template <>
inline constexpr bool prong::is_bitwise_transferable<Adder> = true;

TEST_CASE("functions run, by reference and by pointer", "[task]") {
    CHECK(run(square, 7) == 49);
    CHECK(run(&square, 7) == 49);
    CHECK(run(square_noexcept, 7) == 49);
    CHECK(run(twice, square, 2) == 16);
    call_count = 0;
    run(count_call);
    CHECK(call_count == 1);
}

TEST_CASE("arguments are converted to what the function declares", "[task]") {
    CHECK(run(square, 7.9) == 49);
    CHECK(run(shout, "abc") == "abc!");
    CHECK(run([](std::optional<int> n) { return n.value_or(0); }, 3) == 3);
    int n = 3;
    CHECK(run(square, std::ref(n)) == 9);
}

TEST_CASE("a returned reference gives a value", "[task]") {
    STATIC_REQUIRE(std::same_as<prong::task_result_t<decltype(same), std::string>, std::string>);
    CHECK(run(same, std::string("abc")) == "abc");
}

TEST_CASE("views look into the encoded arguments", "[task]") {
    CHECK(run(sum, std::vector<double>{1, 2, 3}) == 6);
    CHECK(run(sum, std::array<double, 2>{1, 2}) == 3);
    CHECK(run(sum, std::vector<double>()) == 0);
    std::vector<double> numbers{1, 2};
    CHECK(run(sum, std::span(numbers)) == 3);
    CHECK(run(length, "hello") == 5);
    CHECK(run(length, std::string("hello")) == 5);
    const int array[3] = {4, 5, 6};
    CHECK(run(third, array) == 6);
    CHECK(run(third, std::array{4, 5, 6}) == 6);
    CHECK(run(address, std::vector<long double>(2)) % alignof(long double) == 0);
    CHECK(run([](char, std::span<const double> span) { return span[0]; }, 'x', numbers) == 1);
}

TEST_CASE("a view does not copy", "[task]") {
    const std::vector<double> numbers(1000);
    BufferWriter arguments;
    const auto where = [](std::span<const double> span) {
        return reinterpret_cast<std::uintptr_t>(span.data());
    };
    detail::encode_task(arguments, where, numbers);
    Reader reader(arguments.bytes());
    BufferWriter result;
    detail::task_type<decltype(where), decltype(numbers)&>().run(reader, result);
    Reader result_reader(result.bytes());
    const auto at = detail::decode<std::uintptr_t>(result_reader);
    const auto begin = reinterpret_cast<std::uintptr_t>(arguments.data());
    CHECK(at >= begin);
    CHECK(at < begin + arguments.size());
}

TEST_CASE("bytes with another number of elements do not fit a span of fixed size", "[task]") {
    BufferWriter arguments;
    detail::encode_task(arguments, third, std::array{1, 2, 3});
    std::vector<std::byte> bytes(arguments.bytes().begin(), arguments.bytes().end());
    bytes[sizeof(&third)] = std::byte{2};
    Reader reader(bytes);
    BufferWriter result;
    const auto& type = detail::task_type<decltype(third), std::array<int, 3>>();
    CHECK_THROWS_AS(type.run(reader, result), CodecError);
}

TEST_CASE("what can only be moved goes in and out", "[task]") {
    auto number = std::make_unique<int>(3);
    CHECK(*run(increment, std::move(number)) == 4);
    CHECK(number != nullptr); // encoded, not moved
}

TEST_CASE("the caller's arguments are never moved from", "[task]") {
    Tracked tracked;
    run([](Tracked) {}, std::move(tracked));
    CHECK(!tracked.was_moved_from);
    std::string text(100, 'x');
    CHECK(run(take, std::move(text)) == text);
}

TEST_CASE("the arguments are destroyed before the result is encoded", "[task]") {
    alive = 0;
    alive_when_saved = -1;
    const Counted of_the_caller;
    run([](const Counted&) { return SaysHowManyAreAlive(); }, of_the_caller);
    CHECK(alive_when_saved == 1);
}

TEST_CASE("members are called on a copy of their object", "[task]") {
    const Point point{1, 2};
    CHECK(run(&Point::norm, point) == 5);
    CHECK(run(&Point::bump, point) == 2);
    CHECK(run(&Point::bump_lvalue, point) == 2);
    CHECK(run(&Point::take, point) == 1);
    CHECK(run(&Point::y, point) == 2);
}

TEST_CASE("a derived object stays whole when it is passed as its base", "[task]") {
    CHECK(run(area_of, Square()) == 16);
    CHECK(run(&Shape::area, Square()) == 16);
}

TEST_CASE("function objects go with their state", "[task]") {
    CHECK(run(Scale{3}, 4) == 12);
    CHECK(run(Greeter{"hello "}, "you") == "hello you");
    CHECK(run(Overloaded(), 1) == 1);
    CHECK(run(Overloaded(), "abc") == 2);
    CHECK(run(std::plus<>(), 1, 2) == 3);
    CHECK(run(std::plus<int>(), 1, 2.5) == 3);
}

TEST_CASE("lambdas without captures run", "[task]") {
    CHECK(run([](int n) { return n + 1; }, 4) == 5);
    CHECK(run([&](int n) { return n + 1; }, 4) == 5);
    CHECK(run([](auto a, auto b) { return a + b; }, 4, 2.5) == 6.5);
    CHECK(run([](const auto& text) { return text.size(); }, "abcd") == 4);
    CHECK(run([](auto view) { return view.size(); }, std::string_view("abc")) == 3);
    char full[3] = {'a', 'b', 'c'}; // no terminating zero
    CHECK(run([](const auto& text) { return text; }, full) == "abc");
}

TEST_CASE("lambdas with captures run once they are marked", "[task]") {
    int factor = 5;
    CHECK(run(with_captures([factor](int n) { return factor * n; }), 3) == 15);
    CHECK(run(with_captures([factor](auto n) mutable { return factor * n; }), 3) == 15);
    struct alignas(32) Wide {
        int value;
    };
    const Wide wide{7};
    CHECK(run(with_captures([wide] { return wide.value; })) == 7);
}

TEST_CASE("a function object with private state runs if its author vouches for it", "[task]") {
    CHECK(run(Adder(3), 4) == 7);
}

TEST_CASE("a callable that declares nothing gets copies of the elements of several ranges",
          "[task]") {
    const std::string name = "a";
    int number = 1;
    const auto sum = [](const auto& pair) { return pair.first + std::to_string(pair.second); };
    CHECK(run(sum, std::pair<const std::string&, int&>(name, number)) == "a1");
    const auto first = [](const auto& tuple) { return std::get<0>(tuple); };
    CHECK(run(first, std::tie(name, number)) == "a");
    CHECK(run(sum, std::pair<const std::string, int>("b", 2)) == "b2");
}

TEST_CASE("a null function pointer is refused when it is submitted", "[task]") {
    int (*const null)(int) = nullptr;
    BufferWriter arguments;
    CHECK_THROWS_AS(detail::encode_task(arguments, null, 1), std::invalid_argument);
}

TEST_CASE("one call of many decodes the callable once", "[task]") {
    using Call = detail::TaskCall<Greeter, const std::string&>;
    BufferWriter writer;
    detail::CallableCodec<Greeter>::encode(writer, Greeter{"hi"});
    Call::encode_arguments(writer, std::string(" a"));
    Call::encode_arguments(writer, std::string(" b"));
    Reader reader(writer.bytes());
    auto callable = detail::CallableCodec<Greeter>::decode(reader);
    auto first = Call::decode_arguments(reader);
    CHECK(Call::invoke(callable, first) == "hi a");
    auto second = Call::decode_arguments(reader);
    CHECK(Call::invoke(callable, second) == "hi a b");
}

TEST_CASE("the same task has the same constant object for any length of its text", "[task]") {
    CHECK(&detail::task_type<decltype(shout), const char(&)[4]>() ==
          &detail::task_type<decltype(&shout), std::string>());
}

TEST_CASE("a task is called by its function's name", "[task]") {
    CHECK_THAT(name_of(square, 1), Catch::Contains("square(int)"));
    CHECK_THAT(name_of(shout, "abc"), Catch::Contains("shout(std::string const&)"));
    CHECK_THAT(name_of(&Point::norm, Point{1, 2}), Catch::Contains("Point::norm() const"));
    CHECK_THAT(name_of(Scale{1}, 1), Catch::Contains("Scale"));
    CHECK_THAT(name_of([](int n) { return n; }, 1),
               Catch::Contains("lambda") || Catch::Contains("$_"));
}

TEST_CASE("many threads that ask for names take no more memory than one", "[task]") {
    const auto resident = [] {
        std::size_t size = 0;
        std::size_t pages = 0;
        std::ifstream("/proc/self/statm") >> size >> pages;
        return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    };
    const auto ask = [] { std::thread([] { static_cast<void>(name_of(square, 1)); }).join(); };
    ask();
    const std::size_t before = resident();
    for (int i = 0; i < 20; ++i) ask();
    CHECK(resident() < before + (8 << 20));
}

TEST_CASE("bytes too short for a name give another one", "[task]") {
    const auto& type = detail::task_type<decltype(square), int>();
    CHECK(!type.name(Reader()).empty());
}

TEST_CASE("names of types are as a programmer writes them", "[task]") {
    CHECK(detail::type_name(typeid(std::string)) == "std::string");
    CHECK(detail::type_name(typeid(std::vector<std::string>)) == "std::vector<std::string>");
    CHECK(detail::type_name(typeid(std::map<std::string, std::vector<int>>)) ==
          "std::map<std::string, std::vector<int>>");
    CHECK(detail::type_name(typeid(std::unique_ptr<int>)) == "std::unique_ptr<int>");
}

TEST_CASE("an address that is no function's has a name all the same", "[task]") {
    static int no_function = 0;
    CHECK(!detail::function_name(&no_function).empty());
    CHECK_THAT(detail::function_name(nullptr), Catch::Contains("a function at"));
}
