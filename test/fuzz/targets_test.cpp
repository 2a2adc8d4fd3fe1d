// The fuzzer's targets without a fuzzer: the kept inputs, and thousands of changed ones. Each lies
// right before memory that cannot be read, so this sees a read beyond the end without a sanitizer.

#include "codec/mutate.hpp"
#include "fuzz/targets.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <random>
#include <span>
#include <vector>

using namespace prong::test;

namespace {

/// Room for bytes that ends where no access is allowed.
class GuardedMemory {
public:
    GuardedMemory() {
        void* const memory = mmap(nullptr, size + page(), PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        begin_ = static_cast<std::byte*>(memory);
        mprotect(begin_ + size, page(), PROT_NONE);
    }
    GuardedMemory(const GuardedMemory&) = delete;
    GuardedMemory& operator=(const GuardedMemory&) = delete;
    ~GuardedMemory() { munmap(begin_, size + page()); }

    /// The same bytes at the end of the room; at most `size`.
    std::span<const std::byte> hold(const Bytes& bytes) {
        std::byte* const place = begin_ + size - bytes.size();
        std::ranges::copy(bytes, place);
        return {place, bytes.size()};
    }

private:
    static constexpr std::size_t size = 1 << 20;
    static std::size_t page() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

    std::byte* begin_;
};

void run_changed(const FuzzTarget& target, std::vector<Bytes> inputs, int rounds) {
    GuardedMemory memory;
    for (const Bytes& input : inputs) target.run(memory.hold(input));
    std::mt19937_64 random(test_seed());
    for (int round = 0; round < rounds; ++round) {
        Bytes changed = inputs[static_cast<std::size_t>(round) % inputs.size()];
        if (changed.empty()) continue;
        mutate(changed, random);
        target.run(memory.hold(changed));
    }
}

} // namespace

TEST_CASE("anything that another process wrote is decoded or refused") {
    for (const FuzzTarget& target : fuzz_targets()) {
        INFO(target.name);
        std::vector<Bytes> inputs = target.seeds();
        const std::vector<Bytes> kept = kept_inputs(target);
        CHECK(!kept.empty());
        inputs.insert(inputs.end(), kept.begin(), kept.end());
        run_changed(target, inputs, how_often(6'000, 100'000));
    }
}

TEST_CASE("a decoder that trusts a length is caught") {
    const auto child = run_in_child([] {
        run_changed(trusting_target(), trusting_target().seeds(), 3'000);
        return 0;
    });
    CHECK(child.exitcode != 0);
    CHECK(child.exitcode != 99); // it threw
}
