// What several threads do at once with one listener, one connection and the objects of one manager,
// whose clients and server are threads of this process: for ThreadSanitizer.

#include "manager/client.hpp"
#include "manager/server.hpp"
#include "support/catch.hpp"

#include <prong/connection.hpp>
#include <prong/error.hpp>
#include <prong/listener.hpp>
#include <prong/manager.hpp>
#include <prong/pipe.hpp>

#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace prong;

namespace {

constexpr int threads = 4;
constexpr int rounds = 100;

template <typename Work>
void in_threads(Work work) {
    std::vector<std::jthread> running;
    for (int i = 0; i < threads; ++i) running.emplace_back([&work, i] { work(i); });
}

detail::ManagerAddress address_of(const std::string& name) {
    return {.address = "@prong-test-" + name + "-" + std::to_string(getpid()), .authkey = "a key"};
}

/// Does in threads what a manager's process does.
class Server {
public:
    explicit Server(detail::ManagerAddress address)
        : address_(std::move(address)), listener_(address_.address, address_.authkey) {
        for (int i = 0; i < 2; ++i) acceptors_.emplace_back([this] { accept_clients(); });
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() {
        is_ending_ = true;
        for (std::size_t i = 0; i < acceptors_.size(); ++i)
            Client(address_.address, address_.authkey).close();
        acceptors_.clear();
        manager::forget(address_);
    }

    template <class P, class T, class... Args>
    P make(const Args&... args) const {
        return detail::HandleAccess::make<P>(detail::make_object<T>(address_, args...));
    }

private:
    void accept_clients() {
        for (;;) {
            Connection client = listener_.accept();
            if (is_ending_) return;
            const std::scoped_lock guard(mutex_);
            clients_.emplace_back([this, connection = std::move(client)]() mutable {
                manager::serve_client(objects_, std::move(connection));
            });
        }
    }

    detail::ManagerAddress address_;
    manager::Objects objects_;
    Listener listener_;
    std::atomic<bool> is_ending_ = false;
    std::mutex mutex_;
    std::vector<std::jthread> clients_; ///< guarded by `mutex_`
    std::vector<std::jthread> acceptors_;
};

} // namespace

TEST_CASE("threads share proxies, connections and objects of a manager") {
    const Server server(address_of("manager"));
    const auto sum = server.make<ValueProxy<int>, int>(0);
    const auto words = server.make<DictProxy<int, std::string>, std::map<int, std::string>>();
    in_threads([&](int thread) {
        for (int i = 0; i < rounds; ++i) {
            sum.call([](int& value, int more) { value += more; }, i);
            words.set(thread, "word " + std::to_string(i));
            const auto own = server.make<ListProxy<int>, std::vector<int>>();
            own.append(i);
            if (own.at(0) != i) throw std::logic_error("another object");
            try {
                static_cast<void>(own.at(1));
            } catch (const std::out_of_range&) {
                words.erase(thread);
            }
        }
    });
    CHECK(sum.get() == threads * rounds * (rounds - 1) / 2);
    CHECK(words.empty());
}

TEST_CASE("threads forget a manager while others call it") {
    const auto address = address_of("forgotten");
    const Server server(address);
    const auto sum = server.make<ValueProxy<int>, int>(0);
    in_threads([&](int thread) {
        for (int i = 0; i < rounds; ++i) {
            if (thread == 0) {
                manager::forget(address);
            } else {
                sum.call([](int& value) { ++value; });
            }
        }
    });
    CHECK(sum.get() == (threads - 1) * rounds);
}

TEST_CASE("threads accept clients of one listener, each of them once") {
    Listener listener(address_of("listener").address, "a key");
    std::atomic<int> sum = 0;
    std::jthread clients([&] {
        in_threads([&](int thread) {
            for (int i = 0; i < rounds; ++i) Client(listener.address(), "a key").send(thread + 1);
        });
    });
    in_threads([&](int) {
        for (int i = 0; i < rounds; ++i) sum += listener.accept().recv<int>();
    });
    CHECK(sum == rounds * threads * (threads + 1) / 2);
}

TEST_CASE("one thread sends while another one receives, by both ends") {
    auto [ours, theirs] = Pipe();
    const auto send = [](Connection& connection) {
        for (int i = 0; i < rounds; ++i)
            connection.send(std::string(static_cast<std::size_t>(i), 'x'));
    };
    const auto receive = [](Connection& connection) {
        for (int i = 0; i < rounds; ++i) {
            if (connection.recv<std::string>().size() != static_cast<std::size_t>(i))
                throw std::logic_error("another message");
        }
    };
    std::vector<std::jthread> running;
    for (Connection* const end : {&ours, &theirs}) {
        running.emplace_back([=] { send(*end); });
        running.emplace_back([=] { receive(*end); });
    }
    running.clear();
    CHECK_FALSE(ours.poll());
    CHECK_FALSE(theirs.poll());
}
