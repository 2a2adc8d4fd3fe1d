#include "mpi/launched_job.hpp"

#include "base/errno.hpp"
#include "mpi/environment.hpp"
#include "os/modules.hpp"

#include <unistd.h>

#include <array>
#include <chrono>
#include <climits>
#include <filesystem>
#include <system_error>

namespace prong::mpi {
namespace {

using namespace std::chrono_literals;

/// How long a launcher may take to end after rank 0 has exited.
constexpr auto job_end_patience = 5s;

std::string program_path() {
    std::array<char, PATH_MAX> path{};
    const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
    if (length < 0) base::throw_errno("readlink");
    std::string text(path.data(), static_cast<std::size_t>(length));
    if (text.ends_with(" (deleted)")) {
        throw Error("the program's file was removed or replaced: " + text);
    }
    return text;
}

/// Returns the absolute path of a module that may have been loaded by a relative one; an empty
/// string if it is no file (any more).
std::string absolute_path(const std::string& path) {
    std::error_code error;
    const std::filesystem::path absolute = std::filesystem::canonical(path, error);
    return error ? std::string() : absolute.string();
}

/// Returns the shared objects that the program has loaded, separated by colons.
std::string module_paths() {
    std::string text;
    for (const os::Module& module : os::list_modules()) {
        const std::string path =
            module.path.starts_with('/') ? module.path : absolute_path(module.path);
        if (!path.empty() && path.find(':') == std::string::npos)
            text += (text.empty() ? "" : ":") + path;
    }
    return text;
}

FoundLauncher permitted_launcher(const MpiOptions& options,
                                 const std::function<bool()>& is_unwanted) {
    FoundLauncher found = find_launcher(options, is_unwanted);
    require_permitted_user(found.kind, options);
    return found;
}

Launcher start(const FoundLauncher& found, const MpiOptions& options, const std::string& socket) {
    Variables variables{{socket_variable, socket}, {modules_variable, module_paths()}};
    if (const auto& limit = options.launch_timeout.value())
        variables.emplace_back(launch_timeout_variable, std::to_string(limit->count()));
    return {launch_command(found, options, variables, program_path()), variables};
}

} // namespace

LaunchedJob::LaunchedJob(const MpiOptions& options, detail::Deadline deadline,
                         const std::function<bool()>& is_unwanted)
    : found_(permitted_launcher(options, is_unwanted)),
      launcher_(start(found_, options, handover_.name())) {
    const auto reason_to_give_up = [&]() -> std::string {
        if (const std::string text = launcher_.end(); !text.empty())
            return "cannot start the ranks: " + text + "; stderr has its messages";
        if (deadline.passed()) {
            return found_.program + " has not started rank 0 within MpiOptions::launch_timeout: is "
                                    "there a host that does not answer?";
        }
        return is_unwanted() ? "the pool was shut down" : "";
    };
    while (!handover_.accept(detail::Deadline::after(20ms))) {
        const std::string reason = reason_to_give_up();
        if (reason.empty()) continue;
        launcher_.finish(detail::Deadline::now());
        throw Error(reason);
    }
}

std::string LaunchedJob::end() const {
    if (std::string text = launcher_.end(); !text.empty()) return text;
    return handover_.is_stub_gone() ? found_.program + " has ended rank 0" : std::string();
}

void LaunchedJob::finish() noexcept {
    handover_.release(0);
    launcher_.finish(detail::Deadline::after(job_end_patience));
    is_finished_ = true;
}

/// Unless all is in order, the launcher has to end what is left of the job.
LaunchedJob::~LaunchedJob() {
    if (is_finished_) return;
    handover_.release(1);
    launcher_.finish(detail::Deadline::now());
}

} // namespace prong::mpi
