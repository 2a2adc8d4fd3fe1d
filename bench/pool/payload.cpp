// Large arguments and results. The first of a pool touches fresh memory, the others find it warm.

#include "../harness/timing.hpp"
#include "measure.hpp"

namespace bench {
namespace {

constexpr std::size_t large = 64 << 20;

template <typename Timed>
Figures steady_and_first(const std::string& name, std::size_t bytes, double seconds, Timed timed) {
    const std::vector<double> first = sample(0, 1, timed);
    // The other worker's memory, too, and the blocks that two tasks use in turn.
    if (bytes >= large) sample(0, 3, timed);
    const std::vector<double> times = sample(seconds, bytes < large ? 5 : 1, timed);
    return {{name + "_us", quantile(times, 0.5) * 1e6},
            {name + "_first_us", quantile(first, 0.5) * 1e6}};
}

} // namespace

Figures measure_echo(MakeCompetitor make, int size, double seconds) {
    const auto bytes = static_cast<std::size_t>(size);
    if (!has_memory_for(payload_copies * bytes)) return {};
    const auto pool = make({.workers = two_workers, .payload_bytes = bytes});
    Bytes sent(bytes);
    for (std::size_t i = 0; i < bytes; ++i) sent[i] = static_cast<char>(i * 7 >> 3);
    for (int n = 0; n < 100; ++n) require(pool->call(n) == n + 1, "round trip");
    Bytes received;
    Figures figures =
        steady_and_first("echo", bytes, seconds, [&] { received = pool->echo(sent); });
    require(received == sent, "echo");
    return figures;
}

Figures measure_result(MakeCompetitor make, int size, double seconds) {
    const auto bytes = static_cast<std::size_t>(size);
    if (!has_memory_for(payload_copies * bytes)) return {};
    const auto pool = make({.workers = two_workers, .payload_bytes = bytes});
    for (int n = 0; n < 100; ++n) require(pool->call(n) == n + 1, "round trip");
    Bytes received;
    Figures figures =
        steady_and_first("result", bytes, seconds, [&] { received = pool->result(size); });
    require(received == make_bytes(size), "result");
    return figures;
}

} // namespace bench
