#include "shm/payload.hpp"

#include "support/catch.hpp"

#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace {

using prong::shm::Block;
using prong::shm::parent_owner;
using prong::shm::Payload;
using prong::shm::Region;

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t mebibyte = 1 << 20;

struct Space {
    explicit Space(std::uint64_t span)
        : geometry{.begin = page, .span_bytes = span, .largest_bytes = span},
          region(geometry.end()), payload(region, geometry) {}

    std::optional<Block> allocate(std::uint64_t size, prong::shm::Owner owner = parent_owner) {
        return payload.allocate(size, owner, intent);
    }

    Payload::Geometry geometry;
    Region region;
    Payload payload;
    std::atomic<std::uint64_t> intent = 0;
};

} // namespace

TEST_CASE("a block holds at least what was asked for, and is noted before it is taken") {
    Space space(mebibyte);
    for (const std::uint64_t size : {0U, 1U, 255U, 256U, 257U, 100'000U, 1U << 20}) {
        const auto block = space.allocate(size);
        REQUIRE(block);
        CHECK(block->capacity >= size);
        CHECK(space.intent == block->offset);
        std::memset(space.payload.at(block->offset), 1, block->capacity);
    }
    CHECK_FALSE(space.allocate(mebibyte + 1));
}

TEST_CASE("a freed block is the next one to be used again") {
    Space space(mebibyte);
    const auto first = space.allocate(1000);
    const auto second = space.allocate(1000);
    CHECK(first->offset != second->offset);
    space.payload.free(first->offset, 1000);
    CHECK(space.allocate(1000)->offset == first->offset);
}

TEST_CASE("space that is used up is refused, and there again after a free") {
    Space space(mebibyte);
    const auto all = space.allocate(mebibyte);
    REQUIRE(all);
    CHECK_FALSE(space.allocate(mebibyte));
    space.payload.free(all->offset, mebibyte);
    CHECK(space.allocate(mebibyte));
}

TEST_CASE("only a dead owner's block is reclaimed") {
    Space space(mebibyte);
    const auto mine = space.allocate(mebibyte, 3);
    space.payload.reclaim(mine->offset, 4);
    CHECK_FALSE(space.allocate(mebibyte));
    space.payload.reclaim(mine->offset, 3);
    CHECK(space.allocate(mebibyte));
    space.payload.reclaim(0, 3);                // never noted
    space.payload.reclaim(mine->offset + 1, 3); // nonsense
}

TEST_CASE("only bytes within one block count as inside") {
    Space space(mebibyte);
    const auto block = space.allocate(1000);
    CHECK(space.payload.contains(block->offset, 1024));
    CHECK_FALSE(space.payload.contains(block->offset, 1025));
    CHECK_FALSE(space.payload.contains(block->offset + 8, 8));
    CHECK_FALSE(space.payload.contains(0, 0));
    CHECK_FALSE(space.payload.contains(~0ULL, 1));
    CHECK_FALSE(space.payload.contains(space.geometry.end(), 1));
}

TEST_CASE("freeing what is not allocated harms nothing") {
    Space space(mebibyte);
    const auto block = space.allocate(1000);
    space.payload.free(block->offset, 1000);
    space.payload.free(block->offset, 1000);
    const auto again = space.allocate(1000);
    const auto other = space.allocate(1000);
    CHECK(again->offset != other->offset);
}

TEST_CASE("trim releases a flood of small blocks") {
    Space space(64 * mebibyte);
    std::vector<Block> blocks;
    for (int i = 0; i < 50'000; ++i) blocks.push_back(*space.allocate(256));
    for (const Block& block : blocks) space.payload.free(block.offset, 256);
    space.payload.trim();
    CHECK(space.allocate(256)->offset == blocks.front().offset);
}

TEST_CASE("reset finds what was lost") {
    Space space(64 * mebibyte);
    for (const std::uint64_t size : {256U, 65'536U, 1U << 20}) {
        const auto kept = space.allocate(size);
        REQUIRE(space.allocate(size)); // whose owner dies before it is noted
        space.payload.free(kept->offset, size);
    }
    REQUIRE(space.payload.usage().owned == 3);
    space.payload.reset();
    const auto usage = space.payload.usage();
    CHECK(usage.owned + usage.free + usage.lost == 0);
    for (const std::uint64_t size : {256U, 65'536U, 1U << 20}) {
        const auto block = space.allocate(size);
        REQUIRE(block);
        CHECK(std::to_integer<int>(*space.payload.at(block->offset)) == 0);
    }
}

TEST_CASE("no block ever has two owners", "[threads]") {
    Space space(16 * mebibyte);
    constexpr unsigned threads_count = 4;
    std::atomic<int> clashes = 0;
    std::vector<std::thread> threads;
    for (unsigned owner = 0; owner < threads_count; ++owner) {
        threads.emplace_back([&, owner] {
            std::minstd_rand random(owner + 1);
            std::atomic<std::uint64_t> intent = 0;
            std::vector<Block> held;
            for (int i = 0; i < 20'000; ++i) {
                if (held.size() < 8 && random() % 2 == 0) {
                    const auto block =
                        space.payload.allocate(256U << (random() % 4), owner, intent);
                    if (!block) continue;
                    std::memset(space.payload.at(block->offset), static_cast<int>(owner),
                                block->capacity);
                    held.push_back(*block);
                } else if (!held.empty()) {
                    const Block block = held.back();
                    held.pop_back();
                    const auto* const bytes = space.payload.at(block.offset);
                    for (std::uint64_t at = 0; at < block.capacity; at += 64) {
                        if (bytes[at] != std::byte(owner)) ++clashes;
                    }
                    space.payload.free(block.offset, block.capacity);
                }
            }
            for (const Block& block : held) space.payload.free(block.offset, block.capacity);
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(clashes == 0);
}

TEST_CASE("what is not free is not noted, for the note's owner may be its owner") {
    Space space(mebibyte);
    REQUIRE(space.allocate(mebibyte, 3));
    const auto last_class = space.geometry.classes() - 1;
    std::byte* const head = space.region.base() + page + 64 + last_class * 64;
    reinterpret_cast<std::atomic<std::uint64_t>*>(head)[1] = 0; // its taker died before it counted
    space.intent = 0;
    CHECK_FALSE(space.allocate(mebibyte, 3));
    CHECK(space.intent == 0);
}
