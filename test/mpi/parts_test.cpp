// The parts of the transport that need no job: launching, handing rank 0 over, entries, addresses.

#include "base/clock.hpp"
#include "mpi/address_map.hpp"
#include "mpi/dismissal.hpp"
#include "mpi/environment.hpp"
#include "mpi/handover.hpp"
#include "mpi/helpers.hpp"
#include "mpi/launcher.hpp"
#include "mpi/library.hpp"
#include "mpi/mailbox.hpp"
#include "mpi/pace.hpp"
#include "mpi/time_limit.hpp"
#include "mpi/wire.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/shared.hpp"

#include <prong/detail/task.hpp>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <future>

using namespace prong::test;
using namespace prong::mpi;
using Catch::Matchers::Contains;
using prong::detail::Deadline;

namespace {

std::string text_of(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += word + " ";
    return text;
}

std::string command_of(LauncherKind kind, const MpiOptions& options) {
    return text_of(launch_command({.program = "run", .kind = kind}, options, {{"NAME", "value"}},
                                  "/the/program"));
}

/// Modules as another process might have loaded them: everything elsewhere.
std::vector<prong::os::Module> shifted(std::vector<prong::os::Module> modules,
                                       std::uintptr_t shift) {
    for (auto& module : modules) {
        module.bias += shift;
        module.begin += shift;
        module.end += shift;
    }
    return modules;
}

constexpr std::uintptr_t shift = 1 << 20;

std::uintptr_t number_of(const void* address) {
    return reinterpret_cast<std::uintptr_t>(address);
}

bool never() {
    return false;
}

} // namespace

TEST_CASE("launchers are told apart by what they print") {
    CHECK(launcher_kind("mpirun.openmpi (OpenRTE) 4.1.4") == LauncherKind::open_mpi);
    CHECK(launcher_kind("mpirun (Open MPI) 5.0.1") == LauncherKind::open_mpi);
    CHECK(launcher_kind("HYDRA build details:\n  Version: 4.0.2") == LauncherKind::hydra);
    CHECK(launcher_kind("slurm 22.05.8") == LauncherKind::slurm);
    CHECK_FALSE(launcher_kind("ls (GNU coreutils) 9.1"));
    const LauncherKind kind = find_launcher({}, never).kind;
    CHECK(kind == library_kind);
}

TEST_CASE("a launcher of another MPI, or none, is refused in words") {
    CHECK_THROWS_WITH(find_launcher({.launcher = "ls"}, never),
                      Contains("no launcher of Open MPI"));
    CHECK_THROWS_WITH(find_launcher({.launcher = "/no/launcher"}, never), Contains("cannot run"));
    const bool is_open_mpi = library_kind == LauncherKind::open_mpi;
    const std::string other = is_open_mpi ? "mpirun.mpich" : "mpirun.openmpi";
    if (!std::filesystem::exists("/usr/bin/" + other)) return;
    CHECK_THROWS_WITH(find_launcher({.launcher = other}, never),
                      Contains("but prong-mpi was built with"));
}

TEST_CASE("the launcher's command starts rank 0 here and the others on their hosts") {
    const MpiOptions two{.hosts = {"a", "b"}, .ranks = 3, .launcher_arguments = {"--more"}};
    CHECK_THAT(command_of(LauncherKind::open_mpi, two),
               Contains("run --more ") && Contains("--bind-to none") && Contains("-x NAME ") &&
                   Contains("/the/program : -n 3 --host a:2,b:1 /the/program"));
    CHECK_THAT(command_of(LauncherKind::hydra, two),
               Contains("-genv NAME value") && Contains("a:2,b:1") &&
                   Contains("-n 1 /the/program : -n 3 /the/program"));
    CHECK_THAT(command_of(LauncherKind::slurm, two),
               Contains("--ntasks=4") && Contains(",a,b") && Contains("--cpu-bind=none"));
    CHECK(serving_ranks({}) == 1);
    CHECK(serving_ranks({.hosts = {"a", "b"}}) == 2);
    CHECK_THROWS_AS(serving_ranks({.ranks = 0}), std::invalid_argument);
}

TEST_CASE("the stub gives the relay what the launcher gave it, and ends with it") {
    const int status = GENERATE(0, 7, -1); // -1: the relay ends without a word
    const auto result = run_in_child([status] {
        Handover handover;
        const pid_t stub = fork();
        if (stub == 0) {
            std::array<int, 2> ends{};
            if (pipe(ends.data()) != 0) _exit(99);
            setenv("PMI_RANK", "0", 1);
            setenv("PMI_FD", std::to_string(ends[1]).c_str(), 1);
            if (write(ends[1], "x", 1) != 1) _exit(99);
            _exit(run_stub(handover.name()));
        }
        if (!handover.accept(Deadline::after(20s))) return 1;
        if (launched_rank() != 0 || handover.is_stub_gone()) return 2;
        if (write(std::stoi(*variable(pmi_variable)), "y", 1) != 1) return 3; // it has the pipe
        if (status >= 0)
            handover.release(status);
        else
            handover = Handover();
        int ended = 0;
        if (waitpid(stub, &ended, 0) != stub || !WIFEXITED(ended)) return 4;
        return WEXITSTATUS(ended) == (status < 0 ? 1 : status) ? 0 : 5;
    });
    CHECK(result.exitcode == 0);
}

TEST_CASE("a stub that sends nothing does not hold up the relay, and another one may follow") {
    const auto result = run_in_child([] {
        Handover handover;
        sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
        handover.name().copy(address.sun_path + 1, sizeof(address.sun_path) - 1);
        const auto size =
            static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + handover.name().size());
        const int silent = socket(AF_UNIX, SOCK_SEQPACKET, 0);
        if (connect(silent, reinterpret_cast<const sockaddr*>(&address), size) != 0) return 1;
        if (handover.accept(Deadline::after(1ms))) return 2;
        if (handover.accept(Deadline::after(1ms))) return 3;
        close(silent);
        if (handover.accept(Deadline::never())) return 4;
        const pid_t stub = fork();
        if (stub == 0) _exit(run_stub(handover.name()));
        if (!handover.accept(Deadline::never())) return 5;
        handover.release(0);
        return waitpid(stub, nullptr, 0) == stub ? 0 : 6;
    });
    CHECK(result.exitcode == 0);
}

TEST_CASE("a stub that finds no relay says so") {
    const auto result = run_in_child([] { return run_stub("prong-mpi-no-relay"); });
    CHECK(result.exitcode == 1);
    CHECK_THAT(result.err, Contains("on the machine of the program"));
}

TEST_CASE("a call that takes too long, or is not wanted any more, ends the process") {
    CHECK(run_in_child([] {
              const TimeLimit limit(Deadline::after(1ms), 7);
              sleep_for_ever();
              return 0;
          }).exitcode == 7);
    CHECK(run_in_child([] {
              const TimeLimit limit(Deadline::never(), 8, [] { return true; });
              sleep_for_ever();
              return 0;
          }).exitcode == 8);
    CHECK(run_in_child([] {
              { const TimeLimit limit(Deadline::after(1h), 9); }
              return 0;
          }).exitcode == 0);
}

TEST_CASE("either a relay becomes rank 0, or the process that dismisses the ranks") {
    RankZero rank_zero;
    SECTION("a relay that has joined stays rank 0") {
        REQUIRE(rank_zero.begin_joining());
        rank_zero.end_joining();
        CHECK(rank_zero.begin_joining()); // the next relay: its MPI_Init fails
        CHECK_FALSE(rank_zero.begin_dismissal(Deadline::never()));
    }
    SECTION("a relay that comes too late does not join") {
        CHECK(rank_zero.begin_dismissal(Deadline::never()));
        CHECK_FALSE(rank_zero.begin_joining());
    }
    SECTION("a relay that is joining is waited for") {
        REQUIRE(rank_zero.begin_joining());
        CHECK_FALSE(rank_zero.begin_dismissal(Deadline::after(0ms)));
        auto exit = std::async(std::launch::async,
                               [&] { return rank_zero.begin_dismissal(Deadline::never()); });
        CHECK(exit.wait_for(20ms) == std::future_status::timeout);
        rank_zero.end_joining();
        CHECK_FALSE(exit.get());
    }
    SECTION("a relay that has died while it joined is not") {
        const Shared<RankZero> shared;
        CHECK(run_in_child([&] { return shared->begin_joining() ? 0 : 1; }).exitcode == 0);
        CHECK(shared->begin_dismissal(Deadline::never()));
        CHECK_FALSE(shared->begin_joining());
    }
    SECTION("at the same time") {
        for (int i = 0; i < 1000; ++i) {
            RankZero race;
            auto relay = std::async(std::launch::async, [&] {
                const bool joins = race.begin_joining();
                if (joins) race.end_joining();
                return joins;
            });
            CHECK(race.begin_dismissal(Deadline::never()) != relay.get());
        }
    }
}

TEST_CASE("entries arrive as they were added") {
    const std::vector<std::byte> bytes(100, std::byte{5});
    const SentOptions options = sent(TaskOptions{.timeout = 2s,
                                                 .grace = std::nullopt,
                                                 .limits = {.memory_bytes = 9},
                                                 .capture_output = true});
    Batch batch;
    batch.add({.kind = EntryKind::task, .has_options = true, .number = 3, .size = bytes.size()},
              bytes, &options);
    batch.add({.kind = EntryKind::kill, .number = 4});
    batch.add({.kind = EntryKind::task, .is_large = true, .number = 5, .size = 1 << 20});
    auto message = batch.take();
    CHECK(batch.empty());
    std::vector<std::uint64_t> numbers;
    read_entries(message, [&](const Entry& entry) {
        numbers.push_back(entry.head.number);
        CHECK(entry.options.has_value() == (entry.head.number == 3));
        if (entry.head.number != 3) {
            CHECK(entry.bytes.empty());
            return;
        }
        CHECK(std::ranges::equal(entry.bytes, bytes));
        const TaskOptions back = received(*entry.options);
        CHECK(back.timeout.value() == 2s);
        CHECK_FALSE(back.grace.value());
        CHECK_FALSE(back.deadline.value());
        CHECK(back.limits.memory_bytes == 9U);
        CHECK(back.capture_output);
    });
    CHECK(numbers == std::vector<std::uint64_t>{3, 4, 5});
    message.resize(message.size() - 1);
    CHECK_THROWS_AS(read_entries(message, [](const Entry&) {}), prong::CodecError);
}

TEST_CASE("large payloads are put together from pieces, also those without room") {
    std::vector<std::byte> place(10);
    Inbox inbox;
    inbox.expect(
        {.head = {.kind = EntryKind::task, .number = 1, .size = 10}, .options = {}, .bytes = {}},
        place);
    inbox.expect(
        {.head = {.kind = EntryKind::task, .number = 2, .size = 3}, .options = {}, .bytes = {}},
        {});
    CHECK(inbox.expects(2));
    CHECK(inbox.place(6).data() == place.data());
    CHECK(inbox.place(4).data() == place.data() + 6);
    CHECK(inbox.place(3).empty());
    CHECK_FALSE(inbox.arrived(6));
    CHECK(inbox.next(4).data() == place.data() + 6);
    CHECK(inbox.arrived(4)->head.number == 1);
    CHECK(inbox.arrived(3)->place.empty());
    CHECK_THROWS_AS(inbox.arrived(1), prong::CodecError);
    CHECK_THROWS_AS(inbox.place(1), prong::CodecError);
}

TEST_CASE("a payload whose place is not its own any more is dropped") {
    std::vector<std::byte> place(10);
    Inbox inbox;
    inbox.expect(
        {.head = {.kind = EntryKind::end, .number = 1, .size = 10}, .options = {}, .bytes = {}},
        place);
    CHECK_FALSE(inbox.arrived(6));
    inbox.forget_places();
    CHECK(inbox.next(4).empty());
    CHECK(inbox.arrived(4)->place.empty());
    CHECK(inbox.is_empty());
}

TEST_CASE("what waits is a backlog by the rate at which tasks end") {
    constexpr std::int64_t ms = 1'000'000;
    const std::int64_t begin = prong::base::steady_now_ns() + ms;
    Throughput throughput;
    throughput.resume(begin);
    CHECK_FALSE(throughput.is_backlog(1'000'000)); // no rate is known
    CHECK_FALSE(throughput.count(100, begin + ms / 2));
    CHECK(throughput.count(100, begin + 2 * ms));
    CHECK(std::lround(throughput.per_ns() * 1e6) == 100);
    CHECK(throughput.is_backlog(101));
    CHECK_FALSE(throughput.is_backlog(99));

    SECTION("time without tasks does not count") {
        throughput.resume(begin + 1000 * ms);
        CHECK(throughput.count(200, begin + 1001 * ms));
        CHECK(std::lround(throughput.per_ns() * 1e6) == 200);
    }
    SECTION("a rate that falls makes a backlog only after a while") {
        CHECK(throughput.count(1, begin + 3 * ms));
        CHECK(std::lround(throughput.per_ns() * 1e6) == 1);
        CHECK_FALSE(throughput.is_backlog(10));
        for (int i = 4; i < 14; ++i) throughput.count(1, begin + i * ms);
        CHECK(throughput.is_backlog(10));
    }
}

TEST_CASE("addresses are translated between processes that have loaded their modules elsewhere") {
    const auto ours = prong::os::list_modules();
    const AddressMap map(shifted(ours, shift), ours);
    const auto address = number_of(reinterpret_cast<const void*>(&square));
    CHECK(map.to_ours(address + shift) == address);
    CHECK(map.to_ours(16) == 0);

    const prong::detail::TaskType& type = prong::detail::task_type<decltype(&square), int>();
    std::uintptr_t function = address + shift;
    const auto bytes = std::as_writable_bytes(std::span(&function, 1));
    CHECK(&map.task_type(number_of(&type) + shift, bytes) == &type);
    CHECK(function == address);
    function = 8; // a virtual function
    CHECK(&map.task_type(number_of(&type) + shift, bytes) == &type);
    CHECK(function == 8);
    function = 1 << 17; // in no module
    CHECK_THROWS_WITH(map.task_type(number_of(&type) + shift, bytes), Contains("in no module"));
}

TEST_CASE("other builds, missing modules and missing build ids are refused in words") {
    const auto ours = prong::os::list_modules();
    auto theirs = shifted(ours, shift);
    theirs.front().build_id = "other";
    CHECK_THROWS_WITH(AddressMap(theirs, ours), Contains("another build"));
    theirs.front().build_id.clear();
    CHECK_THROWS_WITH(AddressMap(theirs, ours), Contains("--build-id"));
    CHECK_THROWS_AS(AddressMap({}, ours), prong::Error);

    theirs = shifted(ours, shift);
    auto& library = theirs.back();
    library.build_id = "other";
    const std::uintptr_t inside = library.begin;
    CHECK_THROWS_WITH(AddressMap(theirs, ours).task_type(inside, {}),
                      Contains("of the same build"));
    library.build_id.clear();
    CHECK_THROWS_WITH(AddressMap(theirs, ours).task_type(inside, {}), Contains("no build id"));
}
