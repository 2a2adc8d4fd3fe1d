// Several processes fill a shared array, each its own part: no lock is needed.

#include <prong/array.hpp>
#include <prong/process.hpp>

#include <cstddef>
#include <iostream>
#include <span>
#include <vector>

constexpr std::size_t part_size = 3;

void fill_part(const prong::Array<long>& squares, std::size_t part) {
    const std::size_t begin = part * part_size;
    const std::span<long> elements = std::span<long>(squares).subspan(begin, part_size);
    for (std::size_t i = 0; i < elements.size(); ++i) {
        const auto number = static_cast<long>(begin + i);
        elements[i] = number * number;
    }
}

int main() {
    const prong::Array<long> squares(4 * part_size); // zeros
    std::vector<prong::Process> processes;
    for (std::size_t part = 0; part < 4; ++part)
        processes.emplace_back([&, part] { fill_part(squares, part); });
    for (auto& process : processes) process.start();
    for (auto& process : processes) process.join();
    std::cout << "the squares:";
    for (const long square : squares) std::cout << " " << square;
    std::cout << "\n";
}
