#include <prong/error.hpp>

#include "diag/exit_text.hpp"

#include <algorithm>
#include <csignal>
#include <utility>

namespace prong {
// The destructors are defined here so that each class has its type information in one place.
Error::~Error() = default;
BrokenProcessPool::~BrokenProcessPool() = default;
WorkerDied::~WorkerDied() = default;
PoisonedTask::~PoisonedTask() = default;
RankLost::~RankLost() = default;
TaskTimeout::~TaskTimeout() = default;
CancelledError::~CancelledError() = default;
TimeoutError::~TimeoutError() = default;
PoolShutdown::~PoolShutdown() = default;
LimitExceeded::~LimitExceeded() = default;
CodecError::~CodecError() = default;
RemoteError::~RemoteError() = default;
ObjectGone::~ObjectGone() = default;
QueueClosed::~QueueClosed() = default;
BrokenBarrier::~BrokenBarrier() = default;
ManagerDied::~ManagerDied() = default;
EndOfFile::~EndOfFile() = default;
AuthenticationError::~AuthenticationError() = default;

namespace {

std::string how_it_died(const Death& death) {
    std::string text = "worker " + std::to_string(death.pid) + " ";
    if (!death.host.empty()) text += "on " + death.host + " ";
    if (death.out_of_memory) text += "was killed by the kernel because memory had run out: it ";
    text += diag::exit_text(death.exitcode);
    const int signal = -death.exitcode;
    if (signal == SIGALRM || signal == SIGVTALRM || signal == SIGPROF)
        text += ", of a timer that this task or an earlier one of the worker had set";
    return text;
}

std::string poison_text(const std::vector<Death>& deaths, int attempts, const std::string& task) {
    std::string text = task + " has killed its worker at each of " + std::to_string(attempts) +
                       " attempts; last: ";
    const std::size_t shown = std::min<std::size_t>(deaths.size(), 4);
    for (std::size_t i = deaths.size() - shown; i < deaths.size(); ++i) {
        text += how_it_died(deaths[i]) + (i + 1 < deaths.size() ? ", " : "");
    }
    return text;
}

std::string loss_text(const std::string& host, int rank, const std::string& cause,
                      const std::string& task) {
    std::string text = rank < 0 ? "the pool's relay" : "rank " + std::to_string(rank);
    if (!host.empty()) text += " on " + host;
    return text + " was lost while running " + task + (cause.empty() ? "" : ": " + cause);
}

} // namespace

WorkerDied::WorkerDied(Death death, std::string task)
    : Error(how_it_died(death) + " while running " + task), death_(std::move(death)),
      task_(std::move(task)) {}

PoisonedTask::PoisonedTask(std::vector<Death> deaths, int attempts, std::string task)
    : Error(poison_text(deaths, attempts, task)), deaths_(std::move(deaths)), attempts_(attempts),
      task_(std::move(task)) {
    if (deaths_.empty()) deaths_.emplace_back();
}

RankLost::RankLost(std::string host, int rank, const std::string& cause, std::string task)
    : Error(loss_text(host, rank, cause, task)), host_(std::move(host)), rank_(rank),
      task_(std::move(task)) {}

const std::string& PoisonedTask::last_output() const noexcept {
    return deaths_.back().last_output;
}

} // namespace prong
