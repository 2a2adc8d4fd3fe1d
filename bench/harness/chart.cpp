// The chart: one picture for a slide. A workload that was measured with three sizes or more is
// drawn as lines over the size; any other has a row for each competitor. Every line and row carries
// its competitor's name, so no legend is needed.

#include "results.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <set>

namespace bench {
namespace {

// All lengths are in the units of the viewBox, which are pixels at the picture's natural size.
constexpr std::size_t columns = 3;
constexpr double panel_width = 500;
constexpr double panel_height = 262;
constexpr double heading_height = 64;
constexpr double plot_top = 56;
constexpr double plot_height = 164;
constexpr double name_width = 196; ///< holds the longest name, "CPython ProcessPoolExecutor"

/// In the order of the competitors; related ones have two shades of a hue.
constexpr std::array colors{"#d62728", "#1f4e9c", "#6fa8e8", "#1b7837",
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
            const double rough = std::max(most, 1e-9) / 4;
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

struct Point {
    std::size_t competitor;
    int size;
    std::vector<double> values; ///< one for each metric of the panel
};

struct Panel {
    std::vector<Metric> metrics;
    std::vector<Point> points; ///< by competitor, then by size
    std::vector<int> sizes;
    std::string size_name;

    [[nodiscard]] bool has_lines() const { return sizes.size() > 2; }
    [[nodiscard]] Axis axis() const {
        std::vector<double> values;
        for (const Point& point : points) std::ranges::copy(point.values, back_inserter(values));
        const auto [least, most] = std::ranges::minmax(values);
        return {least, most};
    }
};

/// What the second metric of a panel says beyond the first: "p99" of "round trip, p99".
std::string last_part(const std::string& title) {
    return title.substr(title.rfind(", ") + 2);
}

void draw_heading(std::ostream& out, const Panel& panel) {
    const Metric& metric = panel.metrics[0];
    std::string title = metric.title;
    std::string note = metric.unit + (metric.more_is_better ? ", more" : ", less") + " is better";
    if (panel.metrics.size() > 1) {
        const std::string other = last_part(panel.metrics[1].title);
        title += " and " + other;
        note += "; ● " + last_part(metric.title) + ", ○ " + other;
    }
    if (!panel.has_lines()) {
        note += "; " + panel.size_name + ": " + std::to_string(panel.sizes[0]);
    }
    text(out, 20, 22, "start", title, "font-size='15' font-weight='bold'");
    text(out, 20, 40, "start", note, "fill='#555'");
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
        const auto [least, most] = std::ranges::minmax(point.values);
        line(out, x(least), y, x(most), y, hue, 2);
        std::string figures;
        for (std::size_t i = point.values.size(); i-- > 0;) { // the first one on top
            dot(out, x(point.values[i]), y, hue, i == 0);
            figures = short_number(point.values[i]) + (figures.empty() ? "" : ", " + figures);
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
    const auto y = [&](const Point& point) {
        return plot_top + plot_height * (1 - axis(point.values[0]));
    };
    const auto x = [&](int size) {
        const auto place = std::ranges::find(panel.sizes, size) - panel.sizes.begin();
        return left + 10 +
               (right - left - 20) * static_cast<double>(place) /
                   static_cast<double>(panel.sizes.size() - 1);
    };

    for (const double tick : axis.ticks()) {
        const double height = plot_top + plot_height * (1 - axis(tick));
        line(out, left, height, right, height, "#ddd");
        text(out, left - 8, height + 4, "end", Axis::label(tick), "fill='#555'");
    }
    for (const int size : panel.sizes) {
        text(out, x(size), plot_top + plot_height + 18, "middle", std::to_string(size),
             "fill='#555'");
    }
    text(out, right + 12, plot_top + plot_height + 18, "start", panel.size_name, "fill='#555'");

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

/// The competitors for which all of the metrics were measured, at these sizes.
Panel make_panel(const Results& results, const std::vector<std::string>& competitors,
                 const std::vector<Metric>& metrics, const std::vector<int>& sizes) {
    Panel panel{.metrics = metrics, .points = {}, .sizes = sizes, .size_name = {}};
    for (std::size_t i = 0; i < competitors.size(); ++i) {
        for (const int size : sizes) {
            Point point{.competitor = i, .size = size, .values = {}};
            for (const Metric& metric : metrics) {
                if (const auto value = results.median({competitors[i], metric.id, size}))
                    point.values.push_back(*value);
            }
            if (point.values.size() == metrics.size()) panel.points.push_back(std::move(point));
        }
    }
    return panel;
}

std::vector<Panel> make_panels(const Results& results, const Suite& suite) {
    std::vector<Panel> panels;
    const std::vector<std::string> competitors = suite.names();
    const auto add = [&](const std::vector<Metric>& metrics, const std::vector<int>& sizes) {
        panels.push_back(make_panel(results, competitors, metrics, sizes));
        panels.back().size_name = suite.size_name;
    };
    for (const Workload& workload : suite.workloads) {
        std::set<int> measured;
        for (const auto& [key, values] : results.all()) {
            if (key.metric == workload.metrics[0].id) measured.insert(key.size);
        }
        if (measured.size() > 2) {
            for (const Metric& metric : workload.metrics)
                add({metric}, {measured.begin(), measured.end()});
        } else {
            for (const int size : measured) add(workload.metrics, {size});
        }
    }
    return panels;
}

} // namespace

void write_svg(std::ostream& out, const Results& results, const Suite& suite) {
    const std::vector<std::string> competitors = suite.names();
    const std::vector<Panel> panels = make_panels(results, suite);
    const std::size_t across = std::clamp<std::size_t>(panels.size(), 1, columns);
    const auto rows = static_cast<double>((panels.size() + across - 1) / across);
    const double width = panel_width * static_cast<double>(across);
    const double height = heading_height + rows * panel_height;
    out << "<svg xmlns='http://www.w3.org/2000/svg' width='" << width << "' height='" << height
        << "' viewBox='0 0 " << width << " " << height
        << "' font-family='sans-serif' font-size='12.5'>\n"
           "<rect width='100%' height='100%' fill='white'/>\n";
    text(out, 20, 32, "start", suite.title + ": medians of one run",
         "font-size='20' font-weight='bold'");
    text(out, 20, 52, "start", limits + ": the bare steps, with nothing around them",
         "fill='#555'");
    for (std::size_t i = 0; i < panels.size(); ++i) {
        out << "<g transform='translate(" << static_cast<double>(i % across) * panel_width << " "
            << heading_height + static_cast<double>(i / across) * panel_height << ")'>\n";
        draw_heading(out, panels[i]);
        panels[i].has_lines() ? draw_lines(out, panels[i], competitors)
                              : draw_rows(out, panels[i], competitors);
        out << "</g>\n";
    }
    out << "</svg>\n";
}

} // namespace bench
