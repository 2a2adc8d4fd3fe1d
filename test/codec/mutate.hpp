#pragma once

#include <algorithm>
#include <cstddef>
#include <random>
#include <vector>

namespace prong::test {

/// Puts nonsense, above all what looks like a size, into random places.
inline void mutate(std::vector<std::byte>& bytes, std::mt19937_64& random) {
    const auto below = [&](std::size_t limit) {
        return static_cast<std::size_t>(random()) % limit;
    };
    for (std::size_t count = 1 + below(4); count != 0; --count) {
        const std::size_t at = below(bytes.size());
        switch (below(4)) {
        case 0:
            bytes[at] = static_cast<std::byte>(random());
            break;
        case 1:
            bytes[at] ^= static_cast<std::byte>(1U << below(8));
            break;
        case 2:
            bytes[at] = std::byte{0xff};
            break;
        default:
            for (std::size_t i = at; i < std::min(at + 8, bytes.size()); ++i)
                bytes[i] = below(2) == 0 ? std::byte{0} : static_cast<std::byte>(random());
        }
    }
    if (below(8) == 0) bytes.resize(below(bytes.size() + 1));
}

} // namespace prong::test
