//! One chart over time: drawn by the server as SVG, with labels in HTML so that they stay readable
//! when the plot is narrow.

use std::fmt::Write;

use super::html::escape;

/// One line of a chart.
pub(super) struct Line {
    pub(super) name: String,
    /// Which of the palette's colours.
    pub(super) colour: usize,
    /// A value for each second, where there is one.
    pub(super) values: Vec<Option<f64>>,
}

/// A chart.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    pub(super) lines: Vec<Line>,
    /// Ends of phases, seconds, with their names.
    pub(super) phases: &'a [(f64, f64, String)],
    /// Whether a value holds until the next: numbers of things, not rates.
    pub(super) steps: bool,
}

/// Most points of a line: more cannot be told apart.
const MAX_POINTS: usize = 360;
/// Width and height of the drawing, in its own units.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 100.0;
/// Phase names that fit above a plot.
const MAX_PHASE_NAMES: usize = 8;

impl Chart<'_> {
    /// As HTML; nothing when there is nothing to see.
    pub(super) fn html(&self) -> String {
        let seconds = self.lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
        let values = || self.lines.iter().flat_map(|line| line.values.iter().flatten());
        if seconds == 0 || values().next().is_none() {
            return String::new();
        }
        let width = seconds.div_ceil(MAX_POINTS).max(1);
        let lines: Vec<(&Line, Vec<Option<f64>>)> =
            self.lines.iter().map(|line| (line, thin(&line.values, width))).collect();
        let most = lines.iter().flat_map(|(_, points)| points.iter().flatten()).fold(0.0f64, |a, b| a.max(*b));
        let (top, ticks) = scale(most, if self.steps { 1.0 } else { 0.0 });
        let span = seconds as f64;

        let mut svg = String::new();
        for tick in &ticks {
            let y = HEIGHT * (1.0 - tick / top);
            let _ = write!(svg, r#"<line class="grid" x1="0" x2="{WIDTH}" y1="{y:.2}" y2="{y:.2}"/>"#);
        }
        for (from, _, _) in self.phases.iter().skip(1) {
            let x = WIDTH * from / span;
            let _ = write!(svg, r#"<line class="phase" x1="{x:.1}" x2="{x:.1}" y1="0" y2="{HEIGHT}"/>"#);
        }
        for (line, points) in &lines {
            let path = path(points, width, span, top, self.steps);
            let _ = write!(svg, r#"<path class="line c{}" d="{path}"/>"#, line.colour);
        }
        format!(
            r#"<figure class="chart"><figcaption><b>{}</b> <span class="unit">{}</span><span class="legend">{}</span></figcaption>
<div class="plot">{}<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{}">{svg}</svg>{}<i class="cursor"></i></div>
<script type="application/json">{}</script></figure>
"#,
            escape(self.title),
            escape(self.unit),
            self.legend(),
            self.phase_names(span),
            escape(&format!("{}, {} over time", self.title, self.unit)),
            labels(&ticks, top, span),
            data(&lines, width),
        )
    }

    fn legend(&self) -> String {
        let entry =
            |line: &Line| format!(r#"<span><i class="c{}"></i>{} <em></em></span>"#, line.colour, escape(&line.name));
        self.lines.iter().map(entry).collect()
    }

    fn phase_names(&self, span: f64) -> String {
        if self.phases.len() < 2 || self.phases.len() > MAX_PHASE_NAMES {
            return String::new();
        }
        let name = |(from, to, name): &(f64, f64, String)| {
            let (left, width) = (100.0 * from / span, 100.0 * (to - from) / span);
            format!(r#"<span class="name" style="left:{left:.2}%;width:{width:.2}%">{}</span>"#, escape(name))
        };
        self.phases.iter().map(name).collect()
    }
}

fn labels(ticks: &[f64], top: f64, span: f64) -> String {
    let y =
        |tick: &f64| format!(r#"<span class="y" style="bottom:{:.2}%">{}</span>"#, 100.0 * tick / top, short(*tick));
    let x = |at: f64| format!(r#"<span class="x" style="left:{:.2}%">{}</span>"#, 100.0 * at / span, clock(at));
    let step = time_step(span);
    let times = (0..).map(|index| f64::from(index) * step).take_while(|at| *at <= span + 0.001);
    ticks.iter().map(y).chain(times.map(x)).collect()
}

/// What the page's script shows under the pointer.
fn data(lines: &[(&Line, Vec<Option<f64>>)], width: usize) -> String {
    let round = |value: &Option<f64>| value.map(|value| (value * 100.0).round() / 100.0);
    let values: Vec<Vec<Option<f64>>> = lines.iter().map(|(_, points)| points.iter().map(round).collect()).collect();
    serde_json::json!({ "step": width, "lines": values }).to_string()
}

/// One value for every `width` seconds: the highest, so that no peak is lost.
fn thin(values: &[Option<f64>], width: usize) -> Vec<Option<f64>> {
    values.chunks(width).map(|chunk| chunk.iter().flatten().copied().max_by(f64::total_cmp)).collect()
}

fn path(points: &[Option<f64>], width: usize, span: f64, top: f64, steps: bool) -> String {
    let mut path = String::new();
    let mut pen_is_down = false;
    for (index, value) in points.iter().enumerate() {
        let Some(value) = value else {
            pen_is_down = false;
            continue;
        };
        let at = (index as f64 + if steps { 0.0 } else { 0.5 }) * width as f64;
        let (x, y) = (WIDTH * at / span, HEIGHT * (1.0 - value / top));
        let _ = match (pen_is_down, steps) {
            (false, _) => write!(path, "M{x:.1} {y:.2}"),
            (true, true) => write!(path, "H{x:.1}V{y:.2}"),
            (true, false) => write!(path, "L{x:.1} {y:.2}"),
        };
        // A single point between gaps would not be seen.
        let alone = !pen_is_down && points.get(index + 1).is_none_or(Option::is_none);
        if steps || alone {
            let end = WIDTH * (at + if steps { width as f64 } else { 0.4 }) / span;
            if points.get(index + 1).is_none_or(Option::is_none) {
                let _ = write!(path, "H{:.1}", end.min(WIDTH));
            }
        }
        pen_is_down = true;
    }
    path
}

/// The top of an axis and its ticks, at 1, 2 or 5 times a power of ten and `least` apart.
fn scale(most: f64, least: f64) -> (f64, Vec<f64>) {
    let most = if most > 0.0 { most } else { 1.0 };
    let rough = (most / 4.0).max(least);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let count = (most / step).ceil().max(1.0) as usize;
    (count as f64 * step, (0..=count).map(|index| index as f64 * step).collect())
}

fn time_step(span: f64) -> f64 {
    const STEPS: [f64; 13] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0];
    STEPS.into_iter().find(|step| span / step <= 7.0).unwrap_or(86_400.0)
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    if seconds < 3600 {
        return format!("{}:{:02}", seconds / 60, seconds % 60);
    }
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", trim(value / 1e6)),
        value if value >= 1e4 => format!("{}k", trim(value / 1e3)),
        value => trim(value),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(scale(93.0, 0.0), (100.0, vec![0.0, 50.0, 100.0]));
        assert_eq!(scale(0.0, 1.0).0, 1.0);
        let (top, ticks) = scale(7.3, 0.0);
        assert_eq!((top, ticks.len()), (8.0, 5));
        assert_eq!([clock(75.0), clock(3700.0)], ["1:15", "1:01:40"]);
        assert_eq!([short(12_000.0), short(0.25), short(1500.0)], ["12k", "0.25", "1500"]);
    }

    #[test]
    fn gaps_stay_gaps_and_peaks_stay() {
        let points = [Some(1.0), None, Some(2.0), Some(4.0)];
        assert_eq!(path(&points, 1, 4.0, 4.0, false).matches('M').count(), 2);
        assert_eq!(thin(&[Some(1.0), Some(9.0), None, None], 2), [Some(9.0), None]);
    }

    #[test]
    fn nothing_to_see_is_nothing() {
        let lines = vec![Line { name: "p50".into(), colour: 0, values: vec![None, None] }];
        assert_eq!(Chart { title: "t", unit: "ms", lines, phases: &[], steps: false }.html(), "");
    }
}
