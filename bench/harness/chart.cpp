// The charts: pictures for slides. A workload that was measured with three sizes or more is drawn
// as lines over the size; any other has a row for each competitor, with one figure or two. Every
// line and row carries its competitor's name, so no legend is needed. A bar shows the least and the
// most of the repetitions.

#include "results.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ranges>
#include <set>
#include <utility>

namespace bench {
namespace {

// All lengths are in the units of the viewBox, which are pixels at the picture's natural size.
constexpr std::size_t columns = 2;
constexpr double panel_width = 640;
constexpr double panel_height = 262;
constexpr double heading_height = 64;
constexpr double plot_top = 56;
constexpr double plot_height = 164;
constexpr double name_width = 196; ///< holds the longest name, "CPython ProcessPoolExecutor"

/// In the order of the competitors; related ones have two shades of a hue.
constexpr std::array colors{"#d62728", "#f28e8e", "#1f4e9c", "#6fa8e8", "#1b7837",
                            "#7fc97f", "#a65300", "#f5a742", "#777777"};

const char* color(std::size_t competitor) {
    return colors[competitor % colors.size()];
}

void text(std::ostream& out, double x, double y, const char* anchor, const std::string& words,
          const char* style = "") {
    out << "<text x='" << x << "' y='" << y << "' text-anchor='" << anchor << "' " << style << ">"
        << words << "</text>\n";
}

void line(std::ostream& out, double x1, double y1, double x2, double y2, const char* stroke,
          double width = 1) {
    out << "<line x1='" << x1 << "' y1='" << y1 << "' x2='" << x2 << "' y2='" << y2 << "' stroke='"
        << stroke << "' stroke-width='" << width << "'/>\n";
}

void dot(std::ostream& out, double x, double y, const char* stroke, bool filled) {
    out << "<circle cx='" << x << "' cy='" << y << "' r='4.5' stroke='" << stroke
        << "' stroke-width='2' fill='" << (filled ? stroke : "white") << "'/>\n";
}

/// Maps values to 0..1: linear from zero if all lie within a factor of five, else logarithmic, for
/// a thread and an interpreter are decades apart. No tick lies outside of the axis, none repeats.
class Axis {
public:
    Axis(double least, double most) : logarithmic_(least > 0 && most > 5 * least) {
        if (logarithmic_) {
            const int first = static_cast<int>(std::floor(std::log10(least)));
            const int last = static_cast<int>(std::ceil(std::log10(most)));
            for (int power = first; power <= last; ++power) {
                for (const int digit : {1, 2, 5}) ticks_.push_back(digit * std::pow(10, power));
            }
            // The last tick that is not above the values begins the axis, the first not below ends.
            ticks_.erase(std::ranges::upper_bound(ticks_, most * 0.999) + 1, ticks_.end());
            ticks_.erase(ticks_.begin(), std::ranges::upper_bound(ticks_, least * 1.001) - 1);
            low_ = std::log10(ticks_.front());
            high_ = std::log10(ticks_.back());
            for (int stride = 1; ticks_.size() > most_ticks; ++stride) keep_powers(stride);
        } else {
            if (most <= 0) most = 1;
            const double rough = most / 4;
            const double power = std::pow(10, std::floor(std::log10(rough)));
            double step = power;
            for (const int digit : {2, 5, 10}) {
                if (step < rough) step = digit * power;
            }
            for (int i = 0; i == 0 || ticks_.back() < most * 0.999; ++i) ticks_.push_back(i * step);
            high_ = ticks_.back();
        }
    }

    [[nodiscard]] double operator()(double value) const {
        return ((logarithmic_ ? std::log10(value) : value) - low_) / (high_ - low_);
    }
    [[nodiscard]] const std::vector<double>& ticks() const { return ticks_; }

    static std::string label(double tick) {
        const char* unit = "";
        for (const char* const thousands : {" k", " M", " G"}) {
            if (tick < 999) break;
            tick /= 1000;
            unit = thousands;
        }
        char words[32];
        std::snprintf(words, sizeof(words), "%.3g%s", tick, unit);
        return words;
    }

private:
    static constexpr std::size_t most_ticks = 6;

    void keep_powers(int stride) {
        std::erase_if(ticks_, [&](double tick) {
            const double power = std::log10(tick) / stride;
            return std::abs(power - std::round(power)) > 1e-6;
        });
    }

    bool logarithmic_;
    std::vector<double> ticks_;
    double low_ = 0;
    double high_ = 1;
};

struct Value {
    std::size_t series; ///< of the two in a row
    double median;
    double least;
    double most;
};

struct Point {
    std::size_t competitor;
    int size; ///< of a line's point
    std::vector<Value> values;
};

struct Panel {
    std::string title;
    std::string note;
    std::vector<Point> points; ///< by competitor, then by size
    std::vector<int> sizes;    ///< of lines; empty: rows
    std::string size_name;

    [[nodiscard]] Axis axis() const {
        std::vector<double> values;
        for (const Point& point : points) {
            for (const Value& value : point.values)
                values.insert(values.end(), {value.least, value.most});
        }
        const auto [least, most] = std::ranges::minmax(values);
        return {least, most};
    }
};

void draw_heading(std::ostream& out, const Panel& panel) {
    text(out, 20, 22, "start", panel.title, "font-size='15' font-weight='bold'");
    text(out, 20, 40, "start", panel.note, "fill='#555'");
}

/// One row for each competitor, values to the right.
void draw_rows(std::ostream& out, const Panel& panel, const std::vector<std::string>& competitors) {
    constexpr double left = 20 + name_width;
    constexpr double width = panel_width - left - 90; // the rest is for the figures
    const Axis axis = panel.axis();
    const auto x = [&](double value) { return left + width * axis(value); };
    const double step = plot_height / static_cast<double>(panel.points.size());

    for (const double tick : axis.ticks()) {
        line(out, x(tick), plot_top, x(tick), plot_top + plot_height, "#ddd");
        text(out, x(tick), plot_top + plot_height + 16, "middle", Axis::label(tick), "fill='#555'");
    }
    double y = plot_top + step / 2;
    for (const Point& point : panel.points) {
        const char* const hue = color(point.competitor);
        std::string figures;
        double most = 0;
        for (const Value& value : std::views::reverse(point.values)) { // the first one on top
            line(out, x(value.least), y, x(value.most), y, hue, 2);
            dot(out, x(value.median), y, hue, value.series == 0);
            figures = short_number(value.median) + (figures.empty() ? "" : ", " + figures);
            most = std::max(most, value.most);
        }
        const char* const style = competitors[point.competitor] == ours ? "font-weight='bold'" : "";
        text(out, left - 12, y + 4, "end", competitors[point.competitor], style);
        text(out, x(most) + 10, y + 4, "start", figures, style);
        y += step;
    }
}

/// Moves ascending heights apart until they are `gap` from each other, none beyond `limit`.
void spread(std::vector<double>& heights, double gap, double limit) {
    for (std::size_t i = 1; i < heights.size(); ++i)
        heights[i] = std::max(heights[i], heights[i - 1] + gap);
    for (std::size_t i = heights.size(); i-- > 0; limit = heights[i] - gap)
        heights[i] = std::min(heights[i], limit);
}

/// One line for each competitor, over the size.
void draw_lines(std::ostream& out, const Panel& panel,
                const std::vector<std::string>& competitors) {
    constexpr double left = 64;
    constexpr double right = panel_width - name_width - 40;
    const Axis axis = panel.axis();
    const auto height = [&](double value) { return plot_top + plot_height * (1 - axis(value)); };
    const auto y = [&](const Point& point) { return height(point.values[0].median); };
    const auto x = [&](int size) {
        const auto place = std::ranges::find(panel.sizes, size) - panel.sizes.begin();
        return left + 10 +
               (right - left - 20) * static_cast<double>(place) /
                   static_cast<double>(panel.sizes.size() - 1);
    };

    for (const double tick : axis.ticks()) {
        line(out, left, height(tick), right, height(tick), "#ddd");
        text(out, left - 8, height(tick) + 4, "end", Axis::label(tick), "fill='#555'");
    }
    const std::size_t stride = panel.sizes.size() > 7 ? 2 : 1; // of labels, which need room
    for (std::size_t i = 0; i < panel.sizes.size(); i += stride) {
        text(out, x(panel.sizes[i]), plot_top + plot_height + 18, "middle",
             size_text(panel.size_name, panel.sizes[i]), "fill='#555'");
    }
    text(out, right + 32, plot_top + plot_height + 18, "start", panel.size_name, "fill='#555'");

    std::vector<const Point*> ends; // the last point of each line
    for (const Point& point : panel.points) {
        const char* const hue = color(point.competitor);
        if (!ends.empty() && ends.back()->competitor == point.competitor) {
            const double width = competitors[point.competitor] == ours ? 3.5 : 2;
            line(out, x(ends.back()->size), y(*ends.back()), x(point.size), y(point), hue, width);
            ends.back() = &point;
        } else {
            ends.push_back(&point);
        }
        line(out, x(point.size), height(point.values[0].least), x(point.size),
             height(point.values[0].most), hue, 2);
        dot(out, x(point.size), y(point), hue, true);
    }
    std::ranges::sort(ends, {}, [&](const Point* end) { return y(*end); });
    std::vector<double> heights;
    for (const Point* end : ends) heights.push_back(y(*end));
    spread(heights, 16, plot_top + plot_height - 4);
    for (std::size_t i = 0; i < ends.size(); ++i) {
        const std::string& name = competitors[ends[i]->competitor];
        line(out, x(ends[i]->size) + 6, y(*ends[i]), right + 12, heights[i],
             color(ends[i]->competitor));
        text(out, right + 16, heights[i] + 4, "start", name,
             name == ours ? "font-weight='bold'" : "");
    }
}

void add_value(Point& point, const Results& results, std::size_t series, const Results::Key& key) {
    const auto median = results.median(key);
    if (!median) return;
    const auto [least, most] = results.spread(key).value_or(std::pair(*median, *median));
    point.values.push_back({series, *median, least, most});
}

std::string note_of(const Metric& metric) {
    return metric.unit + (metric.more_is_better ? ", more is better" : ", less is better");
}

/// A point for each competitor and size.
Panel make_lines(const Results& results, const std::vector<std::string>& competitors,
                 const Metric& metric, const std::vector<int>& sizes,
                 const std::string& size_name) {
    Panel panel{metric.title, note_of(metric), {}, sizes, size_name};
    for (std::size_t i = 0; i < competitors.size(); ++i) {
        for (const int size : sizes) {
            Point point{.competitor = i, .size = size, .values = {}};
            add_value(point, results, 0, {competitors[i], metric.id, size});
            if (!point.values.empty()) panel.points.push_back(std::move(point));
        }
    }
    return panel;
}

/// A row for each competitor, with a figure for each metric and size; of one of both there may be
/// two.
Panel make_rows(const Results& results, const std::vector<std::string>& competitors,
                const std::vector<Metric>& metrics, const std::vector<int>& sizes,
                const std::string& size_name) {
    Panel panel{metrics[0].title, note_of(metrics[0]), {}, {}, {}};
    if (metrics.size() > 1) {
        const auto last_part = [](const Metric& metric) {
            return metric.title.substr(metric.title.rfind(", ") + 2);
        };
        panel.title += " and " + last_part(metrics[1]);
        panel.note += "; ● " + last_part(metrics[0]) + ", ○ " + last_part(metrics[1]);
    }
    panel.note += "; " + size_name + ": ";
    panel.note += sizes.size() > 1 ? "● " + size_text(size_name, sizes[0]) + ", ○ " +
                                         size_text(size_name, sizes[1])
                                   : size_text(size_name, sizes[0]);
    for (std::size_t i = 0; i < competitors.size(); ++i) {
        Point point{.competitor = i, .size = 0, .values = {}};
        for (std::size_t m = 0; m < metrics.size(); ++m) {
            for (std::size_t n = 0; n < sizes.size(); ++n)
                add_value(point, results, m + n, {competitors[i], metrics[m].id, sizes[n]});
        }
        if (!point.values.empty()) panel.points.push_back(std::move(point));
    }
    return panel;
}

/// Whether both may be in one row: "round trip, median" and "round trip, p99".
bool are_alike(const Metric& one, const Metric& other) {
    const auto first_part = [](const Metric& metric) {
        return metric.title.substr(0, metric.title.rfind(", "));
    };
    return one.unit == other.unit && first_part(one) == first_part(other);
}

std::vector<Panel> make_panels(const Results& results, const Suite& suite,
                               const std::vector<Workload>& workloads) {
    std::vector<Panel> panels;
    const std::vector<std::string> names = suite.names();
    for (const Workload& workload : workloads) {
        const std::string& size_name = suite.size_name_of(workload);
        const std::vector<Metric>& metrics = workload.metrics;
        for (std::size_t i = 0; i < metrics.size(); ++i) {
            const std::set<int> measured = results.sizes(metrics[i].id);
            const std::vector<int> sizes(measured.begin(), measured.end());
            if (sizes.size() > 2) {
                panels.push_back(make_lines(results, names, metrics[i], sizes, size_name));
            } else if (i + 1 < metrics.size() && are_alike(metrics[i], metrics[i + 1])) {
                for (const int size : sizes) {
                    panels.push_back(
                        make_rows(results, names, {metrics[i], metrics[i + 1]}, {size}, size_name));
                }
                ++i;
            } else if (!sizes.empty()) {
                panels.push_back(make_rows(results, names, {metrics[i]}, sizes, size_name));
            }
        }
    }
    return panels;
}

} // namespace

void write_svg(std::ostream& out, const Results& results, const Suite& suite,
               const std::vector<Workload>& workloads) {
    const std::vector<std::string> competitors = suite.names();
    const std::vector<Panel> panels = make_panels(results, suite, workloads);
    const std::size_t across = std::clamp<std::size_t>(panels.size(), 1, columns);
    const auto rows = static_cast<double>((panels.size() + across - 1) / across);
    const double width = panel_width * static_cast<double>(across);
    const double height = heading_height + rows * panel_height;
    out << "<svg xmlns='http://www.w3.org/2000/svg' width='" << width << "' height='" << height
        << "' viewBox='0 0 " << width << " " << height
        << "' font-family='sans-serif' font-size='12.5'>\n"
           "<rect width='100%' height='100%' fill='white'/>\n";
    text(out, 20, 32, "start", suite.title + ": medians of one run, least to most",
         "font-size='20' font-weight='bold'");
    text(out, 20, 52, "start", limits + ": the bare steps, with nothing around them",
         "fill='#555'");
    for (std::size_t i = 0; i < panels.size(); ++i) {
        out << "<g transform='translate(" << static_cast<double>(i % across) * panel_width << " "
            << heading_height + static_cast<double>(i / across) * panel_height << ")'>\n";
        draw_heading(out, panels[i]);
        panels[i].sizes.empty() ? draw_rows(out, panels[i], competitors)
                                : draw_lines(out, panels[i], competitors);
        out << "</g>\n";
    }
    out << "</svg>\n";
}

} // namespace bench
