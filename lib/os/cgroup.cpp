#include "os/cgroup.hpp"

#include <algorithm>
#include <fstream>

namespace prong::os {
namespace {

bool lists(std::string_view controllers, std::string_view wanted) {
    for (std::size_t begin = 0; begin <= controllers.size();) {
        const std::size_t end = std::min(controllers.find(',', begin), controllers.size());
        if (controllers.substr(begin, end - begin) == wanted) return true;
        begin = end + 1;
    }
    return false;
}

} // namespace

std::vector<CgroupFolder> cgroup_folders(std::string_view controller) {
    std::vector<CgroupFolder> folders;
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) { // number:controllers:path
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
