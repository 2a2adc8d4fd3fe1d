#pragma once

#include <prong/codec.hpp>

#include <chrono>
#include <compare>
#include <filesystem>
#include <memory>
#include <memory_resource>
#include <span>
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

/// A value whose type only it knows, so that tests of all types are compiled once.
class Sample {
public:
    Sample() = default;
    Sample(const Sample&) = delete;
    Sample& operator=(const Sample&) = delete;
    virtual ~Sample() = default;

    [[nodiscard]] virtual const char* type() const = 0;
    [[nodiscard]] virtual std::vector<std::byte> encoded() const = 0;

    /// Whether the value, encoded and decoded, is equal to itself, and no byte remains.
    [[nodiscard]] virtual bool comes_back() const = 0;

    /// Decodes a value of the type and reads all of it. Returns whether it could be decoded.
    virtual bool decode_and_use(std::span<const std::byte> bytes) const = 0;
};

using Samples = std::vector<std::unique_ptr<const Sample>>;

Samples scalar_samples();
Samples container_samples();
Samples class_samples();

/// Every kind of value that the others leave out: they have no comparison, or one by address.
Samples pointer_samples();

/// Decodes a `T` and reads all of it. Returns whether it could be decoded.
template <class T>
bool decode_and_use(std::span<const std::byte> bytes) {
    detail::Reader reader(bytes);
    try {
        const T value = detail::decode<T>(reader);
        detail::BufferWriter again;
        detail::encode(again, value);
        return true;
    } catch (const CodecError&) {
        return false;
    }
}

} // namespace prong::test

CEREAL_CLASS_VERSION(prong::test::Versioned, 3)
CEREAL_REGISTER_TYPE(prong::test::Square)
CEREAL_REGISTER_POLYMORPHIC_RELATION(prong::test::Shape, prong::test::Square)
