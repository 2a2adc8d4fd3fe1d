#include <prong/detail/process_end.hpp>
#include <prong/process.hpp>

#include "base/fd.hpp"
#include "os/cpus.hpp"
#include "os/socket.hpp"
#include "proc/process_state.hpp"

#include <csignal>
#include <stdexcept>
#include <utility>

namespace prong {

Process::Process() : state_(proc::create()) {}

Process::Process(Process&& other) noexcept = default;

Process& Process::operator=(Process&& other) noexcept {
    if (this == &other) return *this;
    end();
    state_ = std::move(other.state_);
    target_ = std::move(other.target_);
    return *this;
}

Process::~Process() {
    end();
}

void Process::end() noexcept {
    if (!state_ || !proc::is_running_child(*state_)) return;
    try {
        if (daemon()) kill();
        join();
    } catch (...) { // a destructor must not throw
    }
}

detail::ProcessState& Process::state() const {
    if (!state_) throw std::logic_error("prong::Process: used after it was moved from");
    return *state_;
}

void Process::run() {
    if (target_) target_->call();
}

void Process::start() {
    state();
    if (target_) target_->prepare();
    proc::start(state_, [this] {
        if (target_) target_->enter_child();
        run();
    });
    if (target_) target_->leave_parent(proc::pid(state()));
    target_.reset();
}

void Process::join() {
    proc::wait_for_end(state(), detail::Deadline::never());
}

bool Process::join_for(Timeout timeout) {
    return proc::wait_for_end(state(), detail::Deadline::after(timeout));
}

void Process::terminate() {
    proc::send_signal(state(), SIGTERM);
}

void Process::kill() {
    proc::send_signal(state(), SIGKILL);
}

void Process::interrupt() {
    proc::send_signal(state(), SIGINT);
}

bool Process::is_alive() const {
    return proc::is_alive(state());
}

int Process::pid() const {
    return proc::pid(state());
}

std::string Process::name() const {
    return proc::name(state());
}

void Process::set_name(std::string name) {
    proc::set_name(state(), std::move(name));
}

bool Process::daemon() const {
    return proc::daemon(state());
}

void Process::set_daemon(bool daemon) {
    proc::set_daemon(state(), daemon);
}

std::string Process::authkey() const {
    return proc::authkey(state());
}

void Process::set_authkey(std::string key) {
    proc::set_authkey(state(), std::move(key));
}

std::optional<int> Process::exitcode() const {
    return proc::exitcode(state());
}

int Process::sentinel() const {
    return proc::sentinel(state());
}

void Process::close() {
    proc::close(state());
}

detail::ProcessEnd::ProcessEnd(const Process& process) : state_(process.state_) {
    static_cast<void>(process.sentinel()); // throws unless it has been started
}

detail::ProcessEnd::ProcessEnd(ProcessEnd&& other) noexcept
    : state_(std::move(other.state_)), pidfd_(std::exchange(other.pidfd_, -1)) {}

detail::ProcessEnd::~ProcessEnd() {
    const base::UniqueFd owner(pidfd_);
}

std::optional<int> detail::ProcessEnd::exitcode() const {
    return proc::exitcode_of_closed(*state_);
}

int detail::ProcessEnd::watch() {
    pidfd_ = proc::copy_pidfd(*state_).release();
    if (pidfd_ < 0) return -1;
    return os::watch(pidfd_, os::Readiness::readable).release();
}

int ProcessInfo::pid() const {
    return proc::pid(*state_);
}

std::string ProcessInfo::name() const {
    return proc::name(*state_);
}

bool ProcessInfo::daemon() const {
    return proc::daemon(*state_);
}

std::string ProcessInfo::authkey() const {
    return proc::authkey(*state_);
}

void ProcessInfo::set_authkey(std::string key) const {
    proc::set_authkey(*state_, std::move(key));
}

bool ProcessInfo::is_alive() const {
    return proc::is_alive(*state_);
}

void ProcessInfo::join() const {
    proc::wait_for_end(*state_, detail::Deadline::never());
}

bool ProcessInfo::join_for(Timeout timeout) const {
    return proc::wait_for_end(*state_, detail::Deadline::after(timeout));
}

void ProcessInfo::terminate() const {
    proc::send_signal(*state_, SIGTERM);
}

void ProcessInfo::kill() const {
    proc::send_signal(*state_, SIGKILL);
}

void ProcessInfo::interrupt() const {
    proc::send_signal(*state_, SIGINT);
}

std::optional<int> ProcessInfo::exitcode() const {
    return proc::exitcode(*state_);
}

ProcessInfo current_process() {
    return ProcessInfo(proc::current());
}

std::optional<ProcessInfo> parent_process() {
    auto parent = proc::parent();
    if (!parent) return std::nullopt;
    return ProcessInfo(std::move(parent));
}

std::vector<ProcessInfo> active_children() {
    std::vector<ProcessInfo> children;
    for (auto& child : proc::active_children()) children.push_back(ProcessInfo(std::move(child)));
    return children;
}

int cpu_count() noexcept {
    return static_cast<int>(os::online_cpus());
}

} // namespace prong
