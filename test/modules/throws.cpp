// A module that registers an exception, leaves futures and hooks to its program, and can be
// unloaded: nothing in it is merged with what others have.

#include <prong/exception.hpp>
#include <prong/process_pool_executor.hpp>

#include <unistd.h>

#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

struct ModuleError : std::runtime_error {
    ModuleError(const std::string& text, int at) : std::runtime_error(text), line(at) {}
    explicit ModuleError(const std::string& text) : std::runtime_error(text) {}
    template <class Archive>
    void serialize(Archive& archive) {
        archive(line);
    }
    int line = 0;
};

[[maybe_unused]] const bool registered = prong::register_exception<ModuleError>();

} // namespace

extern "C" {

/// Whether the module's exception comes back from a worker as itself.
bool exception_comes_back(prong::ProcessPoolExecutor& pool) {
    auto future = pool.submit([] { throw ModuleError("text", 7); });
    try {
        future.get();
        return false;
    } catch (const ModuleError& error) {
        return error.line == 7;
    } catch (const std::exception&) {
        return false;
    }
}

void submit_death(prong::ProcessPoolExecutor& pool, prong::Future<void>& future) {
    future = pool.submit([] { raise(SIGKILL); });
}

void submit_pause(prong::ProcessPoolExecutor& pool, prong::Future<void>& future) {
    future = pool.submit([] { pause(); });
}

/// A pool whose hooks hold objects of the module's own.
void make_pool(std::unique_ptr<prong::ProcessPoolExecutor>& pool) {
    const auto hook = [text = std::string(100, 'x')] {
        if (text.size() != 100) throw std::logic_error("the hook has lost its text");
    };
    pool = std::make_unique<prong::ProcessPoolExecutor>(prong::PoolOptions{
        .max_workers = 1, .initializer = hook, .on_worker_start = hook, .on_worker_exit = hook});
}
}
