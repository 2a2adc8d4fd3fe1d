#include "marks.hpp"

#include "../harness/results.hpp"
#include "servers.hpp"

namespace bench {

void print_server_marks(std::ostream& out, const Results& results) {
    const Marks marks(out, results);
    for (const int clients : {1, 4}) {
        const auto against = [&](const std::string& other) {
            return ratio(results.median({ours, "connections_per_s", clients}),
                         results.median({other, "connections_per_s", clients}));
        };
        const std::string text = "connections of " + std::to_string(clients) + " clients, against ";
        marks.at_least(text + fork_per_connection, against(fork_per_connection), 4, "x");
        marks.at_least(text + in_one_process, against(in_one_process), 0.8, "x");
    }
}

} // namespace bench
