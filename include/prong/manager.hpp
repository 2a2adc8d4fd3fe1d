#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/served_object.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/process.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

/// \file
/// A process that holds objects for others, which use them through proxies.

namespace prong {

/// Refers to an object in a manager's process. Copies refer to the same object. They pass to tasks
/// and processes as arguments, through connections and queues, and into other objects of a
/// manager, within the programs that the manager serves. A proxy owns nothing: the object lives as
/// long as the manager's process.
///
/// Every member that uses the object sends a request and blocks until the reply. Calls of one
/// object take turns: each is atomic. A call that takes long delays no call of another object. A
/// call must not use a proxy of its own object, which waits for ever.
///
/// *Throws* what the call throws, with its type, like a task; `ManagerDied` if the manager has
/// ended; `Error` if the manager lets no further client in; `std::bad_alloc` if the manager has not
/// enough memory for the request; `std::system_error` if the process can open no more descriptors;
/// what encoding throws. A proxy of a manager that has ended throws `CodecError` if another manager
/// listens at its address.
///
/// Thread safety: any number of threads may use one proxy at once. Each call in progress has a
/// connection of its own, which later calls use again.
///
/// Process safety: a process that is killed in the middle of a call harms no other. The call takes
/// place if its request was complete, and not at all otherwise.
template <class T>
class Proxy {
public:
    /// Refers to no object: calls throw `std::logic_error`.
    Proxy() = default;

    /// Calls `f(object, args...)` in the manager's process and returns a copy of the result. `f` is
    /// a member function of `T`, or a function or lambda without captures whose first parameter is
    /// a `T&`: `counter.call(&Counter::add, 5)`. What `submit` says of arguments and results holds
    /// for these.
    template <class F, class... Args>
    auto call(const F& f, const Args&... args) const {
        return detail::call_object<T>(object_, f, args...);
    }

    /// Returns whether both refer to the same object.
    friend bool operator==(const Proxy&, const Proxy&) = default;

private:
    friend struct detail::HandleAccess;
    using Parts = detail::RemoteObject;

    explicit Proxy(Parts object) : object_(std::move(object)) {}
    [[nodiscard]] Parts parts() const { return object_; }

    detail::RemoteObject object_;
};

namespace detail {

/// An element of a served container: `dict["a"] = 1`, `int a = dict["a"]`.
template <class Container, class Key, class T>
class ServedElement {
public:
    ServedElement(const Container& container, const Key& key) : container_(container), key_(key) {}
    ServedElement(const ServedElement&) = delete;

    /// Replaces the element in the container.
    const ServedElement& operator=(const T& value) const {
        container_.set(key_, value);
        return *this;
    }
    const ServedElement& operator=(const ServedElement& other) const {
        return *this = static_cast<T>(other);
    }
    /// Returns a copy of the element. Throws `std::out_of_range` if there is none.
    operator T() const { return container_.at(key_); }

private:
    const Container& container_;
    const Key& key_;
};

} // namespace detail

/// A `std::map` in a manager's process, with the calls of Python's `dict`. Each call is atomic;
/// `dict["n"] = dict["n"] + 1` is two calls. For one, use `call`:
/// `dict.call([](std::map<std::string, int>& map, const std::string& key) { ++map[key]; }, "n")`.
template <class K, class V>
class DictProxy : public Proxy<std::map<K, V>> {
    using Map = std::map<K, V>;

public:
    using Proxy<Map>::Proxy;

    /// Sets the value of a key.
    void set(const K& key, const V& value) const {
        this->call([](Map& map, const K& k, const V& v) { map.insert_or_assign(k, v); }, key,
                   value);
    }
    /// Returns the value of a key; nothing if there is none.
    [[nodiscard]] std::optional<V> get(const K& key) const {
        return this->call(
            [](Map& map, const K& k) {
                const auto found = map.find(k);
                return found != map.end() ? std::optional<V>(found->second) : std::nullopt;
            },
            key);
    }
    /// Returns the value of a key, or `otherwise` if there is none.
    [[nodiscard]] V get(const K& key, const V& otherwise) const {
        return get(key).value_or(otherwise);
    }
    /// Returns the value of a key. *Throws* `std::out_of_range` if there is none.
    [[nodiscard]] V at(const K& key) const {
        return this->call([](Map& map, const K& k) -> V { return map.at(k); }, key);
    }
    /// Refers to the value of a key within one expression: `dict["a"] = 1`, `int a = dict["a"]`.
    [[nodiscard]] detail::ServedElement<DictProxy, K, V> operator[](const K& key) const {
        return {*this, key};
    }
    /// Returns whether there is a value for the key.
    [[nodiscard]] bool contains(const K& key) const {
        return this->call([](Map& map, const K& k) { return map.contains(k); }, key);
    }
    /// Removes a key. Returns whether it was there.
    bool erase(const K& key) const {
        return this->call([](Map& map, const K& k) { return map.erase(k) != 0; }, key);
    }
    /// Removes a key and returns its value; nothing if there is none.
    std::optional<V> pop(const K& key) const {
        return this->call(
            [](Map& map, const K& k) {
                const auto node = map.extract(k);
                return node ? std::optional<V>(std::move(node.mapped())) : std::nullopt;
            },
            key);
    }
    /// Sets all values of `others`.
    void update(const Map& others) const {
        this->call(
            [](Map& map, const Map& added) {
                for (const auto& [key, value] : added) map.insert_or_assign(key, value);
            },
            others);
    }
    /// Removes everything.
    void clear() const {
        this->call([](Map& map) { map.clear(); });
    }
    /// Returns the number of keys.
    [[nodiscard]] std::size_t size() const {
        return this->call([](Map& map) { return map.size(); });
    }
    /// Returns whether there is no key.
    [[nodiscard]] bool empty() const { return size() == 0; }
    /// Returns a copy of everything.
    [[nodiscard]] Map items() const {
        return this->call([](Map& map) { return map; });
    }
    /// Returns the keys in order.
    [[nodiscard]] std::vector<K> keys() const {
        return this->call([](Map& map) {
            std::vector<K> keys;
            for (const auto& item : map) keys.push_back(item.first);
            return keys;
        });
    }
    /// Returns the values in the order of their keys.
    [[nodiscard]] std::vector<V> values() const {
        return this->call([](Map& map) {
            std::vector<V> values;
            for (const auto& item : map) values.push_back(item.second);
            return values;
        });
    }
};

/// A `std::vector` in a manager's process, with the calls of Python's `list`. Each call is atomic.
/// Positions that do not exist throw `std::out_of_range`.
template <class T>
class ListProxy : public Proxy<std::vector<T>> {
    using Vector = std::vector<T>;

public:
    using Proxy<Vector>::Proxy;

    /// Appends a value.
    void push_back(const T& value) const {
        this->call([](Vector& list, const T& v) { list.push_back(v); }, value);
    }
    /// Does the same; Python's name.
    void append(const T& value) const { push_back(value); }
    /// Appends all values.
    void extend(const Vector& values) const {
        this->call([](Vector& list,
                      const Vector& added) { list.insert(list.end(), added.begin(), added.end()); },
                   values);
    }
    /// Inserts a value before a position, or at the end.
    void insert(std::size_t index, const T& value) const {
        this->call(
            [](Vector& list, std::size_t i, const T& v) {
                if (i > list.size()) throw std::out_of_range("prong::ListProxy: no such position");
                list.insert(list.begin() + static_cast<std::ptrdiff_t>(i), v);
            },
            index, value);
    }
    /// Returns an element.
    [[nodiscard]] T at(std::size_t index) const {
        return this->call([](Vector& list, std::size_t i) -> T { return list.at(i); }, index);
    }
    /// Does the same.
    [[nodiscard]] T get(std::size_t index) const { return at(index); }
    /// Replaces an element.
    void set(std::size_t index, const T& value) const {
        this->call([](Vector& list, std::size_t i, const T& v) { list.at(i) = v; }, index, value);
    }
    /// Refers to an element within one expression: `list[0] = 1`, `int a = list[0]`.
    [[nodiscard]] detail::ServedElement<ListProxy, std::size_t, T>
    operator[](const std::size_t& index) const {
        return {*this, index};
    }
    /// Removes the last element and returns it.
    T pop() const {
        return this->call([](Vector& list) {
            if (list.empty()) throw std::out_of_range("prong::ListProxy: pop from an empty list");
            T last = std::move(list.back());
            list.pop_back();
            return last;
        });
    }
    /// Removes an element and returns it.
    T pop(std::size_t index) const {
        return this->call(
            [](Vector& list, std::size_t i) {
                T element = std::move(list.at(i));
                list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
                return element;
            },
            index);
    }
    /// Sorts by `<`.
    void sort() const {
        this->call([](Vector& list) { std::ranges::sort(list); });
    }
    /// Reverses the order.
    void reverse() const {
        this->call([](Vector& list) { std::ranges::reverse(list); });
    }
    /// Removes everything.
    void clear() const {
        this->call([](Vector& list) { list.clear(); });
    }
    /// Returns the number of elements.
    [[nodiscard]] std::size_t size() const {
        return this->call([](Vector& list) { return list.size(); });
    }
    /// Returns whether there is no element.
    [[nodiscard]] bool empty() const { return size() == 0; }
    /// Returns a copy of everything.
    [[nodiscard]] Vector to_vector() const {
        return this->call([](Vector& list) { return list; });
    }
};

/// A value in a manager's process.
template <class T>
class ValueProxy : public Proxy<T> {
public:
    using Proxy<T>::Proxy;

    /// Returns a copy of the value.
    [[nodiscard]] T get() const {
        return this->call([](T& value) -> T { return value; });
    }
    /// Replaces the value.
    void set(const T& value) const {
        this->call([](T& old, const T& v) { old = v; }, value);
    }
};

/// A process that holds objects for any number of other processes.
///
///     prong::Manager manager;
///     prong::DictProxy<std::string, int> ages = manager.dict<std::string, int>();
///     prong::Process child([=] { ages.set("Ada", 36); });
///
/// The manager's process is a daemon: it ends with the process that created the manager, however
/// that ends. It ignores Ctrl-C. Objects live until then; destructors of objects do not run. When
/// it dies, every call in progress and every later one throws `ManagerDied`; none hangs. Objects
/// must not fork: a child would keep the connections open. The process has a thread for each
/// connection, which is one for each thread of each process that has made calls at once.
///
/// Its socket is a local one with a random name and a random key, unless it was created by
/// `listen`. Whoever has the key can make the manager run any function of the program. Needs the
/// library nettle, for the handshake.
///
/// Not copied, not moved. Thread safety: any number of threads may use one manager at once.
/// Process safety: in a process forked while the manager exists the copy makes objects as well; its
/// `shutdown()` throws `std::logic_error`, and its destructor ends nothing.
class PRONG_API Manager {
public:
    /// Starts the process. *Throws* `Error` if prong was built without nettle; `std::system_error`
    /// if the system refuses processes, descriptors or the socket; `std::logic_error` in a daemon,
    /// which may start no processes.
    Manager();

    /// Starts a process that serves other executions of this program as well, on this machine or
    /// others. The address is that of a `Listener`; port 0 becomes a free one (`address()`). They
    /// reach objects by `find`, or by proxies that were sent to them. *Throws* like the
    /// constructors of `Manager` and `Listener`; `std::invalid_argument` for an empty key; `Error`
    /// if the program was linked without a build id.
    static Manager listen(const std::string& address, const std::string& authkey);

    /// Connects to the manager at the address, which another execution of this program has created
    /// by `listen`. Proxies from this object use the address as it is given here. *Throws*
    /// `AuthenticationError` for another key; `Error` if the manager's program is another one, or
    /// another build; otherwise like `Client`.
    static Manager connect(const std::string& address, const std::string& authkey);

    Manager(const Manager&) = delete;
    Manager& operator=(const Manager&) = delete;
    /// Does what `shutdown()` does, if this object has started the process.
    ~Manager();

    /// Makes an empty map.
    template <class K, class V>
    [[nodiscard]] DictProxy<K, V> dict() const {
        return make_proxy<DictProxy<K, V>, std::map<K, V>>();
    }
    /// Makes a map with these contents.
    template <class K, class V>
    [[nodiscard]] DictProxy<K, V> dict(const std::map<K, V>& contents) const {
        return make_proxy<DictProxy<K, V>, std::map<K, V>>(contents);
    }
    /// Makes an empty list.
    template <class T>
    [[nodiscard]] ListProxy<T> list() const {
        return make_proxy<ListProxy<T>, std::vector<T>>();
    }
    /// Makes a list with these contents.
    template <class T>
    [[nodiscard]] ListProxy<T> list(const std::vector<T>& contents) const {
        return make_proxy<ListProxy<T>, std::vector<T>>(contents);
    }
    /// Makes a value.
    template <class T>
    [[nodiscard]] ValueProxy<T> value(const T& initial = T()) const {
        return make_proxy<ValueProxy<T>, T>(initial);
    }
    /// Makes a `T` from copies of the arguments. `T` itself need not be transferable.
    template <class T, class... Args>
    [[nodiscard]] Proxy<T> make(const Args&... args) const {
        return make_proxy<Proxy<T>, T>(args...);
    }

    /// Gives an object a name for `find`. A name that is in use refers to this object from now on.
    /// *Throws* `std::invalid_argument` for an object of another manager.
    template <class P>
    void publish(const std::string& name, const P& proxy) const {
        publish_object(name, detail::HandleAccess::parts(proxy));
    }
    /// Returns a proxy, such as a `DictProxy<std::string, int>`, of the object with this name.
    /// *Throws* `std::out_of_range` if there is none. If the type is another one, calls throw.
    template <class P>
    [[nodiscard]] P find(const std::string& name) const {
        return detail::HandleAccess::make<P>(find_object(name));
    }

    /// Returns the address, such as "127.0.0.1:40123".
    [[nodiscard]] const std::string& address() const { return address_.address; }
    /// Returns the process id of the manager's process; 0 for a manager that was connected to.
    [[nodiscard]] int pid() const;

    /// Kills the manager's process and waits for its end; calls throw `ManagerDied` from then on.
    /// May be repeated. *Throws* `std::logic_error` unless this process has started it.
    void shutdown();

private:
    struct Connected {};

    explicit Manager(detail::ManagerAddress address);
    Manager(detail::ManagerAddress address, Connected);

    template <class P, class T, class... Args>
    [[nodiscard]] P make_proxy(const Args&... args) const {
        return detail::HandleAccess::make<P>(detail::make_object<T>(address_, args...));
    }
    void publish_object(const std::string& name, const detail::RemoteObject& object) const;
    [[nodiscard]] detail::RemoteObject find_object(const std::string& name) const;

    detail::ManagerAddress address_;
    std::optional<Process> process_;
};

} // namespace prong
