#include "support/processes.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

namespace prong::test {
namespace {

std::optional<ProcessInfo> read_process(const std::string& pid) {
    std::ifstream file("/proc/" + pid + "/stat");
    std::string text;
    if (!std::getline(file, text)) return std::nullopt; // it has ended meanwhile
    // "4711 (name) S 1 …", and the name itself may contain spaces and parentheses
    const std::size_t open = text.find('(');
    const std::size_t close = text.rfind(')');
    if (open == std::string::npos || close == std::string::npos) return std::nullopt;
    ProcessInfo info{};
    info.pid = std::stoi(pid);
    info.name = text.substr(open + 1, close - open - 1);
    std::istringstream rest(text.substr(close + 1));
    rest >> info.state >> info.parent >> info.group >> info.session;
    return info;
}

template <typename Predicate>
std::vector<ProcessInfo> processes_where(Predicate predicate) {
    std::vector<ProcessInfo> found = list_processes();
    std::erase_if(found, [&](const ProcessInfo& process) { return !predicate(process); });
    return found;
}

} // namespace

std::vector<ProcessInfo> list_processes() {
    std::vector<ProcessInfo> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (std::isdigit(static_cast<unsigned char>(name.front())) == 0) continue;
        if (auto process = read_process(name)) found.push_back(*std::move(process));
    }
    return found;
}

std::vector<ProcessInfo> children_of(pid_t pid) {
    return processes_where([&](const ProcessInfo& process) { return process.parent == pid; });
}

std::vector<ProcessInfo> descendants_of(pid_t pid) {
    const std::vector<ProcessInfo> all = list_processes();
    std::vector<ProcessInfo> found;
    std::vector<pid_t> parents{pid};
    for (std::size_t i = 0; i < parents.size(); ++i) {
        for (const ProcessInfo& process : all) {
            if (process.parent != parents[i]) continue;
            found.push_back(process);
            parents.push_back(process.pid);
        }
    }
    return found;
}

std::vector<ProcessInfo> processes_in_session(pid_t session) {
    return processes_where([&](const ProcessInfo& process) { return process.session == session; });
}

bool is_running(pid_t pid) {
    const auto process = read_process(std::to_string(pid));
    return process && process->state != 'Z' && process->state != 'X';
}

} // namespace prong::test
