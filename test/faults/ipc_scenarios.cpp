#include "faults/scenarios.hpp"

#include <prong/prong.hpp>

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace prong::test {
namespace {

using namespace std::chrono_literals;

const std::string key = "a secret";

/// In a child: connects to the address that it receives, and sends back what it gets until the
/// other end is closed.
void echo_as_client(Connection parent) {
    try {
        for (Connection connection = Client(parent.recv<std::string>(), key);;)
            connection.send_bytes(connection.recv_bytes());
    } catch (const EndOfFile&) { // as it should be
    } catch (const std::system_error& error) {
        const int code = error.code().value();
        if (code != EPIPE && code != ECONNREFUSED) throw; // as well, if the other end met an error
    }
}

/// Accepts the client, unless its process ends.
std::optional<Connection> accept(Listener& listener, const Process& client) {
    for (;;) {
        wait({listener, client});
        if (auto accepted = listener.accept_for(0s)) return accepted;
        if (wait({client}, 0s).size() == 1) return std::nullopt;
    }
}

void talk(Judge& judge, const std::string& address) {
    // Before the listener, of which a child would inherit a copy.
    auto [ours, theirs] = Pipe();
    Process client(echo_as_client, std::move(theirs));
    if (!judge.attempt("start", [&] { client.start(); })) return;
    judge.attempt("Listener", [&, &ours = ours] {
        Listener listener(address, key);
        ours.send(listener.address());
        std::optional<Connection> connection = accept(listener, client);
        const bool may_be_refused = judge.demand() == Demand::may_fail;
        judge.require("accept", connection || may_be_refused);
        if (!connection) return;
        for (const std::string& text : {std::string("short"), std::string(3'000'000, 'x')}) {
            connection->send_bytes(text);
            const auto bytes = connection->recv_bytes();
            const std::string_view got(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            judge.require("recv", got == text);
        }
    });
    ours.close();
    judge.attempt("join", [&] { client.join(); });
}

int add(int& number, int more) {
    return number += more;
}

void use_objects(Judge& judge, const Manager& manager) {
    using Words = DictProxy<std::string, std::string>;
    ValueProxy<int> value;
    if (!judge.attempt("value", [&] { value = manager.value(1); })) return;
    judge.attempt("call", [&] { judge.require("call", value.call(add, 2) == 3); });
    judge.attempt("calls of two threads", [&] {
        std::jthread other([&] { judge.attempt("call", [&] { value.call(add, 0); }); });
        for (int i = 0; i < 3; ++i) judge.require("get", value.get() % 2 == 1);
    });
    judge.attempt("publish", [&] {
        const std::string large(200'000, 'x');
        manager.publish("words", manager.dict(std::map<std::string, std::string>{{"a", large}}));
        judge.require("find", manager.find<Words>("words").at("a") == large);
    });
}

/// So that no process receives again and again before it sleeps.
void become_single_cpu() {
    const unsigned long first = 1; // the call is not one of those that fail
    syscall(SYS_sched_setaffinity, 0, sizeof(first), &first);
}

} // namespace

void use_listener(Judge& judge, const Shared<Gate>&) {
    for (const std::string& address :
         {"@prong-faults-" + std::to_string(getpid()), std::string("127.0.0.1:0")})
        judge.attempt("Pipe", [&] { talk(judge, address); });
}

void use_manager(Judge& judge, const Shared<Gate>&) {
    become_single_cpu();
    judge.attempt("Manager", [&] {
        Manager manager;
        use_objects(judge, manager);
        judge.attempt("shutdown", [&] { manager.shutdown(); });
    });
    judge.attempt("listen", [&] {
        const auto manager = Manager::listen("127.0.0.1:0", key);
        judge.attempt("connect", [&] {
            const auto connected = Manager::connect(manager.address(), key);
            use_objects(judge, connected);
        });
    });
}

} // namespace prong::test
