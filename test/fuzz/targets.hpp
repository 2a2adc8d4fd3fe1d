#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace prong::test {

using Bytes = std::vector<std::byte>;

/// Something that reads bytes which another process wrote.
struct FuzzTarget {
    std::string name;
    /// Whatever the bytes are, this returns, and nothing outside of them is touched.
    void (*run)(std::span<const std::byte> input);
    /// What a process in its right mind writes.
    std::vector<Bytes> (*seeds)();
};

const std::vector<FuzzTarget>& fuzz_targets();

/// What the fuzzer has found worth keeping, from the folder `corpus`.
std::vector<Bytes> kept_inputs(const FuzzTarget& target);

/// A decoder that is broken on purpose: it believes a length. Whoever tests with random bytes must
/// find that out.
const FuzzTarget& trusting_target();

} // namespace prong::test
