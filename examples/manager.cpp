// Processes share a dict and a list that a manager holds.

#include <prong/manager.hpp>
#include <prong/process.hpp>

#include <iostream>
#include <map>
#include <string>
#include <vector>

using Counts = std::map<std::string, int>;

void fill(const prong::DictProxy<std::string, int>& dict, const prong::ListProxy<int>& list) {
    dict["one"] = 1;
    dict["two"] = 2;
    list.reverse();
}

void count(const prong::DictProxy<std::string, int>& dict) {
    // One call, during which no other process uses the dict.
    for (int i = 0; i < 100; ++i) dict.call([](Counts& counts) { ++counts["calls"]; });
}

int main() {
    const prong::Manager manager; // a process
    const auto dict = manager.dict<std::string, int>();
    const auto list = manager.list(std::vector{0, 1, 2, 3, 4});

    prong::Process filler(fill, dict, list);
    prong::Process first(count, dict);
    prong::Process second(count, dict);
    for (prong::Process* process : {&filler, &first, &second}) process->start();
    for (prong::Process* process : {&filler, &first, &second}) process->join();

    for (const auto& [key, value] : dict.items()) std::cout << key << ": " << value << "\n";
    std::cout << "list:";
    for (const int number : list.to_vector()) std::cout << " " << number;
    std::cout << "\n";
}
