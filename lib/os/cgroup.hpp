#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace prong::os {

/// A folder with the files of a cgroup. The files' names depend on the version.
struct CgroupFolder {
    std::string path;
    int version; ///< 2 or 1
};

/// Returns the folder of this process's cgroup for a controller ("memory", "cpu", "cpuset"), then
/// those of the groups above it. Some may not exist, because a container may see its own group as
/// the root.
std::vector<CgroupFolder> cgroup_folders(std::string_view controller);

} // namespace prong::os
