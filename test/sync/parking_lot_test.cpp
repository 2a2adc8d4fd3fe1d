#include "sync/parking_lot.hpp"

#include "support/catch.hpp"

#include <array>
#include <span>

using namespace prong::sync;

namespace {

/// A lot of which the test sets the bits as workers would who are killed or stopped in between.
struct Lot {
    ParkingSigns signs{};
    std::array<Berth, 3> berths{};
    ParkingLot parking{signs, berths};

    bool wakes(unsigned worker) {
        berths[worker].woken = 0;
        parking.work_arrived();
        return berths[worker].woken == 1;
    }
};

} // namespace

TEST_CASE("Work wakes one that is parked, unless another is searching") {
    Lot lot;
    lot.signs.parked.insert(2);
    lot.signs.searching.insert(1);
    CHECK_FALSE(lot.wakes(2));
    lot.parking.stop_searching(1);
    CHECK(lot.wakes(2));
    CHECK(lot.signs.searching.contains(2));
    CHECK_FALSE(lot.signs.parked.contains(2));
}

TEST_CASE("A worker that dies while it chooses another keeps nobody asleep") {
    Lot lot;
    lot.signs.searching.insert(1); // by 0, which dies here; 1 is busy with a long task
    lot.parking.forget(0);
    CHECK(lot.berths[2].woken == 1); // looks, finds nothing
    lot.signs.parked.insert(2);
    CHECK(lot.wakes(2));
}

TEST_CASE("A worker that was chosen and is stopped keeps nobody asleep") {
    Lot lot;
    lot.signs.searching.insert(1); // chosen, stopped
    lot.parking.forget(1);
    lot.signs.parked.insert(2);
    CHECK(lot.wakes(2));
}

TEST_CASE("Nobody chooses a worker that is stopped") {
    Lot lot;
    lot.signs.parked.insert(1);
    lot.signs.parked.insert(2);
    lot.parking.forget(1);
    lot.signs.parked.insert(2);
    CHECK(lot.wakes(2));
}
