// Large arguments and results that stay in place: no process copies them.

#include "../harness/timing.hpp"
#include "measure.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <utility>

namespace bench {
namespace {

using Buffer = prong::SharedBuffer<char>;

Buffer echo_in_place(Buffer buffer) {
    return buffer;
}

} // namespace

Figures measure_in_place(int size, double seconds) {
    const auto bytes = static_cast<std::size_t>(size);
    if (!has_memory_for(payload_copies * bytes)) return {};
    prong::ProcessPoolExecutor pool(two_workers);
    Buffer buffer(bytes, 'x');
    const auto echo = [&] { buffer = pool.submit(echo_in_place, std::move(buffer)).get(); };
    const auto view = [&] {
        auto future = pool.submit(make_bytes, size);
        const prong::ResultView<Bytes> bytes_made = future.view();
        require(bytes_made.size() == bytes && bytes_made[bytes / 2] == 'x', "view");
    };
    const auto median_us = [&](auto timed) {
        timed();
        return quantile(sample(seconds / 2, 3, timed), 0.5) * 1e6;
    };
    Figures figures{{"in_place_us", median_us(echo)}, {"view_us", median_us(view)}};
    require(std::ranges::count(buffer, 'x') == size, "echo in place");
    return figures;
}

} // namespace bench
