#include <prong/error.hpp>

#include <cstring>
#include <utility>

namespace prong {
namespace {

std::string describe_end(int pid, int exitcode) {
    const std::string code = std::to_string(exitcode);
    std::string text = "worker " + std::to_string(pid);
    if (exitcode >= 0) return text + " exited with code " + code;
    const char* const name = sigabbrev_np(-exitcode);
    text += name != nullptr ? " died of SIG" + std::string(name) : " died of a signal";
    return text + " (exit code " + code + ")";
}

} // namespace

// The destructors are here so that each class has its type information in one place.
Error::~Error() = default;
BrokenProcessPool::~BrokenProcessPool() = default;
WorkerDied::~WorkerDied() = default;
CancelledError::~CancelledError() = default;
TimeoutError::~TimeoutError() = default;
PoolShutdown::~PoolShutdown() = default;
LimitExceeded::~LimitExceeded() = default;
CodecError::~CodecError() = default;
RemoteError::~RemoteError() = default;
EndOfFile::~EndOfFile() = default;

WorkerDied::WorkerDied(int pid, int exitcode, std::string task)
    : Error(describe_end(pid, exitcode) + " while running " + task), pid_(pid),
      exitcode_(exitcode), task_(std::move(task)) {}

} // namespace prong
