#include <prong/connection.hpp>
#include <prong/error.hpp>
#include <prong/listener.hpp>
#include <prong/manager.hpp>
#include <prong/pipe.hpp>
#include <prong/process.hpp>
#include <prong/process_pool_executor.hpp>

#include "manager/greeting.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"
#include "support/processes.hpp"
#include "support/sanitizer.hpp"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace prong;
using Catch::Contains;

namespace {

/// A class that could not be transferred itself.
class Account {
public:
    explicit Account(std::string owner, int balance = 0)
        : owner_(std::move(owner)), balance_(std::make_unique<int>(balance)) {}
    virtual ~Account() = default;

    int deposit(int amount) {
        if (amount <= 0) throw std::invalid_argument("nothing to deposit");
        return *balance_ += amount;
    }
    [[nodiscard]] int balance() const { return *balance_; }
    [[nodiscard]] const std::string& owner() const { return owner_; }
    [[nodiscard]] virtual std::string kind() const { return "account"; }
    /// Lets two additions that do not take turns lose one of them.
    void add_slowly(int amount) {
        const int before = *balance_;
        std::this_thread::yield();
        *balance_ = before + amount;
    }
    void crash() { std::raise(SIGKILL); }
    void overwrite(std::vector<char> bytes) { owner_.assign(bytes.begin(), bytes.end()); }

private:
    std::string owner_;
    std::unique_ptr<int> balance_;
};

class Savings : public Account {
public:
    using Account::Account;
    [[nodiscard]] std::string kind() const override { return "savings"; }
};

int withdraw(Account& account, int amount) {
    if (amount > account.balance()) throw std::range_error("not enough");
    account.add_slowly(-amount);
    return account.balance();
}

/// Runs `f` in a child and waits for its end.
template <typename F>
void in_child(F f) {
    Process child(f);
    child.start();
    child.join();
    CHECK(child.exitcode() == 0);
}

/// Tells the test that a call has begun, and does not return until it may.
class Gate {
public:
    void pass(int has_begun, int may_end) {
        char byte = 1;
        static_cast<void>(write(has_begun, &byte, 1));
        static_cast<void>(read(may_end, &byte, 1));
        ++passed_;
    }
    [[nodiscard]] int passed() const { return passed_; }

private:
    int passed_ = 0;
};

/// Two pipes that a manager's process inherits.
class GatePipes {
public:
    GatePipes() {
        if (pipe(begun_) != 0 || pipe(end_) != 0) throw std::runtime_error("no pipe");
    }
    GatePipes(const GatePipes&) = delete;
    GatePipes& operator=(const GatePipes&) = delete;
    ~GatePipes() {
        for (const int fd : {begun_[0], begun_[1], end_[0], end_[1]}) close(fd);
    }

    void pass(const Proxy<Gate>& gate) const { gate.call(&Gate::pass, begun_[1], end_[0]); }
    void wait_for_begin() const {
        char byte = 0;
        REQUIRE(read(begun_[0], &byte, 1) == 1);
    }
    void let_end() const {
        const char byte = 1;
        REQUIRE(write(end_[1], &byte, 1) == 1);
    }

private:
    int begun_[2];
    int end_[2];
};

int count_word(const DictProxy<std::string, int>& counts, const std::string& word) {
    counts.call([](std::map<std::string, int>& map, const std::string& key) { ++map[key]; }, word);
    return getpid();
}

} // namespace

TEST_CASE("a dict has the calls of a map") {
    const Manager manager;
    const auto dict = manager.dict<std::string, int>();
    CHECK(dict.empty());
    dict.set("a", 1);
    dict["b"] = 2;
    dict["c"] = dict["a"];
    CHECK(dict.get("a") == 1);
    CHECK(dict.at("b") == 2);
    CHECK(static_cast<int>(dict["c"]) == 1);
    CHECK_FALSE(dict.get("d"));
    CHECK(dict.get("d", 7) == 7);
    CHECK_THROWS_AS(dict.at("d"), std::out_of_range);
    CHECK(dict.contains("a"));
    CHECK(dict.erase("c"));
    CHECK_FALSE(dict.erase("c"));
    dict.update({{"a", 10}, {"e", 5}});
    CHECK(dict.items() == std::map<std::string, int>{{"a", 10}, {"b", 2}, {"e", 5}});
    CHECK(dict.keys() == std::vector<std::string>{"a", "b", "e"});
    CHECK(dict.values() == std::vector{10, 2, 5});
    CHECK(dict.pop("e") == 5);
    CHECK_FALSE(dict.pop("e"));
    CHECK(dict.size() == 2);
    dict.clear();
    CHECK(dict.empty());
    CHECK(manager.dict(std::map<int, int>{{1, 2}}).at(1) == 2);
}

TEST_CASE("a list has the calls of a vector") {
    const Manager manager;
    const auto list = manager.list<std::string>();
    list.push_back("a");
    list.append("b");
    list.extend({"c", "d"});
    list.insert(0, "z");
    list[1] = "A";
    CHECK(list.to_vector() == std::vector<std::string>{"z", "A", "b", "c", "d"});
    CHECK(list.at(1) == "A");
    CHECK(list.get(2) == "b");
    CHECK(static_cast<std::string>(list[3]) == "c");
    list.set(0, "y");
    CHECK(list.pop() == "d");
    CHECK(list.pop(0) == "y");
    list.reverse();
    CHECK(list.to_vector() == std::vector<std::string>{"c", "b", "A"});
    list.sort();
    CHECK(list.to_vector() == std::vector<std::string>{"A", "b", "c"});
    CHECK_THROWS_AS(list.at(3), std::out_of_range);
    CHECK_THROWS_AS(list.set(3, ""), std::out_of_range);
    CHECK_THROWS_AS(list.insert(4, ""), std::out_of_range);
    list.clear();
    CHECK(list.empty());
    CHECK_THROWS_AS(list.pop(), std::out_of_range);
    CHECK(manager.list(std::vector{1, 2}).size() == 2);
}

TEST_CASE("a value is shared by processes") {
    const Manager manager;
    const auto value = manager.value<std::string>("before");
    in_child([&] { value.set(value.get() + " and after"); });
    CHECK(value.get() == "before and after");
}

TEST_CASE("an object of any class is made and called in the manager's process") {
    const Manager manager;
    const Proxy<Account> account = manager.make<Account>("Ada", 100);
    CHECK(account.call(&Account::deposit, 20) == 120);
    CHECK(account.call(&Account::balance) == 120);
    CHECK(account.call(&Account::owner) == "Ada");
    CHECK(account.call(withdraw, 50) == 70);
    CHECK(account.call([](Account& a, int times) { return a.balance() * times; }, 2) == 140);
    CHECK(account.call([](const Account&) { return getpid(); }) == manager.pid());
    CHECK(account.call(&Account::kind) == "account");
    CHECK(manager.make<Savings>("Bob").call(&Savings::kind) == "savings");
}

TEST_CASE("what a call throws arrives with its type, and the object can be used further") {
    const Manager manager;
    const auto account = manager.make<Account>("Ada");
    CHECK_THROWS_AS(account.call(&Account::deposit, 0), std::invalid_argument);
    CHECK_THROWS_WITH(account.call(withdraw, 1), "not enough");
    CHECK(account.call(&Account::deposit, 1) == 1);
}

TEST_CASE("proxies pass to processes, to workers of a pool and into other objects") {
    const Manager manager;
    const auto counts = manager.dict<std::string, int>();
    ProcessPoolExecutor pool(2);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 20; ++i) futures.push_back(pool.submit(count_word, counts, "word"));
    for (auto& future : futures) CHECK(future.get() != getpid());
    in_child([&] { count_word(counts, "word"); });
    CHECK(counts.at("word") == 21);

    const auto lists = manager.dict<int, ListProxy<int>>();
    lists.set(1, manager.list<int>());
    lists.at(1).append(5);
    CHECK(lists.at(1).to_vector() == std::vector{5});
    CHECK(lists.at(1) == lists.at(1));
}

TEST_CASE("calls of one object are atomic") {
    const Manager manager;
    const auto account = manager.make<Account>("all");
    constexpr int processes = 4;
    constexpr int threads = 2;
    constexpr int calls = 100;
    std::vector<std::unique_ptr<Process>> children;
    for (int i = 0; i < processes; ++i) {
        children.push_back(std::make_unique<Process>([&] {
            const auto work = [&] {
                for (int n = 0; n < calls; ++n) account.call(&Account::add_slowly, 1);
            };
            std::vector<std::jthread> running;
            for (int t = 0; t < threads; ++t) running.emplace_back(work);
        }));
        children.back()->start();
    }
    for (auto& child : children) {
        child->join();
        CHECK(child->exitcode() == 0);
    }
    CHECK(account.call(&Account::balance) == processes * threads * calls);
}

TEST_CASE("a call that takes long delays no other object") {
    const GatePipes pipes;
    const Manager manager;
    const auto gate = manager.make<Gate>();
    const auto value = manager.value(1);
    std::jthread waiting([&] { pipes.pass(gate); });
    pipes.wait_for_begin();
    CHECK(value.get() == 1);
    pipes.let_end();
    waiting.join();
    CHECK(gate.call(&Gate::passed) == 1);
}

TEST_CASE("a client that is killed in the middle of a call harms nobody") {
    const GatePipes pipes;
    const Manager manager;
    const auto gate = manager.make<Gate>();
    Process client([&] { pipes.pass(gate); });
    client.start();
    pipes.wait_for_begin();
    client.kill();
    client.join();
    pipes.let_end();
    CHECK(test::eventually([&] { return gate.call(&Gate::passed) == 1; })); // it ran to its end
}

TEST_CASE("a client that is killed in the middle of a message harms nobody") {
    const Manager manager;
    const auto account = manager.make<Account>("Ada");
    auto [ours, theirs] = Pipe();
    Process client(
        [&](Connection test) {
            test.send(1);
            const std::vector<char> bytes(20'000'000);
            for (;;) account.call(&Account::overwrite, bytes);
        },
        std::move(theirs));
    client.start();
    CHECK(ours.recv<int>() == 1);
    client.kill();
    client.join();
    account.call([](Account& a) { return a.balance(); });
    CHECK_THROWS_AS(account.call(&Account::deposit, -1), std::invalid_argument);
}

TEST_CASE("when the manager is killed, calls in progress and later ones throw ManagerDied") {
    const GatePipes pipes;
    Manager manager;
    const auto gate = manager.make<Gate>();
    const auto value = manager.value(1);
    std::string error;
    std::jthread waiting([&] {
        try {
            pipes.pass(gate);
        } catch (const ManagerDied& death) {
            error = death.what();
        }
    });
    pipes.wait_for_begin();
    kill(manager.pid(), SIGKILL);
    waiting.join();
    CHECK_THAT(error, Contains("has died"));
    CHECK_THROWS_AS(value.get(), ManagerDied);
    CHECK_THROWS_AS(manager.list<int>(), ManagerDied);
    in_child([&] {
        try {
            value.set(2);
            std::exit(2);
        } catch (const ManagerDied&) {
        }
    });
    ProcessPoolExecutor pool(1);
    CHECK_THROWS_AS(pool.submit(count_word, DictProxy<std::string, int>(), "").get(),
                    std::logic_error);
    CHECK_THROWS_AS(pool.submit([](const ValueProxy<int>& v) { return v.get(); }, value).get(),
                    ManagerDied);
}

TEST_CASE("the manager is killed at any moment, with many clients") {
    constexpr int rounds = 20;
    constexpr int threads = 3;
    for (int round = 0; round < rounds; ++round) {
        const Manager manager;
        const auto value = manager.value(0);
        std::atomic<int> calls{0};
        std::atomic<int> told{0};
        std::vector<std::jthread> clients;
        for (int i = 0; i < threads; ++i) {
            clients.emplace_back([&] {
                try {
                    for (;; ++calls) value.set(value.get() + 1);
                } catch (const ManagerDied&) {
                    ++told;
                }
            });
        }
        while (calls < round) std::this_thread::yield();
        kill(manager.pid(), SIGKILL);
        clients.clear();
        CHECK(told == threads);
    }
}

TEST_CASE("a call that ends the manager's process throws ManagerDied") {
    const Manager manager;
    const auto account = manager.make<Account>("Ada");
    CHECK_THROWS_AS(account.call(&Account::crash), ManagerDied);
}

TEST_CASE("after shutdown calls throw ManagerDied") {
    Manager manager;
    const auto value = manager.value(1);
    in_child([&] {
        try {
            manager.shutdown();
            std::exit(2);
        } catch (const std::logic_error&) {
        }
    });
    CHECK(value.get() == 1);
    const int pid = manager.pid();
    manager.shutdown();
    manager.shutdown();
    CHECK_FALSE(test::is_running(pid));
    CHECK_THROWS_AS(value.get(), ManagerDied);
}

TEST_CASE("the manager ends with the program that made it, also by SIGKILL") {
    auto [ours, theirs] = Pipe();
    Process program(
        [](Connection test) {
            const Manager manager;
            test.send(manager.pid());
            pause();
        },
        std::move(theirs));
    program.start();
    const int manager = ours.recv<int>();
    CHECK(test::is_running(manager));
    program.kill();
    program.join();
    CHECK(test::eventually([&] { return !test::is_running(manager); }));
}

TEST_CASE("a forked child uses connections of its own") {
    const Manager manager;
    const auto list = manager.list<int>();
    constexpr int values = 50;
    list.append(0); // the parent's connection is open when it forks
    Process child([&] {
        for (int i = 0; i < values; ++i) list.append(i);
    });
    child.start();
    for (int i = 0; i < values; ++i) list.append(i);
    child.join();
    CHECK(child.exitcode() == 0);
    CHECK(list.size() == 1 + 2 * values);
}

TEST_CASE("a program that closes all its descriptors can go on calling") {
    const Manager manager;
    const auto value = manager.value(1);
    in_child([&] {
        value.set(2);
        close_range(3, ~0U, 0);
        value.set(value.get() + 1);
    });
    CHECK(value.get() == 3);
}

namespace {

const std::string key = "a secret";

/// A manager that can be replaced.
class ListeningManager {
public:
    explicit ListeningManager(const std::string& address)
        : manager_(Manager::listen(address, key)) {}
    Manager& get() { return manager_; }

private:
    Manager manager_;
};

/// Greets a manager as a client of a program with this build id. Returns the verdict.
std::string greet_as(const std::string& build_id, const std::string& address) {
    Connection connection = Client(address, key);
    connection.send(build_id);
    return connection.recv<std::string>();
}

} // namespace

TEST_CASE("clients with a wrong key, of another program or with garbage harm nobody") {
    const auto manager = Manager::listen("localhost:0", key);
    const auto value = manager.value(1);

    CHECK_THROWS_AS(Manager::connect(manager.address(), "another"), AuthenticationError);
    CHECK_THROWS_AS(Manager::connect(manager.address(), ""), std::invalid_argument);
    CHECK_THROWS_AS(Manager::listen("localhost:0", ""), std::invalid_argument);
    CHECK_THAT(greet_as("another build", manager.address()), Contains("not of the same build"));

    const Connection silent = Client(manager.address(), key);
    Connection without_key = Client(manager.address());
    without_key.send_bytes("no handshake");
    const Connection huge = Client(manager.address(), key);
    const unsigned char announces_4_exabytes[] = {0xff, 0xff, 0xff, 0xff, 0x3f, 0xff,
                                                  0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    CHECK(send(huge.fileno(), announces_4_exabytes, sizeof(announces_4_exabytes), 0) > 0);

    Connection garbage = Client(manager.address(), key);
    garbage.send(std::string("garbage"));
    static_cast<void>(garbage.recv<std::string>());
    CHECK(value.get() == 1);
}

TEST_CASE("requests that are no requests are refused") {
    const Manager manager;
    const auto value = manager.value(1);
    const auto address = detail::HandleAccess::parts(value).manager;
    for (const std::string text : {"", "x", "0123456789abcdef", "0123456789abcdef0123456789abcdef"})
        CHECK_THROWS_AS(detail::call_manager(address, std::as_bytes(std::span(text))), CodecError);

    // An address without a module, a place in the program that is no operation.
    for (const auto place : {detail::CodePlace{.module = detail::CodePlace::none, .offset = 8},
                             detail::place_of(&key)}) {
        detail::BufferWriter writer;
        detail::encode(writer, place);
        detail::encode(writer, std::uint64_t{1});
        CHECK_THROWS_AS(detail::call_manager(address, writer.bytes()), CodecError);
    }

    const auto call_wrong = [&](std::uint64_t id) {
        detail::call_object<int>({.manager = address, .id = id}, [](int& n) { return n; });
    };
    CHECK_THROWS_WITH(call_wrong(99), Contains("no object number 99"));
    CHECK_THROWS_WITH(call_wrong(1), Contains("not int"));
    CHECK(value.get() == 1);
}

TEST_CASE("a request that is too large for the manager's memory throws bad_alloc, and no more") {
    if (prong::test::address_sanitizer) return; // aborts where memory ends
    const Manager manager;
    const auto text = manager.value<std::string>("before");
    text.call([](std::string&) {
        const rlimit limit{.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
        setrlimit(RLIMIT_AS, &limit);
    });
    CHECK_THROWS_AS(text.set(std::string(64 << 20, 'x')), std::bad_alloc);
    CHECK(text.get() == "before");
}

TEST_CASE("a client that sends a request before the reply to the last one is disconnected") {
    const auto manager = Manager::listen("@prong-test-" + std::to_string(getpid()), key);
    const auto value = manager.value(1);
    Connection connection = Client(manager.address(), key);
    manager::greet(connection, manager.address());
    const std::array<unsigned char, 10> two{0, 0, 0, 1, 'x', 0, 0, 0, 1, 'x'};
    CHECK(send(connection.fileno(), two.data(), two.size(), 0) > 0);
    CHECK_THROWS_AS(connection.recv_bytes(), EndOfFile);
    CHECK(value.get() == 1);
}

TEST_CASE("a proxy of a manager that has ended reaches no object of the next one at its address") {
    for (const std::string& address :
         {"@prong-test-" + std::to_string(getpid()), std::string("localhost:0")}) {
        CAPTURE(address);
        auto manager = std::make_unique<ListeningManager>(address);
        const std::string place = manager->get().address();
        const auto old = manager->get().value(1);
        auto [ours, theirs] = Pipe();
        Process client(
            [&](Connection test) {
                test.send(old.get()); // from now on it has a connection
                test.recv<int>();
                try {
                    static_cast<void>(old.get());
                    std::exit(3);
                } catch (const CodecError&) {
                }
                const auto next = Manager::connect(place, key);
                if (next.find<ValueProxy<int>>("value").get() != 2) std::exit(2);
            },
            std::move(theirs));
        client.start();
        CHECK(ours.recv<int>() == 1);
        manager.reset();
        manager = std::make_unique<ListeningManager>(place);
        manager->get().publish("value", manager->get().value(2));
        ours.send(1);
        client.join();
        CHECK(client.exitcode() == 0);
        CHECK_THROWS_AS(old.get(), CodecError);
    }
}

TEST_CASE("a manager does not keep the program's ports") {
    prong::Listener listener("127.0.0.1:0", "key");
    const std::string address = listener.address();
    const prong::Manager manager;
    listener.close();
    CHECK_NOTHROW(prong::Listener(address, "key"));
}

TEST_CASE("another program is refused, with the key and without") {
    const auto manager = Manager::listen("localhost:0", key);
    const auto value = manager.value(1);
    const auto connect_with = [&](const std::string& authkey) {
        return test::run_in_child([&] {
            const std::string program =
                std::filesystem::read_symlink("/proc/self/exe").parent_path() / "other_program";
            execl(program.c_str(), program.c_str(), manager.address().c_str(), authkey.c_str(),
                  nullptr);
            return 127;
        });
    };
    const test::ChildResult refused = connect_with(key);
    CHECK_THAT(refused.out, Catch::StartsWith("Error: prong::Manager: " + manager.address()));
    CHECK_THAT(refused.out, Contains("not of the same build of the same program"));
    CHECK(refused.exitcode == 0);
    CHECK_THAT(connect_with("another").out, Catch::StartsWith("AuthenticationError: "));
    CHECK(value.get() == 1);
}

TEST_CASE("another execution of the program uses the manager") {
    const auto manager = Manager::listen("localhost:0", key);
    const auto dict = manager.dict<std::string, int>();
    const Proxy<Account> account = manager.make<Account>("Ada", 5);
    dict["here"] = 1;
    manager.publish("dict", dict);
    manager.publish("account", account);
    setenv("PRONG_TEST_MANAGER", manager.address().c_str(), 1);
    const test::ChildResult result = test::run_self({"the other execution"});
    unsetenv("PRONG_TEST_MANAGER");
    INFO(result.out << result.err);
    CHECK(result.exitcode == 0);
    CHECK(dict.at("there") == 2);
    CHECK(account.call(&Account::balance) == 3);
    CHECK_THROWS_AS(Manager().publish("dict", dict), std::invalid_argument);
}

TEST_CASE("the other execution", "[.]") {
    auto manager = Manager::connect(std::getenv("PRONG_TEST_MANAGER"), key);
    CHECK(manager.pid() == 0);
    CHECK_THROWS_AS(manager.shutdown(), std::logic_error);
    const auto dict = manager.find<DictProxy<std::string, int>>("dict");
    CHECK(dict.at("here") == 1);
    dict.set("there", 2);
    const auto account = manager.find<Proxy<Account>>("account");
    CHECK(account.call(withdraw, 2) == 3);
    CHECK(account.call(&Account::kind) == "account");
    CHECK_THROWS_WITH(account.call(withdraw, 20), "not enough");
    CHECK_THROWS_AS(manager.find<Proxy<Account>>("nothing"), std::out_of_range);
    CHECK(manager.make<Savings>("Bob").call(&Savings::kind) == "savings");
    in_child([&] { dict.set("there", dict.at("there")); });
}
