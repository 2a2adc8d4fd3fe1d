#pragma once

#include <memory>
#include <utility>

namespace prong::test {

/// A list whose nodes lie within each other.
struct Link {
    std::unique_ptr<Link> next = nullptr;
};

inline Link list_of(int links) {
    Link first;
    while (--links > 0) first.next = std::make_unique<Link>(std::move(first));
    return first;
}

inline int count_links(const Link& list) {
    int count = 0;
    for (const Link* link = &list; link != nullptr; link = link->next.get()) ++count;
    return count;
}

} // namespace prong::test
