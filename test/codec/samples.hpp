#pragma once

#include <prong/codec.hpp>

#include <chrono>
#include <compare>
#include <filesystem>
#include <memory>
#include <memory_resource>
#include <string>
#include <vector>

/// \file
/// Values of every family of types that can be encoded.

namespace prong::test {

struct Record { // C arrays: only as bytes
    int id = 0;
    char name[32] = {};
    double x[3] = {};
    bool operator==(const Record&) const = default;
};

struct Bits { // bit-fields: only as bytes
    unsigned a : 3, b : 5;
    bool c : 1;
    bool operator==(const Bits&) const = default;
};

struct alignas(64) OverAligned {
    int value = 0;
    bool operator==(const OverAligned&) const = default;
};

struct Empty {
    bool operator==(const Empty&) const = default;
};

enum class Colour : std::uint8_t { red, green, blue };
enum class Answer : bool { no, yes };

class NotDefault { // no default constructor, but bytes
public:
    explicit NotDefault(int value) : value_(value) {}
    bool operator==(const NotDefault&) const = default;

private:
    int value_;
};

} // namespace prong::test

template <>
inline constexpr bool prong::is_bitwise_transferable<prong::test::NotDefault> = true;

namespace prong::test {

struct Direction { // a comparison with state
    bool down = false;
    bool operator()(int a, int b) const { return down ? a > b : a < b; }
    bool operator==(const Direction&) const = default;
};

struct Seeded { // a hash, and an equality, with state
    std::size_t seed = 0;
    std::size_t operator()(int n) const { return seed ^ static_cast<std::size_t>(n); }
    bool operator()(int a, int b) const { return (*this)(a) == (*this)(b); }
};

struct Job { // const members
    const std::string name;
    const int number;
    bool operator==(const Job&) const = default;
};

struct WithOptional { // trivially copyable, but not every byte in it is valid
    int a = 0;
    std::optional<int> b;
    bool operator==(const WithOptional&) const = default;
};

struct Leaf {
    std::string name;
    std::vector<Record> records;
    std::variant<int, std::string, Colour> choice;
    bool operator==(const Leaf&) const = default;
};

struct Tree { // contains itself
    Leaf leaf;
    std::vector<Tree> branches;
    bool operator==(const Tree&) const = default;
};

struct MoveOnly {
    std::unique_ptr<std::string> text;
    std::vector<std::unique_ptr<int>> numbers;
    bool operator==(const MoveOnly& other) const {
        return *text == *other.text && numbers.size() == other.numbers.size();
    }
};

struct Serialized {
    int a = 0;
    std::string b;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(CEREAL_NVP(a), cereal::make_nvp("second", b));
    }
    bool operator==(const Serialized&) const = default;
};

struct Operators { // the other spelling that cereal allows
    int a = 0;
    int b = 0;
    template <class Archive>
    void serialize(Archive& archive) {
        archive& a& b;
    }
    bool operator==(const Operators&) const = default;
};

struct SavedAndLoaded {
    std::vector<int> values;
    template <class Archive>
    void save(Archive& archive) const {
        archive(cereal::make_size_tag(values.size()));
        for (const int value : values) archive(value);
    }
    template <class Archive>
    void load(Archive& archive) {
        std::size_t size = 0;
        archive(cereal::make_size_tag(size));
        values.resize(size);
        for (int& value : values) archive(value);
    }
    bool operator==(const SavedAndLoaded&) const = default;
};

struct Minimal {
    int value = 0;
    template <class Archive>
    std::string save_minimal(const Archive&) const {
        return std::to_string(value);
    }
    template <class Archive>
    void load_minimal(const Archive&, const std::string& text) {
        value = std::atoi(text.c_str());
    }
    bool operator==(const Minimal&) const = default;
};

struct Versioned {
    int value = 0;
    template <class Archive>
    void serialize(Archive& archive, std::uint32_t version) {
        archive(value);
        if (version != 3) throw CodecError("another version");
    }
    bool operator==(const Versioned&) const = default;
};

class Private {
public:
    explicit Private(int value) : value_(value) {}
    bool operator==(const Private&) const = default;

private:
    friend class cereal::access;
    Private() = default;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(value_);
    }
    int value_ = 0;
};

struct Free { // serialized from outside
    int value = 0;
    bool operator==(const Free&) const = default;
};
template <class Archive>
void serialize(Archive& archive, Free& free) {
    archive(free.value);
}

class Constructed { // made by load_and_construct, behind a pointer
public:
    explicit Constructed(int value) : value_(value) {}
    [[nodiscard]] int value() const { return value_; }
    template <class Archive>
    void serialize(Archive& archive) {
        archive(value_);
    }
    template <class Archive>
    static void load_and_construct(Archive& archive, cereal::construct<Constructed>& construct) {
        int value = 0;
        archive(value);
        construct(value);
    }

private:
    int value_;
};

class Shape {
public:
    Shape() = default;
    Shape(const Shape&) = default;
    Shape& operator=(const Shape&) = default;
    virtual ~Shape() = default;
    [[nodiscard]] virtual double area() const = 0;
};

class Square final : public Shape {
public:
    Square() = default;
    explicit Square(double side) : side_(side) {}
    [[nodiscard]] double area() const override { return side_ * side_; }
    template <class Archive>
    void serialize(Archive& archive) {
        archive(side_);
    }

private:
    double side_ = 0;
};

/// Calls `visit(value)` for each sample.
template <class Visit>
void for_each_scalar_sample(Visit visit) {
    visit(true);
    visit('x');
    visit(-7);
    visit(std::uint64_t{1} << 63);
    visit(2.5);
    visit(1.0L / 3);
    visit(Colour::blue);
    visit(Answer::yes);
    visit(std::byte{7});
    visit(&Record::id);
    visit(Record{1, "abc", {1, 2, 3}});
    visit(Bits{1, 2, true});
    visit(OverAligned{5});
    visit(Empty{});
    visit(NotDefault(4));
    visit(std::array<int, 3>{1, 2, 3});
    visit(std::array<bool, 2>{true, false});
    visit(std::chrono::milliseconds(4));
    visit(std::chrono::system_clock::time_point(std::chrono::seconds(7)));
    visit(std::complex<double>(1, 2));
}

template <class Visit>
void for_each_container_sample(Visit visit) {
    visit(std::string("text"));
    visit(std::string());
    visit(std::u16string(u"text"));
    visit(std::filesystem::path("/some/where"));
    visit(std::vector<int>{1, 2, 3});
    visit(std::vector<double>());
    visit(std::vector<bool>{true, false, true});
    visit(std::vector<Record>{Record{1, "abc", {}}, Record{}});
    visit(std::vector<NotDefault>{NotDefault(1), NotDefault(2)});
    visit(std::vector<OverAligned>{{1}, {2}});
    visit(std::vector<Answer>{Answer::yes, Answer::no});
    visit(std::vector<Empty>(4));
    visit(std::vector<std::monostate>(4));
    visit(std::vector<std::array<std::string, 0>>(4));
    visit(std::vector<std::string>{"a", "", "b"});
    visit(std::vector<std::vector<double>>{{1, 2}, {}, {3}});
    visit(std::vector<std::filesystem::path>{"/a", "b"});
    visit(std::array<std::string, 2>{"a", "b"});
    visit(std::map<std::string, std::vector<Record>>{{"a", {Record{}}}, {"b", {}}});
    visit(std::map<int, NotDefault>{{1, NotDefault(2)}});
    visit(std::multimap<int, int>{{1, 3}, {1, 2}, {0, 1}});
    visit(std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}});
    visit(std::unordered_multimap<int, int>{{1, 1}, {1, 2}});
    visit(std::set<std::string>{"a", "b"});
    visit(std::multiset<int>{1, 1});
    visit(std::unordered_set<int>{1, 2});
    visit(std::unordered_multiset<int>{1, 1});
    visit(std::list<int>{1, 2});
    visit(std::deque<WithOptional>{{1, 2}, {3, {}}});
    visit(std::forward_list<int>{1, 2});
    visit(std::queue<int>({1, 2}));
    visit(std::stack<int>({1, 2}));
    visit(std::bitset<70>(12345));
    visit(std::list<NotDefault>{NotDefault(1), NotDefault(2)});
    visit(std::map<int, std::string, Direction>({{1, "a"}, {2, "b"}}, Direction{true}));
    visit(std::unordered_set<int, Seeded, Seeded>({1, 2}, 0, Seeded{7}, Seeded{9}));
    visit(std::pmr::map<int, std::pmr::string>{{1, "a"}});
    visit(std::vector<std::pair<const std::string, int>>{{"a", 1}, {"b", 2}});
    visit(std::array<std::pair<const std::string, int>, 2>{{{"a", 1}, {"b", 2}}});
    visit(std::vector<std::tuple<const int, std::string>>{{1, "a"}});
}

template <class Visit>
void for_each_class_sample(Visit visit) {
    visit(std::optional<int>(1));
    visit(std::optional<std::string>());
    visit(std::optional<NotDefault>(NotDefault(3)));
    visit(std::variant<int, std::string>("a"));
    visit(std::variant<NotDefault, std::vector<int>>(NotDefault(1)));
    visit(std::monostate());
    visit(std::pair<int, std::string>(1, "a"));
    visit(std::tuple<int, std::string, double>(1, "a", 2.5));
    visit(std::tuple<>());
    visit(WithOptional{1, 2});
    visit(Leaf{"leaf", {Record{}}, "choice"});
    visit(Tree{{"root", {}, 1}, {{{"left", {}, Colour::red}, {}}, {{"right", {}, 2}, {Tree{}}}}});
    visit(Serialized{1, "b"});
    visit(std::vector<Serialized>{{1, "b"}, {2, "c"}});
    visit(Operators{1, 2});
    visit(SavedAndLoaded{{1, 2}});
    visit(Minimal{77});
    visit(Versioned{5});
    visit(std::vector<Versioned>{{5}, {6}});
    visit(Private(5));
    visit(Free{3});
    visit(std::map<int, Free>{{1, {2}}});
    visit(std::optional<const std::string>("a"));
    visit(std::variant<const int, const std::string>("a"));
    visit(std::tuple<const std::string, const int>("a", 1));
    visit(Job{"a", 1});
    visit(std::vector<Job>{{"a", 1}, {"b", 2}});
    visit(std::map<std::string, Job>{{"a", {"b", 1}}});
}

} // namespace prong::test

CEREAL_CLASS_VERSION(prong::test::Versioned, 3)
CEREAL_REGISTER_TYPE(prong::test::Square)
CEREAL_REGISTER_POLYMORPHIC_RELATION(prong::test::Shape, prong::test::Square)
