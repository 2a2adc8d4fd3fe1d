#pragma once

#include "proc/helpers.hpp"
#include "support/catch.hpp"
#include "support/shared.hpp"

#include <prong/process.hpp>

#include <chrono>
#include <functional>
#include <utility>

namespace prong::test {

/// Long enough for any wait that must end.
inline constexpr std::chrono::seconds patience{60};

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
