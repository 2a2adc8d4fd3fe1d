// Exchanges whole values between two processes through a pipe.

#include <prong/error.hpp>
#include <prong/pipe.hpp>
#include <prong/process.hpp>

#include <iostream>
#include <map>
#include <string>

void count_words(prong::Connection connection) {
    std::map<std::string, int> counts;
    try {
        for (;;) {
            ++counts[connection.recv<std::string>()];
            connection.send(counts);
        }
    } catch (const prong::EndOfFile&) { // the parent has closed its end
        std::cout << "the child has counted " << counts.size() << " different words\n";
    }
}

int main() {
    auto [connection, childs_end] = prong::Pipe();
    prong::Process process(count_words, std::move(childs_end));
    process.start();
    for (const char* word : {"to", "be", "or", "not", "to", "be"}) {
        connection.send(word);
        const auto counts = connection.recv<std::map<std::string, int>>();
        std::cout << word << ": " << counts.at(word) << "\n";
    }
    connection.close(); // ends the child's loop, so before `join`
    process.join();
}
