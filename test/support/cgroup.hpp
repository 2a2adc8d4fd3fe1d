#pragma once

#include "support/eventually.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

namespace prong::test {

/// A cgroup for children of this test, if this machine lets us make one, in either version of the
/// kernel's interface.
class Cgroup {
public:
    struct Kind {
        const char* controller;    ///< its folder in version 1
        const char* limit;         ///< the file of its limit in version 1
        const char* unified_limit; ///< in version 2
    };
    static constexpr Kind memory{"memory", "memory.limit_in_bytes", "memory.max"};
    static constexpr Kind processes{"pids", "pids.max", "pids.max"};

    Cgroup(const Kind& kind, std::size_t limit) {
        const std::filesystem::path root = "/sys/fs/cgroup";
        const std::string name = "prong-test-" + std::to_string(getpid());
        for (const auto& [base, file] :
             {std::pair{root / kind.controller, kind.limit}, {root, kind.unified_limit}}) {
            std::error_code error;
            if (!std::filesystem::exists(base / "cgroup.procs", error)) continue;
            if (!std::filesystem::create_directory(base / name, error)) continue;
            path_ = base / name;
            limit_ = path_ / file;
            if (set_limit(limit)) return;
            remove();
        }
    }
    Cgroup(const Cgroup&) = delete;
    Cgroup& operator=(const Cgroup&) = delete;
    ~Cgroup() {
        static_cast<void>(eventually([this] { return remove(); }));
    }

    [[nodiscard]] bool available() const { return !path_.empty(); }

    /// May be called by a process in it, too.
    [[nodiscard]] bool set_limit(std::size_t limit) const {
        return write(limit_, std::to_string(limit));
    }

    /// Puts the calling process into it.
    [[nodiscard]] bool enter() const {
        return write(path_ / "cgroup.procs", std::to_string(getpid()));
    }

private:
    static bool write(const std::filesystem::path& path, const std::string& text) {
        std::ofstream file(path);
        file << text << std::flush;
        return static_cast<bool>(file);
    }

    bool remove() {
        if (path_.empty() || rmdir(path_.c_str()) == 0) path_.clear();
        return path_.empty();
    }

    std::filesystem::path path_;
    std::filesystem::path limit_;
};

} // namespace prong::test
