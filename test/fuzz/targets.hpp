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
    /// What a process writes normally.
    std::vector<Bytes> (*seeds)();
};

const std::vector<FuzzTarget>& fuzz_targets();

/// What the fuzzer has found worth keeping, from the folder `corpus`.
std::vector<Bytes> kept_inputs(const FuzzTarget& target);

/// A mutant: a decoder that trusts a length. Every test with random bytes must catch it.
const FuzzTarget& trusting_target();

} // namespace prong::test
