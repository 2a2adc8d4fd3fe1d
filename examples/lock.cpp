// Appends to one file from two processes. Each line is written in two pieces; a lock keeps them
// together.

#include <prong/lock.hpp>
#include <prong/process.hpp>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace fs = std::filesystem;

constexpr int lines = 50;

void append_line(const fs::path& path, const char* text) {
    std::ofstream file(path, std::ios::app);
    file << "written with " << std::flush;
    std::this_thread::sleep_for(std::chrono::milliseconds(1)); // time for the other process
    file << text << std::endl;
}

void use_guard(const prong::Lock& lock, const fs::path& path) {
    for (int i = 0; i < lines; ++i) {
        const std::scoped_lock guard(lock); // releases the lock even if the next line throws
        append_line(path, "a guard");
    }
}

void use_acquire(const prong::Lock& lock, const fs::path& path) {
    for (int i = 0; i < lines; ++i) {
        lock.acquire();
        append_line(path, "acquire and release");
        lock.release();
    }
}

int main() {
    const int pid = prong::current_process().pid();
    const fs::path path = fs::temp_directory_path() / ("prong_lock." + std::to_string(pid));
    const prong::Lock lock;
    prong::Process first(use_guard, lock, path);
    prong::Process second(use_acquire, lock, path);
    first.start();
    second.start();
    first.join();
    second.join();

    std::map<std::string, int> counts;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) ++counts[line];
    for (const auto& [line, count] : counts) std::cout << count << " times: " << line << "\n";
    fs::remove(path);
}
