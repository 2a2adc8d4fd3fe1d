#include "support/leaks.hpp"

#include "support/processes.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

namespace prong::test {
namespace {

namespace fs = std::filesystem;

/// Empty if the process has ended, is a zombie, or may not be read.
std::string link_target(const fs::path& link) {
    std::error_code ignored;
    return fs::read_symlink(link, ignored);
}

std::string program_of(pid_t pid) {
    return link_target("/proc/" + std::to_string(pid) + "/exe");
}

/// A process of this program that has lost its parent. A second run of the same test beside this
/// one does not count: its first process has our parent, its others have that first one.
bool is_orphan(const ProcessInfo& process, const std::string& program) {
    if (process.pid == getpid() || program_of(process.pid) != program) return false;
    if (process.parent == 1) return true;
    return process.parent != getppid() && program_of(process.parent) != program;
}

std::map<pid_t, std::string> held_processes() {
    const std::string program = program_of(getpid());
    std::map<pid_t, std::string> held;
    for (const ProcessInfo& process : list_processes()) {
        const std::string text =
            std::to_string(process.pid) + " (" + process.name + ", state " + process.state + ")";
        if (process.parent == getpid()) {
            held[process.pid] = (process.state == 'Z' ? "zombie " : "child ") + text;
        } else if (is_orphan(process, program)) {
            held[process.pid] = "orphan " + text;
        }
    }
    return held;
}

std::map<pid_t, std::string> held_threads() {
    std::map<pid_t, std::string> held;
    for (const auto& entry : fs::directory_iterator("/proc/self/task")) {
        const std::string tid = entry.path().filename();
        std::string name;
        std::getline(std::ifstream(entry.path() / "comm") >> std::ws, name);
        held[std::stoi(tid)] = "thread " + tid + " (" + name + ")";
    }
    return held;
}

std::map<std::string, std::string> held_descriptors() {
    std::map<std::string, std::string> held;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
        const std::string number = entry.path().filename();
        const std::string target = link_target(entry.path());
        // The number alone would miss one that was closed and its place taken. The descriptor that
        // this very loop reads the directory with is not a thing held.
        if (target.starts_with("/proc/") && target.ends_with("/fd")) continue;
        const std::string text = number + " -> " + target;
        held[text] = "descriptor " + text;
    }
    return held;
}

std::map<std::string, std::string> held_mappings() {
    std::map<std::string, std::string> held;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find("memfd:prong-family") != std::string::npos)
            continue; // stays once it is there
        // A shared anonymous mapping is shown as /dev/zero.
        for (const char* const shared : {"memfd:", "/dev/zero", "/dev/shm/"}) {
            if (line.find(shared) != std::string::npos) held[line] = "mapping " + line;
        }
    }
    return held;
}

template <typename Key>
void list_new(const std::map<Key, std::string>& before, const std::map<Key, std::string>& now,
              std::string& text) {
    for (const auto& [key, description] : now) {
        if (!before.contains(key)) text += "  " + description + "\n";
    }
}

} // namespace

Holdings Holdings::now() {
    return {.processes = held_processes(),
            .threads = held_threads(),
            .descriptors = held_descriptors(),
            .mappings = held_mappings()};
}

std::string leaks_since(const Holdings& before, std::chrono::milliseconds grace) {
    const auto until = std::chrono::steady_clock::now() + grace;
    for (;;) {
        const Holdings now = Holdings::now();
        std::string text;
        list_new(before.processes, now.processes, text);
        list_new(before.threads, now.threads, text);
        list_new(before.descriptors, now.descriptors, text);
        list_new(before.mappings, now.mappings, text);
        if (text.empty() || std::chrono::steady_clock::now() >= until) return text;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
}

} // namespace prong::test
