// The main program of every test. Around each test case stand a watchdog and a check that nothing
// is left behind: no child, thread, descriptor or shared mapping.

#define CATCH_CONFIG_RUNNER // Catch2 2.13 compiles its own body here, once for all tests
#include "support/catch.hpp"

#include "support/at_start.hpp"
#include "support/leaks.hpp"
#include "support/sanitizer.hpp"
#include "support/watchdog.hpp"

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

namespace {

#if __has_include(<catch2/catch_all.hpp>)
using ListenerBase = Catch::EventListenerBase;
#else
using ListenerBase = Catch::TestEventListenerBase;
#endif

int leaking_tests = 0;

/// How long a process that was asked to end may take to vanish.
std::chrono::seconds grace() {
    const char* const text = std::getenv("PRONG_TEST_GRACE_S");
    return std::chrono::seconds(text == nullptr ? 5 : std::atoi(text));
}

class Guard : public ListenerBase {
public:
    using ListenerBase::ListenerBase;

    void testCaseStarting(const Catch::TestCaseInfo& test) override {
        name_ = test.name;
        before_ = prong::test::Holdings::now();
        watchdog_ = std::make_unique<prong::test::Watchdog>(name_);
    }

    // Catch2 has counted the test by now, so the exit code is where a leak becomes a failure.
    void testCaseEnded(const Catch::TestCaseStats&) override {
        watchdog_.reset();
        const auto leaks = prong::test::leaks_since(before_, grace());
        if (leaks.empty()) return;
        ++leaking_tests;
        std::cerr << "\nFAILED: \"" << name_ << "\" has left behind:\n" << leaks << std::flush;
    }

private:
    std::string name_;
    prong::test::Holdings before_;
    std::unique_ptr<prong::test::Watchdog> watchdog_;
};

CATCH_REGISTER_LISTENER(Guard)

} // namespace

int main(int argc, char** argv) {
    if (prong::test::at_start != nullptr) prong::test::at_start(argc, argv);
    if (argc == 3 && std::string_view(argv[1]) == prong::test::dump_stacks_option) {
        prong::test::dump_stacks(std::atoi(argv[2]));
        return 0;
    }
    // So that the sanitizer's own thread does not look like the first test's.
    if (prong::test::thread_sanitizer) std::thread([] {}).join();
    const int result = Catch::Session().run(argc, argv);
    if (leaking_tests == 0) return result;
    std::cerr << leaking_tests << " test case(s) have left something behind\n";
    return 1;
}
