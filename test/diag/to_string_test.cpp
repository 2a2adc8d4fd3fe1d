#include "support/catch.hpp"

#include <prong/asio/server_options.hpp>
#include <prong/prong.hpp>

#include <sstream>
#include <string>

namespace {

template <typename Enum>
std::string printed(Enum value) {
    std::ostringstream stream;
    stream << value;
    CHECK(stream.str() == to_string(value));
    return stream.str();
}

} // namespace

TEST_CASE("states and choices are printed by their names") {
    CHECK(printed(prong::LimitKind::shared_memory) == "shared_memory");
    CHECK(printed(prong::LimitKind::file_size) == "file_size");
    CHECK(printed(prong::OnWorkerDeath::break_pool) == "break_pool");
    CHECK(printed(prong::Priority::low) == "low");
    CHECK(printed(prong::ReturnWhen::all_completed) == "all_completed");
    CHECK(printed(prong::WhenFull::refuse) == "refuse");
    CHECK(printed(prong::WorkerState::stopped) == "stopped");
    CHECK(printed(prong::WorkerState{77}) == "unknown");
}
