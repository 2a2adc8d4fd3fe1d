#include "codec/samples.hpp"

#include <concepts>
#include <typeinfo>
#include <utility>

namespace prong::test {

namespace {

template <class T>
class TypedSample final : public Sample {
public:
    explicit TypedSample(T&& value) : value_(std::move(value)) {}

    [[nodiscard]] const char* type() const override { return typeid(T).name(); }

    [[nodiscard]] std::vector<std::byte> encoded() const override {
        detail::BufferWriter writer;
        detail::encode(writer, value_);
        return {writer.bytes().begin(), writer.bytes().end()};
    }

    [[nodiscard]] bool comes_back() const override {
        if constexpr (std::equality_comparable<T>) {
            const std::vector<std::byte> bytes = encoded();
            detail::Reader reader(bytes);
            return detail::decode<T>(reader) == value_ && reader.remaining() == 0;
        }
        return false;
    }

    bool decode_and_use(std::span<const std::byte> bytes) const override {
        return test::decode_and_use<T>(bytes);
    }

private:
    T value_;
};

template <class T>
void add(Samples& list, T&& value) {
    list.emplace_back(new TypedSample<T>(std::move(value)));
}

} // namespace

Samples scalar_samples() {
    Samples list;
    add(list, true);
    add(list, 'x');
    add(list, -7);
    add(list, std::uint64_t{1} << 63);
    add(list, 2.5);
    add(list, 1.0L / 3);
    add(list, Colour::blue);
    add(list, Answer::yes);
    add(list, std::byte{7});
    add(list, &Record::id);
    add(list, Record{1, "abc", {1, 2, 3}});
    add(list, Bits{1, 2, true});
    add(list, OverAligned{5});
    add(list, Empty{});
    add(list, NotDefault(4));
    add(list, std::array<int, 3>{1, 2, 3});
    add(list, std::array<bool, 2>{true, false});
    add(list, std::chrono::milliseconds(4));
    add(list, std::chrono::system_clock::time_point(std::chrono::seconds(7)));
    add(list, std::complex<double>(1, 2));
    return list;
}

Samples container_samples() {
    Samples list;
    add(list, std::string("text"));
    add(list, std::string());
    add(list, std::u16string(u"text"));
    add(list, std::filesystem::path("/some/where"));
    add(list, std::vector<int>{1, 2, 3});
    add(list, std::vector<double>());
    add(list, std::vector<bool>{true, false, true});
    add(list, std::vector<Record>{Record{1, "abc", {}}, Record{}});
    add(list, std::vector<NotDefault>{NotDefault(1), NotDefault(2)});
    add(list, std::vector<OverAligned>{{1}, {2}});
    add(list, std::vector<Answer>{Answer::yes, Answer::no});
    add(list, std::vector<Empty>(4));
    add(list, std::vector<std::monostate>(4));
    add(list, std::vector<std::array<std::string, 0>>(4));
    add(list, std::vector<std::string>{"a", "", "b"});
    add(list, std::vector<std::vector<double>>{{1, 2}, {}, {3}});
    add(list, std::vector<std::filesystem::path>{"/a", "b"});
    add(list, std::array<std::string, 2>{"a", "b"});
    add(list, std::map<std::string, std::vector<Record>>{{"a", {Record{}}}, {"b", {}}});
    add(list, std::map<int, NotDefault>{{1, NotDefault(2)}});
    add(list, std::multimap<int, int>{{1, 3}, {1, 2}, {0, 1}});
    add(list, std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}});
    add(list, std::unordered_multimap<int, int>{{1, 1}, {1, 2}});
    add(list, std::set<std::string>{"a", "b"});
    add(list, std::multiset<int>{1, 1});
    add(list, std::unordered_set<int>{1, 2});
    add(list, std::unordered_multiset<int>{1, 1});
    add(list, std::list<int>{1, 2});
    add(list, std::deque<WithOptional>{{1, 2}, {3, {}}});
    add(list, std::forward_list<int>{1, 2});
    add(list, std::queue<int>({1, 2}));
    add(list, std::stack<int>({1, 2}));
    add(list, std::bitset<70>(12345));
    add(list, std::list<NotDefault>{NotDefault(1), NotDefault(2)});
    add(list, std::map<int, std::string, Direction>({{1, "a"}, {2, "b"}}, Direction{true}));
    add(list, std::unordered_set<int, Seeded, Seeded>({1, 2}, 0, Seeded{7}, Seeded{9}));
    add(list, std::pmr::map<int, std::pmr::string>{{1, "a"}});
    add(list, std::vector<std::pair<const std::string, int>>{{"a", 1}, {"b", 2}});
    add(list, std::array<std::pair<const std::string, int>, 2>{{{"a", 1}, {"b", 2}}});
    add(list, std::vector<std::tuple<const int, std::string>>{{1, "a"}});
    return list;
}

Samples class_samples() {
    Samples list;
    add(list, std::optional<int>(1));
    add(list, std::optional<std::string>());
    add(list, std::optional<NotDefault>(NotDefault(3)));
    add(list, std::variant<int, std::string>("a"));
    add(list, std::variant<NotDefault, std::vector<int>>(NotDefault(1)));
    add(list, std::monostate());
    add(list, std::pair<int, std::string>(1, "a"));
    add(list, std::tuple<int, std::string, double>(1, "a", 2.5));
    add(list, std::tuple<>());
    add(list, WithOptional{1, 2});
    add(list, Leaf{"leaf", {Record{}}, "choice"});
    add(list,
        Tree{{"root", {}, 1}, {{{"left", {}, Colour::red}, {}}, {{"right", {}, 2}, {Tree{}}}}});
    add(list, Serialized{1, "b"});
    add(list, std::vector<Serialized>{{1, "b"}, {2, "c"}});
    add(list, Operators{1, 2});
    add(list, SavedAndLoaded{{1, 2}});
    add(list, Minimal{77});
    add(list, Versioned{5});
    add(list, std::vector<Versioned>{{5}, {6}});
    add(list, Private(5));
    add(list, Free{3});
    add(list, std::map<int, Free>{{1, {2}}});
    add(list, std::optional<const std::string>("a"));
    add(list, std::variant<const int, const std::string>("a"));
    add(list, std::tuple<const std::string, const int>("a", 1));
    add(list, Job{"a", 1});
    add(list, std::vector<Job>{{"a", 1}, {"b", 2}});
    add(list, std::map<std::string, Job>{{"a", {"b", 1}}});
    return list;
}

Samples pointer_samples() {
    Samples list;
    add(list, std::make_unique<int>(1));
    add(list, std::make_unique<Constructed>(1));
    const auto shared = std::make_shared<std::string>("text");
    add(list, std::vector{shared, shared});
    add(list, std::pair(shared, std::make_shared<std::vector<int>>(3)));
    add(list, std::unique_ptr<Shape>(std::make_unique<Square>(3.0)));
    add(list, std::vector<std::shared_ptr<Shape>>(2, std::make_shared<Square>(2.0)));
    add(list, std::valarray<std::string>{"a", "b"});
    return list;
}

} // namespace prong::test
