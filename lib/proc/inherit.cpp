#include "proc/inherit.hpp"

#include <fcntl.h>

#include <stdexcept>
#include <string>

namespace prong::proc {

const std::vector<int>& checked_descriptors(const Inherit& inherit) {
    const std::vector<int>& listed = inherit.listed();
    if (listed.size() > most_kept) {
        throw std::invalid_argument("Inherit::only lists " + std::to_string(listed.size()) +
                                    " descriptors; at most " + std::to_string(most_kept) +
                                    " can be kept");
    }
    for (const int fd : listed) {
        if (fcntl(fd, F_GETFD) < 0) {
            throw std::invalid_argument("Inherit::only lists descriptor " + std::to_string(fd) +
                                        ", which is not open");
        }
    }
    return listed;
}

} // namespace prong::proc
