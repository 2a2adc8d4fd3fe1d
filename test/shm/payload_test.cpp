#include "shm/payload.hpp"

#include "support/catch.hpp"
#include "support/environment.hpp"

#include <sys/mman.h>

#include <algorithm>
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
          region(geometry.end()), payload(region, geometry) {
        payload.limit_kept_bytes(span);
    }

    std::optional<Block> allocate(std::uint64_t size, prong::shm::Owner owner = parent_owner) {
        return payload.allocate(size, owner, intent);
    }

    /// Allocates and frees a block whose bytes are all written.
    std::uint64_t use(std::uint64_t size) {
        const Block block = *allocate(size);
        std::memset(payload.at(block.offset), 1, size);
        payload.free(block.offset, size);
        return block.offset;
    }
    /// Allocates the blocks of a size that stay warm for ever.
    void take_warm_blocks(std::uint64_t size) {
        for (std::uint64_t taken = 0; taken < mebibyte; taken += size) REQUIRE(allocate(size));
    }
    [[nodiscard]] std::uint64_t touched_bytes(std::uint64_t offset, std::uint64_t size) const {
        std::vector<unsigned char> pages((size + page - 1) / page);
        REQUIRE(mincore(payload.at(offset), size, pages.data()) == 0);
        const auto touched = std::ranges::count_if(pages, [](auto state) { return state & 1; });
        return static_cast<std::uint64_t>(touched) * page;
    }
    /// Makes a whole pass.
    Payload::Pass trim(Payload::Trim which) {
        Payload::Pass pass;
        while (!payload.trim(pass, which)) {
        }
        return pass;
    }
    [[nodiscard]] std::atomic<std::uint64_t>& word(std::uint64_t size, std::uint64_t index) const {
        const auto size_class =
            static_cast<unsigned>(std::countr_zero(size)) - Payload::smallest_shift;
        std::byte* const table = region.base() + geometry.table_begin(size_class);
        return reinterpret_cast<std::atomic<std::uint64_t>*>(table)[index];
    }

    Payload::Geometry geometry;
    Region region;
    Payload payload;
    std::atomic<std::uint64_t> intent = 0;
};

/// The lowest bits of the word of a free block that is being trimmed.
constexpr std::uint64_t marked = 3;

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

TEST_CASE("a flood of small blocks is released, with the words of the blocks") {
    Space space(64 * mebibyte);
    std::vector<Block> blocks;
    for (int i = 0; i < 50'000; ++i) blocks.push_back(*space.allocate(256));
    for (const Block& block : blocks) space.payload.free(block.offset, 256);
    space.payload.release_small();
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

TEST_CASE("a free block keeps its pages until two epochs have begun") {
    Space space(64 * mebibyte);
    const std::uint64_t size = GENERATE(4 * mebibyte, 3 * mebibyte, 64 * mebibyte);
    const std::uint64_t offset = space.use(size);
    CHECK(space.payload.kept_bytes() == size);
    for (int epoch = 0; epoch < 2; ++epoch) {
        space.trim(Payload::Trim::aged);
        CHECK(space.touched_bytes(offset, size) == size);
        space.payload.begin_epoch();
    }
    SECTION("then they are returned") {
        space.trim(Payload::Trim::aged);
        CHECK(space.touched_bytes(offset, size) == 0);
        CHECK(space.payload.kept_bytes() == 0);
    }
    SECTION("unless the block was used again") {
        CHECK(space.use(size) == offset);
        space.trim(Payload::Trim::aged);
        CHECK(space.touched_bytes(offset, size) == size);
        space.trim(Payload::Trim::all);
        CHECK(space.touched_bytes(offset, size) == 0);
    }
    CHECK(space.use(size) == offset);
}

TEST_CASE("a large block is trimmed in steps, and can be taken in between") {
    Space space(64 * mebibyte);
    const std::uint64_t offset = space.use(64 * mebibyte);
    Payload::Pass pass;
    CHECK_FALSE(space.payload.trim(pass, Payload::Trim::all));
    const std::uint64_t left = space.touched_bytes(offset, 64 * mebibyte);
    CHECK(left != 0);
    CHECK(left < 64 * mebibyte);
    CHECK(space.payload.kept_bytes() == left);
    const auto block = space.allocate(64 * mebibyte);
    REQUIRE(block);
    std::memset(space.payload.at(offset), 2, block->capacity);
    while (!space.payload.trim(pass, Payload::Trim::all)) {
    }
    CHECK(space.touched_bytes(offset, block->capacity) == block->capacity);
}

TEST_CASE("small blocks are trimmed by pages that are free altogether") {
    Space space(64 * mebibyte);
    const std::uint64_t size = GENERATE(256U, 2048U, 4096U, 32768U);
    space.take_warm_blocks(size);
    std::vector<Block> blocks;
    for (std::uint64_t bytes = 0; bytes < 4 * mebibyte; bytes += size) {
        blocks.push_back(*space.allocate(size));
        std::memset(space.payload.at(blocks.back().offset), 1, size);
    }
    const Block kept = blocks[blocks.size() / 2];
    for (const Block& block : blocks) {
        if (block.offset != kept.offset) space.payload.free(block.offset, size);
    }
    space.trim(Payload::Trim::all);
    const std::uint64_t kept_bytes = std::max<std::uint64_t>(size, page);
    CHECK(space.touched_bytes(blocks.front().offset, 4 * mebibyte) == kept_bytes);
    CHECK(space.payload.kept_bytes() == kept_bytes - size);
    const auto* const bytes = space.payload.at(kept.offset);
    CHECK(std::all_of(bytes, bytes + size, [](std::byte byte) { return byte == std::byte{1}; }));
    space.payload.free(kept.offset, size);
    space.trim(Payload::Trim::all);
    CHECK(space.payload.kept_bytes() == 0);
    CHECK(space.payload.usage().free == blocks.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) REQUIRE(space.allocate(size));
    CHECK(space.payload.usage().free == 0);
}

TEST_CASE("large blocks beyond the limit return their pages at once") {
    Space space(64 * mebibyte);
    space.payload.limit_kept_bytes(12 * mebibyte);
    const auto first = space.allocate(8 * mebibyte);
    const std::uint64_t second = space.use(8 * mebibyte);
    std::memset(space.payload.at(first->offset), 1, first->capacity);
    space.payload.free(first->offset, first->capacity);
    CHECK(space.touched_bytes(second, 8 * mebibyte) == 8 * mebibyte);
    CHECK(space.touched_bytes(first->offset, 8 * mebibyte) == 0);
    CHECK(space.payload.kept_bytes() == 8 * mebibyte);
}

TEST_CASE("one process is to wake the trimmer, and again after that sleeps") {
    Space space(64 * mebibyte);
    space.use(Payload::idle_bytes);
    CHECK_FALSE(space.payload.wants_trimmer());
    space.use(2 * Payload::idle_bytes);
    CHECK(space.payload.wants_trimmer());
    CHECK_FALSE(space.payload.wants_trimmer());
    CHECK_FALSE(space.payload.end_trimming(space.trim(Payload::Trim::aged)));
    CHECK_FALSE(space.payload.wants_trimmer());
    CHECK(space.payload.end_trimming(space.trim(Payload::Trim::all)));
    space.use(2 * Payload::idle_bytes);
    CHECK(space.payload.wants_trimmer());
}

TEST_CASE("a trimmer sleeps though pages are kept beside blocks that have an owner") {
    Space space(64 * mebibyte);
    std::vector<Block> blocks;
    for (std::uint64_t i = 0; i < 40 * mebibyte / 2048; ++i)
        blocks.push_back(*space.allocate(2048));
    for (std::size_t i = 0; i < blocks.size(); i += 2) space.payload.free(blocks[i].offset, 2048);
    REQUIRE(space.payload.wants_trimmer());
    CHECK_FALSE(space.payload.end_trimming(space.trim(Payload::Trim::aged)));
    for (int epoch = 0; epoch < 2; ++epoch) space.payload.begin_epoch();
    CHECK(space.payload.end_trimming(space.trim(Payload::Trim::aged)));
    space.payload.free(blocks[1].offset, 2048);
    CHECK(space.payload.wants_trimmer());
}

TEST_CASE("a reset and a trim exclude each other") {
    Space space(mebibyte);
    REQUIRE(space.payload.forbid_reset());
    CHECK_FALSE(space.payload.forbid_reset());
    CHECK_FALSE(space.payload.reset());
    space.payload.permit_reset();
    CHECK(space.payload.reset());
    CHECK(space.payload.forbid_reset());
}

TEST_CASE("the blocks that a dead trimmer has marked are left out") {
    Space space(16 * mebibyte);
    const auto first = space.allocate(4 * mebibyte);
    const std::uint64_t second = space.use(4 * mebibyte);
    space.payload.free(first->offset, 0); // the next one to be taken
    space.word(4 * mebibyte, 0) |= marked;
    CHECK(space.allocate(4 * mebibyte)->offset == second);
    CHECK(space.allocate(4 * mebibyte)->offset != first->offset);
    CHECK(space.payload.usage().lost == 1);
}

TEST_CASE("a count of kept bytes that a death has left wrong is mended") {
    Space space(64 * mebibyte);
    space.use(2 * mebibyte);
    const auto block = space.allocate(4 * mebibyte);
    space.payload.free(block->offset, 4 * mebibyte);
    // Its owner dies after it has taken the block, and before it has counted that.
    space.word(4 * mebibyte, 0) = 1;
    space.trim(Payload::Trim::aged);
    CHECK(space.payload.kept_bytes() == 2 * mebibyte);
}

TEST_CASE("a trim of corrupt words ends, and leaves blocks with an owner alone") {
    Space space(16 * mebibyte);
    std::mt19937 random(static_cast<unsigned>(prong::test::test_seed()));
    for (const std::uint64_t size : {std::uint64_t{256}, page, 65'536UL, 4 * mebibyte}) {
        space.take_warm_blocks(size);
        const Block owned = *space.allocate(size);
        std::memset(space.payload.at(owned.offset), 1, size);
        const std::uint64_t blocks = space.geometry.span_bytes / size;
        for (std::uint64_t index = 0; index < blocks; ++index) {
            auto& word = space.word(size, index);
            if (word.load() == 0) word = random() | std::uint64_t{random()} << 32;
        }
        space.trim(Payload::Trim::aged);
        space.payload.trim_all();
        const auto* const bytes = space.payload.at(owned.offset);
        CHECK(
            std::all_of(bytes, bytes + size, [](std::byte byte) { return byte == std::byte{1}; }));
    }
}

TEST_CASE("no block ever has two owners, or loses pages while it has one", "[threads]") {
    Space space(16 * mebibyte);
    const std::uint64_t smallest = GENERATE(256U, 32768U);
    for (unsigned shift = 0; shift < 4; ++shift) space.take_warm_blocks(smallest << shift);
    const std::uint64_t owned_before = space.payload.usage().owned;
    constexpr unsigned threads_count = 4;
    std::atomic<int> clashes = 0;
    std::atomic<bool> is_over = false;
    std::thread trimmer([&] {
        while (!is_over) space.payload.trim_all();
    });
    std::vector<std::thread> threads;
    for (unsigned owner = 0; owner < threads_count; ++owner) {
        threads.emplace_back([&, owner] {
            std::minstd_rand random(owner + 1);
            std::atomic<std::uint64_t> intent = 0;
            std::vector<Block> held;
            for (int i = 0; i < 20'000; ++i) {
                if (held.size() < 8 && random() % 2 == 0) {
                    const auto block =
                        space.payload.allocate(smallest << (random() % 4), owner, intent);
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
    is_over = true;
    trimmer.join();
    CHECK(clashes == 0);
    CHECK(space.payload.usage().owned == owned_before);
    CHECK(space.payload.usage().lost == 0);
    space.payload.trim_all();
    // Of each size the last page may hold blocks that were never used.
    CHECK(space.payload.kept_bytes() < 4 * page);
}

TEST_CASE("what is not free is not noted, for the note's owner may be its owner") {
    Space space(mebibyte);
    REQUIRE(space.allocate(mebibyte, 3));
    const auto last_class = space.geometry.classes() - 1;
    std::byte* const head = space.region.base() + page + 128 + last_class * 64;
    reinterpret_cast<std::atomic<std::uint64_t>*>(head)[1] = 0; // its taker died before it counted
    space.intent = 0;
    CHECK_FALSE(space.allocate(mebibyte, 3));
    CHECK(space.intent == 0);
}
