#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace prong::os {

/// A folder with the files of a cgroup; what these are called depends on the version.
struct CgroupFolder {
    std::string path;
    int version; ///< 2 or 1
};

/// The folders of the cgroup in which this process is for a controller ("memory", "cpu", "cpuset"),
/// then of the groups above it: some may not be there, as a container may see its own group as the
/// root.
std::vector<CgroupFolder> cgroup_folders(std::string_view controller);

} // namespace prong::os
