// expect: needs a default constructor
#include "submit.hpp"

#include <string>

struct Name {
    explicit Name(std::string given) : text(std::move(given)) {}
    template <class Archive>
    void serialize(Archive& archive) {
        archive(text);
    }
    std::string text;
};

void print(const Name&) {}

void test() {
    submit(print, Name("me"));
}
