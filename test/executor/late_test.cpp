// Functions of modules that were loaded before the workers' fork base, after it, and in place of
// another; with a zygote and without. And what remains of modules that were unloaded.

#include "executor/helpers.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"
#include "support/eventually.hpp"
#include "support/module.hpp"

#include <prong/detail/names.hpp>
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

struct Unregistered : std::exception {};
struct Registered : std::runtime_error {
    using std::runtime_error::runtime_error;
};
[[maybe_unused]] const bool registered = prong::register_exception<Registered>();

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
        require(pool->submit(square, 3).get() == 9, "the pool continues");
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

TEST_CASE("exceptions that a module has registered go with it, and come back with it") {
    check_child([] {
        const auto path = module_beside_program("throws.so");
        using PoolPredicate = bool(ProcessPoolExecutor&);
        const auto comes_back = [](const Module& module) {
            ProcessPoolExecutor pool(1);
            return module.find<PoolPredicate>("exception_comes_back")(pool);
        };
        std::optional<Module> module(path);
        ProcessPoolExecutor before(1);
        require(comes_back(*module), "the module's exception comes back");
        module.reset();
        require(dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD) == nullptr, "the module is unloaded");

        ProcessPoolExecutor after(1);
        for (ProcessPoolExecutor* const pool : {&before, &after}) {
            require_throws<std::out_of_range>(
                [&] { pool->submit([] { throw std::out_of_range("text"); }).get(); }, "standard");
            require_throws<prong::RemoteError>(
                [&] { pool->submit([] { throw Unregistered(); }).get(); }, "unknown");
            require_throws<Registered>(
                [&] { pool->submit([] { throw Registered("text"); }).get(); }, "the program's own");
        }
        module.emplace(path);
        require(comes_back(*module), "the module's exception comes back again");
    });
}

TEST_CASE("futures and statistics may outlive the module of their tasks") {
    with_and_without_zygote([](auto fork_base_begins) {
        std::optional<Module> module(module_beside_program("throws.so"));
        const auto pool = fork_base_begins();
        using Submit = void(ProcessPoolExecutor&, Future<void>&);
        Future<void> dead;
        Future<void> paused;
        module->find<Submit>("submit_death")(*pool, dead);
        module->find<Submit>("submit_pause")(*pool, paused);
        dead.wait();
        require(eventually([&] { return paused.running(); }), "the task runs");
        require(contains(pool->stats().workers.front().task, "submit_pause"), "its name");
        module.reset();
        require(contains(pool->stats().workers.front().task, "unloaded"), "no name any more");
        require(contains(require_throws<WorkerDied>([&] { dead.get(); }, "the death"), "unloaded"),
                "the error has no name");
        require(paused.kill(), "the task can be killed");
        require_throws<CancelledError>([&] { paused.get(); }, "it was killed");
        require(pool->submit(square, 3).get() == 9, "the pool continues");
    });
}

TEST_CASE("a pool may outlive the module that its hooks are from") {
    check_child([] {
        std::optional<Module> module(module_beside_program("throws.so"));
        std::unique_ptr<ProcessPoolExecutor> pool;
        module->find<void(std::unique_ptr<ProcessPoolExecutor>&)>("make_pool")(pool);
        module.reset();
        require(pool->submit(square, 3).get() == 9, "its workers have the hooks");
        pool.reset();
    });
}

TEST_CASE("a function in the place of another is called by its own name") {
    check_child([] {
        const TempDir directory;
        const auto path = directory.path() / "module.so";
        std::filesystem::copy_file(module_beside_program("times_three.so"), path);
        std::optional<Module> module(path);
        const auto* const address =
            reinterpret_cast<const void*>(module->find<IntFunction>("times"));
        require(contains(prong::detail::function_name(address), "times"), "the first one's name");
        module.reset();
        std::filesystem::remove(path);
        std::filesystem::copy_file(module_beside_program("times_other.so"), path);
        module.emplace(path);
        require(reinterpret_cast<const void*>(module->find<IntFunction>("prods")) == address,
                "is at the same place");
        require(contains(prong::detail::function_name(address), "prods"), "the other one's name");
    });
}

TEST_CASE("a function of a module that was unloaded is refused") {
    with_and_without_zygote([](auto fork_base_begins) {
        std::optional<Module> module(module_beside_program("times_three.so"));
        auto* const function = module->find<IntFunction>("times");
        const auto pool = fork_base_begins();
        require(pool->submit(function, 5).get() == 15, "while it is there");
        module.reset();
        require_throws<std::invalid_argument>([&] { pool->submit(function, 5); }, "unloaded");
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

TEST_CASE("a worker hook knows whether it can be encoded") {
    using prong::WorkerHook;
    using Access = prong::detail::WorkerHookAccess;
    static int calls = 0;
    struct Stateless {
        int operator()() { return ++calls; }
    };
    struct Callable {
        int* counter;
        void operator()() const { ++*counter; }
    };
    const auto is_encoded = [](const WorkerHook& hook) {
        hook();
        if (Access::type(hook) == nullptr) return false;
        const int before = calls;
        Access::make(*Access::type(hook), Access::encoded(hook))();
        return calls == before + 1;
    };
    CHECK(is_encoded([] { ++calls; }));
    CHECK(is_encoded([] { return ++calls; }));
    CHECK(is_encoded(+[] { ++calls; }));
    CHECK(is_encoded(Stateless()));
    CHECK_FALSE(is_encoded([copy = calls] { calls = copy; }));
    CHECK_FALSE(is_encoded(Callable{&calls}));
    CHECK_FALSE(is_encoded(std::function<void()>([] {})));
    CHECK_FALSE(WorkerHook());
    CHECK_FALSE(WorkerHook(nullptr));
    CHECK_FALSE(WorkerHook(std::function<void()>()));
    CHECK_FALSE(WorkerHook(static_cast<void (*)()>(nullptr)));
    const WorkerHook hook([] { ++calls; });
    const WorkerHook copy = hook; // NOLINT: that is what is tested
    CHECK(Access::type(copy) == Access::type(hook));
}
