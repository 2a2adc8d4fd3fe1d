// Functions of modules that were loaded before the workers' fork base, after it, and in place of
// another; with a zygote and without.

#include "pool/helpers.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"
#include "support/module.hpp"

#include <prong/prong.hpp>

#include <cctype>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using namespace prong::test;
using prong::PoolOptions;
using prong::ProcessPoolExecutor;

namespace {

using IntFunction = int(int);
using PoolFunction = int(ProcessPoolExecutor&, int);

struct Base {
    virtual ~Base() = default;
    virtual int number() const { return 1; }
};
struct Derived final : Base {
    int number() const override { return 2; }
    template <class Archive>
    void serialize(Archive&) {}
};

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// Runs `body(make_pool)` in a child, without a zygote and with one that is started by the first
/// `make_pool`.
template <typename Body>
void with_and_without_zygote(Body body) {
    for (const bool with_zygote : {false, true}) {
        INFO((with_zygote ? "with a zygote" : "without a zygote"));
        check_child([&] {
            const auto fork_base_begins = [&] {
                if (with_zygote) prong::start_zygote();
                return std::make_unique<ProcessPoolExecutor>(1);
            };
            body(fork_base_begins);
        });
    }
}

/// Calls of the module's tasks, each with its argument plus one as its result.
std::vector<std::function<int(ProcessPoolExecutor&, int)>> calls_of(const Module& module) {
    std::vector<std::function<int(ProcessPoolExecutor&, int)>> calls;
    for (const char* const name :
         {"run_lambda", "run_member_function", "run_map", "run_try_submit"}) {
        calls.emplace_back(module.find<PoolFunction>(name));
    }
    return calls;
}

} // namespace

TEST_CASE("what was loaded before can be a task") {
    with_and_without_zygote([](auto fork_base_begins) {
        const Module times(module_beside_program("times_three.so"));
        const Module tasks(module_beside_program("tasks.so"));
        const auto pool = fork_base_begins();
        require(pool->submit(times.find<IntFunction>("times"), 5).get() == 15, "a function");
        for (const auto& call : calls_of(tasks)) require(call(*pool, 1) == 2, "a call");
        require(pool->submit(::toupper, 'a').get() == 'A', "a function of the C library");
        require(pool->submit(&Base::number, Derived()).get() == 2, "a virtual function");
    });
}

TEST_CASE("what was loaded later is refused, in words that say what to do") {
    with_and_without_zygote([](auto fork_base_begins) {
        const auto pool = fork_base_begins();
        const auto path = module_beside_program("times_three.so");
        const Module times(path);
        const Module tasks(module_beside_program("tasks.so"));
        auto* const function = times.find<IntFunction>("times");
        const std::string text = require_throws<std::invalid_argument>(
            [&] { pool->submit(function, 5); }, "a function is refused");
        for (const std::string part : {"times", path.c_str(), "load it before"}) {
            require(contains(text, part), "'" + text + "' has '" + part + "'");
        }
        require_throws<std::invalid_argument>([&] { pool->try_submit(function, 5); }, "try_submit");
        require_throws<std::invalid_argument>(
            [&] {
                pool->map(function, std::vector<int>{1, 2}).get();
            },
            "map");
        for (const auto& call : calls_of(tasks)) {
            require_throws<std::invalid_argument>([&] { call(*pool, 1); }, "a call is refused");
        }
        require(pool->submit(square, 3).get() == 9, "the pool goes on");
    });
}

TEST_CASE("a pool made after the module was loaded runs it, unless there is a zygote") {
    check_child([] {
        const ProcessPoolExecutor before(1);
        const Module times(module_beside_program("times_three.so"));
        ProcessPoolExecutor pool(1);
        require(pool.submit(times.find<IntFunction>("times"), 5).get() == 15, "a function");
    });
}

TEST_CASE("a module in the place of another is not taken for it") {
    with_and_without_zygote([](auto fork_base_begins) {
        const TempDir directory;
        const auto path = directory.path() / "module.so";
        std::filesystem::copy_file(module_beside_program("times_three.so"), path);
        std::optional<Module> module(path);
        auto* const function = module->find<IntFunction>("times");
        const auto pool = fork_base_begins();
        require(pool->submit(function, 5).get() == 15, "the first one");

        module.reset();
        module.emplace(path);
        require(module->find<IntFunction>("times") == function, "is at the same place");
        require(pool->submit(function, 6).get() == 18, "the first one again");

        module.reset();
        std::filesystem::remove(path);
        std::filesystem::copy_file(module_beside_program("times_seven.so"), path);
        module.emplace(path);
        require(module->find<IntFunction>("times") == function, "is at the same place");
        require_throws<std::invalid_argument>([&] { pool->submit(function, 5); }, "the other one");
    });
}

TEST_CASE("with a zygote an initializer must be a function that the zygote has") {
    check_child([] {
        const Module early(module_beside_program("tasks.so"));
        prong::start_zygote();
        const Module late(module_beside_program("times_three.so"));

        ProcessPoolExecutor pool(
            PoolOptions{.max_workers = 1, .initializer = early.find<void()>("hook")});
        require(pool.submit(early.find<int()>("count_hook_runs")).get() == 1, "has run once");

        static int marks = 0;
        ProcessPoolExecutor other(
            PoolOptions{.max_workers = 1, .initializer = [] { return ++marks; }});
        require(other.submit([] { return marks; }).get() == 1, "a lambda has run once");
        require(ProcessPoolExecutor(PoolOptions{.initializer = nullptr}).max_workers() > 0, "none");

        const auto is_refused = [](const prong::WorkerHook& hook, const std::string& what) {
            return require_throws<std::invalid_argument>(
                [&] { ProcessPoolExecutor(PoolOptions{.initializer = hook}); }, what);
        };
        require(contains(is_refused([&pool] { static_cast<void>(pool); }, "with captures"),
                         "without captures"),
                "the error names the remedy");
        is_refused(std::function<void()>([] {}), "a std::function");
        auto* const function = reinterpret_cast<void (*)()>(late.find<IntFunction>("times"));
        require(contains(is_refused(function, "loaded too late"), "times_three.so"),
                "the error names the module");
        require(children_of(getpid()).size() == 1, "nothing but the zygote is left");
    });
}

TEST_CASE("a worker hook knows whether it is a plain function") {
    using prong::WorkerHook;
    static int calls = 0;
    struct Stateless {
        int operator()() { return ++calls; }
    };
    struct Callable {
        int* counter;
        void operator()() const { ++*counter; }
    };
    const auto is_plain = [](const WorkerHook& hook) {
        hook();
        if (hook.plain() == nullptr) return false;
        const int before = calls;
        hook.plain()();
        return calls == before + 1;
    };
    CHECK(is_plain([] { ++calls; }));
    CHECK(is_plain([] { return ++calls; }));
    CHECK(is_plain(+[] { ++calls; }));
    CHECK(is_plain(Stateless()));
    CHECK_FALSE(is_plain([copy = calls] { calls = copy; }));
    CHECK_FALSE(is_plain(Callable{&calls}));
    CHECK_FALSE(is_plain(std::function<void()>([] {})));
    CHECK_FALSE(WorkerHook());
    CHECK_FALSE(WorkerHook(nullptr));
    CHECK_FALSE(WorkerHook(std::function<void()>()));
    CHECK_FALSE(WorkerHook(static_cast<void (*)()>(nullptr)));
    const WorkerHook hook([] { ++calls; });
    const WorkerHook copy = hook; // NOLINT: that is what is tested
    CHECK(copy.plain() == hook.plain());
}
