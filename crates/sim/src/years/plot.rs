//! Plots, as SVG.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Room for labels: left, top, right, bottom.
const MARGIN: [f64; 4] = [60.0, 40.0, 20.0, 50.0];
/// One for each row, ours first. They differ for people who see no red or no green, too.
const COLOURS: [&str; 5] = ["#0b5fa5", "#e08214", "#7b3294", "#4d9221", "#7f7f7f"];
/// The axis of times begins at a minute and ends at some years, in days.
const TIMES: [f64; 2] = [1.0 / 1440.0, 1000.0];
/// Points of a curve.
const POINTS: usize = 200;

fn begin(title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{}\" y=\"24\" font-size=\"15\">{}</text>\n",
        MARGIN[0],
        escape(title)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    let what = escape(what);
    // Writing to a string can't fail.
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>"
    );
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    );
}

/// Plots which share of some sorted values is at most so large, for each row, over a logarithmic axis.
pub(super) fn shares(title: &str, unit: &str, rows: &[(&str, Vec<f64>)]) -> String {
    let mut svg = begin(title);
    let (left, right) = (MARGIN[0], WIDTH - MARGIN[2]);
    let (top, bottom) = (MARGIN[1], HEIGHT - MARGIN[3]);
    let [low, high] = TIMES.map(f64::ln);
    let x = |value: f64| left + (value.ln() - low) / (high - low) * (right - left);
    let y = |share: f64| bottom - share * (bottom - top);
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        line(&mut svg, (left, at), (right, at), "#dddddd");
        text(
            &mut svg,
            left - 6.0,
            at + 4.0,
            "end",
            &format!("{percent} %"),
        );
    }
    let marks = [
        (1.0 / 1440.0, "1 min"),
        (1.0 / 24.0, "1 h"),
        (1.0, "1"),
        (7.0, "7"),
        (30.0, "30"),
        (365.0, "365"),
    ];
    for (value, name) in marks {
        line(&mut svg, (x(value), top), (x(value), bottom), "#eeeeee");
        text(&mut svg, x(value), bottom + 18.0, "middle", name);
    }
    text(&mut svg, right, bottom + 38.0, "end", unit);
    for (at, (name, values)) in rows.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let mut points = String::new();
        for point in 0..=POINTS {
            let value = (low + (high - low) * point as f64 / POINTS as f64).exp();
            let count = values.partition_point(|it| *it <= value);
            let share = count as f64 / values.len().max(1) as f64;
            let _ = write!(points, "{:.1},{:.1} ", x(value), y(share));
        }
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.trim_end()
        );
        let key = top + 16.0 + 16.0 * at as f64;
        line(
            &mut svg,
            (left + 10.0, key - 4.0),
            (left + 30.0, key - 4.0),
            colour,
        );
        text(&mut svg, left + 36.0, key, "start", name);
    }
    svg + "</svg>\n"
}

/// Plots a value of each row as a bar.
pub(super) fn bars(title: &str, rows: &[(&str, f64)]) -> String {
    let mut svg = begin(title);
    let most = rows
        .iter()
        .map(|row| row.1)
        .fold(f64::MIN_POSITIVE, f64::max);
    let left = 200.0;
    let width = WIDTH - MARGIN[2] - 70.0 - left;
    let step = (HEIGHT - MARGIN[1] - 20.0) / rows.len().max(1) as f64;
    for (at, (name, value)) in rows.iter().enumerate() {
        let y = MARGIN[1] + step * at as f64;
        let length = width * value / most;
        let colour = COLOURS[at % COLOURS.len()];
        text(&mut svg, left - 8.0, y + step / 2.0 + 4.0, "end", name);
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            y + step * 0.15,
            step * 0.7
        );
        let end = left + length + 6.0;
        text(
            &mut svg,
            end,
            y + step / 2.0 + 4.0,
            "start",
            &format!("{value:.2}"),
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_every_row_and_escapes_it() {
        let rows = [("ours", vec![0.1, 2.0]), ("<other>", vec![f64::INFINITY])];
        let svg = shares("safe & sound", "days", &rows);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("safe &amp; sound") && svg.contains("&lt;other&gt;"));
        let svg = bars("space", &[("ours", 2.0), ("other", 0.0)]);
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
