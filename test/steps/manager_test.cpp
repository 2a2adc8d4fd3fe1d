// Kills a client of a manager at each instruction of a call, and a manager at each instruction of
// serving one. The other side and the other clients go on, or get an error at once.

#include "executor/helpers.hpp"
#include "manager/client.hpp"
#include "manager/server.hpp"
#include "steps/curtain.hpp"
#include "steps/tally.hpp"
#include "steps/tracee.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

#include <prong/error.hpp>
#include <prong/listener.hpp>
#include <prong/manager.hpp>

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <iostream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

using namespace prong::test;
using prong::Manager;
using prong::ValueProxy;

namespace {

const Halt at_end{.places = {address_of(&curtain_down)}};

/// A process that is about to execute the steps. It is killed at the latest when this ends.
class Victim {
public:
    Victim(const std::function<void()>& prepare, const std::function<void()>& act) {
        const Shared<Gate> gate;
        const pid_t pid = fork();
        if (pid == 0) {
            prepare();
            gate->pass();
            curtain_up();
            act();
            curtain_down();
            sleep_for_ever();
        }
        if (!gate->await_arrivals(1)) throw std::runtime_error("no victim");
        tracee_ = Tracee(pid);
        tracee_.interrupt();
        gate->open();
        tracee_.run_to({.places = {address_of(&curtain_up)}});
    }
    Victim(const Victim&) = delete;
    Victim& operator=(const Victim&) = delete;
    ~Victim() { kill(); }

    Path record() { return tracee_.record(at_end); }
    bool run_to(const Point& point) { return tracee_.run_to(point, at_end); }
    void kill() {
        if (!tracee_.is_empty()) tracee_.kill();
    }

private:
    Tracee tracee_;
};

int add(int& number, int more) {
    return number += more;
}

std::size_t count_threads(const Manager& manager) {
    const std::filesystem::path tasks = "/proc/" + std::to_string(manager.pid()) + "/task";
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(tasks), {}));
}

} // namespace

TEST_CASE("a client that is killed at any instruction of a call harms no other") {
    if (skipped()) return;
    const Manager manager;
    const auto value = manager.value(0);
    const auto large = manager.value<std::string>("");
    const auto nothing = [] {};
    const auto call = [&] { value.call(add, 1); };
    const auto make = [&] { static_cast<void>(manager.value(5)); };
    const std::string text(500'000, 'x');
    const auto send_much = [&] { large.set(text); };
    struct Trial {
        const char* what;
        std::function<void()> prepare;
        std::function<void()> act;
    };
    const Trial trials[] = {
        {"a call", call, call},
        {"the first call", nothing, call},
        {"make", call, make},
        {"a large call", call, send_much},
    };
    for (const Trial& trial : trials) {
        INFO(trial.what);
        Path path;
        {
            Victim victim(trial.prepare, trial.act);
            path = victim.record();
        }
        std::size_t points = 0;
        std::size_t reached = 0;
        for (const Point& point : sample(path, {.few = 40, .most = 4000})) {
            value.set(0);
            large.set("");
            Victim victim(trial.prepare, trial.act);
            const int before = value.get();
            if (victim.run_to(point)) ++reached;
            victim.kill();
            ++points;
            // The manager may execute a request whose sender has died already: but once.
            const int after = value.call(add, 10) - before;
            REQUIRE((after == 10 || after == 11));
            const std::size_t size = large.get().size();
            REQUIRE((size == 0 || size == text.size()));
        }
        std::cout << "steps: " << trial.what << ": " << points << " kill points of " << path.size()
                  << " instructions, " << reached << " met again" << std::endl;
        CHECK(reached > points / 2);
    }
    // Those of the dead clients end: one accepts, one serves this process.
    CHECK(eventually([&] { return count_threads(manager) == 2; }));
}

TEST_CASE(
    "a manager that is killed at any instruction of serving a client leaves no call waiting") {
    if (skipped()) return;
    const prong::detail::ManagerAddress address{
        .address = "@prong-steps-" + std::to_string(getpid()), .authkey = "a key"};
    const prong::detail::RemoteObject directory{.manager = address,
                                                .id = prong::detail::RemoteObject::directory};
    std::optional<prong::Listener> listener;
    std::optional<prong::manager::Objects> objects;
    const auto listen = [&] {
        listener.emplace(address.address, address.authkey);
        objects.emplace();
    };
    const auto serve = [&] { prong::manager::serve_client(*objects, listener->accept()); };
    const auto call = [&] {
        return prong::detail::call_object<prong::manager::Directory>(
            directory, [](prong::manager::Directory& names) { return names.size(); });
    };
    const auto calls = [&] {
        for (int i = 0; i < 3; ++i) {
            if (call() != 0) throw std::logic_error("a wrong result");
        }
        prong::manager::forget(address); // closes the connection: the end of the steps
    };
    Path path;
    {
        Victim victim(listen, serve);
        std::jthread client(calls);
        path = victim.record();
    }
    std::size_t points = 0;
    std::size_t deaths = 0;
    std::size_t reached = 0;
    for (const Point& point : sample(path, {.few = 100, .most = 10'000})) {
        Victim victim(listen, serve);
        std::jthread client([&] {
            try {
                calls();
            } catch (const prong::ManagerDied&) {
                ++deaths;
            }
        });
        if (victim.run_to(point)) ++reached;
        victim.kill();
        client.join();
        ++points;
        REQUIRE_THROWS_AS(call(), prong::ManagerDied);
    }
    std::cout << "steps: a manager: " << points << " kill points of " << path.size()
              << " instructions, " << reached << " met again, in " << deaths
              << " of which a call was in progress" << std::endl;
    CHECK(deaths > points / 10);
}
