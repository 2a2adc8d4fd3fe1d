// A process that writes anything into what it can reach of the family's buffers.

#include "buffer/memory.hpp"
#include "buffer/parcel.hpp"
#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <span>
#include <utility>
#include <vector>

using namespace prong::test;
using prong::CodecError;
using prong::ObjectGone;
using prong::SharedBuffer;
using prong::SharedView;
using prong::buffer::Cell;
using prong::detail::ParcelId;

namespace {

using Ints = SharedBuffer<int>;

/// A worker returns it to have the parent free another one's buffer.
class Forgery {
public:
    explicit Forgery(ParcelId id) : id_(id) {}

private:
    friend struct prong::detail::HandleAccess;
    using Parts = ParcelId;
    [[nodiscard]] Parts parts(prong::detail::Writer& writer) const {
        writer.pledges().prepare();
        writer.pledges().add({.id = id_, .holder = 0, .word = 0, .home = 0, .position = 0});
        return id_;
    }
    static constexpr bool is_moved_by_encoding = false;

    ParcelId id_;
};

Ints filled(std::size_t size, int number) {
    return {size, number};
}

Ints echo(Ints buffer) {
    return buffer;
}

/// Decodes bytes that another process made up.
template <typename T>
bool is_refused(const ParcelId& id) {
    std::vector<std::byte> bytes(sizeof(id));
    std::memcpy(bytes.data(), &id, sizeof(id));
    prong::detail::Reader reader{bytes};
    try {
        static_cast<void>(prong::detail::decode<T>(reader));
        return false;
    } catch (const CodecError&) {
        return true;
    } catch (const ObjectGone&) {
        return true;
    }
}

/// Returns the id of a buffer as if it was pledged by its present word.
ParcelId id_of(Cell& cell) {
    return {.offset = prong::shm::FamilyMemory::find()->offset_of(&cell),
            .stamp = cell.stamp.load(),
            .ticket = prong::buffer::holder_of(cell).ticket};
}

std::vector<Cell*> all_cells() {
    std::vector<Cell*> cells;
    prong::buffer::for_each_parcel([&](Cell& cell) { cells.push_back(&cell); });
    return cells;
}

/// Writes random words into the cells.
void corrupt(std::mt19937_64& random) {
    for (Cell* const cell : all_cells()) {
        auto& parcel = cell->parcel;
        std::atomic<std::uint64_t>* const words[] = {
            &cell->data,        &cell->data_bytes,     &parcel.holder,
            &parcel.references, &parcel.target,        &parcel.home,
            &parcel.item,       &parcel.element_bytes, &cell->stamp,
        };
        const std::uint64_t values[] = {random(), random() % 4096, random() << 8,
                                        parcel.holder.load() ^ (std::uint64_t{1} << random() % 64),
                                        parcel.references.load() + 1};
        words[random() % std::size(words)]->store(values[random() % std::size(values)]);
    }
}

} // namespace

TEST_CASE("ids of parcels that were not pledged are refused") {
    const BufferMemory memory;
    {
        const Ints mine = filled(100, 1);
        const SharedView<int> view = mine.share();
        std::mt19937_64 random(test_seed());
        for (Cell* const cell : all_cells()) {
            const ParcelId id = id_of(*cell);
            REQUIRE(is_refused<Ints>(id)); // it is held
            REQUIRE(is_refused<SharedView<int>>(id));
            REQUIRE(is_refused<SharedBuffer<char>>(id));
            REQUIRE(is_refused<Ints>({.offset = id.offset + 64, .stamp = id.stamp, .ticket = 1}));
            REQUIRE(
                is_refused<Ints>({.offset = ~std::uint64_t{0}, .stamp = id.stamp, .ticket = 1}));
            for (int i = 0; i < 1000; ++i) {
                const ParcelId made_up{.offset =
                                           random() % 2 == 0 ? id.offset : random() % (1 << 30),
                                       .stamp = random() % 2 == 0 ? id.stamp : random(),
                                       .ticket = random()};
                REQUIRE(is_refused<Ints>(made_up));
            }
        }
        REQUIRE(mine.size() == 100);
        REQUIRE(view.size() == 100);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a worker cannot make the parent free the buffers of others") {
    const BufferMemory memory;
    {
        ProcessPoolExecutor pool(2);
        const Ints mine = filled(100, 1);
        const SharedView<int> view = mine.share();
        Future<Ints> other = pool.submit(echo, filled(100, 2));
        other.wait();
        std::vector<ParcelId> ids;
        for (Cell* const cell : all_cells()) ids.push_back(id_of(*cell));
        for (const ParcelId& id : ids) {
            const auto forge = with_captures([id] { return Forgery(id); });
            pool.submit(forge).wait(); // and drops the result
        }
        REQUIRE(std::accumulate(mine.begin(), mine.end(), 0) == 100);
        REQUIRE(view.size() == 100);
        const Ints result = other.get();
        REQUIRE(std::accumulate(result.begin(), result.end(), 0) == 200);
    }
    REQUIRE(memory.more() == 0);
}

TEST_CASE("a buffer whose cell names another's memory is refused, and that is not freed") {
    const Ints victim = filled(1000, 5);
    Cell* const cell_of_victim = all_cells().back();
    auto [a, b] = prong::Pipe();
    a.send(filled(1000, 6));
    for (Cell* const cell : all_cells()) {
        if (cell != cell_of_victim) cell->data.store(cell_of_victim->data.load());
    }
    REQUIRE_THROWS_AS(b.recv<Ints>(), CodecError);
    const Ints other = filled(1000, 7); // would get the victim's memory
    REQUIRE(std::ranges::count(victim, 5) == 1000);
    REQUIRE(std::ranges::count(other, 7) == 1000);
}

TEST_CASE("workers that corrupt the cells of buffers do not crash the parent") {
    // In a process of its own: what is corrupt stays so.
    const int rounds = full_run() ? 300 : 30;
    for (int round = 0; round < rounds; ++round) {
        const std::uint64_t seed = test_seed() + static_cast<std::uint64_t>(round);
        prong::Process program([seed] {
            const Ints mine = filled(5000, 9);
            const SharedView<int> view = mine.share();
            ProcessPoolExecutor pool(2);
            std::mt19937_64 random(seed);
            std::vector<Future<Ints>> futures;
            for (int i = 0; i < 30; ++i) {
                const std::uint64_t task_seed = random();
                futures.push_back(pool.submit(with_captures([task_seed](Ints buffer) {
                                                  std::mt19937_64 numbers(task_seed);
                                                  corrupt(numbers);
                                                  return buffer;
                                              }),
                                              filled(100, i)));
                if (i % 3 == 0) futures.back() = {};
                try {
                    static_cast<void>(pool.submit([](const SharedView<int>& v) { return v.size(); },
                                                  mine.share()));
                    if (i % 5 == 0) futures.back().wait_for(1s);
                    if (i % 5 == 0 && i % 3 != 0) {
                        for (int& element : futures.back().get()) element = 0;
                    }
                    prong::buffer::sweep();
                } catch (const std::exception&) { // what is corrupt may be refused
                }
            }
        });
        program.start();
        program.join();
        INFO("seed " << seed << ", exit code " << program.exitcode().value_or(-1));
        REQUIRE(program.exitcode() == 0);
    }
}
