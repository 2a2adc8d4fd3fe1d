#include <prong/mpi.hpp>

namespace prong {

std::string_view to_string(OnRankLoss action) {
    switch (action) {
    case OnRankLoss::recover:
        return "recover";
    case OnRankLoss::break_pool:
        return "break_pool";
    }
    return "unknown";
}

} // namespace prong
