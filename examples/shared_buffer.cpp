// Workers change strips of an image in place, by a table that all of them read: nothing is copied.

#include <prong/process_pool_executor.hpp>
#include <prong/shared_buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <utility>
#include <vector>

using Pixels = prong::SharedBuffer<std::uint8_t>;
using Table = prong::SharedView<std::uint8_t>;

Pixels translate(Pixels strip, const Table& table) {
    for (std::uint8_t& pixel : strip) pixel = table[pixel];
    return strip; // the same memory
}

int main() {
    constexpr std::size_t strips = 4;
    constexpr std::size_t strip_size = std::size_t{1} << 20;
    prong::ProcessPoolExecutor pool(2);

    Pixels negative(256);
    for (std::size_t i = 0; i < negative.size(); ++i)
        negative[i] = static_cast<std::uint8_t>(255 - i);
    const Table table = negative.share(); // for any number of tasks

    std::vector<prong::Future<Pixels>> futures;
    std::vector<const std::uint8_t*> places;
    for (std::size_t i = 0; i < strips; ++i) {
        Pixels strip(strip_size, static_cast<std::uint8_t>(10 * i));
        places.push_back(strip.data());
        futures.push_back(pool.submit(translate, std::move(strip), table));
    }
    for (std::size_t i = 0; i < strips; ++i) {
        const Pixels strip = futures[i].get();
        std::cout << "strip " << i << ": " << strip.size() << " pixels of " << int{strip[0]}
                  << (strip.data() == places[i] ? ", where they were" : ", elsewhere") << "\n";
    }
}
