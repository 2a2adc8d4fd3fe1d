#pragma once

#include <prong/asio/detail/attempts.hpp>
#include <prong/detail/process_end.hpp>
#include <prong/process.hpp>

/// \file
/// Processes in the event loops of Asio: `Process::async_wait`.

namespace prong::detail {

/// An attempt to see a process's end.
class AwaitProcess {
public:
    using Result = std::optional<std::tuple<ErrorCode, int>>;

    explicit AwaitProcess(const Process& process) : end_(process) {}

    Result attempt(Cancellable&) {
        const auto exitcode = end_.exitcode();
        if (!exitcode) return std::nullopt;
        return std::tuple(ErrorCode(), *exitcode);
    }
    int watch() { return end_.watch(); }
    static bool gives_up(net::cancellation_type) { return true; }
    static Result cancelled() { return result(net::error::operation_aborted); }
    static Result failed(const std::exception_ptr& error) {
        try {
            std::rethrow_exception(error);
        } catch (const std::system_error& failure) {
            return result({failure.code().value(), net::error::get_system_category()});
        } catch (...) {
            return result(net::error::no_memory);
        }
    }

private:
    static Result result(ErrorCode error) { return std::tuple(error, Process::unknown_exitcode); }

    ProcessEnd end_;
};

template <typename... Args>
struct DefinedInProngAsioHpp<Process, Args...> {
    static auto async_wait(const Process& process, Args&&... args) {
        return start_attempts<void(ErrorCode, int)>(AwaitProcess(process),
                                                    std::forward<Args>(args)...);
    }
};

} // namespace prong::detail
