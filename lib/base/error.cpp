#include <prong/error.hpp>

#include "base/exit_text.hpp"

#include <utility>

namespace prong {
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
    : Error("worker " + std::to_string(pid) + " " + base::exit_text(exitcode) + " while running " +
            task),
      pid_(pid), exitcode_(exitcode), task_(std::move(task)) {}

} // namespace prong
