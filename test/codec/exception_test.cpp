#include "codec/exception.hpp"
#include "diag/throw_trace.hpp"

#include <prong/detail/names.hpp>
#include <prong/exception.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"

#include <cxxabi.h>

#include <any>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <random>
#include <regex>
#include <thread>
#include <variant>

using namespace prong;
using detail::BufferWriter;
using detail::Reader;

namespace {

/// What `body` throws, after a journey.
template <class Body>
std::exception_ptr caught_from(Body body) {
    BufferWriter writer;
    detail::encode(writer, 'x'); // the exception need not stand at the beginning
    try {
        body();
    } catch (...) {
        codec::encode_current_exception(writer);
    }
    Reader reader(writer.bytes());
    detail::decode<char>(reader);
    const std::exception_ptr exception = codec::decode_exception(reader);
    CHECK(reader.remaining() == 0);
    return exception;
}

/// Checks that `body` throws an `E` which comes back as an `E` that says the same; gives it.
template <class E, class Body>
E check_comes_back(Body body) {
    std::string said = "nothing was thrown";
    try {
        body();
    } catch (const E& error) {
        said = error.what();
    }
    try {
        std::rethrow_exception(caught_from(body));
    } catch (const E& error) {
        CHECK(error.what() == said);
        return error;
    }
    throw std::logic_error("another exception came back");
}

template <class E>
void check_text() {
    check_comes_back<E>([] { throw E("some text"); });
}

/// The name of an exception's type, without std::throw_with_nested's wrapper.
std::string type_of(const std::exception_ptr& exception) {
    try {
        std::rethrow_exception(exception);
    } catch (...) {
        return detail::type_name(*abi::__cxa_current_exception_type());
    }
}

struct ParseError : std::runtime_error {
    using std::runtime_error::runtime_error;
    ParseError(const std::string& text, int at) : std::runtime_error(text), line(at) {}
    template <class Archive>
    void serialize(Archive& archive) {
        archive(line);
    }
    int line = 0;
};

template <class T>
struct Tagged : std::logic_error {
    using std::logic_error::logic_error;
};
struct Tag {};

struct Plain { // not a std::exception
    int code;
    std::string text;
};

struct Carrying : std::runtime_error, std::nested_exception {
    explicit Carrying(const std::string& text) : std::runtime_error(text) {}
};

struct Unregistered : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Unsavable : std::exception {
    [[nodiscard]] const char* what() const noexcept override { return "unsavable"; }
    template <class Archive>
    void save(Archive&) const {
        throw std::runtime_error("cannot be saved");
    }
    template <class Archive>
    void load(Archive&) {}
};

struct Unloadable : std::exception {
    [[nodiscard]] const char* what() const noexcept override { return "unloadable"; }
    template <class Archive>
    void save(Archive&) const {}
    template <class Archive>
    void load(Archive&) {
        throw std::runtime_error("cannot be loaded");
    }
};

[[maybe_unused]] const bool registered =
    register_exception<ParseError>() && register_exception<Tagged<Tag>>() &&
    register_exception<Plain>() && register_exception<Carrying>() &&
    register_exception<Unsavable>() && register_exception<Unloadable>();

} // namespace

TEST_CASE("exceptions with a text come back as themselves", "[exception]") {
    check_text<std::logic_error>();
    check_text<std::invalid_argument>();
    check_text<std::domain_error>();
    check_text<std::length_error>();
    check_text<std::out_of_range>();
    check_text<std::runtime_error>();
    check_text<std::range_error>();
    check_text<std::overflow_error>();
    check_text<std::underflow_error>();
}

TEST_CASE("the exact type comes back", "[exception]") {
    const auto exception = caught_from([] { throw std::out_of_range("text"); });
    CHECK(type_of(exception) == "std::out_of_range");
}

TEST_CASE("exceptions without a text come back as themselves", "[exception]") {
    check_comes_back<std::exception>([] { throw std::exception(); });
    check_comes_back<std::bad_exception>([] { throw std::bad_exception(); });
    check_comes_back<std::bad_alloc>([] { throw std::bad_alloc(); });
    check_comes_back<std::bad_array_new_length>([] { throw std::bad_array_new_length(); });
    check_comes_back<std::bad_cast>([] { throw std::bad_cast(); });
    check_comes_back<std::bad_typeid>([] { throw std::bad_typeid(); });
    check_comes_back<std::bad_weak_ptr>([] { std::shared_ptr<int> shared{std::weak_ptr<int>()}; });
    check_comes_back<std::bad_function_call>([] { std::function<void()>()(); });
    check_comes_back<std::bad_any_cast>([] { (void)std::any_cast<int>(std::any(2.5)); });
    check_comes_back<std::bad_optional_access>([] { (void)std::optional<int>().value(); });
    check_comes_back<std::bad_variant_access>(
        [] { (void)std::get<0>(std::variant<int, char>('x')); });
}

TEST_CASE("a standard exception with its own text may be sent on", "[exception]") {
    const auto once = caught_from([] { (void)std::get<0>(std::variant<int, char>('x')); });
    check_comes_back<std::bad_variant_access>([&] { std::rethrow_exception(once); });
}

TEST_CASE("a regex error comes back with its code", "[exception]") {
    const auto error = check_comes_back<std::regex_error>([] { std::regex("["); });
    CHECK(error.code() == std::regex_constants::error_brack);
}

TEST_CASE("a regex error with a code that does not exist is described", "[exception]") {
    BufferWriter writer;
    try {
        std::regex("[");
    } catch (...) {
        codec::encode_current_exception(writer);
    }
    std::vector<std::byte> bytes(writer.bytes().begin(), writer.bytes().end());
    bytes[bytes.size() - 2] = std::byte{0x80}; // the code's sign; behind it: nothing is nested
    Reader reader(bytes);
    CHECK_THROWS_AS(std::rethrow_exception(codec::decode_exception(reader)), RemoteError);
}

TEST_CASE("a system error comes back with its code", "[exception]") {
    const auto categories = {&std::generic_category(), &std::system_category(),
                             &std::iostream_category(), &std::future_category()};
    for (const std::error_category* category : categories) {
        const std::error_code code(2, *category);
        const auto error =
            check_comes_back<std::system_error>([&] { throw std::system_error(code, "open"); });
        CHECK(error.code() == code);
        check_comes_back<std::system_error>([&] { throw std::system_error(code); });
        check_comes_back<std::system_error>([&] { throw std::system_error(code, ""); });
    }
}

TEST_CASE("a system error of an unknown category is described", "[exception]") {
    struct Category : std::error_category {
        [[nodiscard]] const char* name() const noexcept override { return "mine"; }
        [[nodiscard]] std::string message(int) const override { return "my message"; }
    };
    static const Category category;
    const auto throw_it = [] { throw std::system_error(1, category, "mine"); };
    const auto exception = caught_from(throw_it);
    CHECK_THROWS_AS(std::rethrow_exception(exception), RemoteError);
    CHECK_THROWS_WITH(std::rethrow_exception(exception), "mine: my message");
}

TEST_CASE("a file system error comes back with its paths", "[exception]") {
    const auto none = std::make_error_code(std::errc::permission_denied);
    using E = std::filesystem::filesystem_error;
    check_comes_back<E>([&] { throw E("text", none); });
    const auto one = check_comes_back<E>([] { (void)std::filesystem::file_size("/no/file"); });
    CHECK(one.path1() == "/no/file");
    CHECK(one.code() == std::errc::no_such_file_or_directory);
    const auto two = check_comes_back<E>([] { std::filesystem::copy("/no/file", "/elsewhere"); });
    CHECK(two.path2() == "/elsewhere");
}

TEST_CASE("a stream's failure comes back, as thrown by hand or by a stream", "[exception]") {
    check_comes_back<std::ios_base::failure>([] { throw std::ios_base::failure("text"); });
    check_comes_back<std::ios_base::failure>([] {
        std::ifstream file;
        file.exceptions(std::ios::failbit);
        file.open("/no/file");
    });
}

TEST_CASE("a future error comes back with its code", "[exception]") {
    const auto error = check_comes_back<std::future_error>([] {
        std::promise<int> promise;
        promise.set_value(1);
        promise.set_value(2);
    });
    CHECK(error.code() == std::future_errc::promise_already_satisfied);
}

TEST_CASE("prong's own errors come back with what they carry", "[exception]") {
    check_text<Error>();
    check_text<BrokenProcessPool>();
    check_text<CancelledError>();
    check_text<TimeoutError>();
    check_text<PoolShutdown>();
    check_text<CodecError>();
    check_text<EndOfFile>();
    check_text<ObjectGone>();
    check_text<QueueClosed>();
    const auto broken = check_comes_back<BrokenBarrier>(
        [] { throw BrokenBarrier("text", {.pid = 7, .name = "a party"}); });
    CHECK(broken.who().pid == 7);
    CHECK(broken.who().name == "a party");
    const auto died = check_comes_back<WorkerDied>(
        [] { throw WorkerDied({.pid = 7, .exitcode = -11}, "parse() [task 1]"); });
    CHECK(died.pid() == 7);
    CHECK(died.exitcode() == -11);
    CHECK(died.task() == "parse() [task 1]");
    const auto limit = check_comes_back<LimitExceeded>(
        [] { throw LimitExceeded(LimitKind::pending_tasks, "text"); });
    CHECK(limit.kind() == LimitKind::pending_tasks);
    const auto remote = check_comes_back<RemoteError>([] { throw RemoteError("T", "text"); });
    CHECK(remote.type_name() == "T");
}

TEST_CASE("registered types come back as themselves", "[exception]") {
    const auto parse = check_comes_back<ParseError>([] { throw ParseError("text", 7); });
    CHECK(parse.line == 7);
    check_text<Tagged<Tag>>();
    try {
        std::rethrow_exception(caught_from([] { throw Plain{3, "text"}; }));
    } catch (const Plain& plain) {
        CHECK(plain.code == 3);
        CHECK(plain.text == "text");
    }
}

TEST_CASE("registering again, by any number of threads, changes nothing", "[exception]") {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([] { register_exception<ParseError>(); });
    for (std::thread& thread : threads) thread.join();
    check_text<ParseError>();
}

TEST_CASE("other types come back as RemoteError with name and text", "[exception]") {
    const auto check = [](const auto& value, const char* type, const char* text) {
        const auto exception = caught_from([&] { throw value; });
        try {
            std::rethrow_exception(exception);
        } catch (const RemoteError& error) {
            CHECK(error.type_name() == type);
            CHECK(std::string(error.what()) == text);
        }
    };
    check(Unregistered("text"), "Unregistered", "text");
    check(42, "int", "42");
    check(std::string("text"), "std::string", "text");
    check(static_cast<const char*>("text"), "char const*", "text");
    check(2.5, "double", "an exception that is not a std::exception");
}

TEST_CASE("what is nested comes back nested, as what it was", "[exception]") {
    const auto exception = caught_from([] {
        try {
            try {
                try {
                    throw 3;
                } catch (...) {
                    std::throw_with_nested(Unregistered("third"));
                }
            } catch (...) {
                std::throw_with_nested(Tagged<Tag>("second"));
            }
        } catch (...) {
            std::throw_with_nested(std::out_of_range("first"));
        }
    });
    const auto inside = [](const std::exception_ptr& outer) -> std::exception_ptr {
        try {
            std::rethrow_exception(outer);
        } catch (const std::nested_exception& nested) {
            return nested.nested_ptr();
        } catch (...) {
            return nullptr;
        }
    };
    CHECK_THROWS_AS(std::rethrow_exception(exception), std::out_of_range);
    CHECK_THROWS_WITH(std::rethrow_exception(exception), "first");
    const auto second = inside(exception);
    REQUIRE(second != nullptr);
    CHECK_THROWS_AS(std::rethrow_exception(second), Tagged<Tag>);
    const auto third = inside(second);
    REQUIRE(third != nullptr);
    CHECK_THROWS_AS(std::rethrow_exception(third), RemoteError);
    CHECK_THROWS_WITH(std::rethrow_exception(third), "third");
    const auto fourth = inside(third);
    REQUIRE(fourth != nullptr);
    CHECK_THROWS_WITH(std::rethrow_exception(fourth), "3");
    CHECK(inside(fourth) == nullptr);
}

TEST_CASE("what came back nested may be sent on", "[exception]") {
    const auto once = caught_from([] {
        try {
            throw std::runtime_error("inner");
        } catch (...) {
            const std::out_of_range outer("outer"); // const: that shows in the wrapper's type
            std::throw_with_nested(outer);
        }
    });
    const auto again = caught_from([&] { std::rethrow_exception(once); });
    CHECK_THROWS_AS(std::rethrow_exception(again), std::out_of_range);
    CHECK_THROWS_AS(std::rethrow_exception(again), std::nested_exception);
}

TEST_CASE("a type that is itself a nested exception keeps what it carries", "[exception]") {
    const auto exception = caught_from([] {
        try {
            throw std::runtime_error("cause");
        } catch (...) {
            throw Carrying("effect");
        }
    });
    try {
        std::rethrow_exception(exception);
    } catch (const Carrying& error) {
        CHECK(std::string(error.what()) == "effect");
        CHECK_THROWS_WITH(error.rethrow_nested(), "cause");
    }
}

namespace {

/// An exception with `levels` levels of nested ones.
std::exception_ptr chain_of(std::size_t levels) {
    std::exception_ptr chain = std::make_exception_ptr(std::out_of_range("level 0"));
    for (std::size_t i = 1; i <= levels; ++i) {
        try {
            try {
                std::rethrow_exception(chain);
            } catch (...) {
                std::throw_with_nested(std::runtime_error("level " + std::to_string(i)));
            }
        } catch (...) {
            chain = std::current_exception();
        }
    }
    return chain;
}

struct Text : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct More : std::runtime_error {
    using std::runtime_error::runtime_error;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(more);
    }
    int more = 0;
};

/// The texts of an exception and of those nested in it.
std::vector<std::string> texts_of(std::exception_ptr chain) {
    std::vector<std::string> texts;
    while (chain != nullptr) {
        try {
            std::rethrow_exception(chain);
        } catch (const std::exception& error) {
            texts.emplace_back(error.what());
            const auto* const holder = dynamic_cast<const std::nested_exception*>(&error);
            chain = holder != nullptr ? holder->nested_ptr() : nullptr;
        }
    }
    return texts;
}

} // namespace

TEST_CASE("a thousand exceptions that are nested in one another come back", "[exception]") {
    const auto chain = chain_of(codec::max_nested_exceptions);
    const auto back = caught_from([&] { std::rethrow_exception(chain); });
    CHECK(texts_of(back) == texts_of(chain));
    CHECK(texts_of(back).size() == 1001);
}

TEST_CASE("a limited number of nested exceptions is kept, and the last one says so",
          "[exception]") {
    const auto chain = chain_of(codec::max_nested_exceptions + 1);
    const auto texts = texts_of(caught_from([&] { std::rethrow_exception(chain); }));
    REQUIRE(texts.size() == codec::max_nested_exceptions + 1);
    CHECK(texts.front() == "level 1001");
    CHECK(texts[texts.size() - 2] == "level 2");
    CHECK_THAT(texts.back(), Catch::StartsWith("level 1 (") && Catch::Contains("dropped"));
}

TEST_CASE("a type that only the receiver knows comes back if its text is all there is to it",
          "[exception]") {
    const auto travel = [](auto error) {
        BufferWriter writer;
        try {
            throw error;
        } catch (...) {
            codec::encode_current_exception(writer);
        }
        register_exception<decltype(error)>();
        Reader reader(writer.bytes());
        return codec::decode_exception(reader);
    };
    CHECK_THROWS_AS(std::rethrow_exception(travel(Text("text"))), Text);
    CHECK_THROWS_AS(std::rethrow_exception(travel(More("text"))), RemoteError);
}

TEST_CASE("an error of a type's own serialization is reported", "[exception]") {
    const auto unsavable = caught_from([] { throw Unsavable(); });
    CHECK_THROWS_AS(std::rethrow_exception(unsavable), RemoteError);
    CHECK_THROWS_WITH(std::rethrow_exception(unsavable),
                      Catch::Contains("unsavable") && Catch::Contains("cannot be saved"));
    const auto unloadable = caught_from([] { throw Unloadable(); });
    CHECK_THROWS_AS(std::rethrow_exception(unloadable), RemoteError);
    CHECK_THROWS_WITH(std::rethrow_exception(unloadable),
                      Catch::Contains("unloadable") && Catch::Contains("cannot be loaded"));
}

TEST_CASE("every decoding gives its own exception object", "[exception]") {
    BufferWriter writer;
    try {
        throw std::runtime_error("text");
    } catch (...) {
        codec::encode_current_exception(writer);
    }
    Reader first(writer.bytes());
    Reader second(writer.bytes());
    CHECK(codec::decode_exception(first) != codec::decode_exception(second));
}

TEST_CASE("a call stack comes back with the exception", "[exception]") {
    const auto journey = [](auto error, bool is_nested, std::size_t addresses) {
        BufferWriter writer;
        try {
            if (is_nested) std::throw_with_nested(std::move(error));
            throw std::move(error);
        } catch (...) {
            codec::encode_current_exception(writer, std::vector<const void*>(addresses));
        }
        Reader reader(writer.bytes());
        const std::exception_ptr exception = codec::decode_exception(reader);
        CHECK(reader.remaining() == 0);
        return exception;
    };
    const auto lines = [](const std::exception_ptr& exception) {
        return std::ranges::count(thrown_at(exception), '\n');
    };
    for (const bool is_nested : {false, true}) {
        const auto parse_error = journey(ParseError("text", 7), is_nested, 2);
        CHECK(lines(parse_error) == 2);
        CHECK_THROWS_AS(std::rethrow_exception(parse_error), ParseError);
        const auto carrying = journey(Carrying("text"), is_nested, 1);
        CHECK(lines(carrying) == 1);
        CHECK_THROWS_AS(std::rethrow_exception(carrying), std::nested_exception);
        const auto no_memory = journey(std::bad_alloc(), is_nested, diag::max_frames);
        CHECK(lines(no_memory) == std::ptrdiff_t{diag::max_frames});
        CHECK_THROWS_AS(std::rethrow_exception(no_memory), std::bad_alloc);
        CHECK(lines(journey(Unregistered("text"), is_nested, 1)) == 1);
        const auto too_many = journey(Unregistered("text"), is_nested, diag::max_frames + 1);
        CHECK_THROWS_AS(std::rethrow_exception(too_many), CodecError);
    }
}

TEST_CASE("bytes that are no exception give a CodecError", "[exception]") {
    BufferWriter writer;
    try {
        try {
            throw ParseError("inner", 1);
        } catch (...) {
            std::throw_with_nested(std::system_error(2, std::generic_category(), "outer"));
        }
    } catch (...) {
        codec::encode_current_exception(writer, std::vector<const void*>(3, &writer));
    }
    for (std::size_t size = 0; size < writer.size(); ++size) {
        Reader reader(writer.bytes().first(size));
        CHECK_THROWS_AS(std::rethrow_exception(codec::decode_exception(reader)), CodecError);
    }
    std::mt19937_64 random(test::test_seed());
    for (int round = 0; round < 2000; ++round) {
        std::vector<std::byte> bytes(writer.bytes().begin(), writer.bytes().end());
        for (int i = 0; i < 3; ++i)
            bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        Reader reader(bytes);
        const std::exception_ptr exception = codec::decode_exception(reader);
        if (exception == nullptr) FAIL_CHECK("no exception");
    }
}
