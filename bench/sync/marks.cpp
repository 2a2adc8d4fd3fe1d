#include "marks.hpp"

#include "../harness/results.hpp"

namespace bench {

void print_sync_marks(std::ostream& out, const Results& results) {
    const Marks marks(out, results);
    const auto against = [&](const std::string& other, const std::string& metric, int size) {
        return ratio(results.median({ours, metric, size}), results.median({other, metric, size}));
    };
    marks.at_least("lock without contention, against a robust mutex",
                   against("pthreads", "lock_per_s", 1), 0.67, "x");
    marks.at_least("lock without contention, against CPython's",
                   against("CPython", "lock_per_s", 1), 20, "x");
    for (const std::string size : {"64_b", "4_kib", "64_kib", "1_mib"}) {
        for (const int pairs : {1, 2, 4}) {
            const std::string name = std::to_string(pairs) + ":" + std::to_string(pairs) +
                                     " queue of messages of " + size;
            const std::string metric = "queue_" + size + "_per_s";
            marks.at_least(name + ", against CPython's", against("CPython", metric, pairs), 10,
                           "x");
            if (size != "64_b")
                marks.at_least(name + ", against Boost's message_queue",
                               against("Boost.Interprocess", metric, pairs), 1, "x");
        }
    }
    marks.at_least("a manager's call, shorter than CPython's",
                   ratio(results.median({"CPython", "manager_us", 1}),
                         results.median({ours, "manager_us", 1})),
                   5, "x");
    marks.at_most("from a holder's SIGKILL to the next holder",
                  results.median({ours, "death_us", 2}), 200, " µs");
}

} // namespace bench
