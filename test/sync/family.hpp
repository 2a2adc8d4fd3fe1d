#pragma once

#include "proc/helpers.hpp"
#include "support/catch.hpp"

#include <prong/process.hpp>

#include <sys/mman.h>

#include <chrono>
#include <functional>
#include <new>
#include <utility>

namespace prong::test {

/// Long enough for any wait that must end.
inline constexpr std::chrono::seconds patience{60};

/// A variable that forked processes share, without any protection.
template <typename T>
class SharedVariable {
public:
    SharedVariable()
        : value_(new(mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                          -1, 0)) T()) {}
    SharedVariable(const SharedVariable&) = delete;
    SharedVariable& operator=(const SharedVariable&) = delete;
    ~SharedVariable() { munmap(value_, sizeof(T)); }

    T& operator*() const { return *value_; }
    T* operator->() const { return value_; }

private:
    T* value_;
};

/// A process that does something and then does not end, until it is killed.
class Sleeper {
public:
    explicit Sleeper(std::function<void()> body, const char* name = "Sleeper")
        : process_([this, body = std::move(body)] {
              body();
              report_and_sleep(channel_);
          }) {
        process_.set_name(name);
        process_.start();
        (void)channel_.get<char>();
    }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;
    ~Sleeper() { kill(); }

    void kill() {
        process_.kill();
        process_.join();
    }
    [[nodiscard]] int pid() const { return process_.pid(); }

private:
    Channel channel_;
    Process process_;
};

} // namespace prong::test
