// Writes to a queue and reads from it without blocking.

#include <prong/process.hpp>
#include <prong/queue.hpp>

#include <iostream>
#include <string>

void put_words(const prong::Queue<std::string>& queue) {
    for (const char* word : {"to", "be", "or", "not"}) {
        if (!queue.try_put(word)) std::cout << "no room for: " << word << "\n";
    }
}

void get_words(const prong::Queue<std::string>& queue) {
    while (const auto word = queue.try_get()) std::cout << "got: " << *word << "\n";
    std::cout << "the queue is empty\n";
}

int main() {
    const prong::Queue<std::string> queue(3); // holds three words at most
    prong::Process writer(put_words, queue);
    writer.start();
    writer.join();
    prong::Process reader(get_words, queue);
    reader.start();
    reader.join();
}
