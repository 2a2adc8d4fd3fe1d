#include "os/cgroup.hpp"

#include "base/file.hpp"

namespace prong::os {
namespace {

bool lists(std::string_view controllers, std::string_view wanted) {
    while (!controllers.empty()) {
        if (base::next_word(controllers, ",") == wanted) return true;
    }
    return false;
}

} // namespace

std::vector<CgroupFolder> cgroup_folders(std::string_view controller) {
    std::vector<CgroupFolder> folders;
    const std::string groups = base::read_file("/proc/self/cgroup").value_or("");
    for (std::string_view rest = groups; !rest.empty();) { // number:controllers:path
        const std::string line(base::next_word(rest, "\n"));
        const auto first = line.find(':');
        const auto second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const int version = controllers.empty() ? 2 : 1;
        if (version == 1 && !lists(controllers, controller)) continue;
        std::string root = "/sys/fs/cgroup";
        if (version == 1) root += "/" + std::string(controller);
        std::string group = line.substr(second + 1);
        while (group.size() > 1) {
            folders.push_back({.path = root + group, .version = version});
            group.resize(group.rfind('/'));
        }
        folders.push_back({.path = root, .version = version});
    }
    return folders;
}

} // namespace prong::os
