// expect: cereal can only save or only load this type
#include "submit.hpp"

#include <string>

struct Name {
    template <class Archive>
    void save(Archive& archive) const {
        archive(text);
    }
    std::string text;
};

void print(const Name&) {}

void test() {
    submit(print, Name{});
}
